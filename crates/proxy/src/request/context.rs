//! What one request carries from its first hook to its log line.
//!
//! Answers: how far has a request come, and what is known of it there? Each stage holds what it needs and nothing that
//! may be missing. Never: acts.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderValue;
use pingora::{Error, ErrorType, Result};

use crate::live::{Generation, ServiceRuntime};
use crate::metrics;
use crate::mirror::Copying;
use crate::observe::Sighting;
use crate::pools::{InFlight, Instance, Walk};
use graygate_rules::decide::{Admitted, Choice, Edit, RouteId, ServicePlan, VersionId};
use graygate_rules::vocab::{ErrorReason, FallbackReason, Reason, Timeouts};

/// One request.
pub struct Context {
    pub begun: Begun,
    pub stage: Stage,
    /// Why the proxy answered by itself.
    pub error: Option<ErrorReason>,
}

/// When a request began, by both clocks.
#[derive(Clone, Copy)]
pub struct Begun {
    pub instant: Instant,
    pub time: SystemTime,
}

/// How far a request has come.
pub enum Stage {
    /// Nothing is known of it.
    Fresh,
    /// It is known who asks; there were no rules to decide it by.
    Admitted(Arc<AdmittedRequest>),
    /// No upstream was found for it: a redirect, or an error.
    Answered(Answered),
    /// It is on its way to an upstream, or would be if there were an instance.
    Routed(Box<Passage>),
}

/// Who asks, and what the request is called.
pub struct AdmittedRequest {
    pub admitted: Admitted,
    pub request_id: HeaderValue,
    /// The trace context made for a request that came without one; every try sends the same.
    pub trace: Option<HeaderValue>,
}

/// A decided request that the proxy answers.
pub struct Answered {
    pub admission: Arc<AdmittedRequest>,
    pub generation: Arc<Generation>,
    pub route: Option<RouteId>,
    pub reason: Reason,
}

/// The way of a decided request to its upstream.
pub struct Passage {
    pub admission: Arc<AdmittedRequest>,
    /// Taken once and kept, so that retries and the log see the same rules.
    pub generation: Arc<Generation>,
    pub route: RouteId,
    pub choice: Choice,
    /// The decided version's word; an inherited one may be known to no document.
    pub word: HeaderValue,
    pub runtime: Arc<ServiceRuntime>,
    pub timeouts: Timeouts,
    /// The client's own deadline for the whole call, told with its request.
    pub deadline: Option<Duration>,
    pub body: BodyCount,
    /// When the response has to have begun; `None` while the request is still coming in.
    pub due: Option<Instant>,
    pub walk: Walk,
    /// The try under way, or the last one.
    pub attempt: Option<Attempt>,
    pub fallback: Option<FallbackReason>,
    /// How long the upstream took to begin its response.
    pub upstream: Option<Duration>,
    /// What the upstream gets in place of the client's own.
    pub rewritten: Rewritten,
    pub request_edits: Vec<Edit>,
    pub response_edits: Vec<Edit>,
    /// `Set-Cookie` of a client that is given an identity.
    pub cookie: Option<HeaderValue>,
    pub in_flight: metrics::InFlight,
    /// Tries that met a kept connection which had died.
    pub stale: u8,
    /// The upstream was asked to switch protocols.
    pub upgrades: bool,
    /// Where the service is asked about.
    pub observed: Option<Box<Sighting>>,
    /// The copy of the request that goes to another pool.
    pub copying: Option<Box<Copying>>,
    /// Of a request for a file of a page.
    pub rescue: Option<Box<Rescue>>,
}

/// How far the search for a file has come.
#[derive(Default)]
pub struct Rescue {
    pub asked: Asked,
    /// How many of the other versions had their turn.
    pub passed: usize,
    /// Tries that the walk along the fallback chain knows nothing of.
    pub tries: u32,
    pub first: Option<First>,
}

/// Who is asked.
#[derive(Clone, Copy, Default)]
pub enum Asked {
    /// The decided version, along its fallback chain.
    #[default]
    Own,
    Other(VersionId),
    /// No other version has it.
    Back,
    /// The answer is the client's, whatever it is.
    Over,
}

/// Who was asked first.
pub struct First {
    pub instance: Arc<Instance>,
    pub version: VersionId,
    pub fallback: Option<FallbackReason>,
}

/// The bytes of a request's body.
pub struct BodyCount {
    pub limit: u64,
    /// Most that any try passed on.
    pub seen: u64,
    /// What the try under way passed on so far: the next one begins at the first byte again.
    pub passed: u64,
}

impl BodyCount {
    pub fn new(limit: u64) -> BodyCount {
        BodyCount { limit, seen: 0, passed: 0 }
    }

    pub fn begin_try(&mut self) {
        self.passed = 0;
    }

    /// Takes note of more bytes; false when they are too many.
    pub fn pass(&mut self, bytes: u64) -> bool {
        self.passed += bytes;
        self.seen = self.seen.max(self.passed);
        self.passed <= self.limit
    }
}

/// Where a request goes at its upstream.
pub struct Rewritten {
    /// Path and query.
    pub target: String,
    pub host: Option<HeaderValue>,
}

/// One try at an instance.
pub struct Attempt {
    pub instance: Arc<Instance>,
    /// The version's index that serves it.
    pub version: usize,
    pub began: Instant,
    pub state: AttemptState,
    /// Its place among the instance's requests, given back before another instance is picked.
    pub slot: Option<InFlight>,
}

/// What is known of a try, and what of it was reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptState {
    /// Nothing was heard yet.
    Open,
    /// Its response began well and is counted; how it ends is still to be reported to the instance.
    Promising,
    /// Its outcome was counted and reported.
    Reported,
}

impl Context {
    pub fn begin(instant: Instant, time: SystemTime) -> Context {
        Context { begun: Begun { instant, time }, stage: Stage::Fresh, error: None }
    }

    /// The request's way to its upstream, if there is one.
    pub fn passage(&self) -> Option<&Passage> {
        match &self.stage {
            Stage::Routed(passage) => Some(passage),
            _ => None,
        }
    }

    pub fn passage_mut(&mut self) -> Option<&mut Passage> {
        match &mut self.stage {
            Stage::Routed(passage) => Some(passage),
            _ => None,
        }
    }

    /// The same in a hook that the framework calls for proxied requests alone.
    pub fn routed(&mut self) -> Result<&mut Passage> {
        self.passage_mut().ok_or_else(|| Error::explain(ErrorType::InternalError, "no version was decided"))
    }

    pub fn admission(&self) -> Option<&AdmittedRequest> {
        match &self.stage {
            Stage::Fresh => None,
            Stage::Admitted(admission) => Some(admission),
            Stage::Answered(answered) => Some(&answered.admission),
            Stage::Routed(passage) => Some(&passage.admission),
        }
    }

    pub fn reason(&self) -> Option<Reason> {
        match &self.stage {
            Stage::Fresh | Stage::Admitted(_) => None,
            Stage::Answered(answered) => Some(answered.reason),
            Stage::Routed(passage) => Some(passage.choice.reason),
        }
    }

    /// The route's name.
    pub fn route(&self) -> Option<&str> {
        let (generation, id) = match &self.stage {
            Stage::Fresh | Stage::Admitted(_) => return None,
            Stage::Answered(answered) => (&answered.generation, answered.route?),
            Stage::Routed(passage) => (&passage.generation, passage.route),
        };
        generation.snapshot.routes.routes.get(id).map(|route| route.name.as_str())
    }
}

impl Passage {
    /// Tries at instances so far.
    pub fn tries(&self) -> u32 {
        self.walk.tries() + self.rescue.as_ref().map_or(0, |rescue| rescue.tries)
    }

    /// The rules of the decided service.
    pub fn plan(&self) -> Option<&ServicePlan> {
        self.generation.snapshot.service(self.choice.service)
    }

    /// What is left of the request's time. It begins to run when the whole request is here.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.due.map_or(self.timeouts.request, |due| due.saturating_duration_since(now))
    }

    /// The try of which nothing was heard yet.
    pub fn open_attempt(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|attempt| attempt.state == AttemptState::Open)
    }
}
