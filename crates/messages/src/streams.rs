//! The stream in which a client and a proxy tell each other settings, open for as long as the client lives.
//!
//! Owns: the group in those settings, in both directions, and knowing from the stream that a client is there.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

use super::calls::{Call, Caller};
use super::edit::{self, of_lane};
use super::frames::{Body, Edit, Edited, streamed};
use super::shared::{Failure, Registered, Shared};
use super::watched::Watched;
use super::wire::{self, Malformed};

/// The client of a stream, once it has said who it is; gone with the stream.
struct Stream {
    shared: Arc<Shared>,
    caller: Caller,
    bound: Mutex<Option<Bound>>,
}

/// Which group it is in.
#[derive(Clone)]
struct Bound {
    group: String,
    lane: Option<String>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end();
    }
}

pub async fn telemetry(shared: &Arc<Shared>, caller: Caller, body: Body) -> Result<Response<Body>, Failure> {
    let stream = Arc::new(Stream { shared: shared.clone(), caller: caller.clone(), bound: Mutex::new(None) });
    let asking = stream.clone();
    let ask: Edit = Box::new(move |command| {
        let edited = asking.asked(&command);
        Some(edited.ok().flatten().map_or(command, Bytes::from))
    });
    let body = Edited::new(body, ask).boxed_unsync();
    let path = Call::Telemetry.path();
    let response = shared.upstreams.call(&caller.client, &path, caller.headers, body).await?;
    let answering = Arc::downgrade(&stream);
    let answer: Edit = Box::new(move |command| {
        let edited = answering.upgrade().and_then(|stream| stream.answered(&command).ok().flatten());
        Some(edited.map_or(command, Bytes::from))
    });
    // The client's side ends with its connection, and only the answer is sure to notice.
    let at_end = Box::new(move |_| stream.end());
    Ok(response.map(|body| {
        let body = Edited::new(streamed(body), answer).boxed_unsync();
        Watched::new(body, at_end).boxed_unsync()
    }))
}

impl Stream {
    /// What the client says of itself, for the proxy.
    fn asked(&self, command: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        const CLIENT_TYPE: &[u64] = &[2, 1];
        let group = wire::text(command, edit::group::SETTINGS)?;
        if group.is_empty() {
            return Ok(None);
        }
        let Caller { version, address, client, .. } = &self.caller;
        let bound = self.bound.lock().clone();
        let lane = match &bound {
            // A client stays what it was when it came: its settings at the proxy say so.
            Some(bound) => bound.lane.clone(),
            None => self.shared.with(|state| {
                let lane = state.lane_of(group, version.as_deref(), *address);
                state.opened(client, group, lane.clone(), Instant::now());
                lane
            }),
        };
        *self.bound.lock() = Some(Bound { group: group.to_owned(), lane: lane.clone() });
        match lane {
            Some(lane) => {
                let settings = wire::set(command, edit::group::SETTINGS, of_lane(group, &lane).as_bytes());
                settings.map(Some)
            }
            None => {
                let kind = wire::number(command, CLIENT_TYPE)?;
                let settings = Bytes::copy_from_slice(command);
                self.shared.register(client, Registered { settings, kind });
                Ok(None)
            }
        }
    }

    /// What the proxy says to the client, which knows its own group alone.
    fn answered(&self, command: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let Some(Bound { group, lane: Some(lane) }) = self.bound.lock().clone() else { return Ok(None) };
        match wire::text(command, edit::group::SETTINGS)? == of_lane(&group, &lane) {
            true => wire::set(command, edit::group::SETTINGS, group.as_bytes()).map(Some),
            false => Ok(None),
        }
    }

    /// The client has gone with this stream, unless it has another one. Said once.
    fn end(&self) {
        if self.bound.lock().take().is_none() {
            return;
        }
        let (shared, client) = (self.shared.clone(), self.caller.client.clone());
        let has_gone = shared.with(|state| {
            state.closed(&client);
            !state.has_client(&client)
        });
        shared.notify();
        if has_gone && let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { shared.forget(&client).await });
        }
    }
}
