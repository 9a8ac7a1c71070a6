//! What consumers do beside receiving: acknowledgements, heartbeats, their end, and the queues they are told of.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::board::LaneKey;
use super::calls::{Call, Caller};
use super::edit::{self, Listing, Taker, of_lane};
use super::frames::Body;
use super::mutation::{self, Mutation};
use super::shared::{Failure, Shared, passed};
use super::wire;

const OK: u64 = 20_000;
const SIMPLE_CONSUMER: u64 = 3;

/// Sends a call on as another message, and its answer back as it is.
async fn pass(
    shared: &Shared,
    caller: &Caller,
    call: Call,
    request: &[u8],
) -> Result<Response<Body>, Failure> {
    let headers = caller.headers.clone();
    let answered = shared.upstreams.unary(&caller.client, &call.path(), headers, request).await?;
    Ok(passed(answered, None))
}

/// Whose words to speak with about a message that was taken so.
fn headers_of(caller: &Caller, mark: Option<(&str, Taker)>) -> HeaderMap {
    match mark {
        Some((lane, Taker::Base)) if !mutation::is(Mutation::AcknowledgeAsBase) => {
            caller.headers_as(&of_lane(&caller.client, lane))
        }
        _ => caller.headers.clone(),
    }
}

pub async fn acknowledge(
    shared: &Arc<Shared>,
    caller: Caller,
    request: Bytes,
) -> Result<Response<Body>, Failure> {
    let group = wire::text(&request, edit::group::FIRST)?;
    let parts = edit::ack_parts(&request)?;
    if parts.iter().all(|(mark, _)| mark.is_none()) {
        return pass(shared, &caller, Call::AckMessage, &request).await;
    }
    let (mut answers, mut last) = (Vec::new(), None);
    for (mark, mut part) in parts {
        if let Some((lane, _)) = &mark {
            part = wire::set(&part, edit::group::FIRST, of_lane(group, lane).as_bytes())?;
        }
        let headers = headers_of(&caller, mark.as_ref().map(|(lane, taker)| (lane.as_str(), *taker)));
        let path = Call::AckMessage.path();
        let answered = shared.upstreams.unary(&caller.client, &path, headers, &part).await?;
        let Some(message) = answered.message.clone() else { return Ok(passed(answered, None)) };
        if let Some((lane, _)) = &mark {
            let well = wire::each(&message, 2)?;
            let well = well.iter().filter(|entry| wire::number(entry, &[3, 1]) == Ok(OK)).count();
            let count = u64::try_from(well).unwrap_or(0);
            shared.with(|state| state.count(&LaneKey::new(group, lane), 0, count));
        }
        answers.push((mark, message.to_vec()));
        last = Some(answered);
    }
    let joined = edit::joined_acks(&answers)?;
    let last = last.ok_or(wire::Malformed)?;
    Ok(passed(last, Some(joined)))
}

/// A call about one message, whose handle says whose it is; a new handle is marked again.
pub async fn about_one(
    shared: &Arc<Shared>,
    caller: Caller,
    call: Call,
    request: Bytes,
) -> Result<Response<Body>, Failure> {
    const HANDLE: &[u64] = &[3];
    const NEW_HANDLE: &[u64] = &[2];
    let (handle, mark) = edit::handle_parts(wire::text(&request, HANDLE)?);
    let Some((lane, taker)) = mark else { return pass(shared, &caller, call, &request).await };
    let group = of_lane(wire::text(&request, edit::group::FIRST)?, lane);
    let edited = wire::set(&request, edit::group::FIRST, group.as_bytes())?;
    let edited = wire::set(&edited, HANDLE, handle.as_bytes())?;
    let headers = headers_of(&caller, mark);
    let answered = shared.upstreams.unary(&caller.client, &call.path(), headers, &edited).await?;
    let marked = match &answered.message {
        Some(message) if call == Call::ChangeInvisibleDuration => {
            let handle = wire::text(message, NEW_HANDLE)?;
            let marked = edit::marked_handle(handle, lane, taker);
            (!handle.is_empty()).then(|| wire::set(message, NEW_HANDLE, marked.as_bytes())).transpose()?
        }
        _ => None,
    };
    Ok(passed(answered, marked))
}

/// A call in the name of a group: the client's own, and those of the lanes it drains.
pub async fn in_name(
    shared: &Arc<Shared>,
    caller: Caller,
    call: Call,
    request: Bytes,
) -> Result<Response<Body>, Failure> {
    let group = wire::text(&request, edit::group::FIRST)?.to_owned();
    let lane = shared.with(|state| {
        let lane = state.lane_of(&group, caller.version.as_deref(), caller.address);
        if call == Call::Heartbeat && state.has_group(&group) {
            state.beat(&caller.client, &group, lane.as_deref(), Instant::now());
        }
        lane
    });
    if let Some(lane) = &lane {
        let edited = wire::set(&request, edit::group::FIRST, of_lane(&group, lane).as_bytes())?;
        let response = pass(shared, &caller, call, &edited).await;
        ended(shared, &caller, call).await;
        return response;
    }
    for (lane, headers) in shared.sessions.of(&caller.client).await {
        let edited = wire::set(&request, edit::group::FIRST, of_lane(&group, &lane).as_bytes())?;
        let (shared, client, path) = (shared.clone(), caller.client.clone(), call.path());
        tokio::spawn(async move {
            // The next one comes in ten seconds.
            let _ = shared.upstreams.unary(&client, &path, headers, &edited).await;
        });
    }
    let response = pass(shared, &caller, call, &request).await;
    ended(shared, &caller, call).await;
    response
}

async fn ended(shared: &Shared, caller: &Caller, call: Call) {
    if call == Call::NotifyClientTermination {
        shared.with(|state| state.left(&caller.client));
        shared.forget(&caller.client).await;
        shared.notify();
    }
}

pub async fn route(shared: &Arc<Shared>, caller: Caller, request: Bytes) -> Result<Response<Body>, Failure> {
    let endpoints = edit::endpoints(&request, 2)?;
    let topic = wire::text(&request, edit::topic::FIRST)?;
    let is_simple = shared.registered(&caller.client).is_some_and(|client| client.kind == SIMPLE_CONSUMER);
    let lanes = shared.with(|state| {
        let group = state.base_group(&caller.client).filter(|_| is_simple)?;
        Some(state.idle_lanes(group, topic, Instant::now()))
    });
    let headers = caller.headers.clone();
    let answered =
        shared.upstreams.unary(&caller.client, &Call::QueryRoute.path(), headers, &request).await?;
    let edited = answered
        .message
        .as_deref()
        .map(|message| edit::with_queues(message, Listing::Queues, endpoints, &lanes.unwrap_or_default()));
    Ok(passed(answered, edited.transpose()?))
}

pub async fn assignment(
    shared: &Arc<Shared>,
    caller: Caller,
    request: Bytes,
) -> Result<Response<Body>, Failure> {
    let group = wire::text(&request, edit::group::ASSIGNMENT)?;
    let topic = wire::text(&request, edit::topic::FIRST)?;
    let endpoints = edit::endpoints(&request, 3)?;
    let lane = shared.with(|state| state.lane_of(group, caller.version.as_deref(), caller.address));
    let (asked, lanes) = match &lane {
        Some(lane) => {
            let group = of_lane(group, lane);
            (wire::set(&request, edit::group::ASSIGNMENT, group.as_bytes())?, Vec::new())
        }
        None => {
            let lanes = shared.with(|state| state.idle_lanes(group, topic, Instant::now()));
            (request.to_vec(), lanes)
        }
    };
    let headers = caller.headers.clone();
    let path = Call::QueryAssignment.path();
    let answered = shared.upstreams.unary(&caller.client, &path, headers, &asked).await?;
    let edited = answered
        .message
        .as_deref()
        .map(|message| edit::with_queues(message, Listing::Assignments, endpoints, &lanes));
    Ok(passed(answered, edited.transpose()?))
}
