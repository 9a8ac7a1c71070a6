//! Who would get another version by a change: of made-up users, or of the requests of an access log.
//!
//! Owns: how that is asked for in a form, and how it looks. Never: the decisions, which are the rules' own.

use std::collections::BTreeMap;

use graygate_judge::plan::{Progress, State};
use maud::{Markup, html};
use serde_json::Value;

use super::show::{count, number, percent, word};
use super::visit::Visit;
use crate::control::{ReplayAsked, SampleAsked};
use crate::error::Result;
use crate::plans::{Spec, rules};
use crate::report::Language;

/// Made-up users of each service that are asked before and after a change.
const IDENTITIES: u32 = 1_000;
/// Steps whose movement is worked out before a plan is saved: each is a whole comparison.
const STEPS_SHOWN: usize = 6;
/// Bytes of a file that become the log of a form, newest lines first kept: a form may have 10 MiB with its escapes.
const LOG_BYTES: usize = 2 << 20;

/// Whose requests are decided twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crowd<'l> {
    MadeUp,
    /// Lines of an access log.
    Log(&'l str),
}

impl Crowd<'_> {
    /// What a form sent: a log, or nothing.
    pub fn of(log: &str) -> Crowd<'_> {
        if log.trim().is_empty() { Crowd::MadeUp } else { Crowd::Log(log) }
    }

    pub fn sample(self) -> SampleAsked {
        match self {
            Crowd::MadeUp => SampleAsked::Identities(IDENTITIES),
            Crowd::Log(text) => SampleAsked::Log(text.to_owned()),
        }
    }
}

/// New texts by document; none takes one away.
pub type Drafts = BTreeMap<String, Option<String>>;

/// Who would move with these drafts.
pub async fn moved(visit: &Visit, drafts: Drafts, crowd: Crowd<'_>) -> Result<Markup> {
    let asked = ReplayAsked { drafts, sample: crowd.sample(), examples: None };
    let told = visit.control().replay(&visit.who, asked).await?;
    Ok(moves(visit, &told, crowd))
}

/// Who would move with each of a plan's first steps.
pub async fn moved_by_steps(visit: &Visit, (name, text): (&str, &str), crowd: Crowd<'_>) -> Markup {
    let lang = visit.lang();
    let Ok(spec) = Spec::read(name, text, false) else { return html! {} };
    let services = visit.lived().unwrap_or_default();
    let minute: u64 = services
        .iter()
        .filter(|service| spec.services.contains(&service.name))
        .map(super::now::Lived::all_a_minute)
        .sum();
    let mut rows = Vec::new();
    for begun in 1..=spec.plan.steps.len().min(STEPS_SHOWN) {
        let progress = Progress { state: State::Active, begun, ..Progress::draft() };
        let Ok(written) = rules::rules(&spec, &progress, &BTreeMap::new()) else { continue };
        let drafts = written.into_iter().map(|(document, text)| (document, Some(text))).collect();
        let asked = ReplayAsked { drafts, sample: crowd.sample(), examples: None };
        let Ok(told) = visit.control().replay(&visit.who, asked).await else { continue };
        let by = told.get("by").and_then(Value::as_array).cloned().unwrap_or_default();
        let moved: f64 = by.iter().filter_map(|each| number(each, "requests")).sum();
        let asked_of = match crowd {
            Crowd::MadeUp => f64::from(IDENTITIES) * spec.services.len().max(1) as f64,
            Crowd::Log(_) => number(&told, "requests").unwrap_or(0.0).max(1.0),
        };
        rows.push((begun, moved, (moved / asked_of).min(1.0)));
    }
    let (title, share_of) = match crowd {
        Crowd::MadeUp => (lang.move_by_step(), lang.users_moved()),
        Crowd::Log(_) => (lang.log_by_step(), lang.of_the_log()),
    };
    html! {
        h3 { (title) }
        div.scroll tabindex="0" role="group" aria-label=(title) { table {
            caption.unseen { (title) }
            thead { tr {
                th scope="col" { (lang.step()) } th.figure scope="col" { (share_of) }
                th.figure scope="col" { @if crowd == Crowd::MadeUp { (lang.requests_a_minute()) } @else { (lang.requests()) } }
            } }
            tbody { @for (step, moved, share) in rows {
                tr {
                    td { (step) } td.figure { (percent(share)) }
                    td.figure { @if crowd == Crowd::MadeUp { "≈ " (count((minute as f64 * share) as u64)) } @else { (count(moved as u64)) } }
                }
            } }
        } }
    }
}

/// A log to be asked instead of made-up users, as a part of a form.
pub fn log_field(lang: Language, log: &str) -> Markup {
    html! {
        details.log open[!log.is_empty()] {
            summary { (lang.replay_log()) }
            p.none { (lang.log_hint()) }
            label for="log" { (lang.access_log()) }
            textarea #log .code name="log" rows="6" spellcheck="false" autocapitalize="none" data-aside { "\n" (log) }
            p { label for="log-file" { (lang.or_a_file()) } " "
                input #log-file type="file" accept=".log,.json,.jsonl,.ndjson,.txt" data-into="log" data-requests=(LOG_BYTES); }
        }
    }
}

fn moves(visit: &Visit, told: &Value, crowd: Crowd<'_>) -> Markup {
    let lang = visit.lang();
    let whole = |key: &str| number(told, key).unwrap_or(0.0) as u64;
    let (requests, moved) = (count(whole("requests")), count(whole("moved")));
    let list = |key: &str| told.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let (by, rules, examples) = (list("by"), list("rules"), list("examples"));
    html! {
        h3 { (lang.who_would_move()) }
        p { strong {
            @match crowd {
                Crowd::MadeUp => (lang.moved_of(&moved, &requests)),
                Crowd::Log(_) => (lang.moved_of_log(&moved, &requests)),
            }
        } }
        @if whole("left_out") > 0 { p.warn { (lang.lines_left_out(count(whole("left_out")))) } }
        @if whole("undrawn") > 0 { p.none { (lang.requests_undrawn(count(whole("undrawn")))) } }
        @if !by.is_empty() { (by_versions(visit, &by, (crowd, whole("requests")))) }
        @if !rules.is_empty() { (by_rules(visit, &rules)) }
        @if !examples.is_empty() { (example_table(visit, &examples)) }
    }
}

fn by_versions(visit: &Visit, by: &[Value], (crowd, requests): (Crowd<'_>, u64)) -> Markup {
    let lang = visit.lang();
    let services = visit.lived().unwrap_or_default();
    let minute = |name: &str| {
        services.iter().find(|service| service.name == name).map(super::now::Lived::all_a_minute)
    };
    let (asked_of, share_of, last) = match crowd {
        Crowd::MadeUp => (f64::from(IDENTITIES), lang.of_users(), lang.requests_a_minute()),
        Crowd::Log(_) => (requests.max(1) as f64, lang.of_the_log(), lang.requests()),
    };
    html! {
        div.scroll tabindex="0" role="group" aria-label=(lang.who_would_move()) { table {
            caption.unseen { (lang.who_would_move()) }
            thead { tr {
                th scope="col" { (lang.service()) } th scope="col" { (lang.from()) } th scope="col" { (lang.to()) }
                th.figure scope="col" { (share_of) } th.figure scope="col" { (last) }
            } }
            tbody { @for each in by {
                @let moved = number(each, "requests").unwrap_or(0.0);
                @let share = (moved / asked_of).min(1.0);
                tr {
                    td { (word(each, "service")) } td { (named(each, "from")) } td { (named(each, "to")) }
                    td.figure { (percent(share)) }
                    td.figure { @match (crowd, minute(word(each, "service"))) {
                        (Crowd::Log(_), _) => (count(moved as u64)),
                        (Crowd::MadeUp, Some(minute)) => { "≈ " (count((minute as f64 * share) as u64)) },
                        (Crowd::MadeUp, None) => "–",
                    } }
                }
            } }
        } }
    }
}

fn by_rules(visit: &Visit, rules: &[Value]) -> Markup {
    let lang = visit.lang();
    let figure = |rule: &Value, key: &str| count(number(rule, key).unwrap_or(0.0) as u64);
    html! {
        details { summary { (lang.moves_by_rule()) }
            div.scroll tabindex="0" role="group" aria-label=(lang.moves_by_rule()) { table {
                caption.unseen { (lang.moves_by_rule()) }
                thead { tr {
                    th scope="col" { (lang.service()) } th scope="col" { (lang.rule()) }
                    th.figure scope="col" { (lang.decides_today()) } th.figure scope="col" { (lang.would_decide()) }
                } }
                tbody { @for rule in rules {
                    tr {
                        td { (word(rule, "service")) } td { (rule_link(visit, word(rule, "rule"))) }
                        td.figure { (figure(rule, "before")) } td.figure { (figure(rule, "after")) }
                    }
                } }
            } }
        }
    }
}

fn example_table(visit: &Visit, examples: &[Value]) -> Markup {
    let lang = visit.lang();
    html! {
        details open { summary { (lang.examples()) " (" (examples.len()) ")" }
            div.scroll tabindex="0" role="group" aria-label=(lang.examples()) { table.examples {
                caption.unseen { (lang.examples()) }
                thead { tr {
                    th scope="col" { (lang.request()) } th scope="col" { (lang.client()) } th scope="col" { (lang.service()) }
                    th scope="col" { (lang.from()) } th scope="col" { (lang.to()) } th scope="col" { (lang.why()) }
                } }
                tbody { @for example in examples {
                    tr {
                        td { code { (word(example, "method")) " " (word(example, "host")) (word(example, "path")) } }
                        td { @match word(example, "identity") { "" => (word(example, "client")), identity => (identity) } }
                        td { (word(example, "service")) }
                        td { (named(example, "from")) " " span.none { (rule_link(visit, word(example, "from_rule"))) } }
                        td { (named(example, "to")) " " span.none { (rule_link(visit, word(example, "to_rule"))) } }
                        td { @if word(example, "identity").is_empty() { a href=(why(visit, example)) { (lang.ask()) } } }
                    }
                } }
            } }
        }
    }
}

fn named<'v>(value: &'v Value, key: &str) -> &'v str {
    Some(word(value, key)).filter(|text| !text.is_empty()).unwrap_or("–")
}

/// A rule that may not exist yet: a draft's.
fn rule_link(visit: &Visit, rule: &str) -> Markup {
    let id = graygate_rules::documents::DocumentId::of(graygate_rules::documents::Kind::Rule, rule);
    let is_there = id.is_some_and(|id| visit.control().view().set.documents.contains_key(&id));
    html! {
        @if rule.is_empty() { (visit.lang().no_rule()) }
        @else if is_there { a href=(visit.at(&format!("/documents/rules/{rule}"))) { code { (rule) } } }
        @else { code { (rule) } }
    }
}

/// The page that says why such a request gets its version today.
fn why(visit: &Visit, example: &Value) -> String {
    let host = Some(word(example, "host")).filter(|host| !host.is_empty()).unwrap_or("localhost");
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("url", &format!("http://{host}{}", word(example, "path")))
        .append_pair("ip", word(example, "client"))
        .finish();
    visit.at(&format!("/why?{query}"))
}
