//! The end of a request: counted once, logged once.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use http::header;
use pingora::Error;
use pingora::proxy::Session;

use super::context::Context;
use super::gate::Gate;
use super::intake::REQUEST_ID;
use crate::telemetry::{AccessLog, ClientText, Entry, ServedBy};
use crate::vocab::{ErrorReason, Reason, StatusClass};

/// What a client that left before its answer counts as, after nginx.
const CLIENT_CLOSED: u16 = 499;

pub fn finish(gate: &Gate, session: &Session, _error: Option<&Error>, context: &mut Context) {
    let written = session.response_written().map(|response| response.status.as_u16());
    let status = written.unwrap_or(CLIENT_CLOSED);
    let took = Instant::now().saturating_duration_since(context.began);
    match &context.passage {
        Some(passage) => {
            passage.runtime.version(passage.choice.version).finished(StatusClass::of(status), took);
            if let (Some(reason), Some((_, to))) = (passage.fallback, &passage.last) {
                passage.runtime.fell_back(passage.choice.version, *to, reason);
            }
        }
        None => gate.metrics.unrouted(unrouted(context)).increment(),
    }
    if let Some(log) = &gate.access_log {
        write(log, session, context, written, took);
    }
}

/// Why a request never had a service, as the label of `graygate_unrouted_total`.
fn unrouted(context: &Context) -> &'static str {
    match (context.reason, context.error) {
        (_, Some(error)) => error.as_str(),
        (Some(reason), None) => reason.as_str(),
        (None, None) => Reason::BadRequest.as_str(),
    }
}

/// Logs what never became a request.
pub fn refused(log: &AccessLog, peer: Option<IpAddr>, error: ErrorReason) {
    let entry = Entry {
        time: SystemTime::now(),
        client: peer.map(|peer| peer.to_canonical()),
        method: ClientText(b""),
        host: None,
        path: ClientText(b""),
        status: Some(error.status()),
        bytes_in: 0,
        bytes_out: error.line().len() as u64,
        duration: Duration::ZERO,
        upstream: None,
        route: None,
        service: None,
        version: None,
        reason: Some(Reason::BadRequest),
        rule: None,
        bucket: None,
        served_by: None,
        fallback: None,
        tries: 0,
        error: Some(error.as_str()),
        request_id: None,
        user_agent: None,
    };
    log.write(&entry, rand::random());
}

fn write(log: &AccessLog, session: &Session, context: &Context, status: Option<u16>, took: Duration) {
    let request = session.req_header();
    let text = |name: header::HeaderName| request.headers.get(name).map(|value| ClientText(value.as_bytes()));
    let generation = context.generation.as_ref();
    let passage = context.passage.as_deref();
    let plan = generation.zip(passage).and_then(|(g, passage)| g.snapshot.service(passage.choice.service));
    let rule = plan.zip(passage).and_then(|(plan, passage)| plan.rules.get(passage.choice.rule?));
    let route = generation.zip(context.route).and_then(|(g, id)| g.snapshot.routes.routes.get(id));
    let instance = passage.and_then(|passage| passage.last.as_ref()).map(|(instance, _)| instance);
    let address = instance.map(|instance| instance.address().to_string());
    let target = request.raw_path();
    let path = target.split(|b| *b == b'?').next().unwrap_or_default();
    let entry = Entry {
        time: context.time,
        client: context.admitted.as_ref().map(|admitted| admitted.client),
        method: ClientText(request.method.as_str().as_bytes()),
        host: text(header::HOST),
        path: ClientText(path),
        status,
        bytes_in: context.body_seen,
        bytes_out: session.body_bytes_sent() as u64,
        duration: took,
        upstream: passage.and_then(|passage| passage.upstream),
        route: route.map(|route| route.name.as_str()),
        service: plan.map(|plan| plan.name.as_str()),
        version: passage.and_then(|passage| passage.word.to_str().ok()),
        reason: context.reason,
        rule: rule.map(|rule| rule.name.as_str()),
        bucket: passage.and_then(|passage| passage.choice.bucket),
        served_by: instance
            .zip(address.as_deref())
            .map(|(instance, address)| ServedBy { version: instance.version().as_str(), address }),
        fallback: passage.and_then(|passage| passage.fallback),
        tries: passage.map_or(0, |passage| passage.walk.tries()),
        error: context.error.map(ErrorReason::as_str),
        request_id: context
            .request_id
            .as_ref()
            .or_else(|| request.headers.get(REQUEST_ID))
            .map(|id| ClientText(id.as_bytes())),
        user_agent: text(header::USER_AGENT),
    };
    log.write(&entry, rand::random());
}
