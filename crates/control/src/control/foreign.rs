//! Documents that change: by us, by other control processes, and by strangers with `etcdctl` or an editor.
//!
//! Owns: keeping the view as the source shows it, telling what changed, and a record of what no one here wrote. A hand
//! always wins: what a stranger wrote stays as it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use graygate_rules::documents::{DocumentId, DocumentSet};
use graygate_store::Update;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::change::{KNOWN, put_known};
use super::draft::Draft;
use super::events::EventKind;
use super::plane::Control;
use super::view::{Changes, View, mistake};
use super::write::Plan;
use crate::audit::{Deed, Text};
use crate::error::Result;
use crate::notices::{Event, Notice};
use crate::state::{Range, Revision, Slot, StateError, Transaction};

/// How long the source may still show what was there before one of our writes.
const SETTLE: Duration = Duration::from_secs(3);
/// Documents of one transaction that records what strangers did.
const BATCH: usize = 20;
/// Documents of one transaction that only says what is known.
const KNOWN_BATCH: usize = 100;

impl Control {
    /// Whether the documents were read.
    pub fn check_ready(&self) -> Result<()> {
        match self.is_ready.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err(crate::Error::Away("the documents are not read yet".to_owned())),
        }
    }

    /// All documents as they are now.
    pub fn view(&self) -> Arc<View> {
        self.view.lock().clone()
    }

    /// Takes up what was written, as it was looked at.
    pub(super) fn took_effect(&self, draft: Draft, revision: Revision) {
        self.note_own(&draft.changes);
        let mut held = self.view.lock();
        let before = held.clone();
        *held = match Arc::ptr_eq(&before, &draft.base) {
            true => Arc::new(draft.next),
            false => Arc::new(before.with(&draft.changes)),
        };
        let after = held.clone();
        drop(held);
        after.renew_beside();
        self.tell(&before, &after, (&draft.changes, revision));
    }

    /// Takes up what was written.
    pub(super) fn replace_view(&self, changes: &Changes, revision: Revision) {
        self.note_own(changes);
        self.change_view(changes, revision);
    }

    fn change_view(&self, changes: &Changes, revision: Revision) {
        let mut held = self.view.lock();
        let before = held.clone();
        let after = Arc::new(before.with(changes));
        *held = after.clone();
        drop(held);
        after.renew_beside();
        self.tell(&before, &after, (changes, revision));
    }

    fn note_own(&self, changes: &Changes) {
        let now = self.clock.instant();
        let mut recent = self.recent.lock();
        recent.retain(|_, at| now.saturating_duration_since(*at) < SETTLE);
        recent.extend(changes.keys().map(|id| (id.clone(), now)));
    }

    /// Reads these documents again, after a write that met another one.
    pub(super) async fn refresh<'a>(&self, ids: impl Iterator<Item = &'a DocumentId>) -> Result<()> {
        let mut changes = Changes::new();
        let mut newest = 0;
        for id in ids {
            let stored = self.state.get(&Slot::document(id.to_string())).await?;
            newest = newest.max(stored.as_ref().map_or(0, |stored| stored.revision));
            changes.insert(id.clone(), stored.map(|stored| stored.value));
        }
        let view = self.view();
        changes.retain(|id, text| {
            let held = view.set.documents.get(id).map(|raw| &raw.body[..]);
            held != text.as_deref()
        });
        if !changes.is_empty() {
            self.change_view(&changes, newest);
        }
        Ok(())
    }

    /// Tells what documents changed, and which problems came and went.
    fn tell(&self, before: &View, after: &View, (changes, revision): (&Changes, Revision)) {
        for (id, text) in changes {
            self.tell_document(id, revision, text.is_some());
        }
        let (old, new) = (&before.compiled.problems, &after.compiled.problems);
        let told = |problem, state: &str| {
            let shown = mistake(problem);
            let mut body = json!(shown);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("state".to_owned(), json!(state));
            }
            self.events.tell(EventKind::Problem, body);
        };
        new.iter()
            .filter(|problem| old.binary_search(problem).is_err())
            .for_each(|problem| told(problem, "new"));
        old.iter()
            .filter(|problem| new.binary_search(problem).is_err())
            .for_each(|problem| told(problem, "gone"));
    }

    /// Starts from what the source holds, and records what strangers did while no control process ran.
    pub async fn begin(&self, set: DocumentSet) -> Result<()> {
        let view = tokio::task::spawn_blocking(move || View::of(set, Default::default())).await;
        let view = view.map_err(|error| crate::Error::Internal(error.to_string()))?;
        *self.view.lock() = Arc::new(view);
        self.is_ready.store(true, Ordering::Release);
        let mut known = BTreeMap::new();
        let mut range = Range::all(KNOWN);
        loop {
            let page = self.state.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else { break };
            for entry in page {
                let hash = String::from_utf8_lossy(&entry.stored.value).into_owned();
                known.insert(entry.name.trim_start_matches(KNOWN).to_owned(), hash);
            }
            range.after = Some(last);
        }
        let view = self.view();
        if known.is_empty() && !view.set.documents.is_empty() {
            return self.adopt_all(&view).await;
        }
        let mut foreign = Changes::new();
        for (id, raw) in &view.set.documents {
            let hash = hex::encode(Sha256::digest(&raw.body[..]));
            if known.remove(&id.to_string()) != Some(hash) {
                foreign.insert(id.clone(), Some(Bytes::copy_from_slice(&raw.body)));
            }
        }
        let gone = known.keys().filter_map(|name| DocumentId::parse(name));
        foreign.extend(gone.map(|id| (id, None)));
        self.record_foreign(&foreign, None).await
    }

    /// The first start beside documents that were there before: they are what is known, and one record says so.
    async fn adopt_all(&self, view: &View) -> Result<()> {
        let all: Vec<_> = view.set.documents.iter().collect();
        for batch in all.chunks(KNOWN_BATCH) {
            let mut transaction = Transaction::default();
            for (id, raw) in batch {
                put_known(&mut transaction, id, Some(&Bytes::copy_from_slice(&raw.body)));
            }
            self.state.commit(transaction).await?;
        }
        let deed = Deed::ok(&self.stranger.principal(), "documents.adopted", "documents")
            .with_reason(Some(format!("{} documents were there before", all.len())));
        self.write(Plan::new(deed)).await?;
        Ok(())
    }

    /// Follows the source until it ends.
    pub async fn follow(&self, mut updates: watch::Receiver<Option<Update>>) {
        while updates.wait_for(Option::is_some).await.is_ok() {
            let update = updates.borrow_and_update().clone();
            if let Some(update) = update
                && let Err(error) = self.take_up(&update.set).await
            {
                tracing::warn!(%error, "a change of documents could not be taken up");
            }
            if updates.changed().await.is_err() {
                return;
            }
        }
    }

    async fn take_up(&self, set: &DocumentSet) -> Result<()> {
        let view = self.view();
        let mut changes = differences(&view.set, set);
        let now = self.clock.instant();
        let own: Vec<DocumentId> = {
            let recent = self.recent.lock();
            let is_recent = |id: &&DocumentId| {
                recent.get(id).is_some_and(|at| now.saturating_duration_since(*at) < SETTLE)
            };
            changes.keys().filter(is_recent).cloned().collect()
        };
        for id in own {
            // What the source shows may be older than our own write: the store itself says what is there.
            let stored = self.state.get(&Slot::document(id.to_string())).await?;
            let held = view.set.documents.get(&id).map(|raw| &raw.body[..]);
            let now = stored.as_ref().map(|stored| &stored.value[..]);
            match held == now {
                true => drop(changes.remove(&id)),
                false => drop(changes.insert(id, stored.map(|stored| stored.value))),
            }
        }
        let strays_changed = view.set.strays != set.strays || view.set.ambiguous != set.ambiguous;
        if changes.is_empty() && !strays_changed {
            return Ok(());
        }
        if strays_changed {
            let mut held = self.view.lock();
            let mut next = held.set.clone();
            next.strays.clone_from(&set.strays);
            next.ambiguous.clone_from(&set.ambiguous);
            *held = Arc::new(View::of(next, held.memory()));
        }
        self.record_foreign(&changes, Some(&view)).await?;
        self.change_view(&changes, set.revision);
        Ok(())
    }

    /// Records changes that no control process made; `before` has what was there.
    async fn record_foreign(&self, changes: &Changes, before: Option<&View>) -> Result<()> {
        let all: Vec<_> = changes.iter().collect();
        for batch in all.chunks(BATCH) {
            // Another process may record the same in this moment; then there is nothing left to do.
            match self.record_batch(batch, before).await {
                Ok(()) => {}
                Err(StateError::Conflict(_)) => {
                    if let Err(StateError::Conflict(_)) = self.record_batch(batch, before).await {
                        tracing::debug!("another one recorded a stranger's change");
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn record_batch(
        &self,
        batch: &[(&DocumentId, &Option<Bytes>)],
        before: Option<&View>,
    ) -> std::result::Result<(), StateError> {
        let who = self.stranger.principal();
        let mut plan = Plan { transaction: Transaction::default(), deeds: Vec::new() };
        let mut recorded = Vec::new();
        for (id, text) in batch {
            let slot = Slot::record(format!("{KNOWN}{id}"));
            let known = self.state.get(&slot).await?;
            let hash = text.as_ref().map(|text| hex::encode(Sha256::digest(text)));
            let is_known =
                known.as_ref().map(|stored| &stored.value[..]) == hash.as_ref().map(String::as_bytes);
            if is_known {
                continue;
            }
            recorded.push((*id, *text));
            plan.transaction.expect(slot, known.map_or(0, |stored| stored.revision));
            put_known(&mut plan.transaction, id, text.as_ref());
            let old = before.and_then(|view| view.set.documents.get(id));
            let old = old.map(|raw| Text::of(Bytes::copy_from_slice(&raw.body)));
            let action = if text.is_some() { "document.put" } else { "document.delete" };
            plan.deeds
                .push(Deed::ok(&who, action, id.to_string()).changing(old, (*text).clone().map(Text::of)));
        }
        if plan.deeds.is_empty() {
            return Ok(());
        }
        if let Some(notice) = self.notice_of_stranger(&recorded, before) {
            notice.queue(&mut plan.transaction)?;
        }
        // The account of what others wrote has to be whole, however full the store is.
        self.write(plan.from_reserve()).await?;
        Ok(())
    }
}

impl Control {
    /// What two people should have seen, and no one here did.
    fn notice_of_stranger(
        &self,
        recorded: &[(&DocumentId, &Option<Bytes>)],
        before: Option<&View>,
    ) -> Option<Notice> {
        let held = self.view();
        let view = before.unwrap_or(&held);
        let touches = |(id, text): &&(&DocumentId, &Option<Bytes>)| {
            let old = view.set.documents.get(id).map(|raw| view.touch(id, &raw.body));
            let new = text.as_ref().map(|text| view.touch(id, text));
            [old, new].into_iter().flatten().any(|touch| self.waits_for_two(&touch))
        };
        let names: Vec<String> = recorded.iter().filter(touches).map(|(id, _)| format!("`{id}`")).collect();
        let how = self.stranger.principal().name;
        let text = format!("changed past the second person, by way of {how}: {}", names.join(", "));
        (!names.is_empty()).then(|| Notice::of_plane(Event::Foreign, text, "/audit", self.clock.now()))
    }
}

/// What the second set has otherwise than the first.
fn differences(old: &DocumentSet, new: &DocumentSet) -> Changes {
    let mut changes = Changes::new();
    for (id, raw) in &new.documents {
        let is_same = old.documents.get(id).is_some_and(|held| Arc::ptr_eq(held, raw) || held == raw);
        if !is_same {
            changes.insert(id.clone(), Some(Bytes::copy_from_slice(&raw.body)));
        }
    }
    // One that cannot be had for a moment is not gone.
    let gone =
        old.documents.keys().filter(|id| !new.documents.contains_key(id) && !new.ambiguous.contains_key(*id));
    changes.extend(gone.map(|id| (id.clone(), None)));
    changes
}
