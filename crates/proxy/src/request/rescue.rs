//! A file of a page that the decided version does not have: other versions are asked for it.
//!
//! Answers: is this answer the client's, or is another version asked first, and which? While a rollout moves users, a
//! page of one version names files that the other does not have. The first good answer counts; where there is none, the
//! version that was asked first is asked again, whose answer has not been kept: what says that a file is missing may be a
//! page of any length. Never: a request with a body under way, or a decision.

use std::sync::Arc;
use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorType};

use super::context::{Asked, Attempt, AttemptState, First, Passage, Rescue};
use crate::pools::{InFlight, Instance};
use graygate_rules::decide::VersionId;

/// Ends a try whose answer is not given to the client; another one follows.
const ELSEWHERE: ErrorType = ErrorType::Custom("asked elsewhere");

/// What a good answer's status is below.
const GOOD: u16 = 400;

/// Whether another version is asked in the place of giving this response to the client.
pub fn turns_away(session: &mut Session, passage: &mut Passage, status: u16, now: Instant) -> bool {
    let Some(rescue) = &passage.rescue else { return false };
    let is_missing = match rescue.asked {
        Asked::Own => {
            let plan = passage.plan();
            plan.and_then(|plan| plan.assets.as_ref()).is_some_and(|assets| assets.is_missing(status))
        }
        Asked::Other(_) => status >= GOOD,
        Asked::Back | Asked::Over => false,
    };
    let can_repeat = !session.as_ref().retry_buffer_truncated() && session.as_mut().is_body_done();
    if !is_missing || !can_repeat || passage.remaining(now).is_zero() {
        return is_rescued(passage, status);
    }
    let is_first = matches!(rescue.asked, Asked::Own);
    if is_first && next_other(passage, now).is_none() {
        return false;
    }
    true
}

/// Counts a good answer of another version. Always false: it is the client's.
fn is_rescued(passage: &mut Passage, status: u16) -> bool {
    if let Some(Rescue { asked: Asked::Other(version), .. }) = passage.rescue.as_deref()
        && status < GOOD
    {
        passage.runtime.rescued(passage.choice.version, *version);
    }
    false
}

/// What ends a try that is turned away.
pub fn elsewhere() -> Box<Error> {
    let mut error = Error::explain(ELSEWHERE, "another version is asked").into_up();
    error.set_retry(true);
    error
}

pub fn is_elsewhere(error: &Error) -> bool {
    *error.etype() == ELSEWHERE
}

/// Whether a failed try was one at another version, so that the next one is asked.
pub fn goes_on(passage: &mut Passage, now: Instant) -> bool {
    let is_other = matches!(passage.rescue.as_deref(), Some(Rescue { asked: Asked::Other(_), .. }));
    if is_other {
        go_on(passage, now);
    }
    is_other
}

/// Chooses who is asked next.
pub fn go_on(passage: &mut Passage, now: Instant) {
    let next = next_other(passage, now);
    let first = passage.attempt.as_ref().map(|attempt| First {
        instance: attempt.instance.clone(),
        version: attempt.version,
        fallback: passage.fallback,
    });
    let Some(rescue) = &mut passage.rescue else { return };
    if matches!(rescue.asked, Asked::Own) {
        rescue.first = first;
        passage.fallback = None;
    }
    match next {
        Some((passed, version)) => {
            rescue.passed = passed;
            rescue.asked = Asked::Other(version);
        }
        None => rescue.asked = Asked::Back,
    }
}

/// The next version with an available instance, and how many have had their turn by then.
fn next_other(passage: &Passage, now: Instant) -> Option<(usize, VersionId)> {
    let rescue = passage.rescue.as_deref()?;
    let assets = passage.plan()?.assets.as_ref()?;
    let first = match &rescue.first {
        Some(first) => Some(first.version),
        None => passage.attempt.as_ref().map(|attempt| attempt.version),
    };
    let others = assets.others(first).enumerate().skip(rescue.passed);
    let mut there = others.filter(|(_, version)| passage.runtime.pools.available(*version, now).is_some());
    there.next().map(|(at, version)| (at + 1, version))
}

/// The instance for the next try; `None` where the fallback chain says which.
pub fn pick(passage: &mut Passage, now: Instant) -> Option<Attempt> {
    let pools = passage.runtime.pools.clone();
    loop {
        let rescue = passage.rescue.as_mut()?;
        let (instance, version, slot) = match rescue.asked {
            Asked::Own | Asked::Over => return None,
            Asked::Other(version) => match pools.pick_alone(version, now) {
                Ok(picked) => (picked.instance.clone(), version, picked.in_flight),
                Err(_) => {
                    go_on(passage, now);
                    continue;
                }
            },
            Asked::Back => {
                rescue.asked = Asked::Over;
                let first = rescue.first.take()?;
                passage.fallback = first.fallback;
                (first.instance.clone(), first.version, pools.pick_again(&first.instance)?)
            }
        };
        let rescue = passage.rescue.as_mut()?;
        rescue.tries += 1;
        return Some(attempt(instance, version, slot, now));
    }
}

fn attempt(instance: Arc<Instance>, version: VersionId, slot: InFlight, began: Instant) -> Attempt {
    Attempt { instance, version, began, state: AttemptState::Open, slot: Some(slot) }
}
