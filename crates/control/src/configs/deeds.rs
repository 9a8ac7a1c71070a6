//! Items: read, written and taken away, with rights, records and second persons; and what this process knows of them.
//!
//! Owns: the reading of items, audiences and of who was given what; every write of an item. Never: transitions of plans.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use graygate_judge::plan::State as PlanState;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::answers::{ItemShown, ValueShown};
use super::audience::{Asker, Audiences};
use super::given::{COUNTS, Counted, GIVEN, SEEN};
use super::index::{Entry, Read, Told};
use super::item::{
    HEAD, Head, ITEMS, Item, ItemId, ItemName, ItemPlace, LOGGED, Logged, VALUE_LIMIT, log_record,
};
use crate::audit::{Deed, Text};
use crate::control::{
    Asked, Control, Intent, Plan, Precondition, ProposalShown, Work, check_condition, etag,
};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Touch};
use crate::plans::{Kept, PLANS};
use crate::state::{Range, Revision, Slot, StateError, Stored, Transaction, read_json, to_json};

/// Between two looks at lists, whose changes no record tells of.
const LOOK: Duration = Duration::from_millis(250);
/// A burst of writes is one look.
const SETTLE: Duration = Duration::from_millis(10);
/// How often what was given is written.
const WRITTEN: Duration = Duration::from_secs(1);
/// Looks at what is due until sightings are written: every five seconds.
const SIGHTINGS_EVERY: u32 = 5;
/// Sightings that are written of one plan; in memory are more.
const SIGHTINGS: usize = 2_000;
/// How long a watch waits.
const WATCH: Duration = Duration::from_secs(30);
/// How often a write of an item is tried again that met one of another item.
const RACES: usize = 50;

/// An item as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptItem {
    pub value: String,
    pub etag: String,
}

/// A write of an item: none takes it away.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemWrite {
    /// Its record.
    pub record: String,
    pub value: Option<String>,
}

/// What became of a write of an item.
#[derive(Debug)]
pub enum ItemDone {
    Written { etag: Option<String>, created: bool },
    Waiting(Box<ProposalShown>),
}

impl Control {
    /// The value of a key for who asks.
    pub async fn config_value(&self, who: &Principal, id: &ItemId, asker: &Asker<'_>) -> Result<ValueShown> {
        who.may_somewhere(Permission::Read)?;
        self.read_configs_first().await?;
        let told = self.config_answer(id, asker)?;
        self.configs.count(id.place.app.as_str(), told.gray);
        Ok(shown(&id.key, told))
    }

    /// The same at once, for someone whose right to read is known; none where that takes a look into the store, or
    /// there is no such value.
    pub fn known_config_value(&self, item: &ItemName<'_>, asker: &Asker<'_>) -> Option<ValueShown> {
        if !self.configs.is_read.load(Ordering::Acquire) {
            return None;
        }
        let told = self.configs.answer(item, asker, self.clock.now().unix_timestamp_nanos())?;
        self.configs.count(item.app(), told.gray);
        Some(shown(item.key(), told))
    }

    /// The caller right after a start waits until the items are read.
    async fn read_configs_first(&self) -> Result<()> {
        match self.configs.is_read.load(Ordering::Acquire) {
            true => Ok(()),
            false => self.look_at_configs().await,
        }
    }

    fn config_answer(&self, id: &ItemId, asker: &Asker<'_>) -> Result<Told> {
        let now = self.clock.now().unix_timestamp_nanos();
        self.configs.answer(&id.name(), asker, now).ok_or_else(|| Error::not_found(format!("{ITEMS}{id}")))
    }

    /// The same, once it is another version than the one that is known, or after half a minute.
    pub async fn watch_config_value(
        &self,
        who: &Principal,
        (id, asker): (&ItemId, &Asker<'_>),
        known: Option<u64>,
    ) -> Result<ValueShown> {
        who.may_somewhere(Permission::Read)?;
        self.read_configs_first().await?;
        let mut changes = self.configs.watch();
        let end = tokio::time::Instant::now() + WATCH;
        loop {
            changes.borrow_and_update();
            let told = self.config_answer(id, asker)?;
            if known != Some(told.version) {
                self.configs.count(id.place.app.as_str(), told.gray);
                return Ok(shown(&id.key, told));
            }
            let waited = tokio::time::timeout_at(end, changes.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return self.config_value(who, id, asker).await;
            }
        }
    }

    pub async fn config_item(&self, who: &Principal, id: &ItemId) -> Result<KeptItem> {
        who.may_somewhere(Permission::Read)?;
        let stored = self.state.get(&Slot::record(id.record())).await?;
        let stored = stored.ok_or_else(|| Error::not_found(id.record()))?;
        let item: Item = read_json(&id.record(), &stored.value)?;
        Ok(KeptItem { value: item.value, etag: etag(&stored) })
    }

    /// A page of items, and whether there are more.
    pub fn config_items(
        &self,
        who: &Principal,
        (app, filter): (Option<&str>, Option<&str>),
        (after, limit): (Option<&ItemId>, usize),
    ) -> Result<(Vec<ItemShown>, Option<ItemId>)> {
        who.may_somewhere(Permission::Read)?;
        let takes = |id: &ItemId| {
            app.is_none_or(|app| id.place.app.as_str() == app)
                && filter.is_none_or(|part| id.to_string().contains(part))
        };
        let mut found = self.configs.page(after, takes, limit + 1);
        let is_more = found.len() > limit;
        found.truncate(limit);
        let next = found.last().filter(|_| is_more).map(|(id, _)| id.clone());
        let audiences = self.configs.audiences();
        let show = |(id, entry): (ItemId, Entry)| ItemShown {
            plans: audiences
                .of_key(&id.to_string())
                .filter(|audience| audience.is_giving())
                .map(|audience| audience.plan.clone())
                .collect(),
            app: id.place.app.to_string(),
            environment: id.place.environment.to_string(),
            group: id.place.group.to_string(),
            key: id.key,
            value: entry.value.to_string(),
            revision: entry.revision,
        };
        Ok((found.into_iter().map(show).collect(), next))
    }

    /// Writes an item, or takes it away; without a condition whatever is there.
    pub async fn put_config_item(
        &self,
        who: &Principal,
        (id, value): (&ItemId, Option<String>),
        condition: Option<&Precondition>,
        reason: Option<String>,
    ) -> Result<ItemDone> {
        who.may_somewhere(Permission::Write)?;
        let touch = touch(&id.place);
        who.may(Permission::Write, &touch)?;
        if value.as_ref().is_some_and(|value| value.len() > VALUE_LIMIT) {
            return Err(Error::TooLarge(format!("a value has at most {} KiB", VALUE_LIMIT >> 10)));
        }
        let before = self.state.get(&Slot::record(id.record())).await?;
        if value.is_none() && before.is_none() {
            return Err(Error::not_found(id.record()));
        }
        if let Some(condition) = condition {
            check_condition(&id.record(), before.as_ref(), condition)?;
        }
        let action = if value.is_some() { "config.put" } else { "config.delete" };
        if self.waits_for_two(&touch) {
            let old = before.as_ref().map(|stored| value_of(id, stored)).transpose()?;
            let diff = difference(old.as_deref(), value.as_deref());
            let hash = hex::encode(Sha256::digest(format!("{id}\n{diff}")));
            let asked = Asked { action: action.to_owned(), object: id.record(), hash, diff };
            let write = ItemWrite { record: id.record(), value };
            let write = serde_json::to_value(&write).map_err(|error| Error::Internal(error.to_string()))?;
            let seen = before.map_or(0, |stored| stored.revision);
            let work = Work::Config { write, seen };
            let proposal = self.let_wait(who, asked, (touch, work), reason).await?;
            return Ok(ItemDone::Waiting(Box::new(proposal)));
        }
        let intent = Intent { reason, ..Intent::of(action) };
        self.write_config_item(who, (id, value), before, intent).await
    }

    /// What was approved, if the item is as it was seen.
    pub async fn carry_out_config(
        &self,
        author: &Principal,
        (write, seen): (&serde_json::Value, Revision),
        intent: Intent,
    ) -> Result<()> {
        let write: ItemWrite =
            serde_json::from_value(write.clone()).map_err(|error| Error::Internal(error.to_string()))?;
        let id = ItemId::parse(&write.record).ok_or_else(|| Error::not_found(&write.record))?;
        let before = self.state.get(&Slot::record(id.record())).await?;
        if before.as_ref().map_or(0, |stored| stored.revision) != seen {
            return Err(Error::changed(id.record(), before.as_ref().map(etag)));
        }
        self.write_config_item(author, (&id, write.value), before, intent).await.map(drop)
    }

    async fn write_config_item(
        &self,
        who: &Principal,
        (id, value): (&ItemId, Option<String>),
        before: Option<Stored>,
        intent: Intent,
    ) -> Result<ItemDone> {
        let old = before.as_ref().map(|stored| value_of(id, stored)).transpose()?;
        for _ in 0..RACES {
            let mut deed =
                Deed::ok(who, intent.action.clone(), id.record()).with_reason(intent.reason.clone());
            deed.approved_by = intent.approved_by.clone();
            let mut plan = Plan::new(deed.changing(old.clone().map(Text::of), value.clone().map(Text::of)));
            let slot = Slot::record(id.record());
            plan.transaction.expect(slot.clone(), before.as_ref().map_or(0, |stored| stored.revision));
            let text = value.clone().map(|value| to_json(&id.record(), &Item { value })).transpose()?;
            match &text {
                Some(text) => plan.transaction.put(slot.clone(), text.clone()),
                None => plan.transaction.delete(slot.clone()),
            };
            self.log_config_write(&mut plan.transaction, vec![id.record()]).await?;
            match self.write(plan).await {
                Ok(written) => {
                    self.look_at_configs().await?;
                    let etag = text.map(|value| etag(&Stored { value, revision: written.revision }));
                    return Ok(ItemDone::Written { etag, created: before.is_none() });
                }
                Err(StateError::Conflict(slots)) if slots.contains(&slot) => {
                    let now = self.state.get(&slot).await?;
                    return Err(Error::changed(id.record(), now.as_ref().map(etag)));
                }
                // Another item was written in the same moment.
                Err(StateError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Away("other items are written all the time; try again".to_owned()))
    }

    /// Lets other processes see which items a transaction changes.
    pub(super) async fn log_config_write(
        &self,
        transaction: &mut Transaction,
        items: Vec<String>,
    ) -> std::result::Result<(), StateError> {
        let stored = self.state.get(&Slot::record(HEAD)).await?;
        let (head, revision) = match &stored {
            Some(stored) => (read_json::<Head>(HEAD, &stored.value)?, stored.revision),
            None => (Head::default(), 0),
        };
        let next = Head { sequence: head.sequence + 1 };
        transaction.expect(Slot::record(HEAD), revision);
        transaction.put(Slot::record(HEAD), to_json(HEAD, &next)?);
        let record = log_record(next.sequence);
        let logged = Logged { sequence: next.sequence, items };
        transaction.put(Slot::record(&record), to_json(&record, &logged)?);
        Ok(())
    }

    /// Follows items and plans until it is dropped, and writes what was given.
    pub async fn follow_configs(&self) {
        let following = async {
            let mut changes = self.state.changes();
            loop {
                changes.borrow_and_update();
                if let Err(error) = self.look_at_configs().await {
                    tracing::debug!(%error, "configuration values cannot be read for now");
                }
                let _ = tokio::time::timeout(LOOK, changes.changed()).await;
                tokio::time::sleep(SETTLE).await;
            }
        };
        let writing = async {
            let mut round = 0_u32;
            loop {
                tokio::time::sleep(WRITTEN).await;
                round = round.wrapping_add(1);
                if let Err(error) = self.write_given(round.is_multiple_of(SIGHTINGS_EVERY)).await {
                    tracing::debug!(%error, "what was given cannot be written for now");
                }
            }
        };
        tokio::join!(following, writing);
    }

    /// Reads what is new of items, and of plans that move some.
    pub async fn look_at_configs(&self) -> Result<()> {
        let mut read = self.configs.read.lock().await;
        self.look_at_items(&mut read).await?;
        self.look_at_audiences(&mut read).await?;
        self.configs.is_read.store(true, Ordering::Release);
        Ok(())
    }

    async fn look_at_items(&self, read: &mut Read) -> Result<()> {
        let head: Head = self.read(HEAD).await?.map(|(head, _)| head).unwrap_or_default();
        let is_near = |known: &u64| *known <= head.sequence && head.sequence - known < LOGGED / 2;
        let Some(known) = read.sequence.filter(is_near) else {
            let mut items = BTreeMap::new();
            for entry in self.all_records(ITEMS).await? {
                if let Some(id) = ItemId::parse(&entry.name) {
                    items.insert(id, entry_of(&entry.name, &entry.stored)?);
                }
            }
            self.configs.replace_all(items);
            // Whatever was written meanwhile is looked at again.
            read.sequence = Some(head.sequence);
            return Ok(());
        };
        let mut names = BTreeSet::new();
        for sequence in known + 1..=head.sequence {
            match self.read::<Logged>(&log_record(sequence)).await? {
                Some((logged, _)) if logged.sequence == sequence => names.extend(logged.items),
                // The ring went around meanwhile.
                _ => {
                    read.sequence = None;
                    return Ok(());
                }
            }
        }
        let mut changed = Vec::new();
        for name in names {
            let Some(id) = ItemId::parse(&name) else { continue };
            let stored = self.state.get(&Slot::record(&name)).await?;
            changed.push((id, stored.map(|stored| entry_of(&name, &stored)).transpose()?));
        }
        if !changed.is_empty() {
            self.configs.replace(changed);
        }
        read.sequence = Some(head.sequence);
        Ok(())
    }

    async fn look_at_audiences(&self, read: &mut Read) -> Result<()> {
        let records = self.all_records(PLANS).await?;
        let revisions: BTreeMap<String, Revision> =
            records.iter().map(|entry| (entry.name.clone(), entry.stored.revision)).collect();
        let before = self.configs.audiences();
        let view = self.view();
        let are_lists_same = before
            .lists
            .iter()
            .all(|(id, raw)| view.set.documents.get(id).is_some_and(|now| std::sync::Arc::ptr_eq(now, raw)));
        if revisions != read.plans || !are_lists_same {
            let plans: Vec<(Kept, Revision)> = records
                .iter()
                .filter_map(|entry| {
                    Some((read_json(&entry.name, &entry.stored.value).ok()?, entry.stored.revision))
                })
                .collect();
            let compiled =
                tokio::task::spawn_blocking(move || Audiences::of(&plans, |list| view.parts(list), &before));
            let audiences = compiled.await.map_err(|error| Error::Internal(error.to_string()))?;
            self.configs.replace_audiences(audiences.into());
            read.plans = revisions;
        }
        let is_paused =
            |audiences: &Audiences| audiences.all.iter().any(|audience| audience.state == PlanState::Paused);
        if !read.is_given_read || is_paused(&self.configs.audiences()) {
            self.learn_given().await?;
            read.is_given_read = true;
        }
        Ok(())
    }

    /// Reads the identities that other processes gave the other value to, and this one before it was started.
    async fn learn_given(&self) -> Result<()> {
        for audience in self.configs.audiences().all.iter().filter(|audience| audience.is_giving()) {
            let prefix = format!("{GIVEN}{}/{}/", audience.plan, audience.run);
            for entry in self.all_records(&prefix).await? {
                let known = self.configs.learned.lock().get(&entry.name).copied();
                let is_own = entry.name.starts_with(&format!("{prefix}{}-", self.configs.process));
                if !is_own && known != Some(entry.stored.revision) {
                    self.configs.given.learn(&audience.plan, audience.run, &entry.stored.value);
                    self.configs.learned.lock().insert(entry.name, entry.stored.revision);
                }
            }
        }
        Ok(())
    }

    /// Writes what was given and not written yet.
    pub async fn write_given(&self, with_sightings: bool) -> Result<()> {
        let given = &self.configs.given;
        let parts = given.unwritten_parts();
        let process = &self.configs.process;
        for (at, part) in parts.iter().enumerate() {
            let mut transaction = Transaction::default();
            let record = format!("{GIVEN}{}/{}/{process}-{:06}", part.plan, part.run, part.number);
            transaction.put(Slot::record(record), part.bytes.clone());
            if let Err(error) = self.state.commit(transaction).await {
                given.write_again(parts.get(at..).unwrap_or_default().to_vec());
                return Err(error.into());
            }
        }
        if let Some(counts) = given.unwritten_counts() {
            let record = format!("{COUNTS}{process}");
            let mut transaction = Transaction::default();
            transaction.put(Slot::record(&record), to_json(&record, &counts)?);
            self.state.commit(transaction).await?;
        }
        if !with_sightings {
            return Ok(());
        }
        for (plan, mut seen) in given.unwritten_sightings() {
            seen.sort_by_key(|sighting| std::cmp::Reverse(sighting.at));
            seen.truncate(SIGHTINGS);
            let record = format!("{SEEN}{plan}/{process}");
            let mut transaction = Transaction::default();
            transaction.put(Slot::record(&record), to_json(&record, &seen)?);
            self.state.commit(transaction).await?;
        }
        self.forget_given().await
    }

    /// Takes away what is kept of runs that are over; only the leader does.
    async fn forget_given(&self) -> Result<()> {
        if !self.leadership.leads() {
            return Ok(());
        }
        let audiences = self.configs.audiences();
        let is_needed = |name: &str| {
            let mut parts = name.split('/').skip(1);
            let (plan, run) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            audiences.all.iter().any(|audience| audience.plan == plan && audience.run.to_string() == run)
        };
        let is_known = |name: &str| {
            let plan = name.split('/').nth(1).unwrap_or_default();
            audiences.all.iter().any(|audience| audience.plan == plan)
        };
        let mut over = Vec::new();
        for entry in self.state.list(&Range::all(GIVEN)).await? {
            over.extend(Some(entry.name).filter(|name| !is_needed(name)));
        }
        for entry in self.state.list(&Range::all(SEEN)).await? {
            over.extend(Some(entry.name).filter(|name| !is_known(name)));
        }
        for names in over.chunks(crate::state::OPERATION_LIMIT / 2) {
            let mut transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
            for name in names {
                transaction.delete(Slot::record(name));
            }
            self.state.commit(transaction).await?;
        }
        Ok(())
    }

    /// Answers of a plan since its last transition, over all processes.
    pub async fn config_counts(&self, kept: &Kept) -> Result<Counted> {
        let own = self.configs.given.counted(&kept.plan);
        let mut sum = Counted { run: kept.run, moves: kept.moves, ..Counted::default() };
        let mut add = |counted: &Counted| {
            if (counted.run, counted.moves) == (kept.run, kept.moves) {
                sum.gray += counted.gray;
                sum.release += counted.release;
            }
        };
        add(&own);
        for entry in self.all_records(COUNTS).await? {
            if entry.name.strip_prefix(COUNTS) == Some(self.configs.process.as_str()) {
                continue;
            }
            let counts: BTreeMap<String, Counted> = read_json(&entry.name, &entry.stored.value)?;
            counts.get(&kept.plan).into_iter().for_each(&mut add);
        }
        Ok(sum)
    }

    pub(super) async fn all_records(&self, prefix: &str) -> Result<Vec<crate::state::Entry>> {
        let mut found = Vec::new();
        let mut range = Range::all(prefix);
        loop {
            let page = self.state.list(&range).await?;
            let is_full = page.len() >= range.limit;
            range.after = page.last().map(|entry| entry.name.clone());
            found.extend(page);
            if !is_full {
                return Ok(found);
            }
        }
    }
}

/// For configuration the application's name is what a role's services bind.
pub fn touch(place: &ItemPlace) -> Touch {
    Touch::one(place.app.as_str())
}

pub fn value_of(id: &ItemId, stored: &Stored) -> Result<String> {
    let item: Item = read_json(&id.record(), &stored.value)?;
    Ok(item.value)
}

fn entry_of(name: &str, stored: &Stored) -> Result<Entry> {
    let item: Item = read_json(name, &stored.value)?;
    Ok(Entry { value: item.value.into(), revision: stored.revision })
}

fn shown(key: &str, told: Told) -> ValueShown {
    ValueShown {
        config_key: key.to_owned(),
        value: told.value.to_string(),
        gray: told.gray,
        plan_id: told.plan,
        version: told.version,
    }
}

fn difference(before: Option<&str>, after: Option<&str>) -> String {
    let lines = |sign: char, text: Option<&str>| {
        text.into_iter().flat_map(str::lines).map(|line| format!("{sign}{line}\n")).collect::<String>()
    };
    lines('-', before) + &lines('+', after)
}
