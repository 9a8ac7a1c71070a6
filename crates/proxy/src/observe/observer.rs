//! The one place that hooks and questions meet at: a flag, and the counts behind a lock.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::answer::Answer;
use super::client::Client;
use super::counting::{Counted, Counting};
use super::epoch::Epoch;
use super::identity::Identity;
use super::question::Question;
use super::row::Subject;
use super::second::End;
use super::waiting::{Slot, Standing};

#[derive(Debug)]
pub struct Observer {
    identity: Identity,
    /// Whether there are callers at all: what a request costs while there are none.
    is_asked: AtomicBool,
    /// Which services are asked about; may have some that no longer are.
    services: ArcSwap<HashSet<Box<str>, foldhash::fast::RandomState>>,
    counting: Mutex<Counting>,
}

impl Observer {
    pub fn new(identity: Identity, epoch: Epoch, now: Instant) -> Observer {
        Observer {
            identity,
            is_asked: AtomicBool::new(false),
            services: ArcSwap::default(),
            counting: Mutex::new(Counting::new(epoch, now)),
        }
    }

    /// Whether requests of this service are counted.
    pub fn counts(&self, service: &str) -> bool {
        self.is_asked.load(Ordering::Relaxed) && self.services.load().contains(service)
    }

    /// Answers a question, and keeps counting for it.
    pub fn ask(&self, question: &Question, now: Instant) -> Answer {
        let mut counting = self.counting.lock();
        let told = counting.ask(question, &self.identity.boot, now);
        self.show(&counting, now);
        drop(counting);
        // Hashing and sorting are not done under the lock that requests wait for.
        Answer::of(&self.identity, question, told)
    }

    pub(super) fn begin(
        &self,
        subject: &Subject<'_>,
        arrival: (Client, Instant, Standing),
        now: Instant,
    ) -> Option<Slot> {
        let mut counting = self.counting.lock();
        let slot = counting.begin(subject, arrival, now);
        if slot.is_none() && !counting.is_asked(subject.service, now) {
            self.show(&counting, now);
        }
        slot
    }

    pub(super) fn note(&self, slot: Slot, change: impl FnOnce(&mut Standing)) {
        self.counting.lock().note(slot, change);
    }

    pub(super) fn end(&self, slot: Slot, end: End, now: Instant) -> Option<Counted> {
        self.counting.lock().end(slot, end, now)
    }

    pub(super) fn fail(&self, counted: &Counted, now: Instant) {
        self.counting.lock().fail(counted, now);
    }

    /// Shows requests which services are counted.
    fn show(&self, counting: &Counting, now: Instant) {
        let asked: HashSet<Box<str>, _> = counting.asked(now).map(Box::from).collect();
        let is_asked = !asked.is_empty();
        if **self.services.load() != asked {
            self.services.store(Arc::new(asked));
        }
        self.is_asked.store(is_asked, Ordering::Relaxed);
    }
}
