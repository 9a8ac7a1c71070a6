//! What the counts of `observe` are told of a request.
//!
//! Answers: is this request counted, under what, and how did it end for the version it was decided for? Never: counts.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, header};
use pingora::http::ResponseHeader;

use super::context::{AttemptState, Passage};
use crate::observe::{Answered, Client, Drawn, INHERITED, Observer, Rest, Sighting, Subject, Tried};
use graygate_rules::decide::{Choice, Outcome, Request, Scratch, ServicePlan};
use graygate_rules::vocab::{Attribute, GRPC_STATUS, Reason, Share, TryOutcome};

/// What the content types of gRPC begin with.
pub const GRPC: &[u8] = b"application/grpc";

/// A decided request, and who counts.
pub struct Decided<'a> {
    pub observer: &'a Arc<Observer>,
    pub plan: &'a ServicePlan,
    pub choice: &'a Choice,
    pub request: &'a Request<'a>,
    pub begun: Instant,
}

impl Decided<'_> {
    /// None where the service is not asked about, and for testers: what rules did not choose says nothing about them.
    pub fn sighting(&self, scratch: &mut Scratch) -> Option<Box<Sighting>> {
        let service = self.plan.name.as_str();
        if !self.observer.counts(service) || self.choice.reason == Reason::Override {
            return None;
        }
        let outcome = self.choice.rule.and_then(|rule| self.plan.rules.get(rule)).map(|rule| &rule.outcome);
        let is_undrawn = self.choice.bucket.is_none() && outcome.is_some_and(Outcome::draws);
        let drawn = if is_undrawn { Drawn::No } else { Drawn::Yes };
        let client = self.client(outcome.and_then(Outcome::by), scratch);
        Some(Box::new(Sighting::new(self.observer.clone(), client, self.begun, drawn)))
    }

    /// What the rule hashed, else the identity, else the address.
    fn client(&self, by: Option<&[Attribute]>, scratch: &mut Scratch) -> Client {
        let (plan, request) = (self.plan, self.request);
        let read = |value: &[u8]| Client::new(plan.name.as_str(), value);
        let hashed = by.and_then(|by| plan.with_hashed(Some(by), request, scratch, read));
        let known = hashed.or_else(|| plan.with_hashed(None, request, scratch, read));
        known.unwrap_or_else(|| read(request.client.to_string().as_bytes()))
    }
}

/// An instance was picked.
pub fn tried(passage: &mut Passage, now: Instant) {
    let Some(mut sighting) = passage.observed.take() else { return };
    let picked = passage.attempt.as_ref().map(|attempt| attempt.version);
    let tried = if picked == passage.choice.version { Tried::Own } else { Tried::Other };
    if let Some(subject) = subject(passage) {
        sighting.tried(tried, &subject, now);
        passage.observed = Some(sighting);
    }
}

/// What it is counted under.
fn subject(passage: &Passage) -> Option<Subject<'_>> {
    let plan = passage.plan()?;
    let rule = passage.choice.rule.and_then(|rule| plan.rules.get(rule));
    let inherited = (passage.choice.reason == Reason::Inherited).then_some(INHERITED);
    Some(Subject {
        service: plan.name.as_str(),
        route: passage.generation.snapshot.routes.routes.get(passage.route)?.name.as_str(),
        rule: rule.map(|rule| rule.name.as_str()).or(inherited),
        share: rule.map_or(Share::ZERO, |rule| rule.outcome.share()),
        version: passage.word.to_str().ok()?,
    })
}

/// A try ended; to be told before its end is noted.
pub fn ended(passage: &mut Passage, outcome: TryOutcome) {
    let is_open = passage.attempt.as_ref().is_some_and(|attempt| attempt.state == AttemptState::Open);
    let is_fault = !matches!(outcome, TryOutcome::Response | TryOutcome::Stale | TryOutcome::ClientGone);
    if let Some(sighting) = passage.observed.as_mut().filter(|_| is_open && is_fault) {
        sighting.failed();
    }
}

/// The response header is here.
pub fn answered(passage: &mut Passage, response: &ResponseHeader, now: Instant) {
    let Some(mut sighting) = passage.observed.take() else { return };
    if let (Some(plan), Some(attempt)) = (passage.plan(), &passage.attempt) {
        let may_tell = is_grpc(response) && !response.headers.contains_key(GRPC_STATUS);
        let answered = Answered {
            is_error: plan.failures.hold(response.status.as_u16(), &response.headers),
            is_warm: attempt.instance.has_served_for(plan.warm_up, now),
            rest: if may_tell { Rest::Telling } else { Rest::Silent },
        };
        sighting.answered(answered, now);
    }
    passage.observed = Some(sighting);
}

fn is_grpc(response: &ResponseHeader) -> bool {
    let kind = response.headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC))
}

/// The trailers are here.
pub fn trailed(passage: &mut Passage, trailers: &HeaderMap, now: Instant) {
    let is_error = passage.plan().is_some_and(|plan| plan.failures.hold_in(trailers));
    if let Some(sighting) = passage.observed.as_mut().filter(|_| is_error) {
        sighting.trailed(now);
    }
}

/// The proxy answers in place of an upstream, or there is no client to be answered.
pub fn over(passage: &mut Passage, now: Instant) {
    if let Some(sighting) = &mut passage.observed {
        sighting.over(now);
    }
}
