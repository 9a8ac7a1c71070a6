//! Where one request is in its fallback chain.
//!
//! Answers: which pools were left and why, who was tried, and may there be another try?
//! Owns: the request's own budget, in a value without heap. Never: looks at a pool.

use std::sync::Arc;

use super::instance::{InFlight, Instance};
use graygate_rules::vocab::{FallbackReason, Label};

/// Most further tries a request may ask for; more would multiply load when it hurts most.
pub const RETRIES_LIMIT: u32 = 8;

/// The first try, the further ones, and the one the last pool is granted.
const TRIES_LIMIT: usize = RETRIES_LIMIT as usize + 2;

/// One request's way along its chain. Made once for a request, handed to every pick.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The decided version's index; `None`: an unknown version.
    pub(super) version: Option<usize>,
    pub(super) pin: Option<Label>,
    /// A tester's request: closed versions take it.
    pub(super) enters_closed: bool,
    pub(super) hash_key: Option<u64>,
    pub(super) tried: Tried,
    /// Place in the chain, counted through the pinned part first.
    pub(super) position: usize,
    /// Why the pool before `position` was left.
    pub(super) left: Option<FallbackReason>,
    /// The last pool that can serve was tried.
    pub(super) reached_end: bool,
    /// The budget is spent: the one try left is the last pool's.
    pub(super) is_hurried: bool,
    retries: u32,
    tries: u32,
}

impl Walk {
    /// `version` is an index into the service's versions, or `None` for an inherited one that the
    /// service does not know: it has no pool and goes to `release` for want of instances.
    /// `retries` above [`RETRIES_LIMIT`] count as the limit.
    pub fn new(version: Option<usize>, pin: Option<Label>, hash_key: Option<u64>, retries: u32) -> Walk {
        Walk {
            version,
            pin,
            enters_closed: false,
            hash_key,
            tried: Tried::default(),
            position: 0,
            left: version.is_none().then_some(FallbackReason::NoInstances),
            reached_end: false,
            is_hurried: false,
            retries: retries.min(RETRIES_LIMIT),
            tries: 0,
        }
    }

    /// The same for a request that a closed version takes as if it were open.
    pub fn into_closed(self, enters: bool) -> Walk {
        Walk { enters_closed: enters, ..self }
    }

    /// Picks made so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether the request's own tries allow another pick; the service's budget is asked by
    /// [`super::ServicePools::may_retry`].
    pub(super) fn has_tries(&self) -> bool {
        self.tries <= self.retries || self.is_granted_the_end()
    }

    /// Retries are used up, but not on the last pool: one try there, so that a dead gray pool
    /// costs no user an error. A service that asked for no retries gets none.
    pub(super) fn is_granted_the_end(&self) -> bool {
        let is_due = self.is_hurried || self.tries == self.retries + 1;
        self.retries > 0 && is_due && !self.reached_end
    }

    pub(super) fn leave(&mut self, reason: FallbackReason) {
        self.position += 1;
        self.left = Some(reason);
    }

    pub(super) fn took(&mut self, id: u64) {
        self.tries += 1;
        self.tried.add(id);
    }
}

/// Instances this request was sent to, newest last.
#[derive(Clone, Debug, Default)]
pub(super) struct Tried {
    ids: [u64; TRIES_LIMIT],
    count: usize,
}

impl Tried {
    pub fn contains(&self, id: u64) -> bool {
        self.ids.iter().take(self.count).any(|one| *one == id)
    }

    /// Forgets all but the newest, so that a second round avoids at least that one.
    pub fn keep_newest(&mut self) {
        let newest = self.count.checked_sub(1).and_then(|at| self.ids.get(at));
        if let Some(newest) = newest.copied() {
            self.forget();
            self.add(newest);
        }
    }

    pub fn forget(&mut self) {
        self.count = 0;
    }

    fn add(&mut self, id: u64) {
        // The budget ends before the room does; a full row would only forget to avoid one.
        if let Some(place) = self.ids.get_mut(self.count) {
            *place = id;
            self.count += 1;
        }
    }
}

/// Whether a failed try may be followed by another pick.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    Granted,
    /// The request has used up its tries.
    Exhausted,
    /// The request has tries left, but the service has made too many extra ones lately.
    Suppressed,
}

/// What a pick found.
#[derive(Debug)]
pub struct Picked<'a> {
    pub instance: &'a Arc<Instance>,
    /// The chain's word that serves, as an index into the service's versions.
    pub version: usize,
    /// Set when that is not the decided version: why the chain was left most recently.
    pub fallback: Option<FallbackReason>,
    /// The request's place at the instance; keep it as long as the try lasts.
    pub in_flight: InFlight,
}

/// Why nothing was picked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoInstance {
    /// No instance may take the request, or its tries are used up.
    #[error("no instance can take this request")]
    None,
    /// The service has as many requests in flight as it may.
    #[error("too many requests are under way")]
    Overloaded,
}
