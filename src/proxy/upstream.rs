//! Towards the upstream: who is asked, what it is told, and what its failures mean.

use std::hash::BuildHasher as _;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use http::{HeaderName, HeaderValue, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};

use super::context::{Context, Passage, Try};
use super::intake::{remove_hidden, run, set};
use super::settings::{RespondVersion, Settings};
use super::trace;
use super::waits::{Waits, waits};
use crate::decide::{Admitted, Edit, set_baggage};
use crate::pools::{NoInstance, Retry, Wire};
use crate::vocab::{ErrorReason, StatusClass, TryOutcome};

/// Retries of a request whose kept connection had died: more than this is not bad luck.
const STALE_LIMIT: u8 = 3;
/// Requests on one HTTP/2 connection at a time.
const H2_STREAMS: usize = 100;

const REASON_HEADER: HeaderName = HeaderName::from_static("x-gray-reason");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const VIA_HTTP1: HeaderValue = HeaderValue::from_static("1.1 graygate");
const VIA_HTTP2: HeaderValue = HeaderValue::from_static("2 graygate");

/// Picks the next instance into the passage.
pub fn pick(context: &mut Context, now: Instant) -> Result<(), NoInstance> {
    let Some(passage) = context.passage.as_deref_mut() else { return Err(NoInstance::None) };
    // The place of the failed try is given back first, or the request would count twice.
    passage.current = None;
    let pools = passage.runtime.pools.clone();
    let picked = pools.pick(&mut passage.walk, now)?;
    passage.fallback = picked.fallback;
    passage.last = Some((picked.instance.clone(), picked.version));
    passage.current = Some(Try {
        instance: picked.instance.clone(),
        version: picked.version,
        began: now,
        told: false,
        promises: false,
        _place: picked.in_flight,
    });
    Ok(())
}

/// The peer of the next try: the one picked before, or another one after a failure.
pub fn next_peer(session: &Session, context: &mut Context, now: Instant) -> Result<Box<HttpPeer>> {
    let spent =
        context.passage.as_ref().is_some_and(|passage| passage.current.as_ref().is_none_or(|t| t.told));
    if spent && let Err(none) = pick(context, now) {
        context.error = Some(match none {
            NoInstance::None => ErrorReason::NoInstance,
            NoInstance::Overloaded => ErrorReason::Overloaded,
        });
        return Err(Error::explain(ErrorType::HTTPStatus(503), none.to_string()));
    }
    let left = remaining(context, now);
    if left.is_zero() {
        tell(context, TryOutcome::RequestTimeout, now);
        context.error = Some(ErrorReason::UpstreamTimeout);
        return Err(Error::explain(ErrorType::HTTPStatus(504), "the request's time is used up"));
    }
    let passage = context.passage.as_deref().ok_or_else(|| Error::new(ErrorType::InternalError))?;
    let Some(attempt) = &passage.current else { return Err(Error::new(ErrorType::InternalError)) };
    let mut peer = peer(passage, attempt, left);
    if session.req_header().version == Version::HTTP_2 && speaks_h2(context) {
        // Nothing in it concerns a connection, and gRPC asks for trailers with `TE`.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    Ok(Box::new(peer))
}

pub fn speaks_h2(context: &Context) -> bool {
    context.passage.as_ref().is_some_and(|passage| passage.runtime.transport.wire == Wire::Http2)
}

/// What is left of the request's time. It begins to run when the whole request is here.
fn remaining(context: &Context, now: Instant) -> Duration {
    let whole = context.passage.as_ref().map_or(Duration::ZERO, |passage| passage.timeouts.request);
    context.due.map_or(whole, |due| due.saturating_duration_since(now))
}

/// A try has sent the whole request: its response header has to be here in time.
///
/// The framework bounds each wait for bytes, and an upstream that sends one at a time would never be late. A header may
/// take one `read` until it begins and one until it is whole, and no more than what is left of `request`, which runs
/// from the request's last byte.
pub fn sent_whole(session: &Session, context: &mut Context, now: Instant) {
    let Some(passage) = context.passage.as_deref().filter(|_| !context.has_answered) else { return };
    let Some(due) = context.due.or_else(|| now.checked_add(passage.timeouts.request)) else { return };
    let header_due = now.checked_add(passage.timeouts.read.saturating_mul(2)).map_or(due, |one| one.min(due));
    context.due = Some(due);
    if let Some(waits) = waits(session) {
        waits.expect_response(header_due);
    }
}

fn peer(passage: &Passage, attempt: &Try, left: Duration) -> HttpPeer {
    let transport = &passage.runtime.transport;
    let address = attempt.instance.address();
    let mut peer = match &transport.tls {
        Some(tls) => tls.peer(address),
        None => HttpPeer::new(address, false, String::new()),
    };
    // Two versions at one address never share a connection: one of them may be on its way out.
    peer.group_key = group_key(passage, attempt);
    let options = &mut peer.options;
    let connect = passage.timeouts.connect.min(left);
    options.connection_timeout = Some(connect);
    options.total_connection_timeout = Some(connect);
    // Of a client's own deadline, a response that pauses for longer comes too late whatever it says.
    let read = passage.deadline.map_or(passage.timeouts.read, |deadline| passage.timeouts.read.min(deadline));
    options.read_timeout = Some(read);
    options.write_timeout = Some(passage.timeouts.read);
    options.idle_timeout = Some(passage.timeouts.idle);
    options.max_h2_streams = H2_STREAMS;
    if transport.wire == Wire::Http2 {
        options.alpn = ALPN::H2;
        options.set_http_version(2, 2);
    }
    peer
}

/// Which kept connections will do. A request whose kept connection had died is given another group, and with it a
/// fresh connection: the others may be dead as well.
fn group_key(passage: &Passage, attempt: &Try) -> u64 {
    let of = (passage.runtime.pools.name().as_str(), attempt.instance.version().as_str(), passage.stale);
    FixedState::default().hash_one(of)
}

/// Counts how the try under way ended, once.
pub fn tell(context: &mut Context, outcome: TryOutcome, now: Instant) {
    if let Some(attempt) = count(context, outcome) {
        let ejected = attempt.instance.report(outcome, None, now);
        note_ejection(context, ejected);
    }
}

/// Marks the try as told and counts it; `None` when it was told before.
fn count(context: &mut Context, outcome: TryOutcome) -> Option<&mut Try> {
    let passage = context.passage.as_deref_mut()?;
    let attempt = passage.current.as_mut().filter(|attempt| !attempt.told)?;
    attempt.told = true;
    passage.runtime.version(Some(attempt.version)).tried(outcome);
    Some(attempt)
}

fn note_ejection(context: &Context, ejected: bool) {
    let Some(passage) = context.passage.as_deref().filter(|_| ejected) else { return };
    if let Some(attempt) = &passage.current {
        passage.runtime.ejected(attempt.version);
    }
}

/// The response header is here. An error counts against the instance at once; that it did well is only known at the
/// response's end, or a response that always breaks off would look like a good one.
pub fn answered(context: &mut Context, status: u16, now: Instant) {
    let class = StatusClass::of(status);
    let Some(attempt) = count(context, TryOutcome::Response) else { return };
    let took = now.saturating_duration_since(attempt.began);
    let version = attempt.version;
    attempt.promises = class != StatusClass::ServerError;
    let ejected = !attempt.promises && attempt.instance.report(TryOutcome::Response, Some(class), now);
    note_ejection(context, ejected);
    if let Some(passage) = context.passage.as_deref_mut() {
        passage.runtime.version(Some(version)).upstream_answered(took);
        passage.upstream = Some(took);
    }
}

/// The request is over: a try that nothing was heard of is counted, and one that kept its promise counts as good.
pub fn end(context: &mut Context, now: Instant) {
    tell(context, TryOutcome::ClientGone, now);
    settle(context, None, now);
}

/// Says how a response went on after its header.
fn settle(context: &mut Context, broken: Option<TryOutcome>, now: Instant) {
    let attempt = context.passage.as_deref_mut().and_then(|passage| passage.current.as_mut());
    let Some(attempt) = attempt.filter(|attempt| attempt.promises) else { return };
    attempt.promises = false;
    let ejected = match broken {
        None => attempt.instance.report(TryOutcome::Response, Some(StatusClass::Success), now),
        Some(outcome) => attempt.instance.report(outcome, None, now),
    };
    note_ejection(context, ejected);
}

/// Nothing was sent: another instance may be asked, whatever the method.
pub fn failed_to_connect(context: &mut Context, mut error: Box<Error>, now: Instant) -> Box<Error> {
    tracing::debug!(%error, "a connection failed");
    let outcome = match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => TryOutcome::ConnectTimeout,
        _ => TryOutcome::ConnectFailed,
    };
    match error.etype() {
        // Our own want of ports or descriptors says nothing about the instance.
        ErrorType::InternalError | ErrorType::SocketError | ErrorType::BindError => {
            count(context, outcome);
        }
        _ => tell(context, outcome, now),
    }
    error.set_retry(may_retry(context, now));
    error
}

/// Whether the failed try is followed by another one.
fn may_retry(context: &mut Context, now: Instant) -> bool {
    let is_time_left = !remaining(context, now).is_zero();
    let Some(passage) = context.passage.as_deref_mut().filter(|_| is_time_left) else { return false };
    let pools = passage.runtime.pools.clone();
    match pools.may_retry(&mut passage.walk, now) {
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
    context: &mut Context,
    mut error: Box<Error>,
    reused: bool,
) -> Box<Error> {
    let now = Instant::now();
    tracing::debug!(%error, "a try failed");
    if waits(session).is_some_and(Waits::take_late) {
        error = Error::explain(ErrorType::ReadTimedout, "no response header in time").into_up();
    }
    if is_client_slow(session, &error) || waits(session).is_some_and(Waits::take_slow) {
        error = Error::explain(ErrorType::ReadTimedout, "the request's body stopped").into_down();
    }
    let is_held = *error.esource() == ErrorSource::Upstream
        && !session.as_ref().retry_buffer_truncated()
        && !has_begun(session);
    let repeatable = is_held && session.req_header().method.is_idempotent();
    let untouched = is_refused(&error) || (repeatable && reused && is_broken(&error));
    if is_held && untouched && try_stale_again(context) {
        // The instance did nothing wrong and the request cost nothing: the same one is asked again.
        error.set_retry(true);
        return error;
    }
    let outcome = match outcome_of(&error) {
        TryOutcome::Timeout if remaining(context, now).is_zero() => TryOutcome::RequestTimeout,
        outcome => outcome,
    };
    tell(context, outcome, now);
    if *error.esource() == ErrorSource::Upstream {
        settle(context, Some(outcome), now);
    }
    error.set_retry(repeatable && may_retry(context, now));
    error
}

/// An upstream that waits for the rest of a body has nothing to answer yet: its silence is the client's fault, or a
/// client could have healthy instances ejected by sending half of a request.
fn is_client_slow(session: &mut Session, error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream
        && *error.etype() == ErrorType::ReadTimedout
        && !has_begun(session)
        && !session.as_mut().is_body_done()
}

/// Whether more follows before the response proper.
pub fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != 101
}

/// Whether nothing of the request is left on its connection. Behind a chunked body part of the next request may have
/// been read already.
pub fn is_read_whole(session: &mut Session) -> bool {
    !session.req_header().headers.contains_key(header::TRANSFER_ENCODING) && session.as_mut().is_body_done()
}

/// Whether the client has seen more than interim answers.
pub fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|written| !is_interim(written))
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
fn try_stale_again(context: &mut Context) -> bool {
    let Some(passage) = context.passage.as_deref_mut() else { return false };
    let Some(attempt) = passage.current.as_ref().filter(|attempt| !attempt.told) else { return false };
    if passage.stale >= STALE_LIMIT {
        return false;
    }
    passage.stale += 1;
    passage.runtime.version(Some(attempt.version)).tried(TryOutcome::Stale);
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

/// Makes of the client's request what the upstream gets.
pub fn edit_request(
    settings: &Settings,
    session: &Session,
    request: &mut RequestHeader,
    context: &Context,
) -> Result<()> {
    let (Some(passage), Some(admitted)) = (context.passage.as_deref(), context.admitted.as_ref()) else {
        return Err(Error::new(ErrorType::InternalError));
    };
    remove_hidden(context, request);
    let client_host = request.headers.get(header::HOST).cloned();
    if let Some(trace) = &context.trace {
        trace::set(request, trace.clone());
    }
    for edit in &passage.request_edits {
        run(edit, request);
    }
    forward(session, request, admitted, client_host.as_ref());
    if let Some(host) = &passage.host {
        request.insert_header(header::HOST, host.clone())?;
    }
    request.set_raw_path(passage.target.as_bytes())?;
    let plan = context
        .generation
        .as_ref()
        .and_then(|generation| generation.snapshot.service(passage.choice.service));
    let version = plan.and_then(|plan| plan.version(passage.choice.version?));
    for (name, value) in version.iter().flat_map(|version| version.request_headers.iter()) {
        request.insert_header(name.clone(), value.clone())?;
    }
    request.insert_header(settings.trust.version_header.clone(), passage.word.clone())?;
    if settings.trust.baggage
        && let Some(edit) = set_baggage(&request.headers, passage.word.to_str().ok())
    {
        run(&edit, request);
    }
    Ok(())
}

/// Says who asked and how: appended behind a trusted proxy, set otherwise.
fn forward(session: &Session, request: &mut RequestHeader, admitted: &Admitted, host: Option<&HeaderValue>) {
    let peer = session.client_addr().and_then(|address| address.as_inet());
    let peer = peer.map(|address| address.ip().to_canonical().to_string()).unwrap_or_default();
    let joined = |name: &HeaderName, own: HeaderValue| {
        let lines = request.headers.get_all(name).iter();
        let before = lines.filter(|line| admitted.forwarded_trusted && !line.is_empty());
        let mut all: Vec<&[u8]> = before.map(HeaderValue::as_bytes).collect();
        if all.is_empty() {
            return Some(own);
        }
        all.push(own.as_bytes());
        HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
    };
    let own_for = HeaderValue::from_str(&peer).ok();
    let own_via = if request.version == Version::HTTP_2 { VIA_HTTP2 } else { VIA_HTTP1 };
    // The names are texts: the framework would copy a `HeaderName` twice, for itself and for its case.
    let lines = [
        ("x-forwarded-for", own_for.and_then(|own| joined(&FORWARDED_FOR, own))),
        ("via", joined(&header::VIA, own_via)),
        ("x-forwarded-proto", Some(HeaderValue::from_static(admitted.scheme))),
        ("x-forwarded-host", kept(request, &FORWARDED_HOST, admitted).or(host.cloned())),
    ];
    for (name, value) in lines {
        match value {
            Some(value) => set(request, name, value),
            None => {
                request.remove_header(name);
            }
        }
    }
}

fn kept(request: &RequestHeader, name: &HeaderName, admitted: &Admitted) -> Option<HeaderValue> {
    request.headers.get(name).filter(|_| admitted.forwarded_trusted).cloned()
}

/// Headers that concern the upstream's connection and not the client's.
const HOP_BY_HOP: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
];

/// Makes of the upstream's response what the client gets.
pub fn edit_response(settings: &Settings, response: &mut ResponseHeader, context: &Context) -> Result<()> {
    let Some(passage) = context.passage.as_deref() else { return Ok(()) };
    remove_hop_by_hop(response);
    for edit in &passage.response_edits {
        match edit {
            Edit::Remove(name) => {
                response.remove_header(name);
            }
            Edit::Set(name, value) => response.insert_header(name.clone(), value.clone())?,
            Edit::SetIfAbsent(name, value) => {
                if !response.headers.contains_key(name) {
                    response.insert_header(name.clone(), value.clone())?;
                }
            }
            Edit::Add(name, value) => {
                response.append_header(name.clone(), value.clone())?;
            }
        }
    }
    if let Some(cookie) = &passage.cookie {
        response.append_header(header::SET_COOKIE, cookie.clone())?;
    }
    let trusted = context.admitted.as_ref().is_some_and(|admitted| admitted.version_trusted);
    let show = match settings.respond_version {
        RespondVersion::Never => false,
        RespondVersion::Trusted => trusted,
        RespondVersion::Always => true,
    };
    if show {
        response.insert_header(settings.trust.version_header.clone(), passage.word.clone())?;
        response.insert_header(REASON_HEADER, HeaderValue::from_static(passage.choice.reason.as_str()))?;
    }
    Ok(())
}

fn remove_hop_by_hop(response: &mut ResponseHeader) {
    // A response that switches protocols needs its `Connection` and `Upgrade`.
    if response.status == 101 {
        return;
    }
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(',').map(str::trim))
        .filter(|option| !["keep-alive", "close"].iter().any(|usual| option.eq_ignore_ascii_case(usual)))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| *name != header::TRANSFER_ENCODING && *name != header::CONTENT_LENGTH)
        .collect();
    for name in nominated {
        response.remove_header(&name);
    }
    for name in &HOP_BY_HOP {
        response.remove_header(name);
    }
}
