//! Receives: which group's messages a consumer gets, through which filter.
//!
//! Owns: the three ways a receive can go (a lane's client, base, base that drains a lane), waiting until it may, marks on
//! handles, and giving back what must not be handed out any more. Never: decides whose a lane is; the state does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;

use super::board::LaneKey;
use super::calls::{Caller, answered};
use super::edit::{self, Taker, of_lane};
use super::filter::Part;
use super::frames::{Body, Edit, Edited};
use super::kept::Back;
use super::metrics::Direction;
use super::shared::{Failure, Shared, Wait};
use super::watched::{End, Watched};
use super::wire::{self, Malformed};

/// What a broker says when a long poll found nothing.
const MESSAGE_NOT_FOUND: u64 = 40_401;
/// Longest time a receive is held that may not go yet: shorter than any client waits.
const HOLD: Duration = Duration::from_secs(5);
/// A simple consumer asks queues in turn, so one that stands for a lane must not hold up the others for long; the
/// shortest poll that a proxy makes.
const SHORTEST_POLL: u64 = 5;
const SIMPLE_CONSUMER: u64 = 3;

const POLL_FIELD: u64 = 7;
const TOPIC: &[u64] = edit::topic::OF_QUEUE;

pub async fn receive(
    shared: &Arc<Shared>,
    caller: Caller,
    request: Bytes,
) -> Result<Response<Body>, Failure> {
    let group = wire::text(&request, edit::group::FIRST)?;
    let now = Instant::now();
    let lane = shared.with(|state| {
        state.heard(&caller.client, now);
        state.lane_of(group, caller.version.as_deref(), caller.address)
    });
    match (lane, edit::queue_lane(&request)?) {
        (Some(lane), _) => of_lane_client(shared, caller, LaneKey::new(group, &lane), &request).await,
        (None, Some((broker, lane))) => {
            let request = edit::with_broker(&request, broker)?;
            drained(shared, caller, LaneKey::new(group, lane), &request).await
        }
        (None, None) => of_base(shared, caller, group, &request).await,
    }
}

/// Nothing for now; the client asks again.
fn nothing() -> Response<Body> {
    answered(&edit::status(MESSAGE_NOT_FOUND, "no message for this lane now"))
}

/// The lane's request: its group, and its messages alone.
fn for_lane(request: &[u8], key: &LaneKey, mark: &str) -> Result<Vec<u8>, Malformed> {
    let group = of_lane(&key.group, &key.lane);
    let request = wire::set(request, edit::group::FIRST, group.as_bytes())?;
    edit::with_filter(&request, &Part::Lane(mark))
}

async fn of_lane_client(
    shared: &Arc<Shared>,
    caller: Caller,
    key: LaneKey,
    request: &[u8],
) -> Result<Response<Body>, Failure> {
    if shared.until(HOLD, |state, _| state.lane_may_receive(&key)).await == Wait::Late {
        return Ok(nothing());
    }
    let Some(mark) = shared.with(|state| state.lane_mark(&key)) else { return Ok(nothing()) };
    let request = for_lane(request, &key, &mark)?;
    let counting = shared.clone();
    let edit = Box::new(move |answer: Bytes| {
        let marked = edit::with_marked_handle(&answer, &key.lane, Taker::Lane).ok().flatten();
        let Some(marked) = marked else { return Some(answer) };
        counting.metrics.count((&key.group, &key.lane), Direction::Received, 1);
        Some(marked.into())
    });
    let back = back(shared, &caller, caller.headers.clone(), &request)?;
    let response = call(&caller, &back, &request).await?;
    Ok(response.map(|body| Edited::new(body, edit).boxed_unsync()))
}

async fn call(caller: &Caller, back: &Back, request: &[u8]) -> Result<Response<Body>, Failure> {
    let mut headers = back.headers.clone();
    caller.shorten(&mut headers);
    Ok(back.clone().receive(headers, request).await?)
}

/// How messages of this request are given back in the name of these headers.
fn back(shared: &Shared, caller: &Caller, headers: HeaderMap, request: &[u8]) -> Result<Back, Malformed> {
    Ok(Back {
        upstreams: shared.upstreams.clone(),
        client: caller.client.clone(),
        headers,
        group: wire::text(request, edit::group::FIRST)?.to_owned(),
        topic: wire::text(request, TOPIC)?.to_owned(),
    })
}

async fn drained(
    shared: &Arc<Shared>,
    caller: Caller,
    key: LaneKey,
    request: &[u8],
) -> Result<Response<Body>, Failure> {
    // A poll for a lane that lives is held: answered at once, the client would ask again at once.
    if shared.until(HOLD, |state, now| state.base_may_drain(&key, now)).await == Wait::Late {
        return Ok(nothing());
    }
    let Some(mark) = shared.with(|state| state.lane_mark(&key)) else { return Ok(nothing()) };
    shared.drain_session(&caller, &key).await?;
    let mut request = for_lane(request, &key, &mark)?;
    if shared.registered(&caller.client).is_some_and(|client| client.kind == SIMPLE_CONSUMER) {
        request = wire::set(&request, &[POLL_FIELD], &edit::duration(SHORTEST_POLL))?;
    }
    let headers = caller.headers_as(&of_lane(&caller.client, &key.lane));
    let back = back(shared, &caller, headers, &request)?;
    let response = call(&caller, &back, &request).await?;
    let edit = draining(shared.clone(), key, back);
    Ok(response.map(|body| Edited::new(body, edit).boxed_unsync()))
}

/// Hands out while base may, and gives back what comes afterwards.
fn draining(shared: Arc<Shared>, key: LaneKey, back: Back) -> Edit {
    Box::new(move |answer| {
        let marked = edit::with_marked_handle(&answer, &key.lane, Taker::Base).ok().flatten();
        let Some(marked) = marked else { return Some(answer) };
        if shared.with(|state| state.base_may_drain(&key, Instant::now())) {
            shared.metrics.count((&key.group, &key.lane), Direction::Received, 1);
            return Some(marked.into());
        }
        back.give(&answer);
        None
    })
}

/// A poll of base on its way: until it is back, or can pop nothing any more, no lane opens that it does not leave out.
struct Poll {
    shared: Arc<Shared>,
    number: Option<u64>,
}

impl Poll {
    fn end(mut self) {
        if let Some(number) = self.number.take() {
            self.shared.with(|state| state.poll_ended(number));
        }
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.shared.with(|state| state.poll_abandoned(number, Instant::now()));
        }
    }
}

async fn of_base(
    shared: &Arc<Shared>,
    caller: Caller,
    group: &str,
    request: &[u8],
) -> Result<Response<Body>, Failure> {
    if shared.until(HOLD, |state, _| state.knows(group)).await == Wait::Late {
        return Ok(nothing());
    }
    // Together, so that no lane comes between the filter and the poll that is known to have it.
    let (excluded, number) = shared.with(|state| {
        let excluded = state.excluded(group);
        let number = state.poll_begins(group, &excluded);
        (excluded, number)
    });
    let poll = Poll { shared: shared.clone(), number: Some(number) };
    let request = match excluded.is_empty() {
        true => request.to_vec(),
        false => edit::with_filter(request, &Part::AllBut(&excluded))?,
    };
    let back = back(shared, &caller, caller.headers.clone(), &request)?;
    let response = call(&caller, &back, &request).await?;
    let has_lanes = shared.with(|state| state.has_group(group));
    let (counting, group) = (shared.clone(), group.to_owned());
    let edit: Edit = Box::new(move |answer| {
        if !has_lanes || !matches!(edit::received(&answer), Ok(Some(_))) {
            return Some(answer);
        }
        // A poll of a gateway that was cut off may bring what belongs to a lane that was opened meanwhile. That has its own
        // group, and is left to it: here it comes back after its invisible time, when the filter knows more.
        let is_left = edit::lane_mark(&answer)
            .ok()
            .flatten()
            .is_some_and(|mark| counting.with(|state| state.leaves_to_lane(&group, mark, Instant::now())));
        if is_left {
            return None;
        }
        counting.metrics.count((&group, ""), Direction::Received, 1);
        Some(answer)
    });
    let at_end = Box::new(move |end: End| {
        if matches!(end, End::Whole) {
            poll.end();
        }
    });
    Ok(response.map(|body| Watched::new(Edited::new(body, edit).boxed_unsync(), at_end).boxed_unsync()))
}
