//! A service: its versions as they are and as they went, its instances, and its rules in the order they are asked.

use axum::response::Response;
use graygate_rules::documents::{Document, DocumentId, Kind, Outcome, Owner, Rule};
use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::now::{Lived, figures, takes_requests, version};
use super::shell::{Page, Tab};
use super::show::word;
use super::visit::Visit;
use crate::api::Named;
use crate::control::{Course, Moment, QUANTILES, View};
use crate::error::{Error, Result};
use crate::report::Language;
use crate::report::charts::{Chart, Side, Unit};

/// Versions of a chart: more lines than this tell nothing.
const LINES: usize = 5;
const RELEASE: &str = "release";

pub async fn show(visit: Visit, Named(name): Named<String>) -> Result<Response> {
    let view = visit.control().view();
    let id = DocumentId::of(Kind::Service, &name).ok_or_else(|| Error::not_found(&name))?;
    let lived = visit.lived()?.into_iter().find(|service| service.name == name);
    if lived.is_none() && !view.set.documents.contains_key(&id) {
        return Err(Error::not_found(id));
    }
    let lived = lived.unwrap_or(Lived { name: name.clone(), sides: Vec::new(), instances: Vec::new() });
    let lang = visit.lang();
    let main = html! {
        h1 { (lang.service()) " " (name) }
        p {
            a href=(visit.at(&format!("/documents/services/{name}"))) { (lang.its_document()) } " · "
            a href=(visit.at(&format!("/documents?kind=instance&filter={name}%2F"))) { (lang.its_instances()) } " · "
            a href=(visit.at("/why")) { (lang.why()) }
        }
        section aria-labelledby="versions-title" {
            h2 #versions-title { (lang.versions()) }
            div #versions data-live="services document plan" { (versions(&visit, &lived)) }
        }
        section aria-labelledby="courses-title" {
            h2 #courses-title { (lang.last_minutes()) }
            div #courses .charts data-live="services" { (courses(&visit, &name)?) }
        }
        section aria-labelledby="instances-title" {
            h2 #instances-title { (lang.instances()) }
            div #instances data-live="services document" { (instances(&visit, &lived)) }
        }
        section aria-labelledby="rules-title" {
            h2 #rules-title { (lang.rules_in_order()) }
            div #rules data-live="document plan" { (rules(&visit, &view, &name)) }
        }
    };
    let calls = vec!["GET /services".to_owned(), format!("GET /documents/services/{name}")];
    Ok(visit.page(Page { tab: Tab::Services, title: name, calls, main }).await)
}

/// Requests, errors and latency of each version, drawn again with every second that proxies tell of.
fn courses(visit: &Visit, name: &str) -> Result<Markup> {
    let lang = visit.lang();
    let courses = sorted_courses(visit, name)?;
    if courses.is_empty() {
        return Ok(html! { p.none { (lang.no_figures()) } });
    }
    let chart = |id: &str, title: &str, unit: Unit, of: fn(&Moment) -> Option<f64>| {
        drawn(lang, &courses, (id, title, unit), of)
    };
    Ok(html! {
        (chart("course-requests", lang.chart_requests(), Unit::PerSecond, |moment| Some(moment.per_second)))
        (chart("course-errors", lang.chart_errors(), Unit::Percent, |moment| moment.error_share.map(|share| share * 100.0)))
        (chart("course-p99", lang.chart_p99(), Unit::Milliseconds, |moment| moment.latency_ms.get(3).copied().flatten()))
        @if courses.len() > LINES { p.none { (lang.charts_of(LINES, courses.len())) } }
    })
}

/// Latency of each version of a service, at each of the shares the judge compares.
pub fn latencies(visit: &Visit, name: &str) -> Markup {
    let lang = visit.lang();
    let courses = sorted_courses(visit, name).unwrap_or_default();
    html! {
        @if !courses.is_empty() { @for (index, share) in QUANTILES.iter().enumerate() {
            @let percent = format!("{}", share * 100.0);
            (drawn(lang, &courses, (&format!("latency-{name}-{index}"), &lang.latency_of(percent, name), Unit::Milliseconds),
                move |moment| moment.latency_ms.get(index).copied().flatten()))
        } }
    }
}

fn sorted_courses(visit: &Visit, name: &str) -> Result<Vec<Course>> {
    let mut courses = visit.control().courses(&visit.who, name)?;
    courses.sort_by_key(|course| (side_of(&course.version) != Side::Gray, course.version != RELEASE));
    Ok(courses)
}

fn drawn(
    lang: Language,
    courses: &[Course],
    (id, title, unit): (&str, &str, Unit),
    of: impl Fn(&Moment) -> Option<f64>,
) -> Markup {
    let chart = Chart::new(id.replace('.', "-"), title, unit).in_language(lang);
    let lines = courses.iter().take(LINES);
    let drawn = lines.fold(chart, |chart, course| {
        let points = course.moments.iter().map(|(second, moment)| {
            (i64::try_from(*second).unwrap_or_default(), moment.as_ref().and_then(&of))
        });
        chart.with_line(course.version.as_str(), side_of(&course.version), points.collect())
    });
    html! { figure { figcaption { (title) } (PreEscaped(drawn.svg())) } }
}

fn side_of(version: &str) -> Side {
    match version {
        RELEASE => Side::Release,
        "gray" => Side::Gray,
        _ => Side::Third,
    }
}

fn versions(visit: &Visit, service: &Lived) -> Markup {
    let lang = visit.lang();
    html! {
        @if service.sides.is_empty() { p.none { (lang.no_figures()) } }
        @else {
            table {
                caption.unseen { (lang.versions()) }
                thead { tr {
                    th scope="col" { (lang.version()) }
                    th.figure scope="col" { (lang.live_share()) }
                    th.figure scope="col" { (lang.requests()) }
                    th.figure scope="col" { (lang.errors()) }
                    th.figure scope="col" { (lang.p50()) }
                    th.figure scope="col" { (lang.p99()) }
                    th.figure scope="col" { (lang.fallbacks()) }
                    th.figure scope="col" { (lang.instances()) }
                } }
                tbody { @for side in &service.sides { tr { th scope="row" { (version(lang, side)) } (figures(service, side)) } } }
            }
        }
    }
}

fn instances(visit: &Visit, service: &Lived) -> Markup {
    let lang = visit.lang();
    html! {
        @if service.instances.is_empty() { p.none { (lang.no_proxy_told()) } }
        @else {
            table {
                caption.unseen { (lang.instances()) }
                thead { tr {
                    th scope="col" { (lang.address()) }
                    th scope="col" { (lang.version()) }
                    th scope="col" { (lang.state()) }
                } }
                tbody {
                    @for (label, instance) in &service.instances {
                        tr {
                            td { code { (word(instance, "address")) } }
                            td { (label) }
                            td { (instance_state(instance)) }
                        }
                    }
                }
            }
        }
    }
}

fn instance_state(instance: &Value) -> Markup {
    let state = word(instance, "state");
    let (class, shape) = match takes_requests(instance) {
        true => ("good", "●"),
        false => ("bad", "■"),
    };
    html! { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (state) } }
}

/// The rules that concern a service, in the order in which they are asked.
fn rules(visit: &Visit, view: &View, service: &str) -> Markup {
    let lang = visit.lang();
    let found = view.good(Kind::Rule).filter_map(|(id, document)| match document {
        Document::Rule(rule) if concerns(rule, service) => Some((id, rule)),
        _ => None,
    });
    let mut found: Vec<(&DocumentId, &Rule)> = found.collect();
    found.sort_by(|left, right| right.1.priority.cmp(&left.1.priority).then_with(|| left.0.cmp(right.0)));
    html! {
        @if found.is_empty() { p.none { (lang.no_rules()) } }
        @else {
            ol.rules {
                @for (id, rule) in found {
                    li {
                        a href=(visit.at(&format!("/documents/{id}"))) { code { (id) } }
                        " → " (outcome(&rule.outcome))
                        @if rule.when.is_none() { " · " (lang.every_request()) }
                        @if rule.services.is_none() { " · " (lang.every_service()) }
                        @if !rule.enabled { " " span.mark { (lang.disabled()) } }
                        " · " (lang.priority()) " " (rule.priority)
                        @if let Some(owner) = Owner::of(id, None) { " · " (lang.tell(&owner.to_string())) }
                    }
                }
                li { span.none { (lang.else_release()) } }
            }
        }
    }
}

fn concerns(rule: &Rule, service: &str) -> bool {
    rule.services.as_ref().is_none_or(|services| services.iter().any(|name| name.as_str() == service))
}

fn outcome(outcome: &Outcome) -> Markup {
    match outcome {
        Outcome::Version(version) => html! { strong { (version.as_str()) } },
        Outcome::Split(shares) => html! {
            @for (index, (version, share)) in shares.iter().enumerate() {
                @if index > 0 { ", " }
                strong { (version.as_str()) } " " (share.to_string())
            }
        },
    }
}
