//! What one request carries from its first hook to its log line.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;

use crate::decide::{Admitted, Choice, Edit, RouteId};
use crate::live::{Generation, ServiceRuntime};
use crate::pools::{InFlight, Instance, Walk};
use crate::telemetry;
use crate::vocab::{ErrorReason, FallbackReason, Reason, Timeouts};

/// One request. The generation is taken once and kept, so that retries and the log see the same rules.
pub struct Context {
    pub began: Instant,
    pub time: SystemTime,
    pub generation: Option<Arc<Generation>>,
    pub admitted: Option<Admitted>,
    pub request_id: Option<HeaderValue>,
    /// The trace context made for a request that came without one; every try sends the same.
    pub trace: Option<HeaderValue>,
    pub reason: Option<Reason>,
    pub route: Option<RouteId>,
    pub passage: Option<Box<Passage>>,
    /// Why the proxy answered by itself.
    pub error: Option<ErrorReason>,
    pub body_limit: u64,
    pub body_seen: u64,
    /// When the response has to have begun; `None` while the request is still coming in.
    pub due: Option<Instant>,
    /// The upstream's response header is here.
    pub has_answered: bool,
}

/// The way of a decided request to its upstream.
pub struct Passage {
    pub choice: Choice,
    /// The decided version's word; an inherited one may be known to no document.
    pub word: HeaderValue,
    pub runtime: Arc<ServiceRuntime>,
    pub timeouts: Timeouts,
    /// The client's own deadline for the whole call, told with its request.
    pub deadline: Option<Duration>,
    pub walk: Walk,
    pub current: Option<Try>,
    /// Who answered, or was tried last, and the version's index it was picked for.
    pub last: Option<(Arc<Instance>, usize)>,
    pub fallback: Option<FallbackReason>,
    pub upstream: Option<Duration>,
    /// Path and query for the upstream.
    pub target: String,
    pub host: Option<HeaderValue>,
    pub request_edits: Vec<Edit>,
    pub response_edits: Vec<Edit>,
    /// `Set-Cookie` of a client that is given an identity.
    pub cookie: Option<HeaderValue>,
    pub in_flight: telemetry::InFlight,
    pub stale: u8,
}

/// One try at an instance.
pub struct Try {
    pub instance: Arc<Instance>,
    /// The version's index that serves it.
    pub version: usize,
    pub began: Instant,
    /// Its outcome was counted.
    pub told: bool,
    /// Its response began well; how it ends is still to be reported.
    pub promises: bool,
    pub _place: InFlight,
}

impl Context {
    pub fn begin(now: Instant, time: SystemTime) -> Context {
        Context {
            began: now,
            time,
            generation: None,
            admitted: None,
            request_id: None,
            trace: None,
            reason: None,
            route: None,
            passage: None,
            error: None,
            body_limit: u64::MAX,
            body_seen: 0,
            due: None,
            has_answered: false,
        }
    }
}
