//! From a request's head to a verdict: what is believed, what was decided, who is asked first.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, header};
use pingora::http::{IntoCaseHeaderName, RequestHeader};
use pingora::proxy::Session;

use super::context::{Context, Passage};
use super::gate::Gate;
use super::head::authority;
use super::{trace, upstream};
use crate::decide::{
    self, Admission, Arrival, Choice, Decision, Edit, Groups, Path, Peer, Request, Routed, Scratch, Snapshot,
    Target, edits, hash, location, remove_attribute, rewrite, without_parameter,
};
use crate::live::Generation;
use crate::pools::{NoInstance, Walk};
use crate::vocab::{Attribute, ErrorReason, Label, Reason, Timeouts};

/// What is done with a request.
pub enum Verdict {
    Proxy,
    Redirect(u16, String),
    Error(ErrorReason),
}

/// What the content types of gRPC begin with.
const GRPC: &[u8] = b"application/grpc";

pub const REQUEST_ID: &str = "x-request-id";

/// Buffers of one serving thread, reused from request to request.
#[derive(Default)]
struct Buffers {
    arrival: decide::Buffers,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Reads a request and decides it. On [`Verdict::Proxy`] the context holds its passage, with the first instance picked.
pub async fn take_in(gate: &Gate, session: &mut Session, context: &mut Context) -> Verdict {
    let peer = peer(session);
    let head = session.req_header_mut();
    context.request_id = Some(request_id(head));
    context.trace = trace::fresh(&head.headers, (rand::random(), rand::random()));
    context.generation = gate.live.running();
    // A defect costs this request a 500 and nothing else.
    let decided = catch_unwind(AssertUnwindSafe(|| {
        BUFFERS.with_borrow_mut(|buffers| admit(gate, peer, head, context, buffers))
    }));
    // The decision did not see what an untrusted client must not say; the upstream must not either.
    for edit in context.admitted.iter().flat_map(|admitted| &admitted.edits) {
        run(edit, head);
    }
    decided.unwrap_or_else(|_| {
        tracing::error!("a request made the decision panic");
        Verdict::Error(ErrorReason::Internal)
    })
}

/// The declared length of the body; the framing was checked before.
fn declared_length(request: &RequestHeader) -> u64 {
    let length = request.headers.get(header::CONTENT_LENGTH);
    length.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0)
}

fn peer(session: &Session) -> Peer {
    let address = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
    let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    Peer {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical(),
        scheme: if tls { "https" } else { "http" },
        trusted: false,
    }
}

/// The request's id, made where it has none, so that rules can hash it and the upstream can log it.
fn request_id(request: &mut RequestHeader) -> HeaderValue {
    if let Some(id) = request.headers.get(REQUEST_ID).filter(|id| !id.is_empty()) {
        return id.clone();
    }
    let id = trace::hex::<32>(rand::random());
    let id = HeaderValue::from_bytes(&id).unwrap_or(HeaderValue::from_static("none"));
    // A name and a value made here are well-formed.
    let _ = request.insert_header(REQUEST_ID, id.clone());
    id
}

/// The target's path and query; a whole URL is cut to what follows its authority.
fn target(request: &RequestHeader) -> (Option<&[u8]>, &[u8], Option<&[u8]>) {
    let raw = request.raw_path();
    let authority = authority(raw);
    let local = match authority {
        Some(authority) => {
            let scheme = raw.iter().position(|b| *b == b':').map_or(0, |at| at + 3);
            raw.get(scheme + authority.len()..).unwrap_or_default()
        }
        None => raw,
    };
    let (path, query) = match local.iter().position(|b| *b == b'?') {
        Some(at) => (local.get(..at).unwrap_or_default(), local.get(at + 1..)),
        None => (local, None),
    };
    let path = if path.is_empty() && authority.is_some() { b"/" } else { path };
    (authority, path, query)
}

/// Lets a request in by the one door there is, and decides it.
fn admit(
    gate: &Gate,
    peer: Peer,
    head: &RequestHeader,
    context: &mut Context,
    buffers: &mut Buffers,
) -> Verdict {
    let generation = context.generation.clone();
    let draws = generation.as_ref().is_some_and(|generation| generation.snapshot.issues_cookies());
    let fresh = draws.then(|| format!("{:032x}", rand::random::<u128>()));
    let (authority, path, query) = target(head);
    let is_named = head.headers.contains_key(header::HOST);
    let beside = head.uri.authority().filter(|_| !is_named).map(|authority| authority.as_str().as_bytes());
    let arrival = Arrival {
        method: head.method.as_str(),
        authority: authority.or(beside),
        path,
        query,
        headers: &head.headers,
        peer,
        version: head.version,
        now: time::OffsetDateTime::from(context.time).unix_timestamp_nanos(),
        fresh_identity: fresh.as_deref(),
    };
    let Buffers { arrival: of_arrival, scratch } = buffers;
    let Admission { admitted, request } = arrival.admit(&gate.settings.trust, of_arrival);
    context.admitted = Some(admitted);
    let Some(generation) = generation else { return Verdict::Error(ErrorReason::NoService) };
    let Ok(request) = request else { return refuse(context, Reason::BadRequest, ErrorReason::BadRequest) };
    let snapshot = &generation.snapshot;
    match snapshot.decide(&request, scratch) {
        Decision::NoRoute => refuse(context, Reason::NoRoute, ErrorReason::NoRoute),
        Decision::NoService(routed, _) => {
            context.route = Some(routed.id);
            refuse(context, Reason::NoService, ErrorReason::NoService)
        }
        Decision::Redirect(routed) => {
            context.route = Some(routed.id);
            redirect(&routed, &request, context)
        }
        Decision::Version(routed, choice) => {
            context.route = Some(routed.id);
            context.reason = Some(choice.reason);
            let limit = gate.settings.limits.body.0;
            context.body_limit = routed.route.max_body.unwrap_or(limit);
            let found = Found { snapshot, routed, choice, request };
            match found.passage(&generation, scratch, authority) {
                Ok(passage) => enter(passage, context, declared_length(head)),
                Err(reason) => refuse(context, Reason::BadRequest, reason),
            }
        }
    }
}

fn refuse(context: &mut Context, reason: Reason, error: ErrorReason) -> Verdict {
    context.reason = Some(reason);
    Verdict::Error(error)
}

fn redirect(routed: &Routed<'_>, request: &Request<'_>, context: &mut Context) -> Verdict {
    let Target::Redirect(redirect) = &routed.route.target else {
        return refuse(context, Reason::NoRoute, ErrorReason::NoRoute);
    };
    let groups = Groups::of(routed, request.path.view);
    match location(redirect, routed, request, &groups) {
        Ok(location) => {
            context.reason = Some(Reason::Redirect);
            Verdict::Redirect(redirect.status, location)
        }
        Err(_) => refuse(context, Reason::BadRequest, ErrorReason::BadRequest),
    }
}

/// Picks the first instance, so that a request nobody can take is answered on a connection that stays.
fn enter(passage: Passage, context: &mut Context, length: u64) -> Verdict {
    passage.runtime.decided(&passage.choice);
    context.passage = Some(Box::new(passage));
    if length > context.body_limit {
        return Verdict::Error(ErrorReason::BodyTooLarge);
    }
    match upstream::pick(context, Instant::now()) {
        Ok(()) => Verdict::Proxy,
        Err(NoInstance::None) => Verdict::Error(ErrorReason::NoInstance),
        Err(NoInstance::Overloaded) => Verdict::Error(ErrorReason::Overloaded),
    }
}

/// A request whose service and version are decided.
struct Found<'a> {
    snapshot: &'a Snapshot,
    routed: Routed<'a>,
    choice: Choice,
    request: Request<'a>,
}

impl Found<'_> {
    fn passage(
        &self,
        generation: &Arc<Generation>,
        scratch: &mut Scratch,
        authority: Option<&[u8]>,
    ) -> Result<Passage, ErrorReason> {
        let (choice, request) = (self.choice, &self.request);
        let plan = self.snapshot.service(choice.service).ok_or(ErrorReason::Internal)?;
        let runtime = generation.service(choice.service).ok_or(ErrorReason::Internal)?.clone();
        let groups = Groups::of(&self.routed, request.path.view);
        let rewritten = rewrite(&self.routed, request.path, &groups).map_err(|_| ErrorReason::BadRequest)?;
        let host = rewritten.host.as_deref().map(str::as_bytes).or(authority);
        let version = choice.version.and_then(|id| plan.version(id));
        let word = version
            .map(|version| version.header.clone())
            .or_else(|| request.inherited.and_then(|word| HeaderValue::from_str(word).ok()));
        let pin = plan.pinned(request, scratch, |value| Label::from(String::from_utf8_lossy(value)));
        let hash_key = match plan.balances_by_identity {
            true => plan.with_hashed(None, request, scratch, |value| u64::from(hash(b"", value))),
            false => None,
        };
        let in_flight = runtime.version(choice.version).begin();
        let deadline = deadline(request.headers);
        Ok(Passage {
            choice,
            word: word.ok_or(ErrorReason::Internal)?,
            timeouts: bounded(self.routed.route.timeouts, deadline),
            deadline,
            walk: Walk::new(choice.version, pin, hash_key, plan.retries),
            current: None,
            last: None,
            fallback: None,
            upstream: None,
            target: self.target(plan.hidden(request), rewritten.path.as_deref()),
            host: host.and_then(|host| HeaderValue::from_bytes(host).ok()),
            request_edits: edits(&self.routed.route.request_headers, &groups),
            response_edits: edits(&self.routed.route.response_headers, &groups),
            cookie: self.cookie(plan),
            in_flight,
            runtime,
            stale: 0,
        })
    }

    /// Path and query for the upstream.
    fn target(&self, hidden: Option<&Attribute>, rewritten: Option<&str>) -> String {
        let Path { upstream, .. } = self.request.path;
        let mut target = rewritten.unwrap_or(upstream).to_string();
        if let Some(query) = self.request.query {
            let query = String::from_utf8_lossy(query);
            let without = match hidden {
                Some(Attribute::Query(name)) => without_parameter(&query, name),
                _ => None,
            };
            target.push('?');
            target.push_str(without.as_deref().unwrap_or(&query));
        }
        target
    }

    fn cookie(&self, plan: &crate::decide::ServicePlan) -> Option<HeaderValue> {
        let cookie = plan.issue_cookie.as_ref().filter(|_| self.choice.issue_cookie)?;
        let secure = if self.request.scheme == "https" { "; Secure" } else { "" };
        let id = self.request.fresh_identity?;
        let age = cookie.max_age.as_secs();
        let text = format!("{}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", cookie.name);
        HeaderValue::from_str(&text).ok()
    }
}

/// How long a gRPC client waits for its whole call.
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let is_grpc = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC));
    headers.get("grpc-timeout").filter(|_| is_grpc).and_then(|text| grpc_timeout(text.to_str().ok()?))
}

/// A client's own deadline is a further bound: nobody waits for an answer behind it.
fn bounded(timeouts: Timeouts, deadline: Option<Duration>) -> Timeouts {
    let request = deadline.map_or(timeouts.request, |deadline| deadline.min(timeouts.request));
    Timeouts { request, ..timeouts }
}

/// At most eight digits and a unit, as gRPC writes its timeouts.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse::<u64>().ok())??;
    let times = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    (digits.len() <= 8).then(|| times.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX)))
}

/// Removes what an untrusted client must not say to the upstream either.
pub fn remove_hidden(context: &Context, request: &mut RequestHeader) {
    let Some((generation, passage)) = context.generation.as_ref().zip(context.passage.as_ref()) else {
        return;
    };
    let trusted = context.admitted.as_ref().is_some_and(|admitted| admitted.version_trusted);
    let plan = generation.snapshot.service(passage.choice.service);
    let pin = plan.and_then(|plan| plan.pin.as_ref()).filter(|_| !trusted);
    if let Some(edit) = pin.and_then(|pin| remove_attribute(&pin.attribute, &request.headers)) {
        run(&edit, request);
    }
}

/// Runs one edit on a request's headers, of which the framework also keeps the names' case.
pub fn run(edit: &Edit, request: &mut RequestHeader) {
    match edit {
        Edit::Remove(name) => {
            request.remove_header(name);
        }
        Edit::Set(name, value) => set(request, name.clone(), value.clone()),
        Edit::SetIfAbsent(name, value) => {
            if !request.headers.contains_key(name) {
                set(request, name.clone(), value.clone());
            }
        }
        Edit::Add(name, value) => {
            // Name and value are well-formed already.
            let _ = request.append_header(name.clone(), value.clone());
        }
    }
}

/// Sets a header of the upstream's request to one value.
pub fn set(request: &mut RequestHeader, name: impl IntoCaseHeaderName, value: HeaderValue) {
    // Name and value are well-formed already.
    let _ = request.insert_header(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_deadlines_bound_the_request() {
        for (text, expected) in [
            ("2S", Some(Duration::from_secs(2))),
            ("100m", Some(Duration::from_millis(100))),
            ("1H", Some(Duration::from_secs(3600))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("999999999S", None),
            ("S", None),
            ("+1S", None),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(grpc_timeout(text), expected, "{text}");
        }
        let timeouts = Timeouts::default();
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static("1m"));
        assert_eq!(bounded(timeouts, deadline(&headers)).request, timeouts.request, "no gRPC");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert_eq!(bounded(timeouts, deadline(&headers)).request, Duration::from_millis(1));
        headers.insert("grpc-timeout", HeaderValue::from_static("99999999H"));
        assert_eq!(bounded(timeouts, deadline(&headers)).request, timeouts.request);
    }
}
