//! Channels of notices: a test of each, and what became of what was sent.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::shell::{Page, Tab};
use super::show::{count, moment, more, refusal};
use super::visit::{Form, Visit};
use crate::control::{ChannelShown, DeliveryShown};
use crate::error::Result;
use crate::notices::Outcome;
use crate::people::Permission;
use crate::report::Language;

/// Rows of a page.
const ROWS: usize = 100;

pub async fn show(visit: Visit) -> Result<Response> {
    page(&visit, (StatusCode::OK, None)).await
}

pub async fn act(form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let lang = visit.lang();
    let name = fields.get("channel");
    match visit.control().test_channel(&visit.who, name).await {
        Ok(done) => {
            let is_there = done.outcome == Outcome::Delivered;
            let told = html! {
                div class=(if is_there { "flash" } else { "refusal" }) role=(if is_there { "status" } else { "alert" }) {
                    p { strong { (if is_there { lang.test_arrived(name) } else { lang.test_failed(name) }) }
                        @if let Some(why) = &done.why { " " (lang.tell(why)) } }
                }
            };
            page(&visit, (StatusCode::OK, Some(told))).await
        }
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = page(&visit, (status, Some(refusal(&visit.look, &error)))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

async fn page(visit: &Visit, (status, above): (StatusCode, Option<Markup>)) -> Result<Response> {
    let lang = visit.lang();
    let channels = visit.control().channels(&visit.who).await?;
    let only = Some(visit.asked("channel").trim()).filter(|name| !name.is_empty());
    let after = Some(visit.asked("after")).filter(|after| !after.is_empty());
    let (items, next) = visit.control().deliveries(&visit.who, only, (ROWS, after)).await?;
    let main = html! {
        h1 { (lang.channels()) }
        @if let Some(above) = above { (above) }
        p.none { (lang.channels_note()) }
        @if channels.is_empty() { p { (lang.no_channels()) } } @else { (channel_table(visit, &channels)) }
        section aria-labelledby="log-title" {
            h2 #log-title { (lang.delivery_log()) }
            form.filters method="get" action=(visit.at("/channels")) role="search" aria-label=(lang.filter()) {
                label for="channel" { (lang.channel()) }
                input #channel name="channel" value=(visit.asked("channel")) list="known-channels" autocomplete="off" data-search;
                datalist #known-channels { @for channel in &channels { option value=(channel.name) {} } }
                button type="submit" { (lang.filter()) }
            }
            div #deliveries data-live="message plan" {
                @if items.is_empty() { p.none { (lang.nothing_sent()) } } @else { (log(visit, &items)) }
            }
            (more(&visit.look, next.as_deref()))
        }
    };
    let calls = ["GET /channels", "POST /channels/NAME/test", "GET /deliveries"].map(str::to_owned).to_vec();
    Ok(visit
        .page_with(status, Page { tab: Tab::Messages, title: lang.channels().to_owned(), calls, main })
        .await)
}

fn channel_table(visit: &Visit, channels: &[ChannelShown]) -> Markup {
    let lang = visit.lang();
    html! {
        div.scroll tabindex="0" role="group" aria-label=(lang.channels()) { table.rows #channels {
            caption.unseen { (lang.channels()) }
            thead { tr {
                th scope="col" { (lang.channel()) } th scope="col" { (lang.kind()) } th scope="col" { (lang.its_language()) }
                th scope="col" { (lang.sent_last()) } th scope="col" { (lang.test()) }
            } }
            tbody { @for channel in channels {
                tr {
                    td { a.open href=(visit.look.with("channel", &channel.name)) { code { (channel.name) } } }
                    td { (channel.kind) }
                    td { (if channel.language == "zh" { "中文" } else { "English" }) }
                    td { @match &channel.last {
                        Some(last) => { (outcome(lang, last.outcome)) " " (moment(&last.last)) },
                        None => span.none { (lang.never()) },
                    } }
                    td { form.inline method="post" action=(visit.at("/channels")) {
                        (visit.proof())
                        (visit.choice(Permission::Move, "", (&lang.test_channel(&channel.name), "channel", &channel.name)))
                    } }
                }
            } }
        } }
    }
}

fn log(visit: &Visit, items: &[DeliveryShown]) -> Markup {
    let lang = visit.lang();
    html! {
        div.scroll tabindex="0" role="group" aria-label=(lang.delivery_log()) { table.rows #log-table {
            caption.unseen { (lang.delivery_log()) }
            thead { tr {
                th scope="col" { (lang.time()) } th scope="col" { (lang.channel()) } th scope="col" { (lang.what()) }
                th scope="col" { (lang.result()) } th.figure scope="col" { (lang.attempts()) } th scope="col" { (lang.because()) }
            } }
            tbody { @for item in items {
                tr {
                    td { (moment(&item.last)) }
                    td { code { (item.channel) } }
                    td { (lang.event_name(&item.event)) " "
                        a href=(visit.at(&item.link)) { (item.plan.as_deref().unwrap_or(lang.open_it())) } " " span.none { code { (item.notice) } } }
                    td { (outcome(lang, item.outcome)) }
                    td.figure { (count(u64::from(item.attempts))) }
                    td { @if let Some(why) = &item.why { (lang.tell(why)) } }
                }
            } }
        } }
    }
}

fn outcome(lang: Language, outcome: Outcome) -> Markup {
    let (class, shape, word) = match outcome {
        Outcome::Delivered => ("good", "●", lang.delivered()),
        Outcome::Failed => ("warn", "▲", lang.not_delivered()),
        Outcome::GivenUp => ("bad", "■", lang.given_up()),
        Outcome::Unknown => ("bad", "■", lang.no_such_channel()),
    };
    html! { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (word) } }
}
