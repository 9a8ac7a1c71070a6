//! All documents: found, sorted, and new ones begun.

use axum::response::Response;
use graygate_rules::documents::Kind;
use maud::{Markup, html};

use super::shell::{Page, Tab};
use super::show::{count, more};
use super::visit::Visit;
use crate::control::kind_of;
use crate::error::Result;
use crate::people::Permission;

/// Documents of a page.
const ROWS: usize = 100;

pub async fn list(visit: Visit) -> Result<Response> {
    let look = &visit.look;
    let lang = visit.lang();
    if let (Some(kind), name) = (kind_of(visit.asked("new")), visit.asked("name"))
        && !name.is_empty()
    {
        let page = if kind == Kind::List { "" } else { "/documents" };
        return Ok(visit.go(&format!("{page}/{}/{name}?new=1", kind.folder())));
    }
    let kind = kind_of(visit.asked("kind"));
    let filter = Some(visit.asked("filter")).filter(|text| !text.is_empty());
    let only_wrong = visit.asked("problems") == "1";
    let mut found = visit.control().documents(&visit.who, kind, filter)?;
    let total = found.len();
    if visit.asked("sort") == "-name" {
        found.reverse();
    }
    let after = visit.asked("after");
    let from = if after.is_empty() {
        0
    } else {
        found.iter().position(|id| id.to_string() == after).map_or(0, |at| at + 1)
    };
    let shown = found.iter().skip(from).map(|id| visit.control().document_shown(id));
    let mut shown: Vec<_> =
        shown.filter(|document| !only_wrong || !document.problems.is_empty()).take(ROWS + 1).collect();
    let is_more = shown.len() > ROWS;
    shown.truncate(ROWS);
    let next = shown.last().filter(|_| is_more).map(|document| document.document.clone());
    let rows = html! {
        @for document in &shown {
            tr {
                td {
                    @let page = if document.kind == "list" { "" } else { "/documents" };
                    a.open href=(visit.at(&format!("{page}/{}", document.document))) { code { (document.name) } }
                }
                td { (document.kind) }
                td.figure { (count(document.bytes as u64)) }
                td { @if let Some(owner) = &document.owner { (lang.tell(owner)) } }
                td {
                    @if !document.problems.is_empty() {
                        span.bad { span.shape aria-hidden="true" { "■" } " " (lang.problems_count(document.problems.len())) }
                    }
                }
            }
        }
    };
    let falling = visit.asked("sort") == "-name";
    let main = html! {
        h1 { (lang.documents()) }
        (filters(&visit, kind))
        p #documents-count { (lang.documents_count(count(total as u64))) }
        div.scroll tabindex="0" role="group" aria-label=(lang.documents()) {
            table.rows #documents-table data-live="document" {
                caption.unseen { (lang.documents()) }
                thead { tr {
                    th scope="col" aria-sort=(if falling { "descending" } else { "ascending" }) {
                        a href=(look.with("sort", if falling { "" } else { "-name" })) {
                            (lang.name()) span.shape aria-hidden="true" { (if falling { " ▼" } else { " ▲" }) }
                        }
                    }
                    th scope="col" { (lang.kind()) }
                    th.figure scope="col" { (lang.bytes()) }
                    th scope="col" { (lang.written_by()) }
                    th scope="col" { (lang.problems()) }
                } }
                tbody { (rows) }
            }
        }
        (more(look, next.as_deref()))
        (new_one(&visit))
    };
    let calls = vec!["GET /documents".to_owned()];
    Ok(visit.page(Page { tab: Tab::Documents, title: lang.documents().to_owned(), calls, main }).await)
}

fn filters(visit: &Visit, kind: Option<Kind>) -> Markup {
    let lang = visit.lang();
    html! {
        form.filters method="get" action=(visit.at("/documents")) role="search" aria-label=(lang.filter()) {
            label for="kind" { (lang.kind()) }
            select #kind name="kind" {
                option value="" { (lang.all_kinds()) }
                @for each in Kind::ALL { option value=(each.word()) selected[Some(each) == kind] { (each.word()) } }
            }
            label for="filter" { (lang.name_contains()) }
            input #filter type="search" name="filter" value=(visit.asked("filter")) data-search;
            label { input type="checkbox" name="problems" value="1" checked[visit.asked("problems") == "1"]; " " (lang.only_problems()) }
            button type="submit" { (lang.filter()) }
        }
    }
}

fn new_one(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let forbidden = visit.forbids(Permission::Write);
    html! {
        details.new {
            summary { (lang.new_document()) }
            form method="get" action=(visit.at("/documents")) {
                label for="new-kind" { (lang.kind()) }
                select #new-kind name="new" { @for kind in Kind::ALL { option value=(kind.word()) selected[kind == Kind::Rule] { (kind.word()) } } }
                label for="new-name" { (lang.name()) }
                input #new-name name="name" required pattern="[A-Za-z0-9._\\-\\/]+" autocomplete="off";
                (visit.guarded(forbidden.as_deref(), "", (lang.write_it(), "", "")))
            }
        }
    }
}
