//! What is kept of a plan's run.
//!
//! Owns: the shapes of the records and their names. The record itself changes with transitions alone, so that its revision
//! is what an ETag may be made of; held time and what is seen at the moment stand beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use graygate_judge::plan::{Observed, Progress, State, Waiting};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Runs of plans, by plan.
pub const PLANS: &str = "plans/";
/// What is seen at the moment of a run, by plan.
pub const SIGHTS: &str = "plans-seen/";
/// Transitions, by plan, run and number.
pub const RUNS: &str = "runs/";
/// What a rollback came to at first, by plan.
pub const OUTCOMES: &str = "plans-outcome/";
/// Which plan moves a service.
pub const HOLDERS: &str = "plan-of/";

/// A plan's newest run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Kept {
    pub plan: String,
    /// From 1; 0 before the first start.
    pub run: u64,
    /// Counts transitions of all runs; two records of one plan never have the same.
    pub moves: u64,
    /// What errors' clients are hashed with; random, and kept with the run.
    pub salt: String,
    pub progress: Progress,
    /// The running copy, as it was written.
    pub text: String,
    pub is_json: bool,
    /// Who wrote it, and who started it: neither approves.
    pub written_by: Option<String>,
    pub started_by: String,
    /// The plan's rules by document, as they are, or are to be, written.
    pub written: BTreeMap<String, String>,
    /// What the words stood for when it was looked at last, by service.
    pub stands_for: BTreeMap<String, StandsFor>,
    /// What `promote` wrote, by service.
    pub promoted: BTreeMap<String, Promoted>,
    /// Guards that a person went on in spite of, and the transition with which their evidence starts at 1 again.
    pub again: BTreeMap<String, u64>,
    pub last: Option<Transition>,
}

/// The labels behind the words of a service.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StandsFor {
    pub release: Option<String>,
    pub version: Option<String>,
}

/// An alias that `promote` changed. Without one, instances were relabelled by hand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Promoted {
    /// What `release` stood for.
    pub before: Option<String>,
    /// What it stands for since; none where instances were relabelled.
    pub after: Option<String>,
}

/// Something that happened to a run, once.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transition {
    /// The same wherever it is told.
    pub id: String,
    pub run: u64,
    pub number: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// A state, or `PROMOTED`.
    pub to: String,
    pub state: State,
    /// Steps that have begun.
    pub begun: usize,
    pub share: f64,
    /// Who.
    pub by: String,
    pub by_controller: bool,
    /// What was done, such as `start`.
    pub action: String,
    pub why: String,
    pub reason: Option<String>,
}

/// A guard as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct GuardShown {
    /// What speaks against the version, as a decimal logarithm; null of a measure.
    pub log10_e: Option<f64>,
    /// From there on it is a regression; null of a measure.
    pub log10_threshold: Option<f64>,
    /// `none` or `regression`.
    pub verdict: String,
    /// What a measure said last; null where it said nothing, and of the other guards.
    pub last: Option<f64>,
    /// Whether it had anything to compare in this step.
    pub had_evidence: bool,
}

/// What the leader sees of a run at the moment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sight {
    pub run: u64,
    /// The transition it was seen after.
    pub moves: u64,
    pub held: Duration,
    pub observed: Option<Observed>,
    pub waiting: Vec<Waiting>,
    /// What is odd about the figures.
    #[serde(default)]
    pub why: Vec<String>,
    pub guards: BTreeMap<String, GuardShown>,
    /// Requests of the run.
    pub gray: u64,
    pub release: u64,
    /// Requests that were still `release` in the last hour although every user was to have the version.
    pub left: u64,
    /// What people were told of already: a wait for one of them, a hold that is long.
    #[serde(default)]
    pub told: Vec<String>,
    /// Since when it waits for the same.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl Kept {
    /// Of a plan that never ran.
    pub fn draft(plan: &str) -> Kept {
        Kept {
            plan: plan.to_owned(),
            run: 0,
            moves: 0,
            salt: String::new(),
            progress: Progress::draft(),
            text: String::new(),
            is_json: false,
            written_by: None,
            started_by: String::new(),
            written: BTreeMap::new(),
            stands_for: BTreeMap::new(),
            promoted: BTreeMap::new(),
            again: BTreeMap::new(),
            last: None,
        }
    }

    /// Whether it holds its services: no other moves them, and its document stays.
    pub fn runs(&self) -> bool {
        match self.progress.state {
            State::Active | State::Paused => true,
            State::Completed => !self.progress.promoted,
            State::Draft | State::Rollback => false,
        }
    }

    /// Whether it has a running copy that counts for what may still be done.
    pub fn has_run(&self) -> bool {
        self.progress.state != State::Draft
    }

    /// What was held by now, where it was seen after the newest transition.
    pub fn at(&self, sight: Option<&Sight>) -> Progress {
        let held = sight.filter(|sight| sight.is_of(self)).map_or(self.progress.held, |sight| sight.held);
        Progress { held, ..self.progress.clone() }
    }
}

impl Sight {
    pub fn is_of(&self, kept: &Kept) -> bool {
        self.run == kept.run && self.moves == kept.moves
    }
}

pub fn plan_record(name: &str) -> String {
    format!("{PLANS}{name}")
}

pub fn sight_record(name: &str) -> String {
    format!("{SIGHTS}{name}")
}

pub fn outcome_record(name: &str) -> String {
    format!("{OUTCOMES}{name}")
}

pub fn holder_record(service: &str) -> String {
    format!("{HOLDERS}{service}")
}

pub fn run_prefix(name: &str) -> String {
    format!("{RUNS}{name}/")
}

pub fn transition_record(name: &str, run: u64, number: u64) -> String {
    format!("{RUNS}{name}/{run:06}/{number:08}")
}
