//! Instances that registries found, written as any other document, bound to the lead, and summed up in the audit.
//!
//! Owns: the store behind the room of registries. Never: what is found, or what is believed of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use graygate_rules::documents::{Document, DocumentId, Kind};
use graygate_rules::vocab::Name;
use parking_lot::Mutex;

use super::change::put_known;
use super::clock::rfc3339;
use super::plane::Control;
use super::view::{Changes, View};
use super::write::Plan;
use crate::audit::Deed;
use crate::people::{Principal, Via};
use crate::registries::config::Registries;
use crate::registries::engine;
use crate::registries::reconcile::{Change, Written};
use crate::registries::store::{Documents, InstanceStore, StoreError};
use crate::state::{Reserve, Slot, StateError, Transaction};

/// Documents of one transaction: each is two writes and one expectation.
const BATCH: usize = 40;
/// Registries' writes are one record of the audit in this time.
const SUMMED: Duration = Duration::from_secs(60);

/// The documents of a control plane, as registries see them.
pub struct FoundInstances {
    control: Arc<Control>,
    /// What the view of that moment comes to.
    read: Mutex<Option<(Arc<View>, Arc<Documents>)>>,
    unsummed: Mutex<Unsummed>,
}

#[derive(Default)]
struct Unsummed {
    written: usize,
    removed: usize,
    since: Option<Instant>,
}

impl Control {
    /// Keeps the instances of registries written, until it is dropped.
    pub async fn follow_registries(self: Arc<Self>, settings: Registries) {
        let store = Arc::new(FoundInstances {
            control: self.clone(),
            read: Mutex::default(),
            unsummed: Mutex::default(),
        });
        let summing = store.clone();
        let summed = async move {
            loop {
                tokio::time::sleep(SUMMED / 4).await;
                summing.sum(Instant::now()).await;
            }
        };
        let wall_clock = || rfc3339(time::OffsetDateTime::now_utc());
        tokio::join!(engine::run(settings, store, self.registries.clone(), wall_clock), summed);
    }

    /// Writes these, each if its document is as the view shows it.
    async fn write_found(&self, batch: &[Change]) -> Result<(), StoreError> {
        let view = self.view();
        let mut transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
        let mut changes = Changes::new();
        let mut changed_meanwhile = Vec::new();
        for change in batch {
            let id = change.id();
            let slot = Slot::document(id.to_string());
            let stored = self.state.get(&slot).await.map_err(|error| StoreError::Away(error.to_string()))?;
            let held = view.set.documents.get(id).map(|raw| &raw.body[..]);
            if stored.as_ref().map(|stored| &stored.value[..]) != held {
                changed_meanwhile.push(id.clone());
                continue;
            }
            transaction.expect(slot.clone(), stored.map_or(0, |stored| stored.revision));
            let text = match change {
                Change::Put { text, .. } => Some(Bytes::copy_from_slice(text.as_bytes())),
                Change::Delete { .. } => None,
            };
            match &text {
                Some(text) => transaction.put(slot, text.clone()),
                None => transaction.delete(slot),
            };
            put_known(&mut transaction, id, text.as_ref());
            changes.insert(id.clone(), text);
        }
        if changes.values().all(Option::is_none) {
            transaction.reserve = Reserve::Used;
        }
        if !changes.is_empty() {
            match self.state.commit(transaction).await {
                Ok(revision) => self.replace_view(&changes, revision),
                Err(StateError::LeadLost) => return Err(StoreError::NotLeading),
                Err(StateError::Conflict(_)) => changed_meanwhile.extend(changes.into_keys()),
                Err(error) => return Err(StoreError::Away(error.to_string())),
            }
        }
        if changed_meanwhile.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = changed_meanwhile.iter().map(ToString::to_string).collect();
        if let Err(error) = self.refresh(changed_meanwhile.iter()).await {
            tracing::debug!(%error, "documents that changed meanwhile could not be read");
        }
        Err(StoreError::Conflict(named.join(", ")))
    }
}

impl FoundInstances {
    /// Writes the record of what was written, once a minute has passed.
    async fn sum(&self, now: Instant) {
        let (written, removed) = {
            let mut unsummed = self.unsummed.lock();
            if unsummed.since.is_none_or(|since| now.saturating_duration_since(since) < SUMMED) {
                return;
            }
            let counts = (unsummed.written, unsummed.removed);
            *unsummed = Unsummed::default();
            counts
        };
        let deed =
            Deed::ok(&Principal::own("registries", Via::Controller), "registries.written", "instances")
                .with_reason(Some(format!("{written} instances written, {removed} removed")));
        if let Err(error) = self.control.write(Plan::new(deed)).await {
            tracing::warn!(%error, "what registries wrote could not be recorded");
        }
    }

    fn count(&self, batch: &[Change], now: Instant) {
        let removed = batch.iter().filter(|change| matches!(change, Change::Delete { .. })).count();
        let mut unsummed = self.unsummed.lock();
        unsummed.removed += removed;
        unsummed.written += batch.len() - removed;
        unsummed.since.get_or_insert(now);
    }
}

#[async_trait]
impl InstanceStore for FoundInstances {
    fn read(&self) -> Option<Arc<Documents>> {
        let view = self.control.view();
        let mut read = self.read.lock();
        if let Some((of, documents)) = &*read
            && Arc::ptr_eq(of, &view)
        {
            return Some(documents.clone());
        }
        let documents = Arc::new(documents(&view));
        // A change elsewhere is none here.
        let documents = match read.take() {
            Some((_, before)) if before == documents => before,
            _ => documents,
        };
        *read = Some((view, documents.clone()));
        Some(documents)
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        if !self.control.leadership.leads() {
            return Err(StoreError::NotLeading);
        }
        for batch in changes.chunks(BATCH) {
            self.control.write_found(batch).await?;
            self.count(batch, Instant::now());
        }
        Ok(())
    }
}

/// What matters to registries of a view. A service that is broken by now discovers what it did.
fn documents(view: &View) -> Documents {
    let mut documents = Documents::default();
    for (id, document) in view.good(Kind::Service) {
        if let (Document::Service(service), Some(name)) = (document, Name::parse(&id.name))
            && !service.discover.is_empty()
        {
            documents.discover.insert(name, service.discover.clone());
        }
    }
    let mut instances: BTreeMap<Name, Vec<Written>> = BTreeMap::new();
    for (id, document) in view.good(Kind::Instance) {
        if let Some(service) = Name::parse(id.head()) {
            instances.entry(service).or_default().push(written(id, document));
        }
    }
    documents.instances = instances;
    documents
}

fn written(id: &DocumentId, document: &Document) -> Written {
    Written { id: id.clone(), of: Written::ownership(id, document) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::RECORDS;
    use crate::control::SystemClock;
    use crate::people::SessionSettings;
    use crate::state::{Holder, Range, Sqlite};

    #[tokio::test]
    async fn what_registries_write_is_one_record_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Sqlite::open(folder.path(), None, Holder::Service).unwrap());
        let control = Arc::new(Control::new(state, Arc::new(SystemClock), SessionSettings::default()));
        let found =
            FoundInstances { control: control.clone(), read: Mutex::default(), unsummed: Mutex::default() };
        let id = DocumentId::parse("instances/patient/nacos.127-0-0-1-9001").unwrap();
        let begun = Instant::now();
        let records = async || control.state.list(&Range::all(RECORDS)).await.unwrap().len();
        for minute in 0..3 {
            let at = begun + SUMMED * minute;
            for second in 0..59 {
                let now = at + Duration::from_secs(second);
                found.count(&[Change::Delete { id: id.clone() }], now);
                found.sum(now).await;
            }
            assert_eq!(records().await, minute as usize, "in minute {minute}");
            found.sum(at + SUMMED).await;
            assert_eq!(records().await, minute as usize + 1);
        }
        found.sum(begun + SUMMED * 10).await;
        assert_eq!(records().await, 3, "nothing was written, and nothing is said");
    }
}
