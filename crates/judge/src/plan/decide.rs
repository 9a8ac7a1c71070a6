//! What does a plan do next, by itself?
//!
//! Owns the order in which things count: a regression before everything, then a hand's change, then what an advance asks
//! for. Guards are looked at in every state in which the version has an audience. Asked again with the same input the answer
//! is the same, so the process that acts on it may be killed at any time. Never: anything that widens an audience without proof,
//! unless it was written that it should.

use std::time::Duration;

use super::seen::{Disturbance, Observed, Progress, Window};
use super::table::State;
use super::waiting::Waiting;
use super::written::{OnRegression, OnUnknown, Plan, Promotion, Step};

/// Proxies that take longer than this to follow a step are named.
const FLEET_PATIENCE: Duration = Duration::from_secs(30);

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The step with this number begins, from 0.
    Begin(usize),
    Complete,
    RollBack(Because),
    Pause(Because),
    Promote,
    /// Nothing, for these reasons; without any there is nothing left to do.
    Wait(Vec<Waiting>),
}

/// Why a plan left its course.
#[derive(Clone, Debug, PartialEq)]
pub enum Because {
    Regression(Vec<String>),
    /// A regression, and no release to roll back to.
    RegressionWithoutRelease(Vec<String>),
    Disturbed(Disturbance),
}

/// What a plan does next.
pub fn decide(plan: &Plan, progress: &Progress, observed: &Observed) -> Decision {
    if let Some(decision) = regression(plan, progress, observed) {
        return decision;
    }
    match progress.state {
        State::Draft | State::Rollback => Decision::Wait(Vec::new()),
        State::Active => match &observed.disturbed {
            Some(disturbance) => Decision::Pause(Because::Disturbed(disturbance.clone())),
            None => go_on(plan, progress, observed),
        },
        State::Paused => Decision::Wait(disturbed(observed).collect()),
        State::Completed => watch(plan, progress, observed),
    }
}

/// What follows from a guard, where one says regression.
fn regression(plan: &Plan, progress: &Progress, observed: &Observed) -> Option<Decision> {
    let guards = &observed.regressions;
    let guarded = match progress.state {
        State::Active | State::Paused => true,
        State::Completed => !progress.promoted && progress.held < plan.watch,
        State::Draft | State::Rollback => false,
    };
    if guards.is_empty() || !guarded {
        return None;
    }
    let because = match (plan.on_regression, observed.instances.release) {
        (OnRegression::Rollback, true) => {
            return Some(Decision::RollBack(Because::Regression(guards.clone())));
        }
        (OnRegression::Rollback, false) => Because::RegressionWithoutRelease(guards.clone()),
        (OnRegression::Pause, _) => Because::Regression(guards.clone()),
    };
    Some(match progress.state {
        State::Active => Decision::Pause(because),
        _ => Decision::Wait(vec![Waiting::Regression(guards.clone())]),
    })
}

fn go_on(plan: &Plan, progress: &Progress, observed: &Observed) -> Decision {
    if let Some(step) = progress.step(plan) {
        let missing = missing(plan, step, progress, observed);
        if !missing.is_empty() {
            return Decision::Wait(missing);
        }
    }
    let Some(next) = plan.steps.get(progress.begun) else {
        let all = progress.step(plan).is_some_and(Step::is_of_all);
        return if all { Decision::Complete } else { Decision::Wait(vec![Waiting::Complete]) };
    };
    let gates = gates(next, progress, observed);
    if gates.is_empty() { Decision::Begin(progress.begun) } else { Decision::Wait(gates) }
}

/// What the step at hand still lacks, in the order in which it is asked for.
fn missing(plan: &Plan, step: &Step, progress: &Progress, observed: &Observed) -> Vec<Waiting> {
    let mut missing = Vec::new();
    if !observed.instances.gray {
        missing.push(Waiting::NoGrayInstance);
    }
    if !observed.behind.is_empty() {
        let slow = observed.behind_for > FLEET_PATIENCE;
        let named = if slow { observed.behind.clone() } else { Vec::new() };
        missing.push(Waiting::Fleet { behind: observed.behind.len(), named });
    }
    if !observed.unreadable.is_empty() {
        missing.push(Waiting::Unreadable(observed.unreadable.clone()));
    }
    if progress.held < step.hold {
        missing.push(Waiting::Hold { left: step.hold - progress.held });
    }
    if plan.on_unknown == OnUnknown::Hold {
        let (seen, wanted) = (observed.gray_requests, step.wanted_requests());
        if seen < wanted {
            missing.push(Waiting::Requests { seen, wanted });
        }
        if !observed.without_evidence.is_empty() {
            missing.push(Waiting::Evidence(observed.without_evidence.clone()));
        }
    }
    missing
}

/// What the next step asks for before it begins.
pub(super) fn gates(next: &Step, progress: &Progress, observed: &Observed) -> Vec<Waiting> {
    let mut gates = Vec::new();
    if next.approval && progress.approved != Some(progress.begun) {
        gates.push(Waiting::Approval { step: progress.begun });
    }
    if let Window::Closed(opens) = &observed.window {
        gates.push(Waiting::Window(opens.clone()));
    }
    if !observed.lists.is_empty() {
        gates.push(Waiting::Lists(observed.lists.clone()));
    }
    gates
}

fn watch(plan: &Plan, progress: &Progress, observed: &Observed) -> Decision {
    if progress.promoted {
        return Decision::Wait(Vec::new());
    }
    let mut waiting: Vec<_> = disturbed(observed).collect();
    if progress.held < plan.watch {
        waiting.push(Waiting::Watch { left: plan.watch - progress.held });
    } else if plan.promote == Promotion::Manual {
        waiting.push(Waiting::Promote);
    }
    // What the guards still say at the end of the watch counts, although they no longer roll anything back.
    if waiting.is_empty() && !observed.regressions.is_empty() {
        waiting.push(Waiting::Regression(observed.regressions.clone()));
    }
    if waiting.is_empty() { Decision::Promote } else { Decision::Wait(waiting) }
}

fn disturbed(observed: &Observed) -> impl Iterator<Item = Waiting> {
    observed.disturbed.iter().map(|disturbance| {
        Waiting::Person(match disturbance {
            Disturbance::Rules(rules) => format!("someone changed {}", rules.join(", ")),
            Disturbance::DocumentDeleted => "the plan's document was deleted".into(),
            Disturbance::Alias(alias) => format!("the alias `{alias}` was changed"),
        })
    })
}
