//! What speaks for and against a plan: each guard's evidence beside its limit, and its versions side by side.

use maud::{Markup, PreEscaped, html};
use serde_json::Value;

use super::now::Lived;
use super::service::latencies;
use super::show::{known, millis, number, percent, rate, word};
use super::visit::Visit;
use crate::plans::{GuardShown, PlanShown, RunShown, Spec, TransitionShown};
use crate::report::Language;
use crate::report::charts::{Chart, Mark, Point};

/// Points of an evidence chart; the drawing thins them further.
const LINES: usize = 3_600;
/// Latency at the shares of requests that the judge compares.
const LATENCIES: [(&str, &str); 5] =
    [("p50", "p50_ms"), ("p90", "p90_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"), ("p99.9", "p999_ms")];
/// What a guard says that rolls back.
const REGRESSION: &str = "regression";

pub fn verdict(lang: Language, guard: &GuardShown) -> Markup {
    let figures = match (guard.log10_e, guard.log10_threshold) {
        (Some(e), Some(limit)) => format!("{e:.2} / {limit:.2}"),
        _ => guard.last.map_or_else(|| "–".to_owned(), |last| format!("{last}")),
    };
    let (class, shape, said) = match (guard.verdict.as_str(), guard.had_evidence) {
        (REGRESSION, _) => ("bad", "■", lang.regression()),
        (_, true) => ("good", "●", lang.pass()),
        (_, false) => ("none", "○", lang.no_evidence_yet()),
    };
    html! { span class=(class) { span.shape aria-hidden="true" { (shape) } " " (said) } " " span.figure { (figures) } }
}

/// What the judge said of the run at hand, second by second.
pub async fn evidence_lines(visit: &Visit, plan: &PlanShown) -> Vec<Value> {
    if plan.run == 0 {
        return Vec::new();
    }
    let told = visit.control().plan_evidence(&visit.who, &plan.name, (Some(plan.run), false)).await;
    told.map(|lines| read_lines(&lines)).unwrap_or_default()
}

/// Of a run that is over no one judges any more; what was said last goes on to stand on the page.
pub fn remember(plan: &mut PlanShown, lines: &[Value]) {
    let Some(last) = lines.last().filter(|_| plan.guards.is_empty()) else { return };
    let spec = Spec::read(&plan.name, plan.text.as_deref().unwrap_or_default(), false).ok();
    let alpha = |name: &str| spec.as_ref()?.guards.alpha(Spec::judged(name)?);
    for (name, said) in last.get("guards").and_then(Value::as_object).into_iter().flatten() {
        let was_regression = lines
            .iter()
            .filter_map(|line| line.get("guards")?.get(name))
            .any(|said| word(said, "verdict") == REGRESSION);
        let log10_e = number(said, "log10_e");
        let guard = GuardShown {
            log10_e,
            log10_threshold: alpha(name).map(|alpha| -alpha.log10()),
            verdict: if was_regression { REGRESSION } else { "none" }.to_owned(),
            last: None,
            had_evidence: log10_e.is_some(),
        };
        plan.guards.insert(name.clone(), guard);
    }
    let count =
        |side: &str| last.get("requests").and_then(|counts| counts.get(side)?.as_u64()).unwrap_or_default();
    (plan.requests.gray, plan.requests.release) = (count("gray"), count("release"));
}

pub fn evidence(visit: &Visit, plan: &PlanShown, (lines, runs): (&[Value], &[RunShown])) -> Markup {
    let lang = visit.lang();
    let steps = marks(lang, runs.iter().find(|run| run.run == plan.run));
    html! {
        @if plan.guards.is_empty() { p.none { (lang.no_evidence_yet()) } }
        ul.tiles { @for (name, guard) in &plan.guards {
            li class=(if guard.verdict == REGRESSION { "bad" } else { "" }) {
                h3 { (lang.guard_name(name)) }
                p { (verdict(lang, guard)) }
                @let points = points_of(lines, name);
                @if let Some(limit) = guard.log10_threshold.filter(|_| !points.is_empty()) {
                    (PreEscaped(Chart::evidence(name, points, 10f64.powf(-limit)).with_marks(steps.clone()).in_language(lang).svg()))
                }
            }
        } }
    }
}

/// Where steps of a run began.
fn marks(lang: Language, run: Option<&RunShown>) -> Vec<Mark> {
    let transitions = run.into_iter().flat_map(|run| &run.transitions);
    let begun =
        transitions.filter(|each| matches!(each.action.as_str(), "start" | "step" | "advance" | "approve"));
    let mark = |each: &TransitionShown| {
        let time =
            time::OffsetDateTime::parse(&each.time, &time::format_description::well_known::Rfc3339).ok()?;
        Some(Mark { second: time.unix_timestamp(), name: format!("{} {}", lang.step(), each.step + 1) })
    };
    begun.filter_map(mark).collect()
}

fn read_lines(lines: &[u8]) -> Vec<Value> {
    let text = String::from_utf8_lossy(lines);
    let all: Vec<&str> = text.lines().collect();
    let newest = all.get(all.len().saturating_sub(LINES)..).unwrap_or_default();
    newest.iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn points_of(lines: &[Value], guard: &str) -> Vec<Point> {
    let points = lines.iter().filter_map(|line| {
        let second = line.get("second")?.as_i64()?;
        Some((second, line.get("guards")?.get(guard)?.get("log10_e")?.as_f64()))
    });
    points.collect()
}

/// Where the error share of the last minute is with 95 % confidence (Wilson's interval, which is right for few errors too).
fn within(minute: &Value) -> Option<String> {
    let (requests, errors) = (number(minute, "requests")?, number(minute, "errors")?);
    let (low, high) = wilson(errors, requests)?;
    Some(format!("{} – {}", percent(low), percent(high)))
}

fn wilson(errors: f64, requests: f64) -> Option<(f64, f64)> {
    const Z: f64 = 1.96;
    if requests <= 0.0 {
        return None;
    }
    let share = errors / requests;
    let (spread, whole) = (Z * Z / requests, 1.0 + Z * Z / requests);
    let middle = (share + spread / 2.0) / whole;
    let half = (share * (1.0 - share) * spread + spread * spread / 4.0).sqrt() / whole;
    Some(((middle - half).max(0.0), (middle + half).min(1.0)))
}

pub fn side_by_side(visit: &Visit, plan: &PlanShown, services: &[Lived]) -> Markup {
    let lang = visit.lang();
    let own: Vec<&Lived> = services.iter().filter(|service| plan.services.contains(&service.name)).collect();
    html! {
        @if own.is_empty() { p.none { (lang.no_figures()) } }
        @else {
            div.scroll tabindex="0" role="group" aria-label=(lang.side_by_side()) { table {
                caption.unseen { (lang.side_by_side()) }
                thead { tr {
                    th scope="col" { (lang.service()) } th scope="col" { (lang.version()) } th.figure scope="col" { (lang.requests()) }
                    th.figure scope="col" { (lang.errors()) } th.figure scope="col" { (lang.errors_within()) }
                    @for (name, _) in LATENCIES { th.figure scope="col" { (name) } }
                } }
                tbody { @for service in own { @for side in &service.sides {
                    tr {
                        td { a href=(visit.at(&format!("/services/{}", service.name))) { (service.name) } }
                        td { (side.version) }
                        td.figure { (known(number(&side.live, "requests_per_second").map(rate))) }
                        td.figure { (known(number(&side.live, "error_share").map(percent))) }
                        td.figure { (known(within(&side.minute))) }
                        @for (_, key) in LATENCIES { td.figure { (known(number(&side.live, key).map(millis))) } }
                    }
                } } }
            } }
            @for service in services.iter().filter(|service| plan.services.contains(&service.name)) {
                div.charts { (latencies(visit, &service.name)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_wilsons() {
        let (low, high) = wilson(5.0, 100.0).unwrap();
        assert!((low - 0.0215).abs() < 0.0005 && (high - 0.1118).abs() < 0.0005, "{low} {high}");
        let (low, high) = wilson(0.0, 50.0).unwrap();
        assert!(low == 0.0 && (high - 0.0714).abs() < 0.0005, "{low} {high}");
        assert_eq!(wilson(0.0, 0.0), None);
    }
}
