//! The fleet, what happened, messages, and what waits for a second person.

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::shell::{Page, Tab};
use super::show::{count, csv_cell, difference, known, moment, more, number, reason, refusal, word};
use super::visit::{Form, Visit};
use crate::api::Named;
use crate::control::{AuditQuery, ProposalShown, ProposalState, RecordShown};
use crate::error::Result;
use crate::people::Permission;

/// Records, and messages, of a page.
const ROWS: usize = 50;
/// Records of one table for a spreadsheet, and of one look at the store for it.
const CSV_ROWS: usize = 100_000;
const CSV_PAGE: usize = 1_000;
const CSV_HEAD: [&str; 16] = [
    "id",
    "time",
    "who",
    "via",
    "credential",
    "address",
    "user_agent",
    "request_id",
    "approved_by",
    "action",
    "object",
    "before",
    "after",
    "reason",
    "result",
    "hash",
];

pub async fn fleet(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let told = visit.control().fleet(&visit.who).await;
    let main = html! {
        h1 { (lang.fleet()) }
        div #proxies data-live="fleet" {
            @match &told {
                Err(error) => (refusal(&visit.look, error)),
                Ok(fleet) => (proxies(&visit, fleet)),
            }
        }
    };
    let calls = vec!["GET /fleet".to_owned()];
    Ok(visit.page(Page { tab: Tab::Fleet, title: lang.fleet().to_owned(), calls, main }).await)
}

fn proxies(visit: &Visit, fleet: &Value) -> Markup {
    let lang = visit.lang();
    let proxies = fleet.get("proxies").and_then(Value::as_array).cloned().unwrap_or_default();
    let lagging =
        proxies.iter().filter(|proxy| proxy.get("lags").and_then(Value::as_bool) == Some(true)).count();
    html! {
        p { (lang.proxies_count(proxies.len())) " · "
            @if lagging == 0 { span.good { (lang.none_lags()) } } @else { span.bad { (lang.proxies_lag(lagging)) } }
        }
        @if proxies.is_empty() { p.none { (lang.no_proxies()) } }
        @else {
            div.scroll tabindex="0" role="group" aria-label=(lang.fleet()) { table.rows #fleet-table {
                caption.unseen { (lang.fleet()) }
                thead { tr {
                    th scope="col" { (lang.proxy()) } th scope="col" { (lang.state()) } th scope="col" { (lang.running()) }
                    th scope="col" { (lang.offered()) } th.figure scope="col" { (lang.problems()) }
                    th scope="col" { (lang.program()) } th scope="col" { (lang.started()) }
                } }
                tbody { @for proxy in &proxies { (proxy_row(visit, proxy)) } }
            } }
        }
    }
}

fn proxy_row(visit: &Visit, proxy: &Value) -> Markup {
    let lang = visit.lang();
    let flag = |key: &str| proxy.get(key).and_then(Value::as_bool);
    let (class, shape, state) = match (flag("up"), flag("lags")) {
        (Some(false), _) => ("bad", "■", lang.down()),
        (_, Some(true)) => ("warn", "▲", lang.lags()),
        _ => ("good", "●", lang.up_to_date()),
    };
    let revision = |key: &str| match proxy.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    html! {
        tr {
            td { code { (word(proxy, "id")) } }
            td { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (state) }
                @if !word(proxy, "error").is_empty() { " " span.none { (lang.tell(word(proxy, "error"))) } } }
            td { (known(revision("running"))) }
            td { (known(revision("offered"))) }
            td.figure { (known(number(proxy, "problems").map(|number| count(number as u64)))) }
            td { (word(proxy, "version")) }
            td { @if !word(proxy, "started").is_empty() { (moment(word(proxy, "started"))) } }
        }
    }
}

fn time_of(text: &str, end: &str) -> Result<Option<OffsetDateTime>> {
    let full = match text.len() {
        0 => return Ok(None),
        10 => format!("{text}T{end}Z"),
        16 => format!("{text}:00Z"),
        _ => text.to_owned(),
    };
    OffsetDateTime::parse(&full, &Rfc3339).map(Some).map_err(|_| super::refused::not_a_time(text))
}

fn audit_query(visit: &Visit, limit: usize) -> Result<AuditQuery> {
    let some = |key: &str| Some(visit.asked(key).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
    Ok(AuditQuery {
        who: some("who"),
        what: some("what"),
        from: time_of(visit.asked("from"), "00:00:00")?,
        to: time_of(visit.asked("to"), "23:59:59")?,
        limit,
        after: visit.asked("after").parse().ok(),
    })
}

/// The same records for a spreadsheet, newest first, without the texts: their hashes stand for them.
pub async fn audit_csv(visit: Visit) -> Result<Response> {
    let mut query = audit_query(&visit, CSV_PAGE)?;
    let mut text = format!("{}\r\n", CSV_HEAD.join(","));
    let mut rows = 0;
    while rows < CSV_ROWS {
        let (records, next) = visit.control().audit(&visit.who, &query).await?;
        for record in records.iter().take(CSV_ROWS - rows) {
            text += &csv_row(record);
            rows += 1;
        }
        let Some(next) = next else { break };
        query.after = Some(next);
    }
    let headers = [
        (http::header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (http::header::CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    Ok((headers, text).into_response())
}

fn csv_row(record: &RecordShown) -> String {
    let hash = |text: &Option<crate::control::TextShown>| {
        text.as_ref().map(|text| text.hash.clone()).unwrap_or_default()
    };
    let result = match record.result {
        crate::audit::Outcome::Ok => "ok",
        crate::audit::Outcome::Refused => "refused",
        crate::audit::Outcome::Waiting => "waiting",
    };
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let cells = [
        record.id.to_string(),
        record.time.clone(),
        record.who.clone(),
        record.via.clone(),
        record.credential.clone(),
        record.address.clone(),
        record.user_agent.clone(),
        record.request_id.clone(),
        some(&record.approved_by),
        record.action.clone(),
        record.object.clone(),
        hash(&record.before),
        hash(&record.after),
        some(&record.reason),
        result.to_owned(),
        record.hash.clone(),
    ];
    cells.map(|cell| csv_cell(&cell)).join(",") + "\r\n"
}

pub async fn audit(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let query = audit_query(&visit, ROWS)?;
    let (records, next) = visit.control().audit(&visit.who, &query).await?;
    let head = visit.control().audit_head().await.unwrap_or_default();
    let api = visit.look.with("lang", "").replacen("/audit", "/api/v1/audit", 1);
    let csv = visit.look.with("lang", "").replacen("/audit", "/audit/csv", 1);
    let main = html! {
        h1 { (lang.audit()) }
        form.filters method="get" action=(visit.at("/audit")) role="search" aria-label=(lang.filter()) {
            label for="who" { (lang.who()) } input #who name="who" value=(visit.asked("who"));
            label for="what" { (lang.object_contains()) } input #what type="search" name="what" value=(visit.asked("what")) data-search;
            label for="from" { (lang.from()) } input #from type="date" name="from" value=(visit.asked("from"));
            label for="to" { (lang.until()) } input #to type="date" name="to" value=(visit.asked("to"));
            button type="submit" { (lang.filter()) }
        }
        div.scroll tabindex="0" role="group" aria-label=(lang.audit()) { table.rows #records data-live="document plan message" {
            caption.unseen { (lang.audit()) }
            thead { tr {
                th.figure scope="col" { (lang.number()) } th scope="col" { (lang.time()) } th scope="col" { (lang.who()) }
                th scope="col" { (lang.what()) } th scope="col" { (lang.object()) } th scope="col" { (lang.result()) }
                th scope="col" { (lang.reason()) } th scope="col" { (lang.before_and_after()) }
            } }
            tbody { @for record in &records { (record_row(&visit, record)) } }
        } }
        @if records.is_empty() { p.none { (lang.nothing_found()) } }
        (more(&visit.look, next.map(|id| id.to_string()).as_deref()))
        p { (lang.chain_head()) ": " code { (head) } }
        pre tabindex="0" { code { "graygate audit verify --control FILE --head " (head) } }
        p { a href=(api) { (lang.as_json()) } " · " a href=(csv) download="audit.csv" { (lang.as_csv(CSV_ROWS)) } }
    };
    let calls = vec!["GET /audit?who=&what=&from=&to=".to_owned()];
    Ok(visit.page(Page { tab: Tab::Audit, title: lang.audit().to_owned(), calls, main }).await)
}

fn record_row(visit: &Visit, record: &RecordShown) -> Markup {
    let lang = visit.lang();
    let text = |shown: &Option<crate::control::TextShown>| {
        shown.as_ref().and_then(|shown| shown.text.clone()).unwrap_or_default()
    };
    let has_texts = record.before.is_some() || record.after.is_some();
    let diff = || {
        similar::TextDiff::from_lines(text(&record.before).as_str(), text(&record.after).as_str())
            .unified_diff()
            .context_radius(3)
            .to_string()
    };
    let (class, shape, word) = match record.result {
        crate::audit::Outcome::Ok => ("good", "●", lang.done()),
        crate::audit::Outcome::Refused => ("bad", "■", lang.refused()),
        crate::audit::Outcome::Waiting => ("warn", "▲", lang.waiting()),
    };
    html! {
        tr {
            td.figure { (record.id) }
            td { (moment(&record.time)) }
            td { (visit.person(&record.who)) " " span.none { (record.via) " " (record.address) }
                @if let Some(other) = &record.approved_by { " + " (other) } }
            td { (record.action) }
            td { code { (record.object) } }
            td { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (word) } }
            td { @match record.reason.as_deref() {
                // A person's reason stands as it was written; the program's own is told.
                Some(reason) if is_told(record) => (lang.tell(reason)),
                reason => (reason.unwrap_or_default()),
            } }
            td { @if has_texts { details { summary { (lang.show_it()) } (difference(lang, &diff())) } } }
        }
    }
}

/// Whether the reason of a record is the program's: why it refused, or why it did something by itself.
fn is_told(record: &RecordShown) -> bool {
    record.result == crate::audit::Outcome::Refused
        || matches!(record.via.as_str(), "controller" | "file" | "etcd")
}

fn message_kind(lang: crate::report::Language, kind: &str) -> &str {
    match kind {
        "plan" => lang.plan(),
        "foreign" | "quota" => lang.event_name(kind),
        other => other,
    }
}

pub async fn messages(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let after = Some(visit.asked("after"))
        .filter(|after| after.bytes().all(|byte| byte.is_ascii_hexdigit()) && !after.is_empty());
    let (items, next) = visit.control().messages(&visit.who, (ROWS, after)).await?;
    let proposals = visit.control().proposals(&visit.who).await?;
    let main = html! {
        h1 { (lang.messages()) }
        p { a href=(visit.at("/channels")) { (lang.channels()) } }
        section aria-labelledby="proposals-title" {
            h2 #proposals-title { (lang.for_a_second_person()) }
            div #proposals data-live="message document plan" { (proposal_list(&visit, &proposals)) }
        }
        section aria-labelledby="inbox-title" {
            h2 #inbox-title { (lang.what_happened()) }
            @if items.iter().any(|item| !item.read) {
                form.inline method="post" action=(visit.at("/messages")) {
                    (visit.proof())
                    @for item in items.iter().filter(|item| !item.read) { input type="hidden" name="id" value=(item.id); }
                    button type="submit" { (lang.mark_read()) }
                }
            }
            div #inbox data-live="message" {
                @if items.is_empty() { p.none { (lang.no_messages()) } }
                ul.inbox { @for item in &items {
                    li class=(if item.read { "read" } else { "unread" }) {
                        @if !item.read { span.mark { (lang.unread()) } " " }
                        (moment(&item.time)) " " span.none { (message_kind(lang, &item.kind)) } " "
                        (lang.tell(&item.text))
                        @if let Some(link) = &item.link {
                            " " a href=(if link.starts_with('/') { visit.at(link) } else { link.clone() }) { (lang.open_it()) }
                        }
                    }
                } }
            }
            (more(&visit.look, next.as_deref()))
        }
    };
    let calls = ["GET /messages", "POST /messages/ID/read", "GET /proposals"].map(str::to_owned).to_vec();
    Ok(visit.page(Page { tab: Tab::Messages, title: lang.messages().to_owned(), calls, main }).await)
}

pub async fn read(form: Form) -> Result<Response> {
    for id in form.fields.all("id").take(ROWS) {
        form.visit.control().read_message(&form.visit.who, id).await?;
    }
    Ok(form.visit.go("/messages"))
}

fn proposal_list(visit: &Visit, proposals: &[ProposalShown]) -> Markup {
    let lang = visit.lang();
    html! {
        @if proposals.is_empty() { p.none { (lang.nothing_waits()) } }
        @else {
            ul { @for proposal in proposals.iter().take(ROWS) {
                li {
                    (proposal_state(visit, proposal.state)) " "
                    a.open href=(visit.at(&format!("/proposals/{}", proposal.id))) { (proposal.action) " " code { (proposal.object) } }
                    " · " (visit.person(&proposal.who)) " · " (moment(&proposal.created))
                }
            } }
        }
    }
}

fn proposal_state(visit: &Visit, state: ProposalState) -> Markup {
    let lang = visit.lang();
    let (class, shape, word) = match state {
        ProposalState::Waiting => ("warn", "▲", lang.waiting()),
        ProposalState::Approved => ("good", "●", lang.approved()),
        ProposalState::Rejected => ("bad", "■", lang.rejected()),
        ProposalState::Voided => ("none", "○", lang.voided()),
        ProposalState::Expired => ("none", "○", lang.expired()),
    };
    html! { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (word) } }
}

pub async fn proposal(visit: Visit, Named(id): Named<String>) -> Result<Response> {
    proposal_page(&visit, &id, (StatusCode::OK, None)).await
}

async fn proposal_page(
    visit: &Visit,
    id: &str,
    (status, above): (StatusCode, Option<Markup>),
) -> Result<Response> {
    let lang = visit.lang();
    let shown = visit.control().proposal(&visit.who, id).await?;
    let own = (shown.who == visit.who.name).then(|| lang.own_proposal().to_owned());
    let forbidden = own.or_else(|| visit.forbids(Permission::Approve));
    let main = html! {
        h1 { (lang.proposal()) " " (shown.action) " " code { (shown.object) } }
        @if visit.asked("done") == "waiting" { p.flash role="status" { (lang.it_waits_now()) } }
        @if let Some(above) = above { (above) }
        dl.facts #proposal data-live="message document" {
            dt { (lang.state()) } dd { (proposal_state(visit, shown.state)) }
            dt { (lang.who()) } dd { (visit.person(&shown.who)) }
            dt { (lang.time()) } dd { (moment(&shown.created)) }
            dt { (lang.ends()) } dd { (moment(&shown.expires)) }
            @if let Some(reason) = &shown.reason { dt { (lang.reason()) } dd { (reason) } }
            @if let Some(by) = &shown.decided_by { dt { (lang.decided_by()) } dd { (visit.person(by)) } }
            dt { (lang.hash()) } dd { code { (shown.hash) } }
        }
        h2 { (lang.difference()) }
        (difference(lang, &shown.diff))
        @if shown.state == ProposalState::Waiting {
            form method="post" action=(visit.at(&format!("/proposals/{id}"))) {
                (visit.proof())
                input type="hidden" name="hash" value=(shown.hash);
                (reason(lang, ""))
                p.buttons {
                    (visit.guarded(forbidden.as_deref(), "main", (lang.approve(), "do", "approve")))
                    span.gap {}
                    button.quiet type="submit" name="do" value="reject" disabled[forbidden.is_some()] { (lang.reject()) }
                }
            }
        }
    };
    let calls = vec![format!("GET /proposals/{id}"), format!("POST /proposals/{id}/approve")];
    Ok(visit
        .page_with(status, Page { tab: Tab::Messages, title: lang.proposal().to_owned(), calls, main })
        .await)
}

pub async fn decide(Named(id): Named<String>, form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let done = match fields.get("do") {
        "approve" => visit.control().approve(&visit.who, &id, fields.get("hash")).await.map(|_| ()),
        _ => visit.control().reject(&visit.who, &id, fields.some("reason")).await.map(|_| ()),
    };
    match done {
        Ok(()) => Ok(visit.go(&format!("/proposals/{id}"))),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response =
                proposal_page(&visit, &id, (status, Some(refusal(&visit.look, &error)))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}
