//! What the calls of all clients share: the state, the way to the proxies, and who has said what of itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::timeout;

use super::board::LaneKey;
use super::calls::{Caller, with_trailers};
use super::edit::of_lane;
use super::frames::{Body, BoxError};
use super::metrics::Metrics;
use super::sessions::{Sessions, Speaker, settings};
use super::state::State;
use super::upstream::{Answered, Upstreams, whole};
use super::wire::{self, Malformed};

/// Why a call has no answer of RocketMQ's.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("no RocketMQ proxy can be reached: {0}")]
    Upstream(#[from] BoxError),
}

/// What a consumer of base told of itself.
#[derive(Clone, Debug)]
pub struct Registered {
    /// A `TelemetryCommand`.
    pub settings: Bytes,
    pub kind: u64,
}

pub struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    pub upstreams: Arc<Upstreams>,
    pub sessions: Sessions,
    pub metrics: Metrics,
    registered: Mutex<HashMap<String, Registered>>,
    /// Why groups of lanes could not be made the last time.
    problems: Mutex<HashMap<LaneKey, String>>,
}

/// Whether something held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    AtOnce,
    /// After a while, or not within the time.
    Late,
}

impl Shared {
    pub fn new(state: State, upstreams: Upstreams, metrics: Metrics) -> Shared {
        let upstreams = Arc::new(upstreams);
        Shared {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            sessions: Sessions::new(upstreams.clone()),
            upstreams,
            metrics,
            registered: Mutex::default(),
            problems: Mutex::default(),
        }
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock())
    }

    /// Something that calls may wait for is different.
    pub fn notify(&self) {
        self.changed.send_replace(());
    }

    /// Waits until this holds, at most so long.
    pub async fn until(&self, limit: Duration, holds: impl Fn(&State, Instant) -> bool) -> Wait {
        let mut changed = self.changed.subscribe();
        if self.with(|state| holds(state, Instant::now())) {
            return Wait::AtOnce;
        }
        let held = async {
            while changed.changed().await.is_ok() && !self.with(|state| holds(state, Instant::now())) {}
        };
        // Late or not at all: the client asks again either way.
        let _ = timeout(limit, held).await;
        Wait::Late
    }

    /// Whether this is another problem with a lane than the last time; what is tried every other second is told once.
    pub fn is_news(&self, key: &LaneKey, problem: Option<&str>) -> bool {
        let mut problems = self.problems.lock();
        let before = match problem {
            Some(problem) => problems.insert(key.clone(), problem.to_owned()),
            None => problems.remove(key),
        };
        before.as_deref() != problem
    }

    pub fn register(&self, client: &str, registered: Registered) {
        self.registered.lock().insert(client.to_owned(), registered);
    }

    pub fn registered(&self, client: &str) -> Option<Registered> {
        self.registered.lock().get(client).cloned()
    }

    /// A client has gone, and with it what was spoken in its name.
    pub async fn forget(&self, client: &str) {
        self.registered.lock().remove(client);
        self.sessions.close(client).await;
    }

    /// Opens the session in which a client of base drains a lane.
    pub async fn drain_session(&self, caller: &Caller, key: &LaneKey) -> Result<(), Failure> {
        let (lane, group) = (key.lane.as_str(), of_lane(&key.group, &key.lane));
        let told = match self.registered(&caller.client) {
            Some(told) => wire::set(&told.settings, super::edit::group::SETTINGS, group.as_bytes())?,
            // It told another process, and may take minutes to say so again.
            None => settings(&group, &self.with(|state| state.lane_topics(key)))?,
        };
        let headers = caller.headers_as(&of_lane(&caller.client, lane));
        let speaker = Speaker { client: caller.client.clone(), headers, settings: told };
        Ok(self.sessions.ensure(lane, speaker).await?)
    }
}

/// A unary answer as it came, with another message where there is one.
pub fn passed(answered: Answered, message: Option<Vec<u8>>) -> Response<Body> {
    let Answered { head, message: own, trailers } = answered;
    match message.map(Bytes::from).or(own) {
        Some(message) => with_trailers(head, &message, trailers.unwrap_or_default()),
        None => {
            let mut response = Response::new(whole(Bytes::new()));
            *response.headers_mut() = head;
            // A status that came behind an empty body stands in the head of one that has none.
            response.headers_mut().extend(trailers.unwrap_or_default());
            response
        }
    }
}
