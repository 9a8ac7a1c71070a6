//! Does a guard say regression?
//!
//! Owns one run's judge: rows of a second in, e-values and verdicts out, the same for the control plane as for
//! [`crate::offline`]. It can be written down and read again, and goes on as if nothing had happened. Never: what follows
//! from a verdict, which is [`crate::plan`]'s. Start at [`Judge::advance`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blocks::{Intake, Origins, Row, Seen};
use crate::evidence::{Counted, Evidence, Histories, LimitEvidence, Second, Strata};
use crate::guards::{GuardName, Guards, LIMIT_ALPHA, Limit, Switch};

/// What a step of every user is held to where no one wrote `error_rate`: this, or so many times release's errors in the run.
const STANDING_ERROR_RATE: f64 = 0.02;
const STANDING_TIMES_RELEASE: f64 = 3.0;
/// A limit above this leaves nothing to find.
const LARGEST_STANDING: f64 = 0.5;
/// One in a hundred, for `latency_p99`.
const SLOWEST_PART: f64 = 0.01;

/// What is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub plan: String,
    pub version: String,
    pub services: Vec<String>,
    pub guards: Guards,
    /// The fleet's second in which the run began; none for that of the first row.
    pub start: Option<u64>,
}

/// What comes in for one second.
#[derive(Debug, Default)]
pub struct Tick {
    /// Seconds since the tick before; 0 counts as 1.
    pub passed: u64,
    /// The fleet's clock, where rows may not be believed.
    pub now: Option<u64>,
    pub rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    None,
    Regression,
}

/// Requests of the run so far, whatever decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    pub gray: u64,
    pub release: u64,
}

/// One guard, on all services of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watched {
    name: GuardName,
    alpha: f64,
    verdict: Verdict,
    services: Vec<Evidence>,
    /// Seconds of the step in which it had something to compare.
    comparable: u64,
}

/// The judge of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Judge {
    run: Run,
    /// Of the step at hand, instead of the guards' own.
    tolerate: Option<f64>,
    intake: Intake,
    watched: Vec<Watched>,
    histories: Vec<Histories>,
    requests: Requests,
    step_requests: u64,
    release_errors: u64,
    /// Up to where each proxy's rows are in the sums, by proxy.
    cursors: BTreeMap<String, String>,
}

impl Judge {
    pub fn new(run: Run) -> Self {
        let watched = run.guards.on().filter_map(|name| Watched::new(name, &run)).collect();
        Self {
            tolerate: None,
            intake: Intake::new(run.start),
            watched,
            histories: run.services.iter().map(|_| Histories::default()).collect(),
            requests: Requests::default(),
            step_requests: 0,
            release_errors: 0,
            cursors: BTreeMap::new(),
            run,
        }
    }

    /// One second of the run: its rows, from whatever second they are.
    pub fn advance(&mut self, tick: Tick) {
        let passed = tick.passed.max(1);
        let rows = self.of_the_plan(tick.rows);
        let rows = self.intake.admit(rows, tick.now);
        let origins = Origins::new(&self.run.plan, &self.run.version);
        for (index, service) in self.run.services.iter().enumerate() {
            let rows: Vec<&Row> = rows.iter().filter(|row| *row.key.series.service == **service).collect();
            let seen = Seen::new(&rows, &origins);
            let Some(histories) = self.histories.get_mut(index) else { continue };
            for watched in &mut self.watched {
                let tolerate = self.run.guards.tolerate(watched.name, self.tolerate);
                let second = Second { passed, tolerate, edges: self.intake.edges(), histories };
                watched.second(index, &seen, second);
            }
            histories.add(&seen);
            self.requests.gray = self.requests.gray.saturating_add(seen.gray_requests);
            self.requests.release = self.requests.release.saturating_add(seen.release_requests);
            self.step_requests = self.step_requests.saturating_add(seen.gray_requests);
            let errors = seen.release.values().map(|total| total.errors).sum();
            self.release_errors = self.release_errors.saturating_add(errors);
        }
        self.watched.iter_mut().for_each(Watched::judge);
    }

    /// Rows of other services are left out.
    fn of_the_plan(&mut self, mut rows: Vec<Row>) -> Vec<Row> {
        let all = rows.len();
        rows.retain(|row| self.run.services.iter().any(|service| **service == *row.key.series.service));
        self.intake.leave_out((all - rows.len()) as u64);
        rows
    }

    /// Time has come to that second, no matter who said so.
    pub fn reach(&mut self, second: u64) {
        self.intake.reach(second);
    }

    /// Counts rows that were no good before they came here.
    pub fn leave_out(&mut self, rows: u64) {
        self.intake.leave_out(rows);
    }

    pub fn left_out(&self) -> u64 {
        self.intake.left_out()
    }

    pub fn requests(&self) -> Requests {
        self.requests
    }

    /// Gray requests since the step began.
    pub fn step_requests(&self) -> u64 {
        self.step_requests
    }

    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The guards that are on, in the order they are told.
    pub fn guards(&self) -> &[Watched] {
        &self.watched
    }

    /// Regression where one guard says so.
    pub fn verdict(&self) -> Verdict {
        let regression = self.watched.iter().any(|watched| watched.verdict == Verdict::Regression);
        if regression { Verdict::Regression } else { Verdict::None }
    }

    /// A step begins, with a `tolerate` of its own or without.
    pub fn begin_step(&mut self, tolerate: Option<f64>) {
        self.tolerate = tolerate;
        self.step_requests = 0;
        self.watched.iter_mut().for_each(|watched| watched.comparable = 0);
    }

    /// Every user gets the version from now on, so nothing is beside it: where no one wrote `error_rate`, one is on.
    pub fn begin_all(&mut self) {
        if self.run.guards.error_rate != Switch::Unwritten {
            return;
        }
        let released = self.requests.release.max(1) as f64;
        let share = self.release_errors as f64 / released * STANDING_TIMES_RELEASE;
        let above = share.clamp(STANDING_ERROR_RATE, LARGEST_STANDING);
        self.run.guards.error_rate = Switch::On(Limit { above, alpha: LIMIT_ALPHA });
        self.watched.extend(Watched::new(GuardName::ErrorRate, &self.run));
        self.watched.sort_by_key(|watched| watched.name);
    }

    /// A person goes on in spite of a guard: its evidence starts at 1 again.
    pub fn start_again(&mut self, name: GuardName) {
        let fresh = Watched::new(name, &self.run);
        if let (Some(watched), Some(fresh)) =
            (self.watched.iter_mut().find(|watched| watched.name == name), fresh)
        {
            *watched = fresh;
        }
    }

    /// A proxy's rows are in the sums up to this cursor.
    pub fn told(&mut self, proxy: &str, cursor: &str) {
        self.cursors.insert(proxy.into(), cursor.into());
    }

    /// Where to go on asking each proxy.
    pub fn cursors(&self) -> &BTreeMap<String, String> {
        &self.cursors
    }

    /// A proxy that is gone for good needs no cursor.
    pub fn forget_proxies(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.cursors.retain(|proxy, _| !is_gone(proxy));
    }
}

impl Watched {
    /// None where the guard is off.
    fn new(name: GuardName, run: &Run) -> Option<Self> {
        let evidence = match name {
            GuardName::Errors => Evidence::Errors(Default::default()),
            GuardName::Latency => Evidence::Latency(Default::default()),
            GuardName::ErrorRate => {
                Evidence::Limit(LimitEvidence::new(Counted::Errors, run.guards.error_rate.on()?.above))
            }
            GuardName::LatencyP99 => {
                let slower = Counted::Slower(run.guards.latency_p99.on()?.above_ms);
                Evidence::Limit(LimitEvidence::new(slower, SLOWEST_PART))
            }
            GuardName::Fallback => {
                Evidence::Limit(LimitEvidence::new(Counted::Fallbacks, run.guards.fallback?.above))
            }
        };
        let alpha = run.guards.alpha(name)?;
        let services = vec![evidence; run.services.len()];
        Some(Self { name, alpha, verdict: Verdict::None, services, comparable: 0 })
    }

    fn second(&mut self, service: usize, seen: &Seen<'_>, second: Second<'_>) {
        let Some(evidence) = self.services.get_mut(service) else { return };
        if evidence.second(seen, second) {
            self.comparable = self.comparable.saturating_add(1);
        }
    }

    /// Once reached, the threshold stays reached.
    fn judge(&mut self) {
        if self.log(self.services.len()) >= -self.alpha.ln() {
            self.verdict = Verdict::Regression;
        }
    }

    fn log(&self, services: usize) -> f64 {
        self.largest() - (services.max(1) as f64).ln()
    }

    fn largest(&self) -> f64 {
        self.services.iter().map(Evidence::log).reduce(f64::max).unwrap_or(0.0)
    }

    pub fn name(&self) -> GuardName {
        self.name
    }

    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The e-value that regression is said at, as a decimal logarithm.
    pub fn log10_threshold(&self) -> f64 {
        -self.alpha.log10()
    }

    /// The guard's e, the largest of its strata's times their part, as a decimal logarithm.
    pub fn log10_e(&self) -> f64 {
        self.log(self.services.len()) / std::f64::consts::LN_10
    }

    /// The largest of its services' e, before it is divided among them.
    pub fn log10_largest(&self) -> f64 {
        self.largest() / std::f64::consts::LN_10
    }

    /// The strata's e as decimal logarithms, of several services the largest; none for a limit.
    pub fn log10_strata(&self) -> Option<Strata> {
        let strata = self.services.iter().filter_map(Evidence::strata);
        let largest = strata.reduce(|a, b| Strata {
            drawn: a.drawn.max(b.drawn),
            chosen: a.chosen.max(b.chosen),
            inherited: a.inherited.max(b.inherited),
        })?;
        let decimal = |log: f64| log / std::f64::consts::LN_10;
        Some(Strata {
            drawn: decimal(largest.drawn),
            chosen: decimal(largest.chosen),
            inherited: decimal(largest.inherited),
        })
    }

    /// Seconds of the step in which there was something to compare, good or bad.
    pub fn comparable(&self) -> u64 {
        self.comparable
    }
}

impl Guards {
    /// What a guard tolerates in a step that may have a `tolerate` of its own.
    fn tolerate(&self, name: GuardName, step: Option<f64>) -> f64 {
        let own = match name {
            GuardName::Errors => self.errors,
            GuardName::Latency => self.latency,
            GuardName::ErrorRate | GuardName::LatencyP99 | GuardName::Fallback => None,
        };
        step.or(own.map(|guard| guard.tolerate)).unwrap_or(1.0)
    }
}
