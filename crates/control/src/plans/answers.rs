//! What the API answers of plans.
//!
//! Owns: shapes and their words, made of what is kept and seen. Never: a store.

use std::collections::BTreeMap;

use graygate_judge::plan::{Progress, State};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::ToSchema;

use super::record::{GuardShown, Kept, Sight, Transition};
use super::spec::{Spec, percent};

/// A step as it is written.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct StepShown {
    pub name: Option<String>,
    /// In percent; null where chosen people alone are added.
    pub share: Option<f64>,
    pub has_who: bool,
    pub hold_seconds: u64,
    pub approval: bool,
    pub has_begun: bool,
}

/// The copy of a run, which counts until the run ends.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct RunningShown {
    pub text: String,
    pub hash: String,
}

/// A plan, its run, and what it waits for.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct PlanShown {
    pub name: String,
    pub title: Option<String>,
    /// The document as it stands; null where it was deleted during a run.
    pub text: Option<String>,
    /// `DRAFT`, `ACTIVE`, `PAUSED`, `COMPLETED` or `ROLLBACK`.
    pub state: String,
    /// 0 before the first start.
    pub run: u64,
    /// From 0.
    pub step: usize,
    /// How many of `steps` have begun.
    pub steps_begun: usize,
    /// Of every user who can take part, in percent.
    pub share: f64,
    pub waiting_for: Vec<String>,
    /// Why it is where it is.
    pub why: Option<String>,
    /// Null where no run has begun, or the last one ended.
    pub running: Option<RunningShown>,
    /// Whether the document differs from the running copy.
    pub edited: bool,
    pub guards: BTreeMap<String, GuardShown>,
    /// Of the text that counts: the running copy's, else the document's.
    pub hash: String,
    pub etag: String,
    pub services: Vec<String>,
    pub version: Option<String>,
    pub steps: Vec<StepShown>,
    /// How much of the step's hold, or of the watch, has passed.
    pub held_seconds: u64,
    /// Gray and release requests of the run so far.
    pub requests: RequestsShown,
    pub promoted: bool,
    /// RFC 3339; when it came into its state.
    pub since: Option<String>,
    /// What is worth knowing of what was just done: rules that will be hidden, differences that were taken back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RequestsShown {
    pub gray: u64,
    pub release: u64,
}

/// What a rollback came to at first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RollbackShown {
    /// Proxies that said that they run without the plan's rules.
    pub confirmed: usize,
    /// Proxies there are.
    pub of: usize,
    pub stragglers: Vec<String>,
    /// Proxies that are gone from the fleet and cannot be asked.
    pub lost: Vec<String>,
    pub warnings: Vec<String>,
}

/// A run and what happened in it.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct RunShown {
    pub run: u64,
    pub started: String,
    pub started_by: String,
    /// Null while it goes on.
    pub ended: Option<String>,
    pub state: String,
    pub transitions: Vec<TransitionShown>,
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct TransitionShown {
    pub id: String,
    pub time: String,
    /// A state, or `PROMOTED`.
    pub to: String,
    pub state: String,
    /// From 0.
    pub step: usize,
    pub share: f64,
    pub by: String,
    pub action: String,
    pub why: String,
    pub reason: Option<String>,
}

/// The step at hand, from 0.
pub fn begun_step(begun: usize) -> usize {
    begun.saturating_sub(1)
}

impl Transition {
    pub fn shown(&self) -> TransitionShown {
        TransitionShown {
            id: self.id.clone(),
            time: rfc3339(self.time),
            to: self.to.clone(),
            state: self.state.as_str().to_owned(),
            step: begun_step(self.begun),
            share: self.share,
            by: self.by.clone(),
            action: self.action.clone(),
            why: self.why.clone(),
            reason: self.reason.clone(),
        }
    }
}

impl RunShown {
    /// Of the transitions of one run, in their order.
    pub fn of(run: u64, transitions: &[Transition]) -> RunShown {
        let (first, last) = (transitions.first(), transitions.last());
        let has_ended = last.is_some_and(|last| last.state == State::Rollback || last.to == "PROMOTED");
        RunShown {
            run,
            started: first.map(|first| rfc3339(first.time)).unwrap_or_default(),
            started_by: first.map(|first| first.by.clone()).unwrap_or_default(),
            ended: last.filter(|_| has_ended).map(|last| rfc3339(last.time)),
            state: last.map(|last| last.state.as_str().to_owned()).unwrap_or_default(),
            transitions: transitions.iter().map(Transition::shown).collect(),
        }
    }
}

/// What a plan is shown by.
pub struct Shown<'a> {
    pub name: &'a str,
    /// The document, where there is one.
    pub text: Option<&'a str>,
    pub kept: &'a Kept,
    pub sight: Option<&'a Sight>,
    /// What counts: the running copy, else the document; none where that cannot be read.
    pub spec: Option<&'a Spec>,
    pub etag: String,
}

impl Shown<'_> {
    pub fn plan(self) -> PlanShown {
        let Shown { name, text, kept, sight, spec, etag } = self;
        let sight = sight.filter(|sight| sight.is_of(kept));
        let progress = kept.at(sight);
        let has_run = kept.runs();
        let counts = if has_run { Some(kept.text.as_str()) } else { text };
        let mut why: Vec<String> =
            kept.last.iter().filter(|_| kept.has_run()).map(|last| last.why.clone()).collect();
        why.extend(sight.into_iter().flat_map(|sight| sight.why.clone()));
        why.retain(|why| !why.is_empty());
        PlanShown {
            name: name.to_owned(),
            title: spec.and_then(|spec| spec.plan.title.clone()),
            text: text.map(str::to_owned),
            state: progress.state.as_str().to_owned(),
            run: kept.run,
            step: begun_step(progress.begun),
            steps_begun: progress.begun,
            share: spec.map_or(0.0, |spec| share(spec, &progress)),
            waiting_for: sight
                .map(|sight| sight.waiting.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            why: (!why.is_empty()).then(|| why.join("; ")),
            running: has_run
                .then(|| RunningShown { text: kept.text.clone(), hash: super::spec::hash(&kept.text) }),
            edited: has_run && text != Some(kept.text.as_str()),
            guards: sight.map(|sight| sight.guards.clone()).unwrap_or_default(),
            hash: super::spec::hash(counts.unwrap_or_default()),
            etag,
            services: spec.map(|spec| spec.services.clone()).unwrap_or_default(),
            version: spec.filter(|spec| !spec.is_of_values()).map(|spec| spec.version.clone()),
            steps: spec.map(|spec| steps(spec, &progress)).unwrap_or_default(),
            held_seconds: progress.held.as_secs(),
            requests: sight
                .map(|sight| RequestsShown { gray: sight.gray, release: sight.release })
                .unwrap_or_default(),
            promoted: progress.promoted,
            since: kept.last.as_ref().map(|last| rfc3339(last.time)),
            notes: Vec::new(),
        }
    }
}

/// What share of every user gets the version, in percent, chosen people aside.
pub fn share(spec: &Spec, progress: &Progress) -> f64 {
    match progress.state {
        State::Draft | State::Rollback => 0.0,
        State::Completed => 100.0,
        State::Active | State::Paused => spec.share(progress.begun).map_or(0.0, percent),
    }
}

fn steps(spec: &Spec, progress: &Progress) -> Vec<StepShown> {
    let shown = spec.plan.steps.iter().enumerate().map(|(number, step)| StepShown {
        name: step.name.clone(),
        share: step.share.map(percent),
        has_who: step.who.is_some(),
        hold_seconds: step.hold.as_secs(),
        approval: step.approval,
        has_begun: number < progress.begun,
    });
    shown.collect()
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}
