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
/// What stands for a rule where the version came along.
const INHERITED: &str = "inherited";
/// Seconds after such a step in which requests may still have been decided before it.
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
    is_of_all: bool,
    judge: Judge,
    pub cursors: Cursors,
    measures: BTreeMap<String, Measured>,
    /// The newest second that was judged.
    pub second: Option<u64>,
    /// From when on a share was drawn: who is `release` since by another rule, or by none, is outside.
    #[serde(default)]
    drawn_since: Option<u64>,
    /// From when on every user was to have the version.
    of_all_since: Option<u64>,
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
            is_of_all: false,
            judge: Judge::new(run),
            cursors: Cursors::default(),
            measures: BTreeMap::new(),
            second: None,
            drawn_since: None,
            of_all_since: None,
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
        let is_of_all = kept.progress.state == State::Completed
            || kept.progress.step(&spec.steps).is_some_and(|step| step.is_of_all());
        if spec.share(kept.progress.begun).is_some() {
            self.drawn_since.get_or_insert(now);
        }
        if is_of_all && !self.is_of_all {
            self.judge.begin_all();
            self.of_all_since = Some(now);
        }
        if kept.progress.begun != self.begun || is_of_all != self.is_of_all {
            let tolerate = kept.progress.step(&spec.steps).and_then(|step| step.tolerate);
            self.judge.begin_step(tolerate);
            self.measures.values_mut().for_each(|measured| measured.answers = 0);
        }
        (self.begun, self.is_of_all) = (kept.progress.begun, is_of_all);
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
        let run = self.judge.run();
        let own = format!("{}share", graygate_rules::documents::owner::plan_rules(&run.plan));
        let settled = |since: Option<u64>, second: u64| since.is_some_and(|since| second >= since + SETTLED);
        let is_left = |row: &&Row| {
            // Those that the share has not drawn yet are not left, and whom they call neither.
            let is_outside =
                row.key.series.rule.as_deref().is_none_or(|rule| rule != own && rule != INHERITED);
            &*row.key.series.version == "release"
                && run.services.iter().any(|service| **service == *row.key.series.service)
                && (settled(self.of_all_since, row.key.second)
                    || is_outside && settled(self.drawn_since, row.key.second))
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

    /// Requests of the last hour that are `release` for another reason than that the share has not reached them.
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

    /// The guards that are on and had nothing to compare in this step. A step of every user has no release beside.
    pub fn without_evidence(&self, spec: &Spec) -> Vec<String> {
        let counts =
            |name: GuardName| !self.is_of_all || !matches!(name, GuardName::Errors | GuardName::Latency);
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
        if self.is_of_all {
            why.push(
                "every user has the version, so no release is beside it: absolute guards count alone"
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

#[cfg(test)]
mod tests {
    use graygate_judge::blocks::Reading;
    use graygate_judge::plan::Progress;

    use super::*;

    const PLAN: &str = "services: [s]\nversion: gray\nsteps: [{who: {attribute: header:x-vip, exists: true}}, {share: 5}, {share: 100}]\n";

    /// Seven requests of a second.
    fn row(second: u64, rule: &str, version: &str) -> Row {
        let line = format!(
            r#"{{"second":{second},"proxy":"a","boot":"1","service":"s","route":"r","rule":{rule},"share":5,"version":"{version}","requests":7,"timed":7}}"#
        );
        match Row::read(line.as_bytes()).unwrap() {
            Reading::Row(row) => row,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_is_release_for_another_reason_than_the_share_is_counted_for_an_hour() {
        const OWN: &str = r#""plan.p.share""#;
        let spec = Spec::read("p", PLAN, false).unwrap();
        let at = |state, begun, moves| Kept {
            moves,
            progress: Progress { state, begun, ..Progress::draft() },
            ..Kept::draft("p")
        };
        let mut trial = Trial::new(&spec, &at(State::Active, 1, 1), 1_000);
        let look = |trial: &mut Trial, now: u64, rule: &str, version: &str| {
            trial.second(1, Some(now), vec![row(now, rule, version)]);
            trial.left()
        };
        // Without a share every user but the chosen is still to come.
        trial.follow(&spec, &at(State::Active, 1, 1), 1_000);
        assert_eq!(look(&mut trial, 1_020, "null", "release"), 0);
        // Proxies may not have heard of the share at once.
        trial.follow(&spec, &at(State::Active, 2, 2), 1_100);
        assert_eq!(look(&mut trial, 1_109, "null", "release"), 0);
        // Then the one that it does not decide is outside.
        for (now, rule, version, left) in [
            (1_110, OWN, "release", 0),
            (1_111, r#""inherited""#, "release", 0),
            (1_112, "null", "gray", 0),
            (1_113, "null", "release", 7),
            (1_114, r#""hand""#, "release", 14),
        ] {
            assert_eq!(look(&mut trial, now, rule, version), left, "{rule} {version}");
        }
        // And every user who is release although every user was to have the version.
        trial.follow(&spec, &at(State::Completed, 3, 3), 1_200);
        assert_eq!(look(&mut trial, 1_210, OWN, "release"), 21);
        // For an hour.
        assert_eq!(look(&mut trial, 1_200 + 3_400, OWN, "gray"), 21);
        assert_eq!(look(&mut trial, 1_200 + 3_720, OWN, "gray"), 0);
    }
}
