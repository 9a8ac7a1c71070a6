//! One transition of a plan, as one write.
//!
//! Owns: that state, rules, closures, history, audit record and notice of a transition stand in one transaction, bound to
//! the record as it was read, to the rules as they were found, and, of the leader, to its lead. Never: which transition.

use std::collections::BTreeMap;

use bytes::Bytes;
use graygate_judge::plan::{Progress, State};
use graygate_rules::documents::DocumentId;
use graygate_store::leader::Term;
use serde_json::json;

use crate::audit::{Deed, Text};
use crate::control::change::put_known;
use crate::control::plane::Control;
use crate::control::view::Changes;
use crate::control::write::Plan;
use crate::error::Result;
use crate::notices::{Event, Notice, Subject};
use crate::people::{Principal, Via};
use crate::plans::{Kept, Spec, Transition, begun_step, document_of, plan_record, share, transition_record};
use crate::state::{Revision, Slot, StateError, Stored, Transaction, to_json};

/// Who moves plans by himself.
pub const CONTROLLER: &str = "controller";

/// What is written although the store is nearly full, by a person or by itself.
const RELIEVING: [&str; 2] = ["pause", "rollback"];

/// The principal of what moves by itself.
pub fn controller() -> Principal {
    Principal::own(CONTROLLER, Via::Controller)
}

/// What has to be found of a document for it to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    As(Revision),
    /// Whatever it says by now.
    Whatever,
}

/// A document's new text; none takes it away.
#[derive(Clone, Debug)]
pub struct DocumentWrite {
    pub name: String,
    pub text: Option<String>,
    pub found: Found,
    /// What it was, where this belongs to its history.
    pub before: Option<Bytes>,
    pub has_history: bool,
}

/// One transition.
#[derive(Clone, Debug)]
pub struct Move {
    pub spec: Spec,
    /// The record as it was read.
    pub revision: Revision,
    /// As it is to be; the transition's number and text are filled in here.
    pub next: Kept,
    /// Such as `start`.
    pub action: &'static str,
    /// A state, or `PROMOTED`.
    pub to: String,
    pub why: String,
    pub reason: Option<String>,
    pub approved_by: Option<String>,
    pub event: Event,
    pub documents: Vec<DocumentWrite>,
    /// Further records: written if as they were read.
    pub records: Vec<(String, Revision, Bytes)>,
    pub lead: Option<Term>,
}

impl Control {
    /// Writes a transition; the record as it is then.
    pub(super) async fn move_plan(
        &self,
        who: &Principal,
        change: Move,
    ) -> std::result::Result<Kept, StateError> {
        let Move { spec, revision, mut next, documents, .. } = change.clone();
        let before = next.last.take();
        let before_state = before.as_ref().map(|last| last.state);
        next.moves += 1;
        let now = self.clock.now();
        let transition = Transition {
            id: Notice::id_at(now),
            run: next.run,
            number: next.moves,
            time: now,
            to: change.to.clone(),
            state: next.progress.state,
            begun: next.progress.begun,
            share: share(&spec, &next.progress),
            by: who.name.clone(),
            by_controller: who.via == Via::Controller,
            action: change.action.to_owned(),
            why: change.why.clone(),
            reason: change.reason.clone(),
        };
        next.last = Some(transition.clone());
        let record = plan_record(&next.plan);
        let mut deed = Deed::ok(who, format!("plan.{}", change.action), format!("plans/{}", next.plan));
        deed.reason = change.reason.clone().or_else(|| (!change.why.is_empty()).then(|| change.why.clone()));
        deed.approved_by = change.approved_by.clone();
        deed.before = before.map(|last| mark(&last));
        deed.after = Some(mark(&transition));
        let mut plan = Plan::new(deed);
        if RELIEVING.contains(&change.action) {
            plan = plan.from_reserve();
        }
        let transaction = &mut plan.transaction;
        transaction.lead = change.lead.clone();
        transaction.expect(Slot::record(&record), revision);
        transaction.put(Slot::record(&record), to_json(&record, &next)?);
        let history = transition_record(&next.plan, next.run, transition.number);
        transaction.put(Slot::record(&history), to_json(&history, &transition)?);
        for (name, revision, value) in change.records {
            transaction.expect(Slot::record(&name), revision);
            transaction.put(Slot::record(&name), value);
        }
        let changes = put_documents(transaction, &documents);
        self.notice_of(&spec, &transition, change.event).queue(transaction)?;
        plan.deeds.extend(document_deeds(who, &change.reason, &documents));
        let state = before_state.unwrap_or(State::Draft);
        let said = change.reason.as_deref().or(Some(change.why.as_str()));
        self.add_config_writes((who, said), (&spec, state, &next), &mut plan).await?;
        let written = self.write(plan).await?;
        if !changes.is_empty() {
            self.replace_view(&changes, written.revision);
        }
        if let Err(error) = self.take_plan(&next).await {
            tracing::debug!(%error, "a transition is told by the next look");
        }
        if spec.is_of_values()
            && let Err(error) = self.look_at_configs().await
        {
            tracing::debug!(%error, "values are read by the next look");
        }
        Ok(next)
    }

    fn notice_of(&self, spec: &Spec, transition: &Transition, event: Event) -> Notice {
        let subject = subject(spec, transition.run, transition.begun, transition.to.clone());
        let by = if transition.by_controller { String::new() } else { format!("by {}", transition.by) };
        let why = [transition.why.as_str(), by.as_str(), transition.reason.as_deref().unwrap_or_default()];
        let why: Vec<&str> = why.into_iter().filter(|text| !text.is_empty()).collect();
        let notice = Notice::of_plan(&subject, event, &why.join("; "), transition.time);
        // Told under one id wherever it is told.
        Notice { id: transition.id.clone(), ..notice }
    }
}

/// Whom notices of a plan are about.
pub fn subject(spec: &Spec, run: u64, begun: usize, state: String) -> Subject {
    Subject {
        services: spec.services.clone(),
        version: spec.version.clone(),
        plan: spec.name.clone(),
        run,
        step: (begun > 0).then(|| begun_step(begun)),
        state,
        channels: spec.plan.channels.iter().map(ToString::to_string).collect(),
    }
}

fn mark(transition: &Transition) -> Text {
    let said = json!({
        "state": transition.state,
        "step": begun_step(transition.begun),
        "share": transition.share,
        "run": transition.run,
    });
    Text::of(said.to_string())
}

fn put_documents(transaction: &mut Transaction, documents: &[DocumentWrite]) -> Changes {
    let mut changes = Changes::new();
    for document in documents {
        let Some(id) = DocumentId::parse(&document.name) else { continue };
        let slot = Slot::document(&document.name);
        if let Found::As(revision) = document.found {
            transaction.expect(slot.clone(), revision);
        }
        let text = document.text.clone().map(Bytes::from);
        put_known(transaction, &id, text.as_ref());
        match &text {
            Some(text) => transaction.put(slot, text.clone()),
            None => transaction.delete(slot),
        };
        changes.insert(id, text);
    }
    changes
}

fn document_deeds(who: &Principal, reason: &Option<String>, documents: &[DocumentWrite]) -> Vec<Deed> {
    let with_history = documents.iter().filter(|document| document.has_history);
    let deeds = with_history.map(|document| {
        let action = if document.text.is_some() { "document.put" } else { "document.delete" };
        let (before, after) = (document.before.clone().map(Text::of), document.text.clone().map(Text::of));
        Deed::ok(who, action, document.name.clone()).with_reason(reason.clone()).changing(before, after)
    });
    deeds.collect()
}

/// What changes of the rules on the way to another progress: each as it was found, which is as the plan wrote it.
pub fn rule_writes(
    wanted: &BTreeMap<String, String>,
    found: &BTreeMap<String, Option<Stored>>,
) -> Vec<DocumentWrite> {
    let mut writes = Vec::new();
    for (name, stored) in found {
        let text = wanted.get(name);
        let is_there = stored.as_ref().map(|stored| &stored.value[..]) == text.map(|text| text.as_bytes());
        if is_there {
            continue;
        }
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        writes.push(DocumentWrite {
            name: name.clone(),
            text: text.cloned(),
            found: Found::As(revision),
            before: stored.as_ref().map(|stored| stored.value.clone()),
            has_history: false,
        });
    }
    writes
}

impl Control {
    /// The rules of a progress, and the writes that make them so, from what was found.
    pub(super) async fn rules_toward(&self, spec: &Spec, kept: &Kept, progress: &Progress) -> Result<Rules> {
        let wanted = crate::plans::rules::rules(spec, progress, &kept.written)?;
        let (found, changed) = self.rules_of(kept, wanted.keys().cloned()).await?;
        let writes = rule_writes(&wanted, &found);
        Ok(Rules { wanted, writes, changed })
    }
}

/// The rules of a progress.
pub struct Rules {
    pub wanted: BTreeMap<String, String>,
    pub writes: Vec<DocumentWrite>,
    /// Those that are not what the plan wrote.
    pub changed: Vec<String>,
}

/// The notice's word for a state.
pub fn event_of(state: State) -> Event {
    match state {
        State::Draft | State::Active => Event::Step,
        State::Paused => Event::Paused,
        State::Completed => Event::Completed,
        State::Rollback => Event::RolledBack,
    }
}

/// Whether a name can be a plan's.
pub fn is_plan_name(name: &str) -> bool {
    document_of(name).is_some() && !name.contains('/')
}
