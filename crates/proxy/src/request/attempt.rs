//! One try at an instance: what became of it, and what follows.
//!
//! Answers: did the instance do well, may another one be asked, and what is the client told? Each try is counted once,
//! and reported to its instance once. Never: picks an instance.

use std::time::Instant;

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType, RetryType};

use super::answer::has_begun;
use super::context::{Attempt, AttemptState, Passage};
use super::observed;
use super::rescue;
use crate::edge::{Waits, waits};
use crate::pools::Retry;
use graygate_rules::vocab::{ErrorReason, StatusClass, TryOutcome};

/// Retries of a request whose kept connection had died: more than this is not bad luck.
const STALE_LIMIT: u8 = 3;

/// A try has sent the whole request: its response header has to be here in time.
///
/// The framework bounds each wait for bytes, and an upstream that sends one at a time would never be late. A header may
/// take one `read` until it begins and one until it is whole, and no more than what is left of `request`, which runs
/// from the request's last byte.
pub fn sent_whole(session: &Session, passage: &mut Passage, now: Instant) {
    if let (Some(due), Some(waits)) = (header_due(passage, now), waits(session)) {
        waits.expect_response(due);
    }
}

/// When the response's header has to be here; `None` where nothing says so, or it is here.
pub fn header_due(passage: &mut Passage, now: Instant) -> Option<Instant> {
    let is_heard = passage.attempt.as_ref().is_some_and(|attempt| attempt.state != AttemptState::Open);
    let due = passage.due.or_else(|| now.checked_add(passage.timeouts.request)).filter(|_| !is_heard)?;
    passage.due = Some(due);
    Some(now.checked_add(passage.timeouts.read.saturating_mul(2)).map_or(due, |one| one.min(due)))
}

/// Says how the try under way ended, to the metrics and to its instance; nothing where that was said before.
pub fn conclude(passage: &mut Passage, outcome: TryOutcome, now: Instant) {
    if let Some(attempt) = count(passage, outcome) {
        let ejected = attempt.instance.report(outcome, None, now);
        note_ejection(passage, ejected);
    }
}

/// Counts the try under way, which is reported from then on; `None` when it was counted before.
fn count(passage: &mut Passage, outcome: TryOutcome) -> Option<&mut Attempt> {
    observed::ended(passage, outcome);
    let attempt = passage.attempt.as_mut().filter(|attempt| attempt.state == AttemptState::Open)?;
    attempt.state = AttemptState::Reported;
    passage.runtime.version(Some(attempt.version)).tried(outcome);
    Some(attempt)
}

fn note_ejection(passage: &Passage, ejected: bool) {
    if let Some(attempt) = passage.attempt.as_ref().filter(|_| ejected) {
        passage.runtime.ejected(attempt.version);
    }
}

/// The response header is here. An error counts against the instance at once; that it did well is only known at the
/// response's end, or a response that always breaks off would look like a good one.
pub fn answered(passage: &mut Passage, status: u16, now: Instant) {
    let class = StatusClass::of(status);
    let Some(attempt) = count(passage, TryOutcome::Response) else { return };
    let took = now.saturating_duration_since(attempt.began);
    let version = attempt.version;
    let ejected = match class {
        StatusClass::ServerError => attempt.instance.report(TryOutcome::Response, Some(class), now),
        _ => {
            attempt.state = AttemptState::Promising;
            false
        }
    };
    note_ejection(passage, ejected);
    passage.runtime.version(Some(version)).upstream_answered(took);
    passage.upstream = Some(took);
}

/// An answer that is not given to the client: the instance did well, and nothing more is read of it.
pub fn turned_away(passage: &mut Passage, status: u16, now: Instant) {
    answered(passage, status, now);
    settle(passage, None, now);
}

/// The request is over: a try that nothing was heard of is counted, and one that kept its promise counts as good.
pub fn end(passage: &mut Passage, now: Instant) {
    conclude(passage, TryOutcome::ClientGone, now);
    settle(passage, None, now);
}

/// Says how a response that began well went on.
fn settle(passage: &mut Passage, broken: Option<TryOutcome>, now: Instant) {
    let attempt = passage.attempt.as_mut().filter(|attempt| attempt.state == AttemptState::Promising);
    let Some(attempt) = attempt else { return };
    attempt.state = AttemptState::Reported;
    let ejected = match broken {
        None => attempt.instance.report(TryOutcome::Response, Some(StatusClass::Success), now),
        Some(outcome) => attempt.instance.report(outcome, None, now),
    };
    note_ejection(passage, ejected);
}

/// Nothing was sent: another instance may be asked, whatever the method.
pub fn failed_to_connect(passage: &mut Passage, mut error: Box<Error>, now: Instant) -> Box<Error> {
    tracing::debug!(%error, "a connection failed");
    let outcome = match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => TryOutcome::ConnectTimeout,
        _ => TryOutcome::ConnectFailed,
    };
    match error.etype() {
        // Our own want of ports or descriptors says nothing about the instance.
        ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError => {
            count(passage, outcome);
        }
        _ => conclude(passage, outcome, now),
    }
    error.set_retry(rescue::goes_on(passage, now) || may_retry(passage, now));
    error
}

/// Whether the failed try is followed by another one.
fn may_retry(passage: &mut Passage, now: Instant) -> bool {
    if passage.remaining(now).is_zero() {
        return false;
    }
    match passage.runtime.pools.may_retry(&mut passage.walk, now) {
        Retry::Granted => true,
        Retry::Exhausted => false,
        Retry::Suppressed => {
            passage.runtime.retry_suppressed();
            false
        }
    }
}

/// Something was sent: only what may be repeated is tried again.
pub fn failed_after_sending(
    session: &mut Session,
    passage: &mut Passage,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    if rescue::is_elsewhere(&error) {
        return error;
    }
    let now = Instant::now();
    tracing::debug!(%error, "a try failed");
    if waits(session).is_some_and(Waits::take_late) {
        error = Error::explain(ErrorType::ReadTimedout, "no response header in time").into_up();
    }
    if is_client_slow(session, &error) || waits(session).is_some_and(Waits::take_slow) {
        error = Error::explain(ErrorType::ReadTimedout, "the request's body stopped").into_down();
    }
    let is_held = !session.as_ref().retry_buffer_truncated() && !has_begun(session);
    let sent = Sent { is_held, is_idempotent: session.req_header().method.is_idempotent(), reused };
    failed(passage, error, sent, now)
}

/// What was sent when a try failed.
pub struct Sent {
    /// The request is here whole, and nothing of a response was passed on.
    pub is_held: bool,
    pub is_idempotent: bool,
    /// Over a kept connection.
    pub reused: bool,
}

/// Counts a failed try, and says by the error whether another one follows.
pub fn failed(passage: &mut Passage, mut error: Box<Error>, sent: Sent, now: Instant) -> Box<Error> {
    let is_held = sent.is_held && *error.esource() == ErrorSource::Upstream;
    let repeatable = is_held && sent.is_idempotent;
    let untouched = is_refused(&error) || (repeatable && sent.reused && is_broken(&error));
    if is_held && untouched && try_stale_again(passage) {
        // The instance did nothing wrong and the request cost nothing: the same one is asked again.
        error.set_retry(true);
        return error;
    }
    let outcome = match outcome_of(&error) {
        TryOutcome::Timeout if passage.remaining(now).is_zero() => TryOutcome::RequestTimeout,
        outcome => outcome,
    };
    conclude(passage, outcome, now);
    if *error.esource() == ErrorSource::Upstream {
        settle(passage, Some(outcome), now);
    }
    error.set_retry(repeatable && (rescue::goes_on(passage, now) || may_retry(passage, now)));
    error
}

/// An upstream that waits for the rest of a body has nothing to answer yet: its silence is the client's fault, or a
/// client could have healthy instances ejected by sending half of a request. Where it is the upstream that takes nothing
/// more, the client is not waited for.
fn is_client_slow(session: &mut Session, error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
        && *error.etype() == ErrorType::ReadTimedout
        && !has_begun(session)
        && !session.as_mut().is_body_done()
        && waits(session).is_none_or(Waits::is_client_awaited)
}

/// An HTTP/2 upstream said that it has not looked at the request (GOAWAY, REFUSED_STREAM): the framework marks these
/// as to be repeated, whatever the method.
fn is_refused(error: &Error) -> bool {
    *error.etype() == ErrorType::H2Error && error.retry == RetryType::Decided(true)
}

fn is_broken(error: &Error) -> bool {
    matches!(error.etype(), ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError)
}

/// The connection was kept too long: counted as a try of its own, and not against the instance.
fn try_stale_again(passage: &mut Passage) -> bool {
    let is_spent = passage.stale >= STALE_LIMIT;
    let Some(version) = passage.open_attempt().filter(|_| !is_spent).map(|attempt| attempt.version) else {
        return false;
    };
    passage.stale += 1;
    passage.runtime.version(Some(version)).tried(TryOutcome::Stale);
    true
}

fn outcome_of(error: &Error) -> TryOutcome {
    use ErrorType::*;
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, _) => TryOutcome::ClientGone,
        (_, ReadTimedout | WriteTimedout | ConnectTimedout | TLSHandshakeTimedout) => TryOutcome::Timeout,
        (_, InvalidHTTPHeader | H1Error | H2Error | InvalidH2 | H2Downgrade) => TryOutcome::Invalid,
        _ => TryOutcome::Reset,
    }
}

/// What the client is told of a failure; `None` when it is gone.
pub fn reason_of(error: &Error) -> Option<ErrorReason> {
    use ErrorType::*;
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, ReadTimedout) => Some(ErrorReason::Timeout),
        (
            ErrorSource::Downstream,
            WriteError | ReadError | ConnectionClosed | WriteTimedout | ConnectError,
        ) => None,
        (ErrorSource::Downstream, HTTPStatus(413)) => Some(ErrorReason::BodyTooLarge),
        (ErrorSource::Downstream, _) => Some(ErrorReason::BadRequest),
        (_, ReadTimedout | WriteTimedout | ConnectTimedout | TLSHandshakeTimedout) => {
            Some(ErrorReason::UpstreamTimeout)
        }
        (ErrorSource::Upstream, _) => Some(ErrorReason::UpstreamError),
        _ => Some(ErrorReason::Internal),
    }
}
