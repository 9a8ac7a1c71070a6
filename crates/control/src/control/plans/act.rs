//! What a person does with a plan.
//!
//! Owns: the order of what may be in the way (who, whether it is there, what has to be sent along, its state, whether it
//! changed), second persons, and that of actions that race one wins. Never: the table of states, which is the judge's.

use graygate_judge::plan::{Action, Done, Observed, Progress, Rule, State, Window, act, rule};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::documents::{all_lists, instances, missing_lists, stands_for};
use super::read::PlanRead;
use super::write::{Move, event_of};
use crate::control::change::matches_tag;
use crate::control::plane::Control;
use crate::control::proposal::{Asked, ProposalShown, Work};
use crate::error::{Error, Result};
use crate::notices::Event;
use crate::people::{Permission, Principal};
use crate::plans::{Kept, PLANS, PlanShown, RollbackShown, Spec, window};
use crate::state::{StateError, read_json, to_json};

/// How often an action is tried again that met another one.
const RACES: usize = 50;

/// What goes along with an action.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionAsked {
    #[serde(default)]
    pub reason: Option<String>,
    /// Of `promote`: although some requests are still `release`.
    #[serde(default)]
    pub others: bool,
    /// Of `promote`, where a service has no aliases: the instances were relabelled.
    #[serde(default)]
    pub relabelled: bool,
    /// Of `approve` and `reject`: of the plan as it runs.
    #[serde(default)]
    pub hash: Option<String>,
}

/// What an action came to.
#[derive(Debug)]
pub enum ActionDone {
    Moved(Box<PlanShown>),
    RolledBack {
        shown: RollbackShown,
        etag: String,
    },
    /// For a second person.
    Waiting(ProposalShown),
}

/// An action as it is asked for.
pub(super) struct Wish<'a> {
    pub action: Action,
    pub asked: &'a ActionAsked,
    pub if_match: Option<&'a str>,
    /// Who approved it, where it waited for a second person.
    pub approved_by: Option<&'a str>,
}

pub fn needs(action: Action) -> Permission {
    match action {
        Action::Approve | Action::Reject => Permission::Approve,
        _ => Permission::Move,
    }
}

/// Actions that wait for a second person where services need one.
fn may_wait(action: Action) -> bool {
    matches!(action, Action::Start | Action::Resume | Action::Advance | Action::Complete | Action::Promote)
}

impl Control {
    /// Does what someone wants with a plan.
    pub async fn act_on_plan(
        &self,
        who: &Principal,
        (name, action): (&str, Action),
        if_match: Option<&str>,
        asked: &ActionAsked,
    ) -> Result<ActionDone> {
        let wish = Wish { action, asked, if_match, approved_by: None };
        self.act(who, name, &wish).await
    }

    /// Does what waited for a second person, in the name of who asked for it.
    pub(in crate::control) async fn act_approved(
        &self,
        (who, approver): (&Principal, &str),
        (name, action): (&str, &str),
        request: &serde_json::Value,
        hash: &str,
    ) -> Result<()> {
        let action = Action::ALL.into_iter().find(|known| known.as_str() == action);
        let action = action.ok_or_else(|| Error::not_found(format!("plans/{name}")))?;
        let asked: ActionAsked = serde_json::from_value(request.get("asked").cloned().unwrap_or_default())
            .map_err(|error| Error::Internal(error.to_string()))?;
        let etag = request.get("etag").and_then(serde_json::Value::as_str).unwrap_or_default();
        let read = self.read_plan(name).await?;
        if read.etag() != etag || self.hash_of(&read, action, &asked)? != hash {
            return Err(Error::changed(format!("plans/{name}"), Some(read.etag())));
        }
        let wish = Wish { action, asked: &asked, if_match: Some(etag), approved_by: Some(approver) };
        self.act(who, name, &wish).await.map(drop)
    }

    async fn act(&self, who: &Principal, name: &str, wish: &Wish<'_>) -> Result<ActionDone> {
        who.may_somewhere(needs(wish.action))?;
        self.check_ready()?;
        for _ in 0..RACES {
            match self.try_act(who, name, wish).await {
                // Another process wrote meanwhile: what there is now decides.
                Err(Tried::Conflict) => {}
                Err(Tried::Failed(error)) => return Err(error),
                Ok(done) => return Ok(done),
            }
        }
        Err(Error::Away("others move it all the time; try again".to_owned()))
    }

    async fn try_act(
        &self,
        who: &Principal,
        name: &str,
        wish: &Wish<'_>,
    ) -> std::result::Result<ActionDone, Tried> {
        let action = wish.action;
        let read = self.read_plan(name).await?;
        who.may(needs(action), &self.touch_of(&read)).map_err(Error::from)?;
        if matches!(action, Action::Approve | Action::Reject) {
            self.check_other_person(who, &read).await?;
        }
        if action == Action::Rollback {
            return self.roll_back(who, read, wish).await;
        }
        let Some(if_match) = wish.if_match else {
            let detail = format!("send the ETag of `plans/{name}` as `If-Match`");
            return Err(Error::PreconditionRequired(detail).into());
        };
        let planned = self.planned(who, &read, wish).await;
        // What the state forbids is told before what has changed.
        let is_forbidden = matches!(&planned, Err(Error::Conflict(_)));
        let is_other = !matches_tag(if_match, &read.etag())
            || wish.asked.hash.as_ref().is_some_and(|hash| *hash != crate::plans::hash(&read.kept.text));
        if is_other && !is_forbidden {
            return Err(Error::changed(format!("plans/{name}"), Some(read.etag())).into());
        }
        let (change, notes) = planned?;
        if wish.approved_by.is_none() && may_wait(action) && self.waits_for_two(&self.touch_of(&read)) {
            return Ok(ActionDone::Waiting(self.propose_action(who, &read, wish).await?));
        }
        self.move_plan(who, change).await?;
        let mut shown = self.read_plan(name).await?.shown();
        shown.notes = notes;
        Ok(ActionDone::Moved(Box::new(shown)))
    }

    /// What an action would write, and what is worth saying of it.
    async fn planned(
        &self,
        who: &Principal,
        read: &PlanRead,
        wish: &Wish<'_>,
    ) -> Result<(Move, Vec<String>)> {
        let kept = &read.kept;
        if let Rule::Refused(why) = rule(kept.progress.state, wish.action) {
            return Err(Error::Conflict(format!("{why} (it is {})", kept.progress.state.as_str())));
        }
        match wish.action {
            Action::Start => self.planned_start(who, read, wish).await,
            Action::Promote => self.planned_promotion(read, wish).await,
            _ => self.planned_step(read, wish).await,
        }
    }

    async fn planned_start(
        &self,
        who: &Principal,
        read: &PlanRead,
        wish: &Wish<'_>,
    ) -> Result<(Move, Vec<String>)> {
        let spec = read.drafted()?;
        let (holders, hidden) = self.check_start(&spec).await?;
        let view = self.view();
        let mut next = Kept {
            run: read.kept.run + 1,
            salt: self.salt().await?,
            progress: Progress { state: State::Active, ..Progress::draft() },
            text: spec.text.clone(),
            is_json: spec.is_json,
            written_by: self.writer_of(&read.name).await?,
            started_by: who.name.clone(),
            written: Default::default(),
            stands_for: stands_for(&view, &spec),
            promoted: Default::default(),
            again: Default::default(),
            ..read.kept.clone()
        };
        let now = Observed { instances: instances(&view, &spec), ..self.observed(&spec, &next, None) };
        next.progress = match graygate_judge::plan::decide(&spec.steps, &next.progress, &now) {
            graygate_judge::plan::Decision::Begin(_) => next.progress.begin(),
            _ => next.progress,
        };
        let base = Kept { written: Default::default(), ..read.kept.clone() };
        let rules = self.rules_toward(&spec, &base, &next.progress).await?;
        if let Some(rule) = rules.changed.iter().find(|name| rules.wanted.contains_key(*name)) {
            return Err(Error::Conflict(format!("`{rule}` is there already; take it away first")));
        }
        // Whatever else stands under the plan's names was left by a hand, and would be an audience no one began.
        if let Some(rule) = rules.changed.first() {
            return Err(Error::Conflict(format!("`{rule}` is there already; take it away first")));
        }
        next.written = rules.wanted;
        let mut documents = rules.writes;
        documents.extend(self.openings(&spec).await?);
        let mut records = Vec::new();
        for holder in holders {
            let value = to_json(&holder.record, &spec.name)?;
            records.push((holder.record, holder.revision, value));
        }
        let notes = hidden.into_iter().map(|note| format!("it will hide {note}")).collect();
        let change = Move {
            revision: read.revision,
            next,
            action: Action::Start.as_str(),
            to: State::Active.as_str().to_owned(),
            why: format!("started by {}", who.name),
            reason: wish.asked.reason.clone(),
            approved_by: wish.approved_by.map(str::to_owned),
            event: Event::Started,
            documents,
            records,
            lead: None,
            spec,
        };
        Ok((change, notes))
    }

    /// What clients are hashed with. Runs at one time share it, so that proxies are asked once for all of them.
    async fn salt(&self) -> Result<String> {
        for entry in self.records(PLANS).await? {
            let other: Kept = read_json(&entry.name, &entry.stored.value)?;
            if other.runs() && !other.salt.is_empty() {
                return Ok(other.salt);
            }
        }
        Ok(crate::people::secret())
    }

    async fn planned_step(&self, read: &PlanRead, wish: &Wish<'_>) -> Result<(Move, Vec<String>)> {
        let (spec, kept) = (read.running()?, &read.kept);
        let sight = read.sight.as_ref().filter(|sight| sight.is_of(kept));
        let before = kept.at(sight);
        let mut observed = self.observed(&spec, kept, sight.and_then(|sight| sight.observed.clone()));
        observed.disturbed = None;
        let done = act(&spec.steps, &before, wish.action, &observed);
        let progress = match done.map_err(|refusal| Error::Conflict(refusal.0))? {
            Done::Progress(progress) => progress,
            Done::Again => return Err(Error::Conflict("it was done before".to_owned())),
        };
        let mut next = Kept { progress, ..kept.clone() };
        // Held time stays beside the record where the step stays.
        if next.progress.begun == kept.progress.begun && next.progress.state == kept.progress.state {
            next.progress.held = before.held;
        }
        let widens = matches!(wish.action, Action::Resume | Action::Advance);
        let regressed = sight.map(regressed).unwrap_or_default();
        if widens && !regressed.is_empty() {
            if wish.asked.reason.as_deref().unwrap_or_default().trim().is_empty() {
                let said = regressed.join("`, `");
                return Err(Error::Conflict(format!("`{said}` says regression: give a `reason`")));
            }
            next.again.extend(regressed.into_iter().map(|guard| (guard, kept.moves + 1)));
        }
        let mut notes = Vec::new();
        let writes_rules = !matches!(wish.action, Action::Pause | Action::Reject);
        let mut documents = Vec::new();
        if writes_rules {
            let rules = self.rules_toward(&spec, kept, &next.progress).await?;
            match wish.action {
                Action::Resume => {
                    notes.extend(
                        rules
                            .changed
                            .iter()
                            .map(|name| format!("`{name}` was changed, and is the plan's again")),
                    );
                    self.check_document(&spec).await?;
                    next.stands_for = stands_for(&self.view(), &spec);
                }
                _ if !rules.changed.is_empty() => {
                    let said = rules.changed.join("`, `");
                    let detail =
                        format!("someone changed `{said}`: pause and resume the plan, or roll it back");
                    return Err(Error::Conflict(detail));
                }
                _ => {}
            }
            next.written = rules.wanted;
            documents = rules.writes;
        }
        let why = format!("{} by a person", wish.action.as_str());
        let state = next.progress.state;
        let event = match wish.action {
            Action::Resume => Event::Resumed,
            _ => event_of(state),
        };
        let change = Move {
            revision: read.revision,
            next,
            action: wish.action.as_str(),
            to: state.as_str().to_owned(),
            why,
            reason: wish.asked.reason.clone(),
            approved_by: wish.approved_by.map(str::to_owned),
            event,
            documents,
            records: Vec::new(),
            lead: None,
            spec,
        };
        Ok((change, notes))
    }

    /// A plan whose document is gone would pause again at once.
    async fn check_document(&self, spec: &Spec) -> Result<()> {
        let slot = crate::state::Slot::document(format!("plans/{}", spec.name));
        match self.state.get(&slot).await? {
            Some(_) => Ok(()),
            None => Err(Error::Conflict("the plan's document was deleted: write it again first".to_owned())),
        }
    }

    /// What is seen, with what this process knows better: lists, windows, instances as documents have them.
    pub(super) fn observed(&self, spec: &Spec, kept: &Kept, seen: Option<Observed>) -> Observed {
        let view = self.view();
        let documented = instances(&view, spec);
        let unknown = || Observed {
            regressions: Vec::new(),
            instances: documented,
            behind: Vec::new(),
            behind_for: Default::default(),
            unreadable: Vec::new(),
            gray_requests: 0,
            without_evidence: spec.guard_names().collect(),
            lists: Vec::new(),
            window: Window::Open,
            disturbed: None,
        };
        let seen = seen.unwrap_or_else(unknown);
        Observed {
            lists: missing_lists(&view, spec, kept.progress.begun),
            window: window::at(&spec.plan.windows, self.clock.now().unix_timestamp()),
            ..seen
        }
    }

    /// By a person who neither wrote nor started it.
    async fn check_other_person(&self, who: &Principal, read: &PlanRead) -> Result<()> {
        let now = self.clock.now();
        let authors = [read.kept.written_by.as_deref(), Some(read.kept.started_by.as_str())];
        for author in authors.into_iter().flatten().filter(|author| !author.is_empty()) {
            if author == who.name {
                return Err(Error::Denied("no one approves a plan that he wrote or started".to_owned()));
            }
            self.check_other_eyes(who, author, now).await?;
        }
        Ok(())
    }

    async fn propose_action(
        &self,
        who: &Principal,
        read: &PlanRead,
        wish: &Wish<'_>,
    ) -> Result<ProposalShown> {
        let action = wish.action.as_str();
        let request = json!({"asked": wish.asked, "etag": read.etag()});
        let work =
            Work::Plan { name: read.name.clone(), action: action.to_owned(), request, seen: read.revision };
        let kept = &read.kept;
        let place = format!("{}, step {}", kept.progress.state.as_str(), kept.progress.begun);
        let text = match kept.runs() {
            true => kept.text.clone(),
            false => read.text().unwrap_or_default().to_owned(),
        };
        let asked = Asked {
            action: format!("plan.{action}"),
            object: format!("plans/{}", read.name),
            hash: self.hash_of(read, wish.action, wish.asked)?,
            diff: format!("{action} of plans/{} ({place})\n\n{text}", read.name),
        };
        self.let_wait(who, asked, (self.touch_of(read), work), wish.asked.reason.clone()).await
    }

    /// Of everything that someone who approves an action approves: the plan, where it is, and who is on its lists.
    fn hash_of(&self, read: &PlanRead, action: Action, asked: &ActionAsked) -> Result<String> {
        let spec = read.spec()?;
        let view = self.view();
        let mut hasher = Sha256::new();
        hasher.update(format!("{}\n{}\n", action.as_str(), read.etag()));
        hasher.update(json!(asked).to_string());
        hasher.update(&spec.text);
        for list in all_lists(&spec) {
            hasher.update(format!("\n{list}"));
            for (id, raw) in view.parts(&list) {
                hasher.update(format!("\n{id} {}", hex::encode(Sha256::digest(&raw.body[..]))));
            }
        }
        Ok(hex::encode(hasher.finalize()))
    }
}

/// The guards that say regression.
pub fn regressed(sight: &crate::plans::Sight) -> Vec<String> {
    let said = sight.guards.iter().filter(|(_, guard)| guard.verdict == "regression");
    said.map(|(name, _)| name.clone()).collect()
}

/// Why a try came to nothing.
pub(super) enum Tried {
    /// Another process wrote meanwhile.
    Conflict,
    Failed(Error),
}

impl From<Error> for Tried {
    fn from(error: Error) -> Tried {
        Tried::Failed(error)
    }
}

impl From<StateError> for Tried {
    fn from(error: StateError) -> Tried {
        match error {
            StateError::Conflict(_) => Tried::Conflict,
            other => Tried::Failed(other.into()),
        }
    }
}
