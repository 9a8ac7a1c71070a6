//! Every user gets `release` on their next request.
//!
//! Owns: what a rollback writes, that it beats whatever has not been written before it, that its first outcome is told
//! again, and the way back behind a promotion. Never: a look at whether the rules are as the plan wrote them: they go.

use std::collections::{BTreeMap, BTreeSet};

use graygate_judge::plan::{Action, Progress, Rule, State, rule};
use graygate_rules::documents::owner::plan_rules;
use graygate_rules::documents::plan::Subject;
use graygate_rules::vocab::Name;
use graygate_store::leader::Term;
use serde::{Deserialize, Serialize};

use super::act::{ActionDone, Tried, Wish};
use super::documents::{has_instance, instances, label, rules_in, service};
use super::read::PlanRead;
use super::write::{DocumentWrite, Found, Move};
use crate::control::plane::Control;
use crate::error::{Error, Result};
use crate::notices::Event;
use crate::people::Principal;
use crate::plans::rules::{closure_of, closures};
use crate::plans::{Kept, RollbackShown, Spec, outcome_record};
use crate::state::{Reserve, Slot, Transaction, to_json};

/// Of a draft that was promoted under another text.
const WRITTEN_AGAIN: &str = "the plan was promoted, and its document written again since: this one was never started; to undo the \
                            promotion write the former text again and roll that back";

/// What a rollback came to, and in which run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    run: u64,
    shown: RollbackShown,
}

impl Control {
    pub(super) async fn roll_back(
        &self,
        who: &Principal,
        read: PlanRead,
        wish: &Wish<'_>,
    ) -> std::result::Result<ActionDone, Tried> {
        let kept = &read.kept;
        match rule(kept.progress.state, Action::Rollback) {
            Rule::Refused(why) => {
                let why = if kept.run > 0 { WRITTEN_AGAIN } else { why };
                return Err(Error::Conflict(why.to_owned()).into());
            }
            Rule::Again => {
                let shown = self.outcome_of(kept, &[]).await?;
                return Ok(ActionDone::RolledBack { shown, etag: read.etag() });
            }
            _ => {}
        }
        let why = format!("rolled back by {}", who.name);
        let (change, warnings) =
            self.planned_rollback(&read, (&why, wish.asked.reason.clone()), None).await?;
        let change = Move { approved_by: wish.approved_by.map(str::to_owned), ..change };
        let kept = self.move_plan(who, change).await?;
        let shown = self.outcome_of(&kept, &warnings).await?;
        let read = self.read_plan(&kept.plan).await;
        let etag = read.map(|read| read.etag()).unwrap_or_default();
        Ok(ActionDone::RolledBack { shown, etag })
    }

    /// What a rollback writes, and what to warn of.
    pub(super) async fn planned_rollback(
        &self,
        read: &PlanRead,
        (why, reason): (&str, Option<String>),
        lead: Option<Term>,
    ) -> Result<(Move, Vec<String>)> {
        let (spec, kept) = (read.running()?, &read.kept);
        let view = self.view();
        let mut warnings = Vec::new();
        let mut documents = self.former_aliases(&spec, kept).await?;
        if documents.is_empty() && !instances(&view, &spec).release {
            warnings.push("`release` has no instance that takes requests".to_owned());
        }
        let in_view = rules_in(&view, &kept.plan).into_keys().map(|id| id.to_string());
        // Under every name a rule of the plan can have: this view may be older than a hand's write.
        let all = Progress { state: State::Active, begun: spec.plan.steps.len(), ..Progress::draft() };
        let possible = crate::plans::rules::rules(&spec, &all, &kept.written)?.into_keys();
        let share = format!("rules/{}share", plan_rules(&kept.plan));
        let possible = possible.chain((!spec.is_of_values()).then_some(share));
        let rules: BTreeSet<String> = kept.written.keys().cloned().chain(in_view).chain(possible).collect();
        documents.extend(rules.into_iter().map(|name| DocumentWrite {
            name,
            text: None,
            found: Found::Whatever,
            before: None,
            has_history: false,
        }));
        let because = reason.clone().unwrap_or_else(|| why.to_owned());
        documents.extend(closures(&spec, &because)?.into_iter().map(|(name, text)| DocumentWrite {
            name,
            text: Some(text),
            found: Found::Whatever,
            before: None,
            has_history: false,
        }));
        let next = Kept {
            progress: kept.progress.enter(State::Rollback),
            written: BTreeMap::new(),
            promoted: BTreeMap::new(),
            ..kept.clone()
        };
        let change = Move {
            revision: read.revision,
            next,
            action: "rollback",
            to: State::Rollback.as_str().to_owned(),
            why: why.to_owned(),
            reason,
            approved_by: None,
            event: Event::RolledBack,
            documents,
            records: Vec::new(),
            lead,
            spec,
        };
        Ok((change, warnings))
    }

    /// After a promotion the former aliases come back, while they still are what it wrote and lead somewhere.
    async fn former_aliases(&self, spec: &Spec, kept: &Kept) -> Result<Vec<DocumentWrite>> {
        let mut documents = Vec::new();
        if !kept.progress.promoted {
            return Ok(documents);
        }
        let view = self.view();
        for (name, promoted) in &kept.promoted {
            let Some(after) = &promoted.after else {
                let detail = format!("the instances of `{name}` were relabelled by hand: relabel them back");
                return Err(Error::Conflict(detail));
            };
            let now = service(&view, name).map(|service| label(service, Name::RELEASE));
            if now.as_ref() != Some(after) {
                let now = now.unwrap_or_default();
                let detail =
                    format!("`release` of `{name}` stands for `{now}` by now, and not for `{after}`");
                return Err(Error::Conflict(detail));
            }
            let before = promoted.before.clone().unwrap_or_else(|| Name::RELEASE.to_owned());
            if !has_instance(&view, name, &before) {
                let detail =
                    format!("no instance of `{name}` takes requests of the former release `{before}`");
                return Err(Error::Conflict(detail));
            }
            documents.push(self.set_release(spec, name, promoted.before.as_deref()).await?);
        }
        Ok(documents)
    }

    /// The first outcome of the run's rollback; where none is kept it is found out now, and kept.
    async fn outcome_of(&self, kept: &Kept, warnings: &[String]) -> Result<RollbackShown> {
        let record = outcome_record(&kept.plan);
        let found = self.read::<Outcome>(&record).await?;
        if let Some((known, _)) = found.as_ref().filter(|(known, _)| known.run == kept.run) {
            return Ok(known.shown.clone());
        }
        let mut shown = self.confirm_rollback(kept).await;
        shown.warnings = warnings.to_vec();
        let outcome = Outcome { run: kept.run, shown: shown.clone() };
        let mut transaction = Transaction { reserve: Reserve::Used, ..Transaction::default() };
        transaction.expect(Slot::record(&record), found.map_or(0, |(_, revision)| revision));
        transaction.put(Slot::record(&record), to_json(&record, &outcome)?);
        // The rollback is written; what it came to is told, kept or not.
        if let Err(error) = self.state.commit(transaction).await {
            tracing::debug!(%error, plan = kept.plan, "what a rollback came to is not kept");
        }
        Ok(shown)
    }

    /// Finds out what the leader's own rollback came to, for those who ask again.
    pub(super) async fn keep_outcome(&self, plan: &str) -> Result<()> {
        let read = self.read_plan(plan).await?;
        if read.kept.progress.state == State::Rollback {
            self.outcome_of(&read.kept, &[]).await?;
        }
        Ok(())
    }

    /// The closures of the plan's version end with its start.
    pub(super) async fn openings(&self, spec: &Spec) -> Result<Vec<DocumentWrite>> {
        let mut openings = Vec::new();
        let Subject::Services { services, version } = &spec.plan.subject else { return Ok(openings) };
        for service in services {
            let name = closure_of(service, version);
            let Some(stored) = self.state.get(&Slot::document(&name)).await? else { continue };
            openings.push(DocumentWrite {
                name,
                text: None,
                found: Found::As(stored.revision),
                before: Some(stored.value),
                has_history: false,
            });
        }
        Ok(openings)
    }
}
