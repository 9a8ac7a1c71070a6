//! The evidence of runs, kept so that the next leader goes on from it; and its lines, for those who check a verdict.
//!
//! Owns: that sums, hashes and the cursors they include are one write, however large they are: parts are written first
//! under the names of what they hold, and one record then says which count. Never: what the figures mean.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use graygate_judge::blocks::Row;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::board::Pending;
use crate::control::plane::Control;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::plans::Trial;
use crate::state::{Range, Reserve, Slot, State, StateError, Transaction, read_json, to_json};

/// Which parts count, by plan.
const HEADS: &str = "evidence/";
/// The parts, by plan and hash.
const PARTS: &str = "evidence-parts/";
/// Bytes of a part: two of them fit into a transaction.
const PART: usize = 512 << 10;
/// Lines, by plan, run and second.
const LINES: &str = "figures/";
/// Rows, in the same way.
const ROWS: &str = "rows/";
/// Seconds of which every line is kept.
const EACH: u64 = 3_600;
/// Seconds of which one line a minute is kept.
const THINNED: u64 = 30 * 24 * 3_600;
/// With etcd one line a minute is kept with the run as well, for so long: the next leader, and every other process, can
/// tell it.
const SHARED: u64 = 24 * 3_600;
/// Of those so many are taken away at a time: more than come in between.
const SHARED_BATCH: usize = 10;
/// Records of rows that are read at a time.
const ROW_PAGE: usize = 8;
/// Bytes of rows of a plan that are kept.
const ROW_BYTES: usize = 64 << 20;

/// Which parts count, and which run they are of.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Head {
    run: u64,
    parts: Vec<String>,
}

impl Control {
    /// The evidence of a run, as it was kept; none where another run's is, or none.
    pub(super) async fn kept_trial(&self, plan: &str, run: u64) -> Result<Option<Trial>> {
        let found = self.read::<Head>(&format!("{HEADS}{plan}")).await?;
        let Some((head, _)) = found.filter(|(head, _)| head.run == run) else { return Ok(None) };
        let mut whole = Vec::new();
        for part in &head.parts {
            let record = format!("{PARTS}{plan}/{part}");
            let stored = self.state.get(&Slot::record(&record)).await?;
            let stored = stored.ok_or_else(|| Error::Internal(format!("`{record}` is missing")))?;
            whole.extend_from_slice(&stored.value);
        }
        let trial: Trial = read_json(&format!("{HEADS}{plan}"), &whole)?;
        Ok((trial.run == run).then_some(trial))
    }

    /// Keeps the evidence of a run, bound to the lead; with it the line of a minute, where one is told.
    pub(super) async fn keep_trial(
        &self,
        plan: &str,
        trial: &Trial,
        line: Option<&(u64, String)>,
    ) -> std::result::Result<(), StateError> {
        let head_record = format!("{HEADS}{plan}");
        let whole = to_json(&head_record, trial)?;
        let before: Option<Head> = match self.state.get(&Slot::record(&head_record)).await? {
            Some(stored) => read_json(&head_record, &stored.value).ok(),
            None => None,
        };
        let known: BTreeSet<String> = before.into_iter().flat_map(|head| head.parts).collect();
        let mut parts = Vec::new();
        let mut transaction = Transaction { lead: self.leadership.term(), ..Transaction::default() };
        for part in whole.chunks(PART) {
            let hash = hex::encode(Sha256::digest(part));
            if !known.contains(&hash) {
                // What the head does not name yet counts for no one, so it may be written before.
                if transaction.writes.len() > 1 {
                    self.state.commit(std::mem::take(&mut transaction)).await?;
                    transaction.lead = self.leadership.term();
                }
                transaction.put(Slot::record(format!("{PARTS}{plan}/{hash}")), Bytes::copy_from_slice(part));
            }
            parts.push(hash);
        }
        for gone in known.iter().filter(|hash| !parts.contains(hash)) {
            transaction.delete(Slot::record(format!("{PARTS}{plan}/{gone}")));
        }
        if let Some((second, line)) = line.filter(|_| self.shares_lines()) {
            let name = format!("{LINES}{plan}/{:06}/{second:012}", trial.run);
            transaction.put(Slot::record(name), format!("{line}\n"));
        }
        let head = Head { run: trial.run, parts };
        transaction.put(Slot::record(&head_record), to_json(&head_record, &head)?);
        self.state.commit(transaction).await.map(drop)
    }

    /// Whether the lines of each second are this process's alone.
    fn shares_lines(&self) -> bool {
        !Arc::ptr_eq(&self.state, &self.figures)
    }

    /// Takes the oldest of the shared lines away.
    async fn thin_shared(&self, plan: &str, now: u64) -> std::result::Result<(), StateError> {
        let oldest = Range { limit: SHARED_BATCH, ..Range::all(&format!("{LINES}{plan}/")) };
        let mut gone = Transaction { reserve: Reserve::Used, ..Transaction::default() };
        for entry in self.state.list(&oldest).await? {
            if second_of(&entry.name).is_some_and(|second| second + SHARED < now) {
                gone.delete(Slot::record(&entry.name));
            }
        }
        if gone.writes.is_empty() { Ok(()) } else { self.state.commit(gone).await.map(drop) }
    }

    /// Writes lines and rows of some seconds.
    pub(super) async fn keep_lines(
        &self,
        (plan, run): (&str, u64),
        pending: Pending,
    ) -> std::result::Result<(), StateError> {
        let Some(first) = pending.first else { return Ok(()) };
        let mut transaction = Transaction::default();
        let name = format!("{plan}/{run:06}/{first:012}");
        transaction.put(Slot::record(format!("{LINES}{name}")), pending.lines);
        if !pending.rows.is_empty() {
            transaction.put(Slot::record(format!("{ROWS}{name}")), pending.rows);
        }
        self.figures.commit(transaction).await.map(drop)
    }

    /// Thins out what is older than an hour, and takes away what is older than it is kept.
    pub(super) async fn thin_lines(&self, plan: &str, now: u64) -> std::result::Result<(), StateError> {
        if self.shares_lines() {
            self.thin_shared(plan, now).await?;
        }
        let prefix = format!("{LINES}{plan}/");
        let mut minute = None;
        for entry in all(&*self.figures, &prefix).await? {
            let Some(second) = second_of(&entry.name) else { continue };
            let mut transaction = Transaction::default();
            let slot = Slot::record(&entry.name);
            if second + THINNED < now {
                transaction.delete(slot);
            } else if second + EACH < now {
                let run =
                    entry.name.trim_start_matches(&prefix).split('/').next().unwrap_or_default().to_owned();
                let this = Some((run, second / 60));
                match minute == this {
                    true => drop(transaction.delete(slot)),
                    false => {
                        let last = entry.stored.value.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
                        let last = Bytes::copy_from_slice(last.unwrap_or_default());
                        if last.len() + 1 < entry.stored.value.len() {
                            transaction.put(slot, Bytes::from([&last[..], b"\n"].concat()));
                        }
                    }
                }
                minute = this;
            }
            if !transaction.writes.is_empty() {
                self.figures.commit(transaction).await?;
            }
        }
        self.thin_rows(plan, now).await
    }

    /// The same of rows. They are large, so one page of them is held at a time, and of the others only how large they are.
    async fn thin_rows(&self, plan: &str, now: u64) -> std::result::Result<(), StateError> {
        let mut range = Range { limit: ROW_PAGE, ..Range::all(&format!("{ROWS}{plan}/")) };
        let mut kept = VecDeque::new();
        let mut bytes = 0;
        loop {
            let page = self.figures.list(&range).await?;
            let Some(last) = page.last() else { return Ok(()) };
            range.after = Some(last.name.clone());
            for entry in page {
                bytes += entry.stored.value.len();
                kept.push_back((entry.name, entry.stored.value.len()));
            }
            while let Some((name, size)) = kept.pop_front_if(|(name, _)| {
                bytes > ROW_BYTES || second_of(name).is_none_or(|second| second + EACH < now)
            }) {
                bytes -= size;
                let mut transaction = Transaction::default();
                transaction.delete(Slot::record(name));
                self.figures.commit(transaction).await?;
            }
        }
    }

    /// The lines of a run, or its rows; of the newest run where none is named.
    pub async fn plan_evidence(
        &self,
        who: &Principal,
        name: &str,
        (run, blocks): (Option<u64>, bool),
    ) -> Result<Bytes> {
        who.may_somewhere(Permission::Read)?;
        let read = self.read_plan(name).await?;
        let run = run.unwrap_or(read.kept.run);
        if run == 0 || run > read.kept.run {
            return Err(Error::NotFound(format!("`{name}` has no run {run}")));
        }
        let kind = if blocks { ROWS } else { LINES };
        let mut whole = Vec::new();
        for entry in all(&*self.figures, &format!("{kind}{name}/{run:06}/")).await? {
            whole.extend_from_slice(&entry.stored.value);
        }
        let now = self.plans.pending(name, run, blocks);
        whole.extend_from_slice(now.as_bytes());
        if !blocks && self.shares_lines() {
            let shared = all(&*self.state, &format!("{LINES}{name}/{run:06}/")).await?;
            whole = united(&whole, &shared);
        }
        Ok(whole.into())
    }
}

async fn all(state: &dyn State, prefix: &str) -> std::result::Result<Vec<crate::state::Entry>, StateError> {
    let mut found = Vec::new();
    let mut range = Range { limit: 100, ..Range::all(prefix) };
    loop {
        let page = state.list(&range).await?;
        let is_full = page.len() >= range.limit;
        range.after = page.last().map(|entry| entry.name.clone());
        found.extend(page);
        if !is_full {
            return Ok(found);
        }
    }
}

/// Lines by their seconds, each second once: as this process has it, else as it was shared.
fn united(own: &[u8], shared: &[crate::state::Entry]) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Told {
        second: u64,
    }
    let lines = shared.iter().map(|entry| &entry.stored.value[..]).chain([own]);
    let lines = lines.flat_map(|lines| lines.split(|byte| *byte == b'\n')).filter(|line| !line.is_empty());
    let mut seconds = BTreeMap::new();
    for line in lines {
        if let Ok(Told { second }) = serde_json::from_slice(line) {
            seconds.insert(second, line);
        }
    }
    seconds.into_values().flat_map(|line| [line, b"\n"].concat()).collect()
}

fn second_of(name: &str) -> Option<u64> {
    name.rsplit('/').next()?.parse().ok()
}

/// A row as a proxy told it, with the proxy's name: a line that `graygate judge` reads.
pub fn line_of(row: &Row) -> String {
    let (teller, series, counts) = (&row.key.teller, &row.key.series, &row.counts);
    let clients: Vec<String> = counts.error_clients.iter().map(|client| format!("{client:016x}")).collect();
    let line = json!({
        "second": row.key.second,
        "proxy": teller.proxy,
        "boot": teller.boot,
        "service": series.service,
        "route": series.route,
        "rule": series.rule,
        "share": series.share,
        "version": series.version,
        "requests": counts.requests,
        "timed": counts.timed,
        "errors": counts.errors,
        "error_clients": clients,
        "fallbacks": counts.fallbacks,
        "slower": counts.slower,
    });
    line.to_string()
}
