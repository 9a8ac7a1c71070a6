//! Configuration values that plans give to some instances.

use axum::response::Response;
use graygate_rules::documents::plan::Subject;
use graygate_rules::documents::{Document, Kind};
use maud::html;

use super::shell::{Page, Tab};
use super::visit::Visit;
use crate::error::Result;

pub async fn show(visit: Visit) -> Result<Response> {
    let lang = visit.lang();
    let view = visit.control().view();
    let plans: Vec<_> = view
        .good(Kind::Plan)
        .filter_map(|(id, document)| match document {
            Document::Plan(plan) => match &plan.subject {
                Subject::Config(values) => Some((id, values)),
                Subject::Services { .. } => None,
            },
            _ => None,
        })
        .collect();
    let main = html! {
        h1 { (lang.configs()) }
        p { (lang.configs_note()) }
        div.scroll tabindex="0" role="group" aria-label=(lang.configs()) {
            table.rows #configs data-live="document plan" {
                caption.unseen { (lang.configs()) }
                thead { tr {
                    th scope="col" { (lang.app()) } th scope="col" { (lang.environment()) } th scope="col" { (lang.group()) }
                    th scope="col" { (lang.key()) } th scope="col" { (lang.gray_value()) } th scope="col" { (lang.plan()) }
                } }
                tbody { @for (id, values) in &plans { @for (key, value) in &values.values {
                    tr {
                        td { (values.app.as_str()) } td { (values.environment.as_str()) } td { (values.group.as_str()) }
                        td { code { (key) } } td { code { (value) } }
                        td { a.open href=(visit.at(&format!("/plans/{}", id.name))) { (id.name) } }
                    }
                } } }
            }
        }
        @if plans.is_empty() { p.none { (lang.no_config_plans()) } }
    };
    let calls = vec![
        "GET /configs/APP/ENVIRONMENT/GROUP/KEY".to_owned(),
        "PUT /configs/APP/ENVIRONMENT/GROUP/KEY".to_owned(),
    ];
    Ok(visit.page(Page { tab: Tab::Configs, title: lang.configs().to_owned(), calls, main }).await)
}
