//! A list: is a value in it, who uses it, members in and out, and another text for the whole.

use std::collections::HashSet;

use axum::response::Response;
use bytes::Bytes;
use graygate_rules::documents::{DocumentId, Kind};
use http::StatusCode;
use maud::{Markup, html};

use super::shell::{Page, Tab};
use super::show::{count, moment, reason, refusal};
use super::visit::{Fields, Form, Visit};
use crate::api::Named;
use crate::control::{Done, Intent, MembersDone};
use crate::error::{Error, Result};
use crate::people::Permission;

/// Members that are shown of a list.
const SHOWN: usize = 100;
/// Members of a difference that are named.
const NAMED: usize = 20;
/// Changes of a list that are shown.
const HISTORY: usize = 10;

pub async fn show(visit: Visit, Named(name): Named<String>) -> Result<Response> {
    let found = members(&visit, &name);
    if found.is_none() && visit.asked("new") != "1" {
        return Err(Error::not_found(format!("lists/{name}")));
    }
    let lang = visit.lang();
    let above = match visit.asked("done") {
        "changed" => {
            Some(flash(&visit, &name, &lang.members_changed(visit.asked("added"), visit.asked("removed"))))
        }
        "saved" => Some(flash(&visit, &name, lang.saved())),
        _ => None,
    };
    page(&visit, &name, (StatusCode::OK, above, None)).await
}

/// What was just done, and for a while the way back.
fn flash(visit: &Visit, name: &str, said: &str) -> Markup {
    let back = visit.asked("back").parse::<u64>().ok();
    html! {
        div.flash role="status" data-fade=[back.map(|_| "30")] {
            p { span.shape aria-hidden="true" { "✓" } " " (said) }
            @if let Some(back) = back {
                form.inline method="post" action=(visit.at(&format!("/lists/{name}"))) {
                    (visit.proof())
                    input type="hidden" name="to" value=(back);
                    button type="submit" name="do" value="undo" { (visit.lang().undo()) }
                }
            }
        }
    }
}

/// What to come back to: the newest change of a list, as a part of an address.
async fn back_to(visit: &Visit, name: &str) -> String {
    let Some(id) = DocumentId::of(Kind::List, name) else { return String::new() };
    let newest = visit.control().history(&visit.who, &id, (1, None)).await.ok();
    let newest = newest.and_then(|(items, _)| items.first().map(|item| item.revision));
    newest.map(|revision| format!("&back={revision}")).unwrap_or_default()
}

/// The first members, and how many there are.
fn members(visit: &Visit, name: &str) -> Option<(Vec<String>, u64)> {
    let parts = visit.control().list_parts(&visit.who, name).ok()?;
    let lines = parts.iter().flat_map(|part| std::str::from_utf8(&part.body).unwrap_or_default().lines());
    let shown = values(lines).take(SHOWN).map(str::to_owned).collect();
    let view = visit.control().view();
    let counts = &view.compiled.counts.list_members;
    let total = counts.iter().find(|(known, _)| &**known == name).map_or(0, |(_, total)| *total);
    Some((shown, total))
}

fn values<'l>(lines: impl Iterator<Item = &'l str>) -> impl Iterator<Item = &'l str> {
    lines.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The rules and routes whose text names the list.
fn users(visit: &Visit, name: &str) -> Vec<DocumentId> {
    let view = visit.control().view();
    let documents =
        view.set.documents.iter().filter(|(id, _)| matches!(id.kind, Kind::Rule | Kind::Route | Kind::Plan));
    let naming = documents.filter(|(id, raw)| match id.kind {
        Kind::Plan => String::from_utf8_lossy(&raw.body).contains(name),
        _ => view.lists_of(id, &raw.body).contains(name),
    });
    naming.map(|(id, _)| id.clone()).collect()
}

async fn page(
    visit: &Visit,
    name: &str,
    (status, above, below): (StatusCode, Option<Markup>, Option<(Markup, String)>),
) -> Result<Response> {
    let lang = visit.lang();
    let (shown, total) = members(visit, name).unwrap_or_default();
    let asked = visit.asked("contains");
    let answer = match asked {
        "" => None,
        value => visit.control().list_contains(&visit.who, name, value).await.ok(),
    };
    let users = users(visit, name);
    let main = html! {
        h1 { (lang.list()) " " code { (name) } }
        @if let Some(above) = above { (above) }
        p #members data-live="document" { strong { (lang.members_count(count(total))) } }
        p { (lang.used_by()) ": "
            @if users.is_empty() { span.none { (lang.used_by_none()) } }
            @for (index, id) in users.iter().enumerate() {
                @if index > 0 { ", " }
                a href=(visit.at(&format!("/documents/{id}"))) { code { (id) } }
            }
        }
        form.filters method="get" action=(visit.at(&format!("/lists/{name}"))) role="search" aria-label=(lang.is_in_it()) {
            label for="contains" { (lang.is_in_it()) }
            input #contains type="search" name="contains" value=(asked) data-search autocomplete="off" maxlength="1024";
            button type="submit" { (lang.find()) }
        }
        @if let Some(answer) = answer {
            p role="status" {
                @if answer.contains { span.good { span.shape aria-hidden="true" { "●" } " " (lang.is_member(asked)) } }
                @else { span.none { span.shape aria-hidden="true" { "○" } " " (lang.is_no_member(asked)) } }
            }
        }
        (change_form(visit, name))
        (whole_form(visit, name, below))
        details { summary { (lang.first_members()) }
            pre.members tabindex="0" { @for member in &shown { (member) "\n" } }
            p { a href=(visit.at(&format!("/api/v1/lists/{name}"))) { (lang.whole_text()) } }
        }
        (history(visit, name).await)
    };
    let calls = vec![
        format!("GET /lists/{name}?contains=V"),
        format!("POST /lists/{name}/members"),
        format!("PUT /lists/{name}"),
    ];
    Ok(visit
        .page_with(
            status,
            Page { tab: Tab::Documents, title: format!("{} {name}", lang.list()), calls, main },
        )
        .await)
}

fn change_form(visit: &Visit, name: &str) -> Markup {
    let lang = visit.lang();
    html! {
        section aria-labelledby="change-title" {
            h2 #change-title { (lang.add_and_remove()) }
            form method="post" action=(visit.at(&format!("/lists/{name}"))) {
                (visit.proof())
                div.two {
                    p { label for="add" { (lang.to_add()) } textarea #add name="add" rows="4" spellcheck="false" {} }
                    p { label for="remove" { (lang.to_remove()) } textarea #remove name="remove" rows="4" spellcheck="false" {} }
                }
                (reason(lang, ""))
                (visit.choice(Permission::Write, "main", (lang.change_members(), "do", "members")))
            }
        }
    }
}

fn whole_form(visit: &Visit, name: &str, below: Option<(Markup, String)>) -> Markup {
    let lang = visit.lang();
    let (compared, text) = match below {
        Some((markup, text)) => (Some(markup), text),
        None => (None, String::new()),
    };
    html! {
        section aria-labelledby="whole-title" {
            h2 #whole-title { (lang.replace_whole()) }
            form #whole method="post" action=(visit.at(&format!("/lists/{name}"))) data-unsaved {
                (visit.proof())
                p { label for="whole-text" { (lang.paste_here()) }
                    textarea #whole-text .code name="text" rows="6" spellcheck="false" { "\n" (text) } }
                p { label for="upload" { (lang.or_a_file()) } " " input #upload type="file" accept="text/plain,.txt,.csv" data-into="whole-text"; }
                @if let Some(compared) = &compared { (compared) }
                (reason(lang, ""))
                p.buttons {
                    (visit.choice(Permission::Write, "", (lang.compare(), "do", "compare")))
                    @if compared.is_some() { " " (visit.choice(Permission::Write, "danger", (lang.replace_now(), "do", "replace"))) }
                }
            }
        }
    }
}

async fn history(visit: &Visit, name: &str) -> Markup {
    let lang = visit.lang();
    let Some(id) = DocumentId::of(Kind::List, name) else { return html! {} };
    let items = visit
        .control()
        .history(&visit.who, &id, (HISTORY, None))
        .await
        .map(|(items, _)| items)
        .unwrap_or_default();
    html! {
        section aria-labelledby="history-title" {
            h2 #history-title { (lang.history()) }
            @if items.is_empty() { p.none { (lang.no_history()) } }
            @else {
                ul { @for (index, item) in items.iter().enumerate() {
                    li {
                        (moment(&item.time)) " " (visit.person(&item.who)) " " (item.action)
                        @if let Some(reason) = &item.reason { " · " (reason) }
                        @if index > 0 {
                            form.inline method="post" action=(visit.at(&format!("/lists/{name}"))) {
                                (visit.proof())
                                input type="hidden" name="to" value=(item.revision);
                                " " (visit.choice(Permission::Write, "quiet", (lang.undo_to_this(), "do", "undo")))
                            }
                        }
                    }
                } }
            }
        }
    }
}

pub async fn act(Named(name): Named<String>, form: Form) -> Result<Response> {
    let Form { visit, fields } = form;
    let done = match fields.get("do") {
        "members" => change(&visit, &name, &fields).await,
        "replace" => replace(&visit, &name, &fields).await,
        "undo" => undo(&visit, &name, &fields).await,
        _ => return compare(&visit, &name, &fields).await,
    };
    match done {
        Ok(response) => Ok(response),
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response =
                page(&visit, &name, (status, Some(refusal(&visit.look, &error)), None)).await?;
            response.extensions_mut().insert(error);
            Ok(response)
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    values(text.lines()).map(str::to_owned).collect()
}

async fn change(visit: &Visit, name: &str, fields: &Fields) -> Result<Response> {
    let change = (lines(&fields.text("add")), lines(&fields.text("remove")));
    let back = back_to(visit, name).await;
    match visit.control().change_members(&visit.who, name, change, fields.some("reason")).await? {
        MembersDone::Changed(done) => {
            let counts = format!("added={}&removed={}", done.added, done.removed);
            Ok(visit.go(&format!("/lists/{name}?done=changed&{counts}{back}")))
        }
        MembersDone::Waiting(proposal) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
    }
}

/// What another text would change, in numbers and with the first of each.
async fn compare(visit: &Visit, name: &str, fields: &Fields) -> Result<Response> {
    let lang = visit.lang();
    let text = fields.text("text");
    let parts = visit.control().list_parts(&visit.who, name).unwrap_or_default();
    let old: Vec<String> =
        parts.iter().flat_map(|part| lines(std::str::from_utf8(&part.body).unwrap_or_default())).collect();
    let new = lines(&text);
    let before: HashSet<&str> = old.iter().map(String::as_str).collect();
    let after: HashSet<&str> = new.iter().map(String::as_str).collect();
    let added: Vec<&str> = new.iter().map(String::as_str).filter(|value| !before.contains(value)).collect();
    let removed: Vec<&str> = old.iter().map(String::as_str).filter(|value| !after.contains(value)).collect();
    let below = html! {
        div.compared role="status" {
            p { strong { (lang.would_replace(count(before.len() as u64), count(after.len() as u64))) } }
            p { (lang.would_add(count(added.len() as u64))) ": " (added.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ")) }
            p { (lang.would_remove(count(removed.len() as u64))) ": " (removed.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ")) }
        }
    };
    page(visit, name, (StatusCode::OK, None, Some((below, text)))).await
}

async fn replace(visit: &Visit, name: &str, fields: &Fields) -> Result<Response> {
    let intent = Intent { reason: fields.some("reason"), ..Intent::of("list.put") };
    let back = back_to(visit, name).await;
    match visit.control().put_list(&visit.who, name, Bytes::from(fields.text("text")), intent).await? {
        Done::Waiting(proposal) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        _ => Ok(visit.go(&format!("/lists/{name}?done=saved{back}"))),
    }
}

async fn undo(visit: &Visit, name: &str, fields: &Fields) -> Result<Response> {
    let id = DocumentId::of(Kind::List, name).ok_or_else(|| Error::not_found(name))?;
    let to = fields.get("to").parse().map_err(|_| super::refused::not_a_revision(fields.get("to")))?;
    let etag = visit.control().list_etag(name).await?;
    let condition = crate::control::Precondition { if_match: Some(etag), ..Default::default() };
    match visit.control().undo(&visit.who, &id, (to, &condition), Intent::of("document.undo")).await? {
        Done::Waiting(proposal) => Ok(visit.go(&format!("/proposals/{}?done=waiting", proposal.id))),
        _ => Ok(visit.go(&format!("/lists/{name}?done=saved"))),
    }
}
