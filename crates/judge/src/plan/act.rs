//! What does a person's action come to?
//!
//! Owns what the table of states leaves open: approvals that no one steps around, and the end of a plan's steps. Never: who
//! may act, reasons, and what other documents forbid.

use super::decide::{Decision, decide, gates};
use super::seen::{Observed, Progress};
use super::table::{Action, Rule, State, rule};
use super::waiting::Waiting;
use super::written::{Plan, Step};

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Done {
    /// The run goes on from here.
    Progress(Progress),
    /// It was done before; the first outcome is told again.
    Again,
}

/// Why an action is refused: one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// What an action makes of a run.
pub fn act(plan: &Plan, progress: &Progress, action: Action, observed: &Observed) -> Result<Done, Refusal> {
    let next = match rule(progress.state, action) {
        Rule::Refused(why) => return Err(Refusal(why.into())),
        Rule::Again => return Ok(Done::Again),
        Rule::To(state) => return to(plan, progress, (action, state), observed).map(Done::Progress),
        Rule::NextStep => next_step(plan, progress, observed)?,
        Rule::Approved => approved(plan, progress, observed)?,
        Rule::Promoted if progress.promoted => return Err(Refusal("the plan was promoted already".into())),
        Rule::Promoted => Progress { promoted: true, ..progress.clone() },
    };
    Ok(Done::Progress(next))
}

impl Progress {
    /// The same run with its next step begun.
    pub fn begin(&self) -> Self {
        let begun = self.begun + 1;
        Self { begun, held: Default::default(), approved: None, ..self.clone() }
    }

    /// The same run in another state, where its time begins again.
    pub fn enter(&self, state: State) -> Self {
        Self { state, held: Default::default(), approved: None, ..self.clone() }
    }
}

fn to(
    plan: &Plan,
    progress: &Progress,
    (action, state): (Action, State),
    observed: &Observed,
) -> Result<Progress, Refusal> {
    match action {
        Action::Start => Ok(Progress { state, ..Progress::draft() }),
        Action::Reject => {
            waits_for_approval(plan, progress, observed)?;
            Ok(progress.enter(state))
        }
        Action::Complete => {
            let ahead = plan.steps.iter().enumerate().skip(progress.begun);
            let mut unapproved =
                ahead.filter(|(step, next)| next.approval && progress.approved != Some(*step));
            match unapproved.next() {
                Some((step, _)) => Err(past_approval(step)),
                None => Ok(Progress { begun: plan.steps.len(), ..progress.enter(state) }),
            }
        }
        _ => Ok(progress.enter(state)),
    }
}

fn next_step(plan: &Plan, progress: &Progress, observed: &Observed) -> Result<Progress, Refusal> {
    let Some(next) = plan.steps.get(progress.begun) else {
        return match progress.step(plan).is_some_and(Step::is_of_all) {
            true => Ok(progress.enter(State::Completed)),
            false => {
                Err(Refusal("this is the last step, and its share is below 100: complete the plan".into()))
            }
        };
    };
    match gates(next, progress, observed).into_iter().next() {
        None => Ok(progress.begin()),
        Some(Waiting::Approval { step }) => Err(past_approval(step)),
        Some(gate) => Err(Refusal(format!("step {} waits for {gate}", progress.begun))),
    }
}

fn approved(plan: &Plan, progress: &Progress, observed: &Observed) -> Result<Progress, Refusal> {
    waits_for_approval(plan, progress, observed)?;
    let approved = Progress { approved: Some(progress.begun), ..progress.clone() };
    Ok(match decide(plan, &approved, observed) {
        Decision::Begin(_) => approved.begin(),
        _ => approved,
    })
}

fn waits_for_approval(plan: &Plan, progress: &Progress, observed: &Observed) -> Result<(), Refusal> {
    match decide(plan, progress, observed) {
        Decision::Wait(waiting) if waiting.iter().any(|one| matches!(one, Waiting::Approval { .. })) => {
            Ok(())
        }
        _ => Err(Refusal("the plan does not wait for approval".into())),
    }
}

fn past_approval(step: usize) -> Refusal {
    Refusal(format!("step {step} has to be approved first"))
}
