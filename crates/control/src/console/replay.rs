//! An access log, or made-up users, against drafts of documents: how many requests move from which version to which, and
//! which they are.

use axum::response::{IntoResponse as _, Response};
use graygate_rules::documents::{DocumentId, Kind};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::Value;

use super::moves::{Crowd, Drafts, log_field, moved, moved_by_steps};
use super::shell::{Page, Tab};
use super::show::{csv_cell, refusal, word};
use super::visit::{Fields, Form, Visit};
use crate::control::ReplayAsked;
use crate::error::Result;

/// Drafts of one question.
const DRAFTS: usize = 8;
/// Requests of the exported list.
const LISTED: u32 = 10_000;
const CSV_HEAD: [&str; 10] =
    ["method", "host", "path", "client", "identity", "service", "from", "to", "from_rule", "to_rule"];

pub async fn show(visit: Visit) -> Result<Response> {
    let name = visit.asked("document").trim().to_owned();
    let text = match DocumentId::parse(&name) {
        Some(id) => visit.control().document(&visit.who, &id).await.ok().map(|document| document.text),
        None => None,
    };
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
    page(&visit, (&[(name, text)], ""), (StatusCode::OK, None)).await
}

pub async fn act(form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let mut drafts = drafts(&fields);
    let log = fields.text("log");
    if fields.get("do") == "more" {
        drafts.push((String::new(), String::new()));
        return page(&visit, (&drafts, &log), (StatusCode::OK, None)).await;
    }
    let told = match fields.get("do") {
        "csv" => match listed(&visit, &drafts, Crowd::of(&log)).await {
            Ok(text) => return Ok(csv(text)),
            Err(error) => Err(error),
        },
        _ => answer(&visit, &drafts, Crowd::of(&log)).await,
    };
    match told {
        Ok(told) => page(&visit, (&drafts, &log), (StatusCode::OK, Some(told))).await,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let told = refusal(&visit.look, &error);
            let mut response = page(&visit, (&drafts, &log), (status, Some(told))).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

/// Each document that was named, with its text.
fn drafts(fields: &Fields) -> Vec<(String, String)> {
    let texts: Vec<String> = fields.all("text").map(|text| text.replace("\r\n", "\n")).collect();
    let named = fields.all("document").map(|name| name.trim().to_owned());
    named.zip(texts).take(DRAFTS).collect()
}

/// An empty text takes the document away.
fn read(drafts: &[(String, String)]) -> Result<Drafts> {
    let named = drafts.iter().filter(|(name, _)| !name.is_empty());
    let read: Drafts = named
        .map(|(name, text)| (name.clone(), Some(text.clone()).filter(|text| !text.trim().is_empty())))
        .collect();
    if read.is_empty() {
        return Err(super::refused::no_document_named());
    }
    Ok(read)
}

/// A plan's text moves no one by itself: its steps do.
async fn answer(visit: &Visit, drafts: &[(String, String)], crowd: Crowd<'_>) -> Result<Markup> {
    let plans = drafts.iter().filter_map(|(name, text)| {
        let id = DocumentId::parse(name).filter(|id| id.kind == Kind::Plan)?;
        Some((id.name.to_string(), text))
    });
    let plans: Vec<_> = plans.collect();
    let others = read(drafts)?;
    let moved = match others.keys().all(|name| name.starts_with("plans/")) {
        true => html! {},
        false => moved(visit, others, crowd).await?,
    };
    let mut steps = Vec::new();
    for (name, text) in plans {
        steps.push(moved_by_steps(visit, (&name, text), crowd).await);
    }
    Ok(html! { (moved) @for step in steps { (step) } })
}

async fn listed(visit: &Visit, drafts: &[(String, String)], crowd: Crowd<'_>) -> Result<String> {
    let asked = ReplayAsked { drafts: read(drafts)?, sample: crowd.sample(), examples: Some(LISTED) };
    let told = visit.control().replay(&visit.who, asked).await?;
    let examples = told.get("examples").and_then(Value::as_array).cloned().unwrap_or_default();
    let row = |example: &Value| CSV_HEAD.map(|key| csv_cell(word(example, key))).join(",") + "\r\n";
    Ok(format!("{}\r\n{}", CSV_HEAD.join(","), examples.iter().map(row).collect::<String>()))
}

fn csv(text: String) -> Response {
    let headers = [
        (http::header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (http::header::CONTENT_DISPOSITION, "attachment; filename=\"moves.csv\""),
    ];
    (headers, text).into_response()
}

async fn page(
    visit: &Visit,
    (drafts, log): (&[(String, String)], &str),
    (status, told): (StatusCode, Option<Markup>),
) -> Result<Response> {
    let lang = visit.lang();
    let known = visit.control().documents(&visit.who, None, None).unwrap_or_default();
    let is_told = told.is_some();
    let main = html! {
        h1 { (lang.replay()) }
        p.none { (lang.replay_note()) }
        form #replay method="post" action=(visit.at("/replay")) {
            (visit.proof())
            @for (index, (name, text)) in drafts.iter().enumerate() {
                p { label for=(format!("document-{index}")) { (lang.document_name()) } " "
                    input id=(format!("document-{index}")) name="document" value=(name) list="known-documents" placeholder="rules/x" autocomplete="off" data-search[index == 0]; }
                label for=(format!("text-{index}")) { (lang.draft_text()) }
                textarea.code id=(format!("text-{index}")) name="text" rows="8" spellcheck="false" autocapitalize="none" { "\n" (text) }
            }
            datalist #known-documents { @for id in known.iter().take(1_000) { option value=(id) {} } }
            @if drafts.len() < DRAFTS { p { button.quiet type="submit" name="do" value="more" { (lang.another_document()) } } }
            (log_field(lang, log))
            p.buttons {
                button.main type="submit" name="do" value="replay" { (lang.who_would_move()) }
                " " button type="submit" name="do" value="csv" data-download { (lang.moves_as_csv(LISTED)) }
            }
        }
        @if let Some(told) = told { section #checked aria-labelledby="told-title" { h2 #told-title tabindex="-1" data-focus { (lang.answer()) } (told) } }
        @if !is_told { p { a href=(visit.at("/why")) { (lang.why()) } } }
    };
    let calls = vec!["POST /replay".to_owned()];
    Ok(visit.page_with(status, Page { tab: Tab::Why, title: lang.replay().to_owned(), calls, main }).await)
}
