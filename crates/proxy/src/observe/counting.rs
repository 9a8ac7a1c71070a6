//! Everything that is counted: who is asked about, the second that lasts, those that are over, and who still waits.
//!
//! Owns: when a second ends and what is kept. A second is closed by the first that looks after its end, under the lock that
//! everything is counted under, so that what was told never changes. Never: a lock, or a clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use graygate_rules::vocab::Name;

use super::client::Client;
use super::epoch::Epoch;
use super::question::{Cursor, Question};
use super::row::{RowKey, Subject};
use super::second::{Closed, End, Second, Seen};
use super::waiting::{Slot, Standing, UnderWay, Waiting};

/// How long a service is counted after a question.
const ASKED_FOR: Duration = Duration::from_secs(15);
/// How long a request may wait for its header before it is counted without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// Seconds that are kept.
const KEPT_SECONDS: u64 = 120;
/// What they may take in memory; where it is less than they need, fewer are kept.
const KEPT_BYTES: usize = 64 << 20;
/// Keys that are known without being in use, before they are looked through.
const KEY_LIMIT: usize = 1 << 14;
/// Salts a service is asked with at a time; a caller with one more replaces the one that was asked with first.
const SALT_LIMIT: usize = 8;
/// Times that a service was counted, which tell what was lost from what was never counted.
const SPAN_LIMIT: usize = 64;
/// Rows of one answer: some 20 MB. What is left is told next.
const TOLD_ROWS: usize = 40_000;

#[derive(Debug)]
pub struct Counting {
    epoch: Epoch,
    services: BTreeMap<Box<str>, Asked>,
    open: Second,
    /// Seconds with anything in them, oldest first.
    closed: VecDeque<Arc<Closed>>,
    bytes: usize,
    /// Seconds before this one are gone.
    kept_from: u64,
    waiting: UnderWay,
    keys: HashMap<u64, Arc<RowKey>, RandomState>,
}

/// A service that is asked about.
#[derive(Debug)]
struct Asked {
    until: Instant,
    since: u64,
    /// When it was counted before: first second, and the one behind the last.
    spans: VecDeque<(u64, u64)>,
    /// In the order they were first asked with.
    salts: Vec<Arc<str>>,
}

/// What a question gets.
#[derive(Debug)]
pub struct Told {
    pub now: u64,
    /// Since when every one of its services has been counted.
    pub counting_since: u64,
    /// Seconds that were counted and are gone.
    pub lost: u64,
    /// The first second that is not told.
    pub next: u64,
    pub seconds: Vec<Arc<Closed>>,
}

/// A request that was counted while its answer may still turn out to be an error.
#[derive(Debug)]
pub struct Counted {
    pub waiting: Waiting,
    pub second: u64,
}

impl Counting {
    pub fn new(epoch: Epoch, now: Instant) -> Counting {
        let second = epoch.second(now);
        Counting {
            epoch,
            services: BTreeMap::new(),
            open: Second::new(second),
            closed: VecDeque::new(),
            bytes: 0,
            kept_from: second,
            waiting: UnderWay::default(),
            keys: HashMap::default(),
        }
    }

    /// Keeps counting for these services, and tells what was counted of all.
    pub fn ask(&mut self, question: &Question, boot: &str, now: Instant) -> Told {
        self.roll(now);
        let second = self.open.second;
        let counting_since = question.services.iter().map(|service| self.keep_asking(service, question, now));
        let counting_since = counting_since.max().unwrap_or(second);
        let cursor = question.after.as_ref().filter(|cursor| *cursor.boot == *boot);
        let (seconds, next) = self.told_after(cursor);
        Told { now: second, counting_since, lost: self.lost(question, cursor), next, seconds }
    }

    /// Whether a service is still asked about.
    pub fn is_asked(&self, service: &str, now: Instant) -> bool {
        self.services.get(service).is_some_and(|asked| now <= asked.until)
    }

    /// Services that are still asked about.
    pub fn asked(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.services.iter().filter(move |(_, asked)| now <= asked.until).map(|(service, _)| &**service)
    }

    /// A request's first instance was picked; none where its service is not asked about, or too many wait.
    pub fn begin(
        &mut self,
        subject: &Subject<'_>,
        arrival: (Client, Instant, Standing),
        now: Instant,
    ) -> Option<Slot> {
        self.roll(now);
        if !self.is_asked(subject.service, now) {
            return None;
        }
        let (client, begun, standing) = arrival;
        let key = self.key(subject);
        self.waiting.enter(Waiting { key, client, begun, standing })
    }

    pub fn note(&mut self, slot: Slot, change: impl FnOnce(&mut Standing)) {
        if let Some(waiting) = self.waiting.get_mut(slot) {
            change(&mut waiting.standing);
        }
    }

    /// A request has ended, or its header is here; none where it was counted before.
    pub fn end(&mut self, slot: Slot, end: End, now: Instant) -> Option<Counted> {
        self.roll(now);
        let waiting = self.waiting.leave(slot)?;
        let took = now.saturating_duration_since(waiting.begun);
        self.count(&waiting, end, took);
        Some(Counted { waiting, second: self.open.second })
    }

    /// A counted request turned out to be an error; where its second is over, that is how it was told.
    pub fn fail(&mut self, counted: &Counted, now: Instant) {
        self.roll(now);
        if self.open.second == counted.second {
            let Waiting { key, client, .. } = &counted.waiting;
            let salts = self.services.get(&key.service).map_or(&[][..], |asked| &asked.salts);
            self.open.fail(key, client, salts);
        }
    }

    fn count(&mut self, waiting: &Waiting, end: End, took: Duration) {
        let Waiting { key, client, standing, .. } = waiting;
        let salts = self.services.get(&key.service).map_or(&[][..], |asked| &asked.salts);
        self.open.count(&Seen { key, client, standing: *standing, end, took }, salts);
    }

    fn key(&mut self, subject: &Subject<'_>) -> Arc<RowKey> {
        let of = (subject.service, subject.route, subject.rule, subject.share, subject.version);
        let mut number = self.keys.hasher().hash_one(of);
        loop {
            match self.keys.get(&number) {
                Some(known) if known.is(subject) => return known.clone(),
                Some(_) => number = number.wrapping_add(1),
                None => break,
            }
        }
        if self.keys.len() >= KEY_LIMIT {
            self.keys.retain(|_, key| Arc::strong_count(key) > 1);
        }
        let key = Arc::new(RowKey::of(subject, number));
        self.keys.insert(number, key.clone());
        key
    }

    /// Closes the seconds that are over.
    fn roll(&mut self, now: Instant) {
        let second = self.epoch.second(now);
        while self.open.second < second {
            self.sweep(now);
            // Nothing happened in a long silence: its last two minutes are enough.
            let next = (self.open.second + 1).max(second.saturating_sub(KEPT_SECONDS));
            let closed = self.open.close(next);
            self.keep(closed);
        }
    }

    /// Counts who has waited too long by the end of the second that lasts.
    fn sweep(&mut self, now: Instant) {
        if self.waiting.is_empty() {
            return;
        }
        let (epoch, second) = (self.epoch, self.open.second);
        let overdue = |waiting: &Waiting| {
            let due = waiting.begun.checked_add(PATIENCE).unwrap_or(now);
            epoch.second(due) <= second
        };
        for waiting in self.waiting.leave_if(overdue) {
            self.count(&waiting, End::Unanswered, PATIENCE);
        }
    }

    fn keep(&mut self, closed: Closed) {
        self.kept_from = self.kept_from.max((closed.second + 1).saturating_sub(KEPT_SECONDS));
        if !closed.is_empty() {
            self.bytes += closed.bytes();
            self.closed.push_back(Arc::new(closed));
        }
        while let Some(oldest) = self.closed.front() {
            if oldest.second >= self.kept_from && self.bytes <= KEPT_BYTES {
                break;
            }
            self.kept_from = self.kept_from.max(oldest.second + 1);
            self.bytes -= oldest.bytes();
            self.closed.pop_front();
        }
    }

    /// Since when a service has been counted.
    fn keep_asking(&mut self, service: &Name, question: &Question, now: Instant) -> u64 {
        let (epoch, second) = (self.epoch, self.open.second);
        let until = now.checked_add(ASKED_FOR).unwrap_or(now);
        let fresh = || Asked { until, since: second, spans: VecDeque::new(), salts: Vec::new() };
        let asked = self.services.entry(service.as_str().into()).or_insert_with(fresh);
        if asked.until < now {
            asked.spans.push_back((asked.since, epoch.second(asked.until) + 1));
            asked.spans.drain(..asked.spans.len().saturating_sub(SPAN_LIMIT));
            asked.since = second;
            asked.salts.clear();
        }
        asked.until = until;
        if !asked.salts.contains(&question.salt) {
            asked.salts.drain(..(asked.salts.len() + 1).saturating_sub(SALT_LIMIT));
            asked.salts.push(question.salt.clone());
        }
        asked.since
    }

    fn told_after(&self, cursor: Option<&Cursor>) -> (Vec<Arc<Closed>>, u64) {
        let after = cursor.map_or(0, |cursor| cursor.next.min(self.open.second));
        let mut rows = 0;
        let mut told = Vec::new();
        for closed in self.closed.iter().filter(|closed| closed.second >= after) {
            rows += closed.rows.len();
            if rows > TOLD_ROWS && !told.is_empty() {
                return (told, closed.second);
            }
            told.push(closed.clone());
        }
        (told, self.open.second)
    }

    /// Seconds between a cursor and what is kept in which any of its services was counted.
    fn lost(&self, question: &Question, cursor: Option<&Cursor>) -> u64 {
        let Some(cursor) = cursor else { return 0 };
        let of_service = |service: &Name| {
            let asked = self.services.get(service.as_str())?;
            let spans = asked.spans.iter().copied().chain([(asked.since, self.open.second)]);
            let gone = |(from, to): (u64, u64)| to.min(self.kept_from).saturating_sub(from.max(cursor.next));
            Some(spans.map(gone).sum::<u64>())
        };
        question.services.iter().filter_map(of_service).max().unwrap_or(0)
    }
}
