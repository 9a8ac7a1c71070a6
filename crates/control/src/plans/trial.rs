//! The evidence of one run.
//!
//! Owns: the judge of a run and up to where each proxy is in its sums, the measures asked for elsewhere, what the guards say
//! of the step at hand, and that all of it is kept as one. Never: asking, or what follows from a verdict. Start at
//! [`Trial::second`].

use std::collections::{BTreeMap, VecDeque};

use graygate_judge::blocks::Row;
use graygate_judge::plan::State;
use graygate_judge::{GuardName, Judge, Run, Tick, Verdict};
use graygate_rules::documents::plan::{Bound, Metric};
use serde::{Deserialize, Serialize};

use super::record::{GuardShown, Kept};
use super::spec::Spec;
use crate::evidence::Cursors;

/// Answers in a row beyond its bound that make a measure say regression.
const IN_A_ROW: u32 = 3;
/// Minutes in which requests that are still `release` are counted.
const MINUTES: u64 = 60;
/// Seconds after a step of everybody in which requests may still have been decided before it.
const SETTLED: u64 = 10;

/// What a measure said.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    pub last: Option<f64>,
    in_a_row: u32,
    regressed: bool,
    /// Answers that were numbers, in this step.
    answers: u64,
}

/// The evidence of one run, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    pub run: u64,
    /// The transition whose steps and second chances are in it.
    moves: u64,
    begun: usize,
    is_everybody: bool,
    judge: Judge,
    pub cursors: Cursors,
    measures: BTreeMap<String, Measured>,
    /// The newest second that was judged.
    pub second: Option<u64>,
    /// From when on everybody was to have the version.
    everybody_since: Option<u64>,
    /// Requests that were `release` all the same, by minute.
    left: VecDeque<(u64, u64)>,
}

impl Trial {
    /// Of a run that begins now, by the fleet's clock.
    pub fn new(spec: &Spec, kept: &Kept, start: u64) -> Trial {
        let run = Run {
            plan: spec.name.clone(),
            version: spec.version.clone(),
            services: spec.services.clone(),
            guards: spec.guards,
            start: Some(start),
        };
        Trial {
            run: kept.run,
            moves: 0,
            begun: 0,
            is_everybody: false,
            judge: Judge::new(run),
            cursors: Cursors::default(),
            measures: BTreeMap::new(),
            second: None,
            everybody_since: None,
            left: VecDeque::new(),
        }
    }

    /// Takes up what happened to the run since: steps that began, and guards that a person went on in spite of.
    pub fn follow(&mut self, spec: &Spec, kept: &Kept, now: u64) {
        if self.moves == kept.moves {
            return;
        }
        for (guard, _) in kept.again.iter().filter(|(_, number)| **number > self.moves) {
            match Spec::judged(guard) {
                Some(name) => self.judge.start_again(name),
                None => drop(self.measures.remove(guard)),
            }
        }
        self.moves = kept.moves;
        let is_everybody = kept.progress.state == State::Completed
            || kept.progress.step(&spec.steps).is_some_and(|step| step.is_everybody());
        if is_everybody && !self.is_everybody {
            self.judge.begin_everybody();
            self.everybody_since = Some(now);
        }
        if kept.progress.begun != self.begun || is_everybody != self.is_everybody {
            let tolerate = kept.progress.step(&spec.steps).and_then(|step| step.tolerate);
            self.judge.begin_step(tolerate);
            self.measures.values_mut().for_each(|measured| measured.answers = 0);
        }
        (self.begun, self.is_everybody) = (kept.progress.begun, is_everybody);
    }

    /// One second of the run: rows from whatever second they are, those it has heard already left out before.
    pub fn second(&mut self, passed: u64, now: Option<u64>, rows: Vec<Row>) {
        let newest = rows.iter().map(|row| row.key.second).max();
        self.count_left(&rows);
        self.second = self.second.max(newest).max(now);
        if let Some(now) = now {
            self.judge.reach(now);
        }
        self.judge.advance(Tick { passed, now, rows });
    }

    fn count_left(&mut self, rows: &[Row]) {
        let Some(since) = self.everybody_since else { return };
        let services = &self.judge.run().services;
        let is_left = |row: &&Row| {
            &*row.key.version == "release"
                && row.key.second >= since + SETTLED
                && services.iter().any(|service| **service == *row.key.service)
        };
        for row in rows.iter().filter(is_left) {
            let minute = row.key.second / 60;
            match self.left.back_mut().filter(|(known, _)| *known >= minute) {
                Some((_, count)) => *count = count.saturating_add(row.counts.requests),
                None => self.left.push_back((minute, row.counts.requests)),
            }
        }
        let newest = self.second.unwrap_or(0) / 60;
        while self.left.front().is_some_and(|(minute, _)| minute + MINUTES < newest) {
            self.left.pop_front();
        }
    }

    /// Requests of the last hour that were still `release` although everybody was to have the version.
    pub fn left(&self) -> u64 {
        let newest = self.second.unwrap_or(0) / 60;
        let fresh = self.left.iter().filter(|(minute, _)| minute + MINUTES >= newest);
        fresh.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// What a measure answered; no answer, no series and NaN are no number, and neither good nor bad.
    pub fn measure(&mut self, metric: &Metric, answer: Option<f64>) {
        let measured = self.measures.entry(metric.name.to_string()).or_default();
        let Some(value) = answer.filter(|value| !value.is_nan()) else {
            measured.last = None;
            return;
        };
        measured.last = Some(value);
        measured.answers += 1;
        let is_beyond = match metric.bound {
            Bound::Above(limit) => value > limit,
            Bound::Below(limit) => value < limit,
        };
        measured.in_a_row = if is_beyond { measured.in_a_row + 1 } else { 0 };
        measured.regressed |= measured.in_a_row >= IN_A_ROW;
    }

    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// The guards that say regression.
    pub fn regressions(&self) -> Vec<String> {
        let judged = self.judge.guards().iter().filter(|guard| guard.verdict() == Verdict::Regression);
        let judged = judged.map(|guard| guard.name().as_str().to_owned());
        let measured = self.measures.iter().filter(|(_, measured)| measured.regressed);
        judged.chain(measured.map(|(name, _)| name.clone())).collect()
    }

    /// The guards that are on and had nothing to compare in this step. A step of everybody has no release beside.
    pub fn without_evidence(&self, spec: &Spec) -> Vec<String> {
        let counts =
            |name: GuardName| !self.is_everybody || !matches!(name, GuardName::Errors | GuardName::Latency);
        let judged =
            self.judge.guards().iter().filter(|guard| counts(guard.name()) && guard.comparable() == 0);
        let judged = judged.map(|guard| guard.name().as_str().to_owned());
        let metrics = spec.plan.guards.metrics.iter().map(|metric| metric.name.to_string());
        let measured =
            metrics.filter(|name| self.measures.get(name).is_none_or(|measured| measured.answers == 0));
        judged.chain(measured).collect()
    }

    /// What is worth saying of the figures.
    pub fn why(&self) -> Vec<String> {
        let mut why = Vec::new();
        if self.is_everybody {
            why.push(
                "everybody has the version, so no release is beside it: absolute guards count alone"
                    .to_owned(),
            );
        }
        for guard in self.judge.guards().iter().filter(|guard| guard.verdict() == Verdict::Regression) {
            let requests = self.judge.requests();
            why.push(format!(
                "`{}` says regression: e is 10^{:.2}, and 10^{:.2} is enough, after {} gray and {} release requests",
                guard.name(),
                guard.log10_e(),
                guard.log10_threshold(),
                requests.gray,
                requests.release
            ));
        }
        for (name, measured) in self.measures.iter().filter(|(_, measured)| measured.regressed) {
            let last = measured.last.map_or_else(|| "no number by now".to_owned(), |last| last.to_string());
            why.push(format!("`{name}` was beyond its bound {IN_A_ROW} times in a row: {last}"));
        }
        why
    }

    pub fn guards_shown(&self, spec: &Spec) -> BTreeMap<String, GuardShown> {
        let mut shown = BTreeMap::new();
        for guard in self.judge.guards() {
            let verdict = if guard.verdict() == Verdict::Regression { "regression" } else { "none" };
            shown.insert(
                guard.name().as_str().to_owned(),
                GuardShown {
                    log10_e: Some(guard.log10_e()).filter(|e| e.is_finite()),
                    log10_threshold: Some(guard.log10_threshold()),
                    verdict: verdict.to_owned(),
                    last: None,
                    had_evidence: guard.comparable() > 0,
                },
            );
        }
        for metric in &spec.plan.guards.metrics {
            let name = metric.name.to_string();
            let measured = self.measures.get(&name).copied().unwrap_or_default();
            let verdict = if measured.regressed { "regression" } else { "none" };
            let (log10_e, log10_threshold) = (None, None);
            let (last, had_evidence) = (measured.last.filter(|last| last.is_finite()), measured.answers > 0);
            let guard =
                GuardShown { log10_e, log10_threshold, verdict: verdict.to_owned(), last, had_evidence };
            shown.insert(name, guard);
        }
        shown
    }
}
