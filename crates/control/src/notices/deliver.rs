//! The outbox on its way out.
//!
//! Answers: which channel lacks which notice, and what of that goes out now? The leader reads the outbox and strikes out what
//! arrived, bound to its lead; beside it each channel has a worker of its own, so that one that is down holds nothing up.
//! A crash, or a lost lead, between sending and striking out sends again, under the same id. Start at [`Delivery::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::log::{Tried, note};
use super::notice::{Notice, OUTBOX, Recipients};
use super::outcome::{Count, Now, Outcome};
use super::worker::{Pace, Wanted, Worker};
use crate::audit::Chain;
use crate::settings::Channel;
use crate::state::{Entry, Leadership, Range, Slot, State, StateError, Transaction, read_json, to_json};

/// Between two looks at the outbox where nothing seems to happen: time goes by there, and a write may have failed.
const LOOK: Duration = Duration::from_secs(5);
/// Results that wait for the leader.
const RESULTS: usize = 256;
/// Tries that are noted in one transaction, and that wait for one at most: the log may have holes, a notice not.
const NOTED_AT_ONCE: usize = 32;
const NOTED_LATER: usize = 1_000;

/// Everything that is needed to deliver.
pub struct Delivery {
    pub state: Arc<dyn State>,
    pub leadership: Leadership,
    pub now: Now,
    pub channels: BTreeMap<String, Channel>,
    /// The control plane's address from outside, without a slash at its end.
    pub base: String,
    pub count: Count,
    pub pace: Pace,
}

/// What this leader knows beside the store.
#[derive(Default)]
struct Known {
    /// What arrived, or was given up, and is not struck out yet.
    done: BTreeMap<String, BTreeSet<String>>,
    /// Since when this process has tried; the hour is by a clock that does not jump.
    since: BTreeMap<String, Instant>,
    /// What is to stand in the log, and does not yet.
    tried: Vec<Tried>,
}

impl Delivery {
    /// Delivers until it is dropped.
    pub async fn run(self) {
        let (told, mut results) = mpsc::channel(RESULTS);
        let mut workers = JoinSet::new();
        let mut wanted = BTreeMap::new();
        for (name, channel) in &self.channels {
            let (sender, receiver) = watch::channel(Wanted::default());
            wanted.insert(name.clone(), sender);
            let worker = Worker {
                name: name.clone(),
                channel: channel.clone(),
                base: self.base.clone(),
                pace: self.pace,
                now: self.now.clone(),
                count: self.count.clone(),
            };
            workers.spawn(worker.run(receiver, told.clone()));
        }
        let mut changes = self.state.changes();
        let mut leadership = self.leadership.clone();
        let mut known = Known::default();
        loop {
            // What was tried is counted before anything is given up.
            while let Ok(tried) = results.try_recv() {
                known.note(tried);
            }
            match self.leadership.leads() {
                false => {
                    wanted.values().for_each(|sender| drop(sender.send_replace(Wanted::default())));
                    known = Known::default();
                }
                true => {
                    if let Err(error) = self.pass(&mut known, &wanted).await {
                        tracing::debug!(%error, "the outbox cannot be looked through; trying again");
                    }
                    self.keep_log(&mut known).await;
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = leadership.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                Some(tried) = results.recv() => known.note(tried),
            }
        }
    }

    /// Strikes out what is done, and tells each worker what its channel lacks.
    async fn pass(
        &self,
        known: &mut Known,
        wanted: &BTreeMap<String, watch::Sender<Wanted>>,
    ) -> Result<(), StateError> {
        let entries = self.state.list(&Range::all(OUTBOX)).await?;
        let mut missing: BTreeMap<&str, Vec<Arc<Notice>>> = BTreeMap::new();
        let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.name.trim_start_matches(OUTBOX)).collect();
        known.done.retain(|id, _| ids.contains(id.as_str()));
        known.since.retain(|id, _| ids.contains(id.as_str()));
        for entry in &entries {
            let notice = match read_json::<Notice>(&entry.name, &entry.stored.value) {
                Ok(notice) => notice,
                Err(error) => {
                    tracing::warn!(%error, "a notice in the outbox cannot be read; it stays where it is");
                    continue;
                }
            };
            let lacking = self.look(known, &notice);
            // What cannot be written now is written at the next look; the others go out meanwhile.
            if let Err(error) = self.strike_out(known, (entry, &notice), lacking.is_empty()).await {
                tracing::debug!(%error, notice = notice.id, "a notice cannot be struck out; trying again");
            }
            let notice = Arc::new(notice);
            for channel in lacking {
                missing.entry(channel).or_default().push(notice.clone());
            }
        }
        let audit = match entries.is_empty() {
            true => String::new(),
            false => Chain::read(&*self.state).await?.head.shown(),
        };
        for (channel, sender) in wanted {
            let notices = missing.remove(channel.as_str()).unwrap_or_default();
            let next = Wanted { notices, audit: audit.clone() };
            sender.send_if_modified(|held| {
                let is_new = !held.is_same(&next);
                *held = next;
                is_new
            });
        }
        Ok(())
    }

    /// Writes down what was tried. What cannot be written waits for the next time, within bounds.
    async fn keep_log(&self, known: &mut Known) {
        while !known.tried.is_empty() {
            let next: Vec<Tried> = known.tried.iter().take(NOTED_AT_ONCE).cloned().collect();
            let transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
            match note(&*self.state, &next, transaction).await {
                Ok(()) => drop(known.tried.drain(..next.len())),
                Err(error) => {
                    tracing::debug!(%error, "the log of deliveries cannot be written; trying again");
                    let over = known.tried.len().saturating_sub(NOTED_LATER);
                    known.tried.drain(..over);
                    return;
                }
            }
        }
    }

    /// The channels that still lack a notice; those that are given up are noted as done.
    fn look(&self, known: &mut Known, notice: &Notice) -> Vec<&str> {
        let is_new = !known.since.contains_key(&notice.id);
        let since = *known.since.entry(notice.id.clone()).or_insert_with(Instant::now);
        let addressed: Vec<&str> = match &notice.to {
            Recipients::All => self.channels.keys().map(String::as_str).collect(),
            Recipients::Channels(names) => {
                for name in names.iter().filter(|name| is_new && !self.channels.contains_key(*name)) {
                    tracing::warn!(channel = name, notice = notice.id, "control.yaml has no such channel");
                    (self.count)(name, Outcome::Unknown);
                    known.tried.push(Tried::of(notice, name, ((self.now)(), Outcome::Unknown)));
                }
                let configured = self.channels.keys().filter(|name| names.contains(name));
                configured.map(String::as_str).collect()
            }
        };
        let done = known.done.entry(notice.id.clone()).or_default();
        let is_over = since.elapsed() >= self.pace.tried;
        let mut lacking = Vec::new();
        for channel in addressed {
            if notice.delivered.iter().any(|name| name == channel) || done.contains(channel) {
                continue;
            }
            if is_over {
                tracing::warn!(channel, notice = notice.id, "a notice is given up");
                (self.count)(channel, Outcome::GivenUp);
                known.tried.push(Tried::of(notice, channel, ((self.now)(), Outcome::GivenUp)));
                done.insert(channel.to_owned());
            } else {
                lacking.push(channel);
            }
        }
        lacking
    }

    /// Writes who has it, or takes it away once all have.
    async fn strike_out(
        &self,
        known: &mut Known,
        (entry, notice): (&Entry, &Notice),
        is_finished: bool,
    ) -> Result<(), StateError> {
        let done = known.done.get(&notice.id).cloned().unwrap_or_default();
        if done.is_empty() && !is_finished {
            return Ok(());
        }
        let slot = Slot::record(&entry.name);
        let mut transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
        transaction.expect(slot.clone(), entry.stored.revision);
        if is_finished {
            transaction.delete(slot);
        } else {
            let mut next = notice.clone();
            next.delivered.extend(done);
            transaction.put(slot, to_json(&entry.name, &next)?);
        }
        match self.state.commit(transaction).await {
            Ok(_) => {
                known.done.remove(&notice.id);
                Ok(())
            }
            // The next look sees what it is now.
            Err(StateError::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Known {
    fn note(&mut self, tried: Tried) {
        if tried.outcome == Outcome::Delivered {
            self.done.entry(tried.notice.clone()).or_default().insert(tried.channel.clone());
        }
        self.tried.push(tried);
    }
}
