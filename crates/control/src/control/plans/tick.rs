//! What the leader does with a plan, once a second.
//!
//! Owns: held time, what is observed of a run, and that what the judge's table says comes next is written, or what is
//! missing is told. Asked again with the same it writes nothing more, so it may be killed at any time. Never: evidence
//! itself; figures come in. Start at [`Control::tick_plan`].

use std::collections::BTreeMap;
use std::time::Duration;

use graygate_judge::plan::{Because, Decision, Disturbance, Observed, Progress, State, Waiting, decide};

use super::act::Wish;
use super::read::PlanRead;
use super::write::{Move, controller, event_of, subject};
use crate::control::ActionAsked;
use crate::control::plane::Control;
use crate::error::{Error, Result};
use crate::notices::{Event, Notice};
use crate::plans::{GuardShown, Kept, Sight, Spec, plan_record, sight_record};
use crate::state::{Slot, StateError, Transaction, to_json};
use graygate_judge::plan::Action;

/// What was held is kept at least so often.
const KEEP_HELD: Duration = Duration::from_secs(5);
/// More than this between two looks was not held: no one looked.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// A plan that has not gone on for so long is told of.
const LONG_HOLD: time::Duration = time::Duration::minutes(10);

/// What the leader learned of a plan since the last look.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The run, and its transition, that they are of.
    pub run: u64,
    pub moves: u64,
    pub regressions: Vec<String>,
    pub without_evidence: Vec<String>,
    /// Gray requests in this step.
    pub step_requests: u64,
    pub gray: u64,
    pub release: u64,
    pub left: u64,
    pub guards: BTreeMap<String, GuardShown>,
    pub why: Vec<String>,
    pub behind: Vec<String>,
    pub lost: Vec<String>,
    pub unreadable: Vec<String>,
    /// Whether an instance of each takes requests, as proxies see it; none where none was heard.
    pub instances: Option<graygate_judge::plan::Instances>,
}

/// What the leader remembers of a plan between two looks.
#[derive(Clone, Debug, Default)]
pub struct Memo {
    run: u64,
    moves: u64,
    held: Duration,
    /// Since when, by held clock, proxies are behind.
    behind_for: Duration,
    since_kept: Duration,
    kept_kinds: Vec<String>,
}

/// What came of a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ticked {
    Nothing,
    Moved,
    RolledBack,
}

impl Control {
    /// Looks at a plan once, `elapsed` after the last time by a clock that does not jump.
    pub(in crate::control) async fn tick_plan(
        &self,
        name: &str,
        (memo, elapsed): (&mut Memo, Duration),
        figures: &Figures,
    ) -> Result<Ticked> {
        let read = match self.read_plan(name).await {
            Ok(read) if read.kept.runs() => read,
            Ok(_) | Err(Error::NotFound(_)) => return Ok(Ticked::Nothing),
            Err(error) => return Err(error),
        };
        // A person moved it meanwhile: these figures are of the step, or of the chance, before.
        if (figures.run, figures.moves) != (read.kept.run, read.kept.moves) {
            return Ok(Ticked::Nothing);
        }
        let spec = read.running()?;
        memo.pass(&read, elapsed.min(LONGEST_LOOK), figures);
        let progress = Progress { held: memo.held, ..read.kept.progress.clone() };
        let observed = self.observe_plan(&spec, &read.kept, (memo, figures)).await?;
        let decision = decide(&spec.steps, &progress, &observed);
        let written = match decision {
            Decision::Wait(waiting) => {
                self.keep_sight(&spec, &read, (memo, figures), (observed, waiting)).await?;
                return Ok(Ticked::Nothing);
            }
            other => {
                let seen = observed.clone();
                match self.carry_out_decision(&spec, &read, (other, progress, observed), figures).await {
                    // A person has to say more than a plan can by itself.
                    Err(Error::Conflict(why)) => {
                        let waiting = vec![Waiting::Person(why)];
                        self.keep_sight(&spec, &read, (memo, figures), (seen, waiting)).await?;
                        return Ok(Ticked::Nothing);
                    }
                    written => written,
                }
            }
        };
        match written {
            Ok(Some(kept)) if kept.progress.state == State::Rollback => Ok(Ticked::RolledBack),
            Ok(Some(_)) => Ok(Ticked::Moved),
            Ok(None) => Ok(Ticked::Nothing),
            // Another process wrote meanwhile, or leads: the next look decides again.
            Err(Error::PreconditionFailed { .. }) => Ok(Ticked::Nothing),
            Err(error) => Err(error),
        }
    }

    async fn observe_plan(
        &self,
        spec: &Spec,
        kept: &Kept,
        (memo, figures): (&Memo, &Figures),
    ) -> Result<Observed> {
        let seen = Observed {
            regressions: figures.regressions.clone(),
            behind: figures.behind.clone(),
            behind_for: memo.behind_for,
            unreadable: figures.unreadable.clone(),
            gray_requests: figures.step_requests,
            without_evidence: figures.without_evidence.clone(),
            ..self.observed(spec, kept, None)
        };
        let documented = seen.instances;
        let instances = figures.instances.map_or(documented, |seen| graygate_judge::plan::Instances {
            gray: documented.gray && seen.gray,
            release: documented.release && seen.release,
        });
        let disturbed = self.disturbance(spec, kept).await?;
        Ok(Observed { instances, disturbed, ..seen })
    }

    /// Writes what comes next; none where nothing can be written for now.
    async fn carry_out_decision(
        &self,
        spec: &Spec,
        read: &PlanRead,
        (decision, progress, observed): (Decision, Progress, Observed),
        figures: &Figures,
    ) -> Result<Option<Kept>> {
        let figured = figures.why.join("; ");
        let change = match decision {
            Decision::Wait(_) => return Ok(None),
            Decision::RollBack(because) => {
                let why = told(&because, &figured);
                let lead = self.leadership.term();
                self.planned_rollback(read, (&why, None), lead).await?.0
            }
            Decision::Promote => {
                let asked = ActionAsked::default();
                let wish = Wish { action: Action::Promote, asked: &asked, if_match: None, approved_by: None };
                match self.planned_promotion(read, &wish).await {
                    Ok((change, _)) => change,
                    Err(error) => return Err(error),
                }
            }
            Decision::Pause(because) => {
                let next = progress.enter(State::Paused);
                let why = told(&because, &figured);
                self.own_move(spec, read, ("pause", next, why), BTreeMap::new())
            }
            Decision::Begin(step) => {
                let next = progress.begin();
                let rules = self.rules_toward(spec, &read.kept, &next).await?;
                if !rules.changed.is_empty() {
                    let because = Because::Disturbed(Disturbance::Rules(rules.changed));
                    let paused = progress.enter(State::Paused);
                    self.own_move(spec, read, ("pause", paused, told(&because, "")), BTreeMap::new())
                } else {
                    let why = passed(spec, step, &observed);
                    let change = self.own_move(spec, read, ("step", next, why), rules.wanted);
                    Move { documents: rules.writes, ..change }
                }
            }
            Decision::Complete => {
                let next = progress.enter(State::Completed);
                let rules = self.rules_toward(spec, &read.kept, &next).await?;
                let why = "every user has the version, and nothing speaks against it".to_owned();
                if !rules.changed.is_empty() {
                    let because = Because::Disturbed(Disturbance::Rules(rules.changed));
                    let paused = progress.enter(State::Paused);
                    self.own_move(spec, read, ("pause", paused, told(&because, "")), BTreeMap::new())
                } else {
                    let change = self.own_move(spec, read, ("complete", next, why), rules.wanted);
                    Move { documents: rules.writes, ..change }
                }
            }
        };
        let change = Move { lead: self.leadership.term(), ..change };
        Ok(Some(self.move_plan(&controller(), change).await?))
    }

    fn own_move(
        &self,
        spec: &Spec,
        read: &PlanRead,
        (action, progress, why): (&'static str, Progress, String),
        written: BTreeMap<String, String>,
    ) -> Move {
        let state = progress.state;
        let pauses = action == "pause";
        let written = if pauses { read.kept.written.clone() } else { written };
        Move {
            spec: spec.clone(),
            revision: read.revision,
            next: Kept { progress, written, ..read.kept.clone() },
            action,
            to: state.as_str().to_owned(),
            why,
            reason: None,
            approved_by: None,
            event: event_of(state),
            documents: Vec::new(),
            records: Vec::new(),
            lead: None,
        }
    }

    /// Keeps what is seen, where it has changed or was kept some time ago, with the notices that belong to it.
    async fn keep_sight(
        &self,
        spec: &Spec,
        read: &PlanRead,
        (memo, figures): (&mut Memo, &Figures),
        (observed, waiting): (Observed, Vec<Waiting>),
    ) -> Result<()> {
        let kinds: Vec<String> = waiting.iter().map(kind).collect();
        let is_due = memo.since_kept >= KEEP_HELD || kinds != memo.kept_kinds || read.sight.is_none();
        if !is_due {
            return Ok(());
        }
        let now = self.clock.now();
        let before = read.sight.as_ref().filter(|sight| sight.is_of(&read.kept));
        let stays = before.filter(|before| before.waiting.iter().map(kind).collect::<Vec<_>>() == kinds);
        let mut sight = Sight {
            run: read.kept.run,
            moves: read.kept.moves,
            held: memo.held,
            observed: Some(observed),
            why: figures.why.clone(),
            guards: figures.guards.clone(),
            gray: figures.gray,
            release: figures.release,
            left: figures.left,
            told: before.map(|before| before.told.clone()).unwrap_or_default(),
            since: stays.map_or(now, |stays| stays.since),
            waiting,
        };
        sight.why.extend(figures.lost.iter().map(|name| format!("the proxy `{name}` is lost")));
        let mut transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
        for (mark, event) in worth_telling(&sight, now - sight.since >= LONG_HOLD) {
            let subject = subject(
                spec,
                sight.run,
                read.kept.progress.begun,
                read.kept.progress.state.as_str().to_owned(),
            );
            let why: Vec<String> = sight.waiting.iter().map(ToString::to_string).collect();
            Notice::of_plan(&subject, event, &why.join("; "), now).queue(&mut transaction)?;
            sight.told.push(mark);
        }
        let record = sight_record(&spec.name);
        let known = self.state.get(&Slot::record(&record)).await?.map_or(0, |stored| stored.revision);
        transaction.expect(Slot::record(plan_record(&spec.name)), read.revision);
        transaction.expect(Slot::record(&record), known);
        transaction.put(Slot::record(&record), to_json(&record, &sight)?);
        match self.state.commit(transaction).await {
            Ok(_) => {
                self.plans.see(&spec.name, sight);
                memo.since_kept = Duration::ZERO;
                memo.kept_kinds = kinds;
                Ok(())
            }
            Err(StateError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Memo {
    /// Time went by. After a transition, or with another leader, it goes on from what was kept.
    fn pass(&mut self, read: &PlanRead, elapsed: Duration, figures: &Figures) {
        let kept = &read.kept;
        if (self.run, self.moves) != (kept.run, kept.moves) {
            let held = kept.at(read.sight.as_ref()).held;
            *self = Memo { run: kept.run, moves: kept.moves, held, ..Memo::default() };
        } else {
            let mut progress = Progress { held: self.held, ..kept.progress.clone() };
            progress.hold(elapsed);
            self.held = progress.held;
        }
        self.since_kept += elapsed;
        self.behind_for = if figures.behind.is_empty() { Duration::ZERO } else { self.behind_for + elapsed };
    }
}

/// What is waited for, without how much of it is left.
fn kind(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Hold { .. } => "hold".to_owned(),
        Waiting::Watch { .. } => "watch".to_owned(),
        Waiting::Requests { .. } => "requests".to_owned(),
        other => other.to_string(),
    }
}

/// What people are told of beside transitions, and the mark that says that they were.
fn worth_telling(sight: &Sight, is_long: bool) -> Vec<(String, Event)> {
    let is_person = |waiting: &&Waiting| {
        matches!(
            waiting,
            Waiting::Approval { .. }
                | Waiting::Complete
                | Waiting::Promote
                | Waiting::Regression(_)
                | Waiting::Person(_)
        )
    };
    let is_time = |waiting: &Waiting| {
        matches!(waiting, Waiting::Hold { .. } | Waiting::Watch { .. } | Waiting::Window(_))
    };
    let mut told = Vec::new();
    if let Some(waiting) = sight.waiting.iter().find(is_person) {
        told.push((format!("{} {}", sight.moves, kind(waiting)), Event::Waiting));
    } else if is_long && sight.waiting.iter().any(|waiting| !is_time(waiting)) {
        told.push((format!("{} held", sight.moves), Event::Held));
    }
    told.retain(|(mark, _)| !sight.told.contains(mark));
    told
}

fn told(because: &Because, figured: &str) -> String {
    match because {
        Because::Regression(_) if !figured.is_empty() => figured.to_owned(),
        Because::Regression(guards) => format!("`{}` says regression", guards.join("`, `")),
        Because::RegressionWithoutRelease(guards) => format!(
            "`{}` says regression, and `release` has no instance that takes requests{}{figured}",
            guards.join("`, `"),
            if figured.is_empty() { "" } else { ": " }
        ),
        Because::Disturbed(Disturbance::Rules(rules)) => format!("someone changed `{}`", rules.join("`, `")),
        Because::Disturbed(Disturbance::DocumentDeleted) => "the plan's document was deleted".to_owned(),
        Because::Disturbed(Disturbance::Alias(alias)) => {
            format!("the alias `{alias}` stands for something else now")
        }
    }
}

/// Why a step begins.
fn passed(spec: &Spec, step: usize, observed: &Observed) -> String {
    let name = spec.plan.steps.get(step).and_then(|step| step.name.clone());
    let name = name.map(|name| format!(" (`{name}`)")).unwrap_or_default();
    match step {
        0 => format!("step 0{name} begins"),
        step => format!(
            "step {step}{name} begins: {} gray requests in the one before, and nothing speaks against it",
            observed.gray_requests
        ),
    }
}
