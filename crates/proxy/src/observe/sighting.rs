//! One request, from its decision until it is counted.

use std::sync::Arc;
use std::time::Instant;

use super::client::Client;
use super::counting::Counted;
use super::observer::Observer;
use super::row::Subject;
use super::second::End;
use super::waiting::{Slot, Standing};

/// A request of a service that a caller asks about. Dropped before it was counted, its client has left.
#[derive(Debug)]
pub struct Sighting {
    observer: Arc<Observer>,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// No instance was tried yet.
    Decided(Client, Instant, Drawn),
    /// One was, and nothing is known yet.
    Waiting(Slot),
    /// Counted, and its trailers may still say error.
    Trailing(Box<Counted>),
    Over,
}

/// Whether a share could draw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drawn {
    /// Or needed not.
    Yes,
    /// For want of an identity.
    No,
}

/// Whose instance is tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// The decided version's.
    Own,
    Other,
}

/// What an instance answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered {
    pub is_error: bool,
    /// Whether it has served for long enough that its time says something.
    pub is_warm: bool,
    pub rest: Rest,
}

/// What may follow a header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    Silent,
    /// Trailers that say how it went.
    Telling,
}

impl Sighting {
    /// A request was decided, and began when its head came in.
    pub fn new(observer: Arc<Observer>, client: Client, begun: Instant, drawn: Drawn) -> Sighting {
        Sighting { observer, progress: Progress::Decided(client, begun, drawn) }
    }

    /// An instance is about to be tried.
    pub fn tried(&mut self, tried: Tried, subject: &Subject<'_>, now: Instant) {
        let is_own = tried == Tried::Own;
        match std::mem::replace(&mut self.progress, Progress::Over) {
            Progress::Decided(client, begun, drawn) => {
                let standing = Standing {
                    is_undrawn: drawn == Drawn::No,
                    has_tried_own: is_own,
                    is_at_own: is_own,
                    has_failed: false,
                };
                if let Some(slot) = self.observer.begin(subject, (client, begun, standing), now) {
                    self.progress = Progress::Waiting(slot);
                }
            }
            Progress::Waiting(slot) => {
                self.observer.note(slot, |standing| {
                    standing.has_tried_own |= is_own;
                    standing.is_at_own = is_own;
                });
                self.progress = Progress::Waiting(slot);
            }
            over @ (Progress::Trailing(_) | Progress::Over) => self.progress = over,
        }
    }

    /// The try under way ended without an answer, and not for the client's fault.
    pub fn failed(&mut self) {
        if let Progress::Waiting(slot) = self.progress {
            self.observer.note(slot, |standing| standing.has_failed |= standing.is_at_own);
        }
    }

    /// A response header is here.
    pub fn answered(&mut self, answered: Answered, now: Instant) {
        let Progress::Waiting(slot) = self.progress else { return };
        let Answered { is_error, is_warm, rest } = answered;
        let counted = self.observer.end(slot, End::Answered { is_error, is_warm }, now);
        let awaits = rest == Rest::Telling && !is_error;
        let counted = counted.filter(|counted| {
            let standing = counted.waiting.standing;
            awaits && standing.is_at_own && !standing.has_failed && !standing.is_undrawn
        });
        self.progress = counted.map_or(Progress::Over, |counted| Progress::Trailing(Box::new(counted)));
    }

    /// The trailers say error.
    pub fn trailed(&mut self, now: Instant) {
        if let Progress::Trailing(counted) = std::mem::replace(&mut self.progress, Progress::Over) {
            self.observer.fail(&counted, now);
        }
    }

    /// No instance will answer any more.
    pub fn over(&mut self, now: Instant) {
        if let Progress::Waiting(slot) = std::mem::replace(&mut self.progress, Progress::Over) {
            self.observer.end(slot, End::Unanswered, now);
        }
    }
}

impl Drop for Sighting {
    fn drop(&mut self) {
        if matches!(self.progress, Progress::Waiting(_)) {
            self.over(Instant::now());
        }
    }
}
