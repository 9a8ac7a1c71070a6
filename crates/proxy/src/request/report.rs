//! The end of a request: counted once, logged once.

use std::time::{Duration, Instant};

use http::{HeaderName, header};
use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::context::{Context, Passage};
use super::trace::{REQUEST_ID, draw};
use crate::metrics::Metrics;
use graygate_rules::vocab::{ErrorReason, Reason, StatusClass};
use graygate_telemetry::{AccessLog, ClientText, Entry, ServedBy};

/// What a client that left before its answer counts as, after nginx.
const CLIENT_CLOSED: u16 = 499;

/// What the log tells of the client's side of a request.
pub struct Told<'r> {
    pub method: &'r [u8],
    pub target: &'r [u8],
    pub host: Option<&'r [u8]>,
    pub user_agent: Option<&'r [u8]>,
    pub request_id: Option<&'r [u8]>,
    /// Of the response's body.
    pub bytes_out: u64,
}

impl<'r> Told<'r> {
    pub fn of(session: &'r Session) -> Told<'r> {
        Told::of_header(session.req_header(), session.body_bytes_sent() as u64)
    }

    pub fn of_header(request: &'r RequestHeader, bytes_out: u64) -> Told<'r> {
        let text = |name: HeaderName| request.headers.get(name).map(|value| value.as_bytes());
        Told {
            method: request.method.as_str().as_bytes(),
            target: request.raw_path(),
            host: text(header::HOST),
            user_agent: text(header::USER_AGENT),
            request_id: text(REQUEST_ID),
            bytes_out,
        }
    }
}

/// How a request ended for its client.
pub struct Ended {
    /// What the client was told, if anything.
    pub status: Option<u16>,
    pub at: Instant,
}

/// Counts a request that is over, and logs it.
pub fn finish<'r>(
    metrics: &Metrics,
    log: Option<&AccessLog>,
    context: &mut Context,
    ended: Ended,
    told: impl FnOnce() -> Told<'r>,
) {
    let written = ended.status;
    let status = written.unwrap_or(CLIENT_CLOSED);
    let took = ended.at.saturating_duration_since(context.begun.instant);
    if let (Some(copying), Some(status)) =
        (context.passage_mut().and_then(|passage| passage.copying.as_mut()), written)
    {
        copying.answered(status);
    }
    match context.passage() {
        Some(passage) => {
            passage.runtime.version(passage.choice.version).finished(StatusClass::of(status), took);
            if let (Some(reason), Some(attempt)) = (passage.fallback, &passage.attempt) {
                passage.runtime.fell_back(passage.choice.version, attempt.version, reason);
            }
        }
        None => metrics.unrouted(unrouted(context)).increment(),
    }
    if let Some(log) = log {
        write(log, &told(), context, Ending { status: written, took });
    }
}

/// How a request ended.
struct Ending {
    status: Option<u16>,
    took: Duration,
}

/// Why a request never had a service, as the label of `graygate_unrouted_total`.
fn unrouted(context: &Context) -> &'static str {
    match (context.reason(), context.error) {
        (_, Some(error)) => error.as_str(),
        (Some(reason), None) => reason.as_str(),
        (None, None) => Reason::BadRequest.as_str(),
    }
}

fn write(log: &AccessLog, told: &Told<'_>, context: &Context, ending: Ending) {
    let admission = context.admission();
    let passage = context.passage();
    let plan = passage.and_then(Passage::plan);
    let rule = plan.zip(passage).and_then(|(plan, passage)| plan.rules.get(passage.choice.rule?));
    let instance = passage.and_then(|passage| passage.attempt.as_ref()).map(|attempt| &attempt.instance);
    let path = told.target.split(|b| *b == b'?').next().unwrap_or_default();
    let entry = Entry {
        time: context.begun.time,
        client: admission.map(|admission| admission.admitted.client),
        method: ClientText(told.method),
        host: told.host.map(ClientText),
        path: ClientText(path),
        status: ending.status,
        bytes_in: passage.map_or(0, |passage| passage.body.seen),
        bytes_out: told.bytes_out,
        duration: ending.took,
        upstream: passage.and_then(|passage| passage.upstream),
        route: context.route(),
        service: plan.map(|plan| plan.name.as_str()),
        version: passage.and_then(|passage| passage.word.to_str().ok()),
        reason: context.reason(),
        rule: rule.map(|rule| rule.name.as_str()),
        bucket: passage.and_then(|passage| passage.choice.bucket),
        served_by: instance.map(|instance| ServedBy {
            version: instance.version().as_str(),
            address: instance.written_address(),
        }),
        fallback: passage.and_then(|passage| passage.fallback),
        tries: passage.map_or(0, Passage::tries),
        error: context.error.map(ErrorReason::as_str),
        request_id: admission
            .map(|admission| admission.request_id.as_bytes())
            .or(told.request_id)
            .map(ClientText),
        user_agent: told.user_agent.map(ClientText),
    };
    log.write(&entry, draw() as u64);
}
