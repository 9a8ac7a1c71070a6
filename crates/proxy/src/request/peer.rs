//! Towards an instance: which one is asked, and how it is reached.
//!
//! Answers: where does the next try of this request go? Never: what became of it.

use std::hash::BuildHasher as _;
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use http::Version;
use pingora::proxy::Session;
use pingora::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorType, Result};

use super::attempt::conclude;
use super::context::{Attempt, AttemptState, Context, Passage};
use super::observed;
use super::rescue;
use crate::pools::NoInstance;
use graygate_rules::spec::Wire;
use graygate_rules::vocab::{ErrorReason, TryOutcome};

/// Requests on one HTTP/2 connection at a time.
const H2_STREAMS: usize = 100;

/// Picks the next instance into the passage.
pub fn pick(passage: &mut Passage, now: Instant) -> Result<(), ErrorReason> {
    // The slot of the failed try is given back first, or the request would count twice.
    if let Some(attempt) = &mut passage.attempt {
        attempt.slot = None;
    }
    if passage.rescue.is_some()
        && let Some(attempt) = rescue::pick(passage, now)
    {
        passage.attempt = Some(attempt);
        return Ok(());
    }
    let picked = passage.runtime.pools.pick(&mut passage.walk, now).map_err(|none| match none {
        NoInstance::None => ErrorReason::NoInstance,
        NoInstance::Overloaded => ErrorReason::Overloaded,
    })?;
    passage.fallback = picked.fallback;
    passage.attempt = Some(Attempt {
        instance: picked.instance.clone(),
        version: picked.version,
        began: now,
        state: AttemptState::Open,
        slot: Some(picked.in_flight),
    });
    observed::tried(passage, now);
    Ok(())
}

/// The peer of the next try: the one picked before, or another one after a failure.
pub fn next_peer(session: &Session, context: &mut Context, now: Instant) -> Result<Box<HttpPeer>> {
    let passage = context.routed()?;
    let found = instance_with_time(passage, now);
    let left = found.map_err(|reason| {
        context.error = Some(reason);
        Error::explain(ErrorType::HTTPStatus(reason.status()), reason.as_str())
    })?;
    let passage = context.routed()?;
    let Some(attempt) = &passage.attempt else { return Err(Error::new(ErrorType::InternalError)) };
    let mut peer = peer(passage, attempt, left);
    if session.req_header().version == Version::HTTP_2 && passage.runtime.peers.wire() == Wire::Http2 {
        // Nothing in it concerns a connection, and gRPC asks for trailers with `TE`.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    Ok(Box::new(peer))
}

/// Sees to an instance that was not tried yet, and says what is left of the request's time.
pub fn instance_with_time(passage: &mut Passage, now: Instant) -> Result<Duration, ErrorReason> {
    if passage.open_attempt().is_none() {
        pick(passage, now)?;
    }
    let left = passage.remaining(now);
    if left.is_zero() {
        conclude(passage, TryOutcome::RequestTimeout, now);
        return Err(ErrorReason::UpstreamTimeout);
    }
    Ok(left)
}

pub fn peer(passage: &Passage, attempt: &Attempt, left: Duration) -> HttpPeer {
    let peers = &passage.runtime.peers;
    let mut peer = peers.peer(attempt.instance.address());
    // Two versions at one address never share a connection: one of them may be on its way out.
    peer.group_key = group_key(passage, attempt);
    if peers.wire() == Wire::Http1 {
        // Nor do two threads: the one that opened it would be woken for every response.
        peer.group_key = FixedState::default().hash_one((peer.group_key, thread::current().id()));
    }
    let options = &mut peer.options;
    let connect = passage.timeouts.connect.min(left);
    options.connection_timeout = Some(connect);
    options.total_connection_timeout = Some(connect);
    options.read_timeout = Some(longest_pause(passage));
    options.write_timeout = Some(passage.timeouts.read);
    options.idle_timeout = Some(passage.timeouts.idle);
    options.max_h2_streams = H2_STREAMS;
    if peers.wire() == Wire::Http2 {
        options.alpn = ALPN::H2;
        options.set_http_version(2, 2);
    }
    peer
}

/// Longest pause of a response. Of a client's own deadline, one that pauses for longer comes too late whatever it says.
pub fn longest_pause(passage: &Passage) -> Duration {
    passage.deadline.map_or(passage.timeouts.read, |deadline| passage.timeouts.read.min(deadline))
}

/// Which kept connections will do. A request whose kept connection had died is given another group, and with it a
/// fresh connection: the others may be dead as well.
pub fn group_key(passage: &Passage, attempt: &Attempt) -> u64 {
    let of = (passage.runtime.pools.name().as_str(), attempt.instance.version().as_str(), passage.stale);
    FixedState::default().hash_one(of)
}
