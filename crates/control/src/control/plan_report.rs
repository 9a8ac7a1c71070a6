//! The report of a run, gathered from what the API tells of it.
//!
//! Owns: which figures, charts and deeds stand in it. What is drawn and said is the report's own business.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::clock::rfc3339;
use super::plane::Control;
use super::plans::PlanRead;
use crate::error::{Error, Result};
use crate::people::Principal;
use crate::plans::{RunShown, Spec, TransitionShown, percent};
use crate::report::charts::{Chart, Mark, Point, Side, Unit};
use crate::report::{DeedTold, Figure, GuardTold, Language, Measured, StepTold, Story};

/// Seconds of one point of error shares and latencies: enough requests to say something.
const PIECE: i64 = 10;
/// Most moments that are marked in a chart.
const MARKS: usize = 12;

impl Control {
    /// Of the newest run where none is named.
    pub async fn plan_report(
        &self,
        who: &Principal,
        name: &str,
        (run, language): (Option<u64>, Language),
    ) -> Result<Story> {
        let read = self.plan(who, name).await?;
        let run = run.unwrap_or(read.kept.run);
        let told = self.plan_runs(who, name).await?.into_iter().find(|told| told.run == run);
        let told = told.ok_or_else(|| Error::NotFound(format!("`{name}` has no run {run}")))?;
        let lines = self.plan_evidence(who, name, (Some(run), false)).await?;
        let rows = self.plan_evidence(who, name, (Some(run), true)).await?;
        let evidence = Evidence::read(&lines);
        // Of runs before the newest one the text is not kept.
        let is_newest = run == read.kept.run;
        let spec = if is_newest { read.running() } else { read.spec() }.ok();
        let counted = Counted::read(&rows, spec.as_ref().map_or("", |spec| spec.version.as_str()));
        let last = told.transitions.last();
        Ok(Story {
            plan: name.to_owned(),
            title: spec.as_ref().and_then(|spec| spec.plan.title.clone()),
            services: spec.as_ref().map(|spec| spec.services.clone()).unwrap_or_default(),
            version: spec.as_ref().map(|spec| spec.version.clone()).unwrap_or_default(),
            run,
            state: last.map(|last| last.to.clone()).unwrap_or_default(),
            why: last.map(|last| last.why.clone()).unwrap_or_default(),
            started: told.started.clone(),
            ended: told.ended.clone(),
            steps: spec.as_ref().map(|spec| steps(spec, &told)).unwrap_or_default(),
            figures: figures(&evidence, &counted),
            guards: guards(&evidence, &read, is_newest),
            charts: charts(&told, (&evidence, &counted), (&read, is_newest, language)),
            deeds: told.transitions.iter().map(deed).collect(),
            text: if is_newest { read.kept.text.clone() } else { String::new() },
            audit: self.audit_head().await?,
            made: rfc3339(self.clock.now()),
            language,
        })
    }
}

fn second(time: &str) -> Option<i64> {
    OffsetDateTime::parse(time, &Rfc3339).ok().map(OffsetDateTime::unix_timestamp)
}

fn steps(spec: &Spec, told: &RunShown) -> Vec<StepTold> {
    let began = |number: usize| {
        let reached = |moved: &&TransitionShown| number == 0 || moved.step >= number;
        told.transitions.iter().find(reached).map(|moved| moved.time.clone())
    };
    let told = spec.plan.steps.iter().enumerate().map(|(number, step)| StepTold {
        name: step.name.clone(),
        share: step.share.map(percent),
        hold_seconds: step.hold.as_secs(),
        approval: step.approval,
        began: began(number),
    });
    told.collect()
}

fn deed(moved: &TransitionShown) -> DeedTold {
    DeedTold {
        time: moved.time.clone(),
        who: moved.by.clone(),
        action: moved.action.clone(),
        state: moved.to.clone(),
        why: moved.why.clone(),
        reason: moved.reason.clone(),
    }
}

/// The judge's lines of a run.
#[derive(Default)]
struct Evidence {
    /// Second, and requests of the run so far.
    requests: Vec<(i64, u64, u64)>,
    guards: BTreeMap<String, Vec<Point>>,
    verdicts: BTreeMap<String, bool>,
}

fn objects(lines: &Bytes) -> impl Iterator<Item = Value> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

impl Evidence {
    fn read(lines: &Bytes) -> Evidence {
        let mut evidence = Evidence::default();
        for line in objects(lines) {
            let Some(second) = line.get("second").and_then(Value::as_i64) else { continue };
            let count = |side: &str| {
                line.pointer(&format!("/requests/{side}")).and_then(Value::as_u64).unwrap_or_default()
            };
            evidence.requests.push((second, count("gray"), count("release")));
            for (name, guard) in line.get("guards").and_then(Value::as_object).into_iter().flatten() {
                let e = guard.get("log10_e").and_then(Value::as_f64);
                evidence.guards.entry(name.clone()).or_default().push((second, e));
                let is_regression = guard.get("verdict").and_then(Value::as_str) == Some("regression");
                *evidence.verdicts.entry(name.clone()).or_default() |= is_regression;
            }
        }
        evidence
    }

    /// Requests a second between two lines.
    fn rates(&self, of: impl Fn(&(i64, u64, u64)) -> u64) -> Vec<Point> {
        let pairs = self.requests.iter().zip(self.requests.iter().skip(1));
        let rate = |(before, after): (&(i64, u64, u64), &(i64, u64, u64))| {
            let seconds = after.0.saturating_sub(before.0).max(1);
            (after.0, Some(of(after).saturating_sub(of(before)) as f64 / seconds as f64))
        };
        pairs.map(rate).collect()
    }
}

/// Rows of a run, added up.
#[derive(Clone, Default)]
struct Sum {
    requests: u64,
    errors: u64,
    fallbacks: u64,
    timed: u64,
    slower: Vec<u64>,
}

impl Sum {
    fn add(&mut self, row: &Value) {
        let number = |field: &str| row.get(field).and_then(Value::as_u64).unwrap_or_default();
        self.requests += number("requests");
        self.errors += number("errors");
        self.fallbacks += number("fallbacks");
        self.timed += number("timed");
        let slower = row.get("slower").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if self.slower.len() < slower.len() {
            self.slower.resize(slower.len(), 0);
        }
        let counts = slower.iter().map(|count| count.as_u64().unwrap_or_default());
        self.slower.iter_mut().zip(counts).for_each(|(sum, more)| *sum += more);
    }

    fn error_percent(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.errors as f64 * 100.0 / self.requests as f64)
    }

    /// The first edge, `1.2^k` ms, that at most one of a hundred was slower than.
    fn slowest_of_hundred(&self) -> Option<f64> {
        let slow = self.slower.iter().take_while(|count| **count * 100 > self.timed).count();
        (self.timed > 0).then(|| 1.2f64.powi(i32::try_from(slow).unwrap_or_default()))
    }
}

/// The rows of both sides, as far as they are kept.
#[derive(Default)]
struct Counted {
    gray: Sum,
    release: Sum,
    /// By pieces of time.
    pieces: BTreeMap<i64, (Sum, Sum)>,
}

impl Counted {
    fn read(rows: &Bytes, version: &str) -> Counted {
        let mut counted = Counted::default();
        for row in objects(rows) {
            let Some(second) = row.get("second").and_then(Value::as_i64) else { continue };
            let piece = counted.pieces.entry(second - second.rem_euclid(PIECE)).or_default();
            match row.get("version").and_then(Value::as_str) {
                Some(of) if of == version => {
                    piece.0.add(&row);
                    counted.gray.add(&row);
                }
                Some("release") => {
                    piece.1.add(&row);
                    counted.release.add(&row);
                }
                _ => {}
            }
        }
        counted
    }

    fn line(&self, of: impl Fn(&(Sum, Sum)) -> Option<f64>) -> Vec<Point> {
        self.pieces.iter().map(|(second, sums)| (*second, of(sums))).collect()
    }
}

fn figures(evidence: &Evidence, counted: &Counted) -> Vec<Figure> {
    let (gray, release) = evidence.requests.last().map_or((0, 0), |(_, gray, release)| (*gray, *release));
    let both = |of, say: &dyn Fn(&Sum) -> String| Figure {
        of,
        gray: say(&counted.gray),
        release: say(&counted.release),
    };
    let or_none = |value: Option<f64>, unit: Unit| value.map_or("-".to_owned(), |value| unit.say(value));
    let requests = Figure { of: Measured::Requests, gray: gray.to_string(), release: release.to_string() };
    if counted.pieces.is_empty() {
        return vec![requests];
    }
    vec![
        requests,
        both(Measured::Counted, &|sum| sum.requests.to_string()),
        both(Measured::Errors, &|sum| sum.errors.to_string()),
        both(Measured::ErrorShare, &|sum| or_none(sum.error_percent(), Unit::Percent)),
        both(Measured::SlowestOfHundred, &|sum| or_none(sum.slowest_of_hundred(), Unit::Milliseconds)),
        both(Measured::Fallbacks, &|sum| sum.fallbacks.to_string()),
    ]
}

fn threshold(read: &PlanRead, guard: &str) -> Option<f64> {
    read.sight.as_ref()?.guards.get(guard)?.log10_threshold
}

fn guards(evidence: &Evidence, read: &PlanRead, is_newest: bool) -> Vec<GuardTold> {
    let told = evidence.guards.iter().map(|(name, points)| GuardTold {
        name: name.clone(),
        evidence: points.last().and_then(|(_, e)| *e),
        limit: threshold(read, name).filter(|_| is_newest),
        is_regression: evidence.verdicts.get(name).copied().unwrap_or_default(),
    });
    told.collect()
}

fn charts(
    told: &RunShown,
    (evidence, counted): (&Evidence, &Counted),
    (read, is_newest, language): (&PlanRead, bool, Language),
) -> Vec<Chart> {
    let mut charts = Vec::new();
    for (name, points) in &evidence.guards {
        let limit = threshold(read, name).filter(|_| is_newest);
        charts.push(match limit {
            Some(limit) => Chart::evidence(name, points.clone(), 10f64.powf(-limit)),
            None => {
                Chart::new(format!("evidence-{name}"), format!("Evidence: {name} (log10 of e)"), Unit::Log10)
                    .with_line(name, Side::Gray, points.clone())
            }
        });
    }
    charts.push(Chart::share(shares(told)));
    charts.push(
        Chart::new("requests", "Requests", Unit::PerSecond)
            .with_line("gray", Side::Gray, evidence.rates(|line| line.1))
            .with_line("release", Side::Release, evidence.rates(|line| line.2)),
    );
    if !counted.pieces.is_empty() {
        charts.push(
            Chart::new("errors", "Error share", Unit::Percent)
                .with_line("gray", Side::Gray, counted.line(|(gray, _)| gray.error_percent()))
                .with_line("release", Side::Release, counted.line(|(_, release)| release.error_percent())),
        );
        charts.push(
            Chart::new("latency", "99 % faster than", Unit::Milliseconds)
                .with_line("gray", Side::Gray, counted.line(|(gray, _)| gray.slowest_of_hundred()))
                .with_line(
                    "release",
                    Side::Release,
                    counted.line(|(_, release)| release.slowest_of_hundred()),
                ),
        );
    }
    let marks = marks(told);
    let with_marks = charts.into_iter().map(|chart| chart.with_marks(marks.clone()).in_language(language));
    with_marks.collect()
}

/// A staircase: what it was until the next transition.
fn shares(told: &RunShown) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for moved in &told.transitions {
        let Some(second) = second(&moved.time) else { continue };
        if let Some((_, before)) = points.last().copied() {
            points.push((second, before));
        }
        points.push((second, Some(moved.share)));
    }
    points
}

fn marks(told: &RunShown) -> Vec<Mark> {
    let marks = told.transitions.iter().filter_map(|moved| {
        let name = if moved.action == "step" { format!("step {}", moved.step) } else { moved.to.clone() };
        Some(Mark { second: second(&moved.time)?, name })
    });
    marks.take(MARKS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rates_and_verdicts() {
        let lines = Bytes::from_static(
            b"{\"second\":100,\"requests\":{\"gray\":10,\"release\":100},\"guards\":{\"errors\":{\"log10_e\":0.5,\"verdict\":\"none\"}}}\n\
              {\"second\":102,\"requests\":{\"gray\":30,\"release\":300},\"guards\":{\"errors\":{\"log10_e\":2.5,\"verdict\":\"regression\"}}}\n\
              cut off",
        );
        let evidence = Evidence::read(&lines);
        assert_eq!(evidence.rates(|line| line.1), [(102, Some(10.0))]);
        assert_eq!(evidence.rates(|line| line.2), [(102, Some(100.0))]);
        assert_eq!(evidence.guards["errors"], [(100, Some(0.5)), (102, Some(2.5))]);
        assert!(evidence.verdicts["errors"]);
    }

    #[test]
    fn rows_are_added_up_by_side_and_time() {
        let rows = Bytes::from_static(
            b"{\"second\":101,\"version\":\"gray\",\"requests\":50,\"errors\":5,\"timed\":100,\"slower\":[100,51,2,1]}\n\
              {\"second\":109,\"version\":\"gray\",\"requests\":50,\"errors\":0}\n\
              {\"second\":110,\"version\":\"release\",\"requests\":9}\n\
              {\"second\":110,\"version\":\"other\",\"requests\":9}\n",
        );
        let counted = Counted::read(&rows, "gray");
        assert_eq!((counted.gray.requests, counted.release.requests), (100, 9));
        assert_eq!(counted.line(|(gray, _)| gray.error_percent()), [(100, Some(5.0)), (110, None)]);
        assert_eq!(counted.gray.slowest_of_hundred(), Some(1.2f64.powi(3)));
    }
}
