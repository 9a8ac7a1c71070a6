//! What is gray, whom it touches, whether it is well, and what waits: the first page.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::Response;
use graygate_rules::documents::{DocumentId, Kind};
use maud::{Markup, html};
use serde_json::Value;

use super::plan_marks::state_mark;
use super::shell::{Page, Tab};
use super::show::{count, known, millis, number, percent, rate, word};
use super::visit::Visit;
use crate::control::View;
use crate::error::Result;
use crate::people::Permission;
use crate::report::Language;

/// How long the first page waits for proxies: a dead one must not hold it up.
const FLEET_PATIENCE: Duration = Duration::from_millis(400);
/// Most problems that are told on the first page.
const PROBLEMS_SHOWN: usize = 8;
/// Services of the first page; the rest are found.
const SERVICES_SHOWN: usize = 200;
/// Plans under way that the first page names.
const PLANS_SHOWN: usize = 20;
/// An error share above this, of a version with requests, is told as wrong.
const MANY_ERRORS: f64 = 0.02;
/// Fewer requests in ten seconds say nothing.
const FEW_REQUESTS: f64 = 10.0;

/// A version of a service, as it is now.
pub struct Side {
    pub version: String,
    pub live: Value,
    pub minute: Value,
    /// How many instances there are, and how many take requests.
    pub instances: (usize, usize),
    pub is_closed: bool,
}

/// A service as it is now.
pub struct Lived {
    pub name: String,
    pub sides: Vec<Side>,
    pub instances: Vec<(String, Value)>,
}

impl Lived {
    fn of(told: &Value, view: &View) -> Lived {
        let name = word(told, "name").to_owned();
        let mut sides: BTreeMap<String, Side> = BTreeMap::new();
        let new = |version: &str| Side {
            version: version.to_owned(),
            live: Value::Null,
            minute: Value::Null,
            instances: (0, 0),
            is_closed: is_closed(view, &name, version),
        };
        for version in told.get("versions").and_then(Value::as_array).into_iter().flatten() {
            let label = word(version, "version");
            let live = version.get("live").unwrap_or(&Value::Null);
            let side = sides.entry(label.to_owned()).or_insert_with(|| new(label));
            side.live = live.get("10s").cloned().unwrap_or(Value::Null);
            side.minute = live.get("1m").cloned().unwrap_or(Value::Null);
        }
        let mut instances = Vec::new();
        for pool in told.get("pools").and_then(Value::as_array).into_iter().flatten() {
            let label = word(pool, "version");
            let listed = pool.get("instances").and_then(Value::as_array).cloned().unwrap_or_default();
            let side = sides.entry(label.to_owned()).or_insert_with(|| new(label));
            side.instances =
                (listed.len(), listed.iter().filter(|instance| takes_requests(instance)).count());
            instances.extend(listed.into_iter().map(|instance| (label.to_owned(), instance)));
        }
        Lived { name, sides: sides.into_values().collect(), instances }
    }

    /// Requests of all versions in the last minute, a second.
    fn requests(&self) -> f64 {
        self.sides.iter().filter_map(|side| number(&side.minute, "requests_per_second")).sum()
    }

    /// Requests of one version a minute.
    pub fn version_a_minute(&self, version: &str) -> u64 {
        let own = self.sides.iter().filter(|side| side.version == version);
        (own.filter_map(|side| number(&side.minute, "requests_per_second")).sum::<f64>() * 60.0).round()
            as u64
    }

    /// Requests of all versions a minute.
    pub fn all_a_minute(&self) -> u64 {
        (self.requests() * 60.0).round() as u64
    }

    fn share(&self, side: &Side) -> Option<f64> {
        let all = self.requests();
        let own = number(&side.minute, "requests_per_second")?;
        (all > 0.0).then(|| own / all)
    }

    /// Requests a minute that do not get the release.
    pub fn gray_a_minute(&self) -> u64 {
        let gray = self.sides.iter().filter(|side| side.version != "release");
        (gray.filter_map(|side| number(&side.minute, "requests_per_second")).sum::<f64>() * 60.0).round()
            as u64
    }
}

pub fn takes_requests(instance: &Value) -> bool {
    matches!(word(instance, "state"), "healthy" | "up" | "warming" | "")
}

fn is_closed(view: &View, service: &str, version: &str) -> bool {
    let id = DocumentId::of(Kind::Closure, &format!("{service}.{version}"));
    id.is_some_and(|id| view.set.documents.contains_key(&id))
}

impl Visit {
    /// All services as they are now.
    pub fn lived(&self) -> Result<Vec<Lived>> {
        let told = self.control().services(&self.who)?;
        let view = self.control().view();
        let items = told.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(items.iter().map(|item| Lived::of(item, &view)).collect())
    }
}

pub async fn overview(visit: Visit) -> Result<Response> {
    let services = visit.lived()?;
    let fleet = tokio::time::timeout(FLEET_PATIENCE, visit.control().fleet(&visit.who)).await;
    let fleet = fleet.ok().and_then(Result::ok);
    let lang = visit.lang();
    let main = html! {
        h1 { (lang.overview()) }
        div.board {
            section aria-labelledby="gray-title" {
                h2 #gray-title { (lang.what_is_gray()) }
                div #gray data-live="services document plan" { (gray(&visit, &services)) (running(&visit).await) }
            }
            div {
                section aria-labelledby="wrong-title" {
                    h2 #wrong-title { (lang.is_it_well()) }
                    div #wrong data-live="services document problem fleet" { (wrong(&visit, &services, fleet.as_ref())) }
                }
                section aria-labelledby="mine-title" {
                    h2 #mine-title { (lang.what_waits()) }
                    div #mine data-live="plan message document" { (waits(&visit).await) }
                }
            }
        }
    };
    let calls = ["GET /services", "GET /fleet", "GET /proposals", "GET /plans"].map(str::to_owned).to_vec();
    Ok(visit.page(Page { tab: Tab::Overview, title: lang.overview().to_owned(), calls, main }).await)
}

fn gray(visit: &Visit, services: &[Lived]) -> Markup {
    let lang = visit.lang();
    html! {
        @if services.is_empty() { p { (lang.no_services()) } }
        @else {
            table.rows {
                caption.unseen { (lang.services()) }
                thead { tr {
                    th scope="col" { (lang.service()) }
                    th scope="col" { (lang.version()) }
                    th.figure scope="col" { (lang.live_share()) }
                    th.figure scope="col" { (lang.requests()) }
                    th.figure scope="col" { (lang.errors()) }
                    th.figure scope="col" { (lang.p50()) }
                    th.figure scope="col" { (lang.p99()) }
                    th.figure scope="col" { (lang.fallbacks()) }
                    th.figure scope="col" { (lang.instances()) }
                } }
                @for service in services.iter().take(SERVICES_SHOWN) { tbody { (sides(visit, service)) } }
            }
            @let touched: u64 = services.iter().map(Lived::gray_a_minute).sum();
            p { strong { (lang.touches(count(touched))) } }
        }
    }
}

/// Plans under way, each in a line.
async fn running(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let plans = visit.control().plans_shown(&visit.who, None).await.unwrap_or_default();
    let running = plans.iter().filter(|plan| plan.running.is_some());
    html! {
        h3 { (lang.plans_under_way()) }
        ul.plans { @for plan in running.take(PLANS_SHOWN) {
            li {
                a.open href=(visit.at(&format!("/plans/{}", plan.name))) { (plan.name) } " " (state_mark(lang, plan)) " "
                (percent(plan.share / 100.0)) " · " (lang.step()) " " (plan.steps_begun) "/" (plan.steps.len())
                @if let Some(first) = plan.waiting_for.first() { " · " span.none { (lang.tell(first)) } }
            }
        } }
        p { a href=(visit.at("/plans")) { (lang.all_plans()) } }
    }
}

fn sides(visit: &Visit, service: &Lived) -> Markup {
    let lang = visit.lang();
    html! {
        @for (index, side) in service.sides.iter().enumerate() {
            tr {
                @if index == 0 {
                    th scope="rowgroup" rowspan=(service.sides.len()) {
                        a.open href=(visit.at(&format!("/services/{}", service.name))) { (service.name) }
                    }
                }
                td { (version(lang, side)) }
                (figures(service, side))
            }
        }
        @if service.sides.is_empty() {
            tr {
                th scope="row" { a.open href=(visit.at(&format!("/services/{}", service.name))) { (service.name) } }
                td colspan="8" { span.none { (lang.no_figures()) } }
            }
        }
    }
}

pub fn version(lang: Language, side: &Side) -> Markup {
    let class = if side.version == "release" { "version" } else { "version gray" };
    html! {
        span class=(class) { (side.version) }
        @if side.is_closed { " " span.mark.bad { (lang.closed()) } }
    }
}

pub fn figures(service: &Lived, side: &Side) -> Markup {
    let of = |key: &str| number(&side.live, key);
    let is_bad = of("error_share").is_some_and(|share| share > MANY_ERRORS);
    html! {
        td.figure { (known(service.share(side).map(percent))) }
        td.figure { (known(of("requests_per_second").map(rate))) }
        td.figure.bad[is_bad] { (known(of("error_share").map(percent))) }
        td.figure { (known(of("p50_ms").map(millis))) }
        td.figure { (known(of("p99_ms").map(millis))) }
        td.figure { (known(of("fallbacks").map(|number| count(number as u64)))) }
        td.figure { (known((side.instances.0 > 0).then(|| format!("{}/{}", side.instances.1, side.instances.0)))) }
    }
}

fn wrong(visit: &Visit, services: &[Lived], fleet: Option<&Value>) -> Markup {
    let lang = visit.lang();
    let view = visit.control().view();
    let mut told: Vec<Markup> = Vec::new();
    for service in services {
        for side in &service.sides {
            let (requests, share) = (number(&side.live, "requests"), number(&side.live, "error_share"));
            if let (Some(requests), Some(share)) = (requests, share)
                && requests >= FEW_REQUESTS
                && share > MANY_ERRORS
            {
                let link = visit.at(&format!("/services/{}", service.name));
                told.push(html! { a href=(link) { (service.name) " " (side.version) } ": " (lang.error_share(percent(share))) });
            }
            if side.instances.0 > 0 && side.instances.1 == 0 {
                told.push(html! { (service.name) " " (side.version) ": " (lang.no_instance_takes()) });
            }
        }
    }
    told.extend(fleet_wrongs(visit, fleet));
    let problems = &view.compiled.problems;
    for problem in problems.iter().take(PROBLEMS_SHOWN) {
        let name = problem.document();
        let link = visit.at(&format!("/documents/{name}"));
        told.push(html! { a href=(link) { code { (name) } } ": " (lang.tell(&problem.message)) });
    }
    html! {
        @if told.is_empty() { p.good { span.shape aria-hidden="true" { "✓" } " " (lang.all_well()) } }
        @else {
            ul.wrongs { @for line in &told { li { (line) } } }
            @if problems.len() > PROBLEMS_SHOWN {
                p { a href=(visit.at("/documents?problems=1")) { (lang.all_problems(problems.len())) } }
            }
        }
    }
}

fn fleet_wrongs(visit: &Visit, fleet: Option<&Value>) -> Vec<Markup> {
    let lang = visit.lang();
    let link = visit.at("/fleet");
    let Some(fleet) = fleet else {
        return vec![html! { a href=(link) { (lang.fleet_silent()) } }];
    };
    let proxies = fleet.get("proxies").and_then(Value::as_array).cloned().unwrap_or_default();
    let down = proxies.iter().filter(|proxy| proxy.get("up").and_then(Value::as_bool) == Some(false)).count();
    let lagging =
        proxies.iter().filter(|proxy| proxy.get("lags").and_then(Value::as_bool) == Some(true)).count();
    let mut told = Vec::new();
    if down > 0 {
        told.push(html! { a href=(link) { (lang.proxies_down(down)) } });
    }
    if lagging > 0 {
        told.push(html! { a href=(link) { (lang.proxies_lag(lagging)) } });
    }
    if proxies.is_empty() {
        told.push(html! { a href=(link) { (lang.no_proxies()) } });
    }
    told
}

async fn waits(visit: &Visit) -> Markup {
    let lang = visit.lang();
    let waiting = visit.waiting().await;
    html! {
        @if waiting.items.is_empty() && waiting.unread == 0 {
            p.good { span.shape aria-hidden="true" { "✓" } " " (lang.nothing_waits()) }
        } @else {
            ul {
                @for (path, what) in &waiting.items { li { a href=(visit.at(path)) { (what) } } }
                @if waiting.unread > 0 { li { a href=(visit.at("/messages")) { (lang.unread_count(waiting.unread)) } } }
            }
        }
        @if let Some(why) = visit.forbids(Permission::Approve) { p.why { (lang.cannot_approve()) " " (why) } }
    }
}
