//! The watcher without its connection: what was listed and heard becomes updates.
//!
//! Answers: which state does the store have after this, when is it told, and when is it not to be trusted any more?
//! Owns: the held state, gathering a burst into one update, the periodic comparison's verdict. Never: talks to etcd,
//! or reads a clock; the session does both, and so does the simulation that drives this with a model of a store.

use super::held::{Change, Held, Listed, Listing};
use super::keyspace::{Part, Prefix};
use crate::update::Update;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A burst has ended when nothing came for this long. Short, because every change waits for it.
const BURST_IDLE: Duration = Duration::from_millis(3);
/// A burst is published after this long even if it goes on: less than half of the 50 ms a change may take in all.
const BURST_LIMIT: Duration = Duration::from_millis(20);
/// Above so many bytes of documents, listings compare keys and revisions and fetch only what differs.
const BULK: usize = 64 << 20;

/// Whether a listing carries values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    KeysAndValues,
    Keys,
}

/// One message of a watch.
pub struct Heard<'a> {
    /// Whose watch it is of; `None`: an answer about the store, without changes.
    pub part: Option<Part>,
    /// The store's revision when it was sent.
    pub revision: i64,
    pub changes: Vec<Change<'a>>,
}

/// The held state may not be the store's, and why: list again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stale {
    pub reason: String,
    /// Keys on which a comparison found a difference.
    pub mismatches: usize,
}

/// The prefix of a store, as far as it was listed and heard.
pub struct Mirror {
    held: Held,
    /// The store's revision of the listing.
    listed: i64,
    /// Up to where strays were heard; the two watches may be at different revisions.
    strays: i64,
    /// The newest revision of a document among them: closures stand before the fleet's keys.
    closures: i64,
    /// The newest revision the store has reported, that of keys of no concern included.
    seen: i64,
    burst: Option<Burst>,
    /// During a comparison: the keys that events touched since it began.
    touched: Option<BTreeSet<Vec<u8>>>,
}

/// Changes that are not told yet.
#[derive(Clone, Copy)]
struct Burst {
    began: Instant,
    latest: Instant,
}

impl Mirror {
    /// Holds nothing yet. The prefix is as an operator writes it.
    pub fn new(prefix: &str) -> Mirror {
        let held = Held::new(Prefix::new(prefix));
        Mirror { held, listed: 0, strays: 0, closures: 0, seen: 0, burst: None, touched: None }
    }

    /// The newest revision the store is known to have had; 0 before the first listing.
    pub fn seen(&self) -> i64 {
        self.seen
    }

    /// What the next listing has to carry.
    pub fn extent(&self) -> Extent {
        match self.held.bytes() < BULK {
            true => Extent::KeysAndValues,
            false => Extent::Keys,
        }
    }

    /// Whether the held value of a key is the one listed, so that a listing of keys need not fetch it.
    pub fn has(&self, listed: &Listed) -> bool {
        self.held.has(listed)
    }

    /// Takes a complete listing in place of everything; returns the revision the watch has to start from.
    ///
    /// A session begins with this instead of resuming the watch where the last one broke: a store whose data was
    /// replaced may stand at the very revision one resumes from, and no event would ever tell.
    pub fn listed(&mut self, listing: Listing) -> i64 {
        if listing.revision < self.seen {
            tracing::warn!(
                seen = self.seen,
                store = listing.revision,
                "the store's revision went back, its data was replaced; taking what it holds now"
            );
        }
        self.burst = None;
        self.touched = None;
        (self.listed, self.strays, self.seen) = (listing.revision, listing.revision, listing.revision);
        self.closures = 0;
        self.held.replace(listing);
        self.listed + 1
    }

    /// Takes a message; an update where a burst has lasted long enough.
    pub fn heard(&mut self, message: &Heard<'_>, now: Instant) -> Result<Option<Update>, Stale> {
        let newest = self.check(message)?;
        self.seen = self.seen.max(message.revision);
        let mut ours = false;
        for change in &message.changes {
            ours |= self.held.apply(change);
            if let Some(touched) = &mut self.touched {
                touched.insert(change.key.to_vec());
            }
        }
        match message.part {
            Some(Part::Documents) => self.held.reached(newest),
            Some(Part::Strays) => {
                self.strays = newest;
                if message.changes.iter().any(|change| self.held.is_document(change.key)) {
                    self.closures = newest;
                }
            }
            None => {}
        }
        if ours {
            let began = self.burst.map_or(now, |burst| burst.began);
            self.burst = Some(Burst { began, latest: now });
            // The caller may prefer messages to timers, so a stream that never rests is cut here.
            if now >= began + BURST_LIMIT {
                return Ok(self.flush());
            }
        }
        Ok(None)
    }

    /// The revision that is heard with this message. A store sends the events of a watch in the order of their revisions,
    /// each once. What is older than the held state comes from a store whose data was replaced, or from a watch that went
    /// wrong; applying it would bring back the past.
    fn check(&self, message: &Heard<'_>) -> Result<i64, Stale> {
        let mut newest = match message.part {
            Some(Part::Documents) => self.held.revision(),
            Some(Part::Strays) => self.strays,
            // It may have been under way for longer than events that came before it.
            None if message.changes.is_empty() => self.listed,
            None => return Err(Stale::because("an event came of a watch that was not asked for")),
        };
        if message.revision < newest {
            return Err(Stale::because(format!(
                "its revision {} is below the held {newest}",
                message.revision
            )));
        }
        for change in &message.changes {
            if change.mod_revision < newest {
                return Err(Stale::because(format!(
                    "an event of revision {} came after {newest}",
                    change.mod_revision
                )));
            }
            newest = change.mod_revision;
        }
        Ok(newest)
    }

    /// When the burst under way is to be told.
    pub fn due(&self) -> Option<Instant> {
        self.burst.map(|burst| (burst.latest + BURST_IDLE).min(burst.began + BURST_LIMIT))
    }

    /// The update that is not told yet, if there is one.
    pub fn flush(&mut self) -> Option<Update> {
        self.burst.take().map(|burst| self.update(burst.began))
    }

    /// The held state as an update.
    pub fn update(&self, seen_at: Instant) -> Update {
        let mut set = self.held.set();
        set.revision = set.revision.max(u64::try_from(self.closures).unwrap_or(0));
        Update { set: Arc::new(set), fingerprint: Some(self.held.fingerprint()), seen_at }
    }

    /// A comparison begins: from now on events are remembered, so that they are not taken for differences. Its listing
    /// needs no values: a key that was written has another revision.
    pub fn begin_comparison(&mut self) -> Extent {
        self.touched = Some(BTreeSet::new());
        Extent::Keys
    }

    pub fn is_comparing(&self) -> bool {
        self.touched.is_some()
    }

    /// Compares with a listing that was made since the comparison began, once events that were on their way then
    /// have arrived. A comparison without a listing says nothing: whether the store lives is the watch's to tell.
    pub fn judge(&mut self, listing: Option<&Listing>) -> Result<(), Stale> {
        let (Some(touched), Some(listing)) = (self.touched.take(), listing) else { return Ok(()) };
        let wrong = self.held.mismatches(listing, &touched);
        let Some(first) = wrong.first() else { return Ok(()) };
        let first = String::from_utf8_lossy(first);
        let reason = format!("{} keys differ from the store's, the first is `{first}`", wrong.len());
        Err(Stale { reason, mismatches: wrong.len() })
    }
}

impl Stale {
    pub(super) fn because(reason: impl Into<String>) -> Stale {
        Stale { reason: reason.into(), mismatches: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(revision: i64) -> Mirror {
        let mut mirror = Mirror::new("/g");
        assert_eq!(mirror.listed(Listing { revision, keys: Vec::new() }), revision + 1);
        mirror
    }

    fn put(mod_revision: i64) -> Change<'static> {
        Change { key: b"/g/rules/a", mod_revision, value: Some(b"x") }
    }

    fn heard(revision: i64, changes: Vec<Change<'_>>) -> Heard<'_> {
        Heard { part: Some(Part::Documents), revision, changes }
    }

    #[test]
    fn a_burst_is_one_update_when_it_rests_and_is_cut_when_it_does_not() {
        let mut mirror = mirror(10);
        let start = Instant::now();
        assert_eq!(mirror.due(), None);
        for millis in 0..20 {
            let now = start + Duration::from_millis(millis);
            assert!(mirror.heard(&heard(11, vec![put(11)]), now).unwrap().is_none());
            assert_eq!(mirror.due(), Some((now + BURST_IDLE).min(start + BURST_LIMIT)));
        }
        let cut = mirror.heard(&heard(12, vec![put(12)]), start + BURST_LIMIT).unwrap().unwrap();
        assert_eq!((cut.set.revision, cut.seen_at), (12, start));
        assert!(mirror.due().is_none() && mirror.flush().is_none());
    }

    #[test]
    fn the_past_is_not_applied() {
        let now = Instant::now();
        for (changes, revision) in [(vec![put(9)], 10), (vec![put(12), put(11)], 12), (vec![], 9)] {
            let mut mirror = mirror(10);
            assert!(mirror.heard(&heard(revision, changes), now).is_err());
            assert!(mirror.update(now).set.documents.is_empty());
        }
        // One transaction has one revision, and a message that is heard twice says nothing new.
        let mut mirror = mirror(10);
        for _ in 0..2 {
            assert!(mirror.heard(&heard(11, vec![put(11), put(11)]), now).is_ok());
        }
    }

    #[test]
    fn a_closure_moves_the_revision_and_another_stray_does_not() {
        let now = Instant::now();
        let mut mirror = mirror(10);
        let before = |key: &'static [u8], revision| Heard {
            part: Some(Part::Strays),
            revision,
            changes: vec![Change { key, mod_revision: revision, value: Some(b"{}") }],
        };
        mirror.heard(&before(b"/g/Rules/a", 11), now).unwrap();
        assert_eq!(mirror.update(now).set.revision, 10);
        mirror.heard(&before(b"/g/closures/s.gray", 12), now).unwrap();
        let update = mirror.update(now);
        assert_eq!((update.set.revision, update.set.documents.len()), (12, 1));
        // The other watch may be behind, and goes on from where it is.
        mirror.heard(&heard(11, vec![put(11)]), now).unwrap();
        assert_eq!(mirror.update(now).set.revision, 12);
    }

    #[test]
    fn each_watch_has_its_own_past() {
        let now = Instant::now();
        let stray = |revision| Heard {
            part: Some(Part::Strays),
            revision,
            changes: vec![Change { key: b"/g/Rules/a", mod_revision: revision, value: Some(b"") }],
        };
        let told = |mirror: &Mirror| {
            let set = mirror.update(now).set;
            (set.revision, set.documents.len(), set.strays.len())
        };
        let mut mirror = mirror(10);
        mirror.heard(&stray(13), now).unwrap();
        assert_eq!(told(&mirror), (10, 0, 1), "of the documents, only revision 10 is sure");
        mirror.heard(&heard(12, vec![put(12)]), now).unwrap();
        assert_eq!(told(&mirror), (12, 1, 1));
        assert!(mirror.heard(&stray(12), now).is_err());
        // An answer about the store may be overtaken by events, but the store is not older than its listing.
        let answer = |revision| Heard { part: None, revision, changes: vec![] };
        assert!(mirror.heard(&answer(11), now).is_ok());
        assert_eq!(mirror.seen(), 13);
        assert!(mirror.heard(&answer(9), now).is_err());
        assert!(mirror.heard(&Heard { part: None, revision: 20, changes: vec![put(20)] }, now).is_err());
    }

    #[test]
    fn a_comparison_finds_what_was_never_heard() {
        let listing = || Listing {
            revision: 11,
            keys: vec![Listed {
                key: b"/g/rules/a".to_vec(),
                mod_revision: 11,
                lease: 0,
                value: Some(b"x".to_vec()),
            }],
        };
        let mut deaf = mirror(10);
        assert_eq!(deaf.begin_comparison(), Extent::Keys);
        assert!(deaf.judge(None).is_ok(), "a listing that failed");
        deaf.begin_comparison();
        assert_eq!(deaf.judge(Some(&listing())).unwrap_err().mismatches, 1);
        let mut slow = mirror(10);
        slow.begin_comparison();
        slow.heard(&heard(11, vec![put(11)]), Instant::now()).unwrap();
        assert!(slow.judge(Some(&listing())).is_ok());
        assert!(!slow.is_comparing());
    }
}
