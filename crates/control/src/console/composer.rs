//! A new plan: fields and its text side by side, both editable, and who would move before anything is saved.

use axum::response::Response;
use bytes::Bytes;
use graygate_rules::documents::Kind;
use http::StatusCode;
use maud::{Markup, html};

use super::moves::{Crowd, log_field, moved_by_steps};
use super::shell::{Page, Tab};
use super::show::{difference, problems, reason, refusal};
use super::visit::{Fields, Form, Visit};
use crate::control::{Done, DryRun, Intent, Precondition};
use crate::error::Result;
use crate::people::Permission;

pub async fn show(visit: Visit) -> Result<Response> {
    let fields = Fields::of(&[("shares", "1, 5, 25, 100"), ("hold", "10m"), ("version", "gray")]);
    page(&visit, &fields, (StatusCode::OK, None)).await
}

pub async fn act(form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    match fields.get("do") {
        "make" => {
            let text = composed(&fields);
            look_at(&visit, &fields.with("text", &text)).await
        }
        "save" => save(&visit, &fields).await,
        _ => look_at(&visit, &fields).await,
    }
}

/// The text that the fields say.
fn composed(fields: &Fields) -> String {
    let quoted = |text: &str| {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " "))
    };
    let mut text = String::new();
    if let Some(title) = fields.some("title") {
        text += &format!("title: {}\n", quoted(&title));
    }
    let services: Vec<&str> =
        fields.get("services").split([',', ' ']).map(str::trim).filter(|name| !name.is_empty()).collect();
    text +=
        &format!("services: [{}]\nversion: {}\nsteps:\n", services.join(", "), fields.get("version").trim());
    let hold = fields.some("hold").unwrap_or_else(|| "10m".to_owned());
    if let Some(list) = fields.some("list") {
        let attribute = fields.some("attribute").unwrap_or_else(|| "header:x-user".to_owned());
        text += &format!(
            "  - {{name: {list}, who: {{attribute: {attribute}, in_list: {list}}}, hold: {hold}}}\n"
        );
    }
    let shares: Vec<&str> =
        fields.get("shares").split([',', ' ']).map(str::trim).filter(|share| !share.is_empty()).collect();
    for (index, share) in shares.iter().enumerate() {
        let is_last = index + 1 == shares.len();
        let approval = if is_last && fields.get("approval") == "1" { ", approval: true" } else { "" };
        text += &format!("  - {{share: {share}, hold: {hold}{approval}}}\n");
    }
    text
}

async fn look_at(visit: &Visit, fields: &Fields) -> Result<Response> {
    let name = fields.get("name").trim();
    let text = fields.text("text");
    let intent = Intent { dry_run: true, ..Intent::of("document.put") };
    let done = visit
        .control()
        .put_plan(&visit.who, (name, Some(Bytes::from(text.clone()))), Precondition::default(), intent)
        .await;
    match done {
        Ok(Done::Shown(dry_run)) => {
            let moved = if dry_run.problems.is_empty() {
                moved_by_steps(visit, (name, &text), Crowd::of(fields.get("log"))).await
            } else {
                html! {}
            };
            let shown = told(visit, &dry_run, moved);
            let hash = dry_run.hash.clone().unwrap_or_default();
            page(visit, &fields.with("hash", &hash), (StatusCode::OK, Some(shown))).await
        }
        Ok(_) => page(visit, fields, (StatusCode::OK, None)).await,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            page(visit, fields, (status, Some(refusal(&visit.look, &error)))).await
        }
    }
}

fn told(visit: &Visit, dry_run: &DryRun, moved: Markup) -> Markup {
    let lang = visit.lang();
    html! {
        section #checked aria-labelledby="checked-title" {
            h2 #checked-title tabindex="-1" data-focus { (lang.what_would_happen()) }
            (problems(&visit.look, lang.problems(), &dry_run.problems))
            (problems(&visit.look, lang.notes(), &dry_run.notes))
            (moved)
            details { summary { (lang.difference()) } (difference(lang, &dry_run.diff)) }
        }
    }
}

async fn save(visit: &Visit, fields: &Fields) -> Result<Response> {
    let name = fields.get("name").trim().to_owned();
    let Some(hash) = fields.some("hash") else { return look_at(visit, fields).await };
    let condition = Precondition { if_match: None, if_none_match: Some("*".to_owned()), hash: Some(hash) };
    let intent = Intent { reason: fields.some("reason"), ..Intent::of("document.put") };
    let text = Bytes::from(fields.text("text"));
    match visit.control().put_plan(&visit.who, (&name, Some(text)), condition, intent).await {
        Ok(Done::Waiting(proposal)) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        Ok(_) => Ok(visit.go(&format!("/plans/{name}"))),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = page(visit, fields, (status, Some(refusal(&visit.look, &error)))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

async fn page(
    visit: &Visit,
    fields: &Fields,
    (status, told): (StatusCode, Option<Markup>),
) -> Result<Response> {
    let lang = visit.lang();
    let forbidden = visit.forbids(Permission::Write);
    let hash = fields.get("hash");
    let main = html! {
        h1 { (lang.new_plan()) }
        form method="post" action=(visit.at("/plans/new")) data-unsaved {
            (visit.proof())
            @if !hash.is_empty() { input type="hidden" name="hash" value=(hash); }
            p { label for="name" { (lang.plan_name()) } " " input #name name="name" required maxlength="100" autocomplete="off" value=(fields.get("name")); }
            div.two {
                div.fields { (plan_fields(visit, fields))
                    (visit.guarded(forbidden.as_deref(), "", (lang.make_text(), "do", "make")))
                }
                div {
                    label for="text" { (lang.as_text()) }
                    textarea #text .code name="text" rows="18" spellcheck="false" { "\n" (fields.text("text")) }
                }
            }
            @if let Some(told) = told { (told) }
            (log_field(lang, fields.get("log")))
            (reason(lang, fields.get("reason")))
            p.buttons {
                (visit.guarded(forbidden.as_deref(), if hash.is_empty() { "main" } else { "" }, (lang.look_at_difference(), "do", "look")))
                @if !hash.is_empty() { " " (visit.guarded(forbidden.as_deref(), "main", (lang.save_plan(), "do", "save"))) }
            }
        }
    };
    let calls = vec!["PUT /plans/NAME?dry_run=true".to_owned(), "POST /replay".to_owned()];
    Ok(visit
        .page_with(status, Page { tab: Tab::Plans, title: lang.new_plan().to_owned(), calls, main })
        .await)
}

fn plan_fields(visit: &Visit, fields: &Fields) -> Markup {
    let lang = visit.lang();
    let lists = visit.control().documents(&visit.who, Some(Kind::List), None).unwrap_or_default();
    let services = visit.control().documents(&visit.who, Some(Kind::Service), None).unwrap_or_default();
    let first = services.first().map(|id| id.name.to_string()).unwrap_or_default();
    let known = fields.some("services").unwrap_or(first);
    html! {
        label for="title" { (lang.plan_title()) } input #title name="title" value=(fields.get("title")) autocomplete="off";
        label for="services" { (lang.of_services()) } input #services name="services" value=(known) list="known-services" autocomplete="off";
        datalist #known-services { @for id in &services { option value=(id.name) {} } }
        label for="version" { (lang.to_version()) } input #version name="version" value=(fields.get("version")) autocomplete="off";
        label for="list" { (lang.first_list()) }
        select #list name="list" {
            option value="" { (lang.no_list()) }
            @for id in &lists { option value=(id.name) selected[*id.name == *fields.get("list")] { (id.name) } }
        }
        label for="shares" { (lang.shares()) } input #shares name="shares" value=(fields.get("shares")) autocomplete="off";
        label for="hold" { (lang.hold_each()) } input #hold name="hold" value=(fields.get("hold")) autocomplete="off";
        p { label { input type="checkbox" name="approval" value="1" checked[fields.get("approval") == "1"]; " " (lang.approve_last()) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_a_good_document() {
        use graygate_rules::documents::{DocumentId, Raw, parse};
        let fields = Fields::of(&[
            ("title", "a \"first\" try"),
            ("services", "patient, portal"),
            ("version", "gray"),
            ("list", "pilots"),
            ("shares", "1, 5, 100"),
            ("hold", "10m"),
            ("approval", "1"),
        ]);
        let text = composed(&fields);
        let read = parse(&DocumentId::of(Kind::Plan, "x").unwrap(), &Raw::yaml(text.as_str()));
        assert!(read.is_ok(), "{read:?}\n{text}");
        assert!(text.ends_with("  - {share: 100, hold: 10m, approval: true}\n"), "{text}");
    }
}
