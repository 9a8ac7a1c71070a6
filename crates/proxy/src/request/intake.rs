//! From a request's head to a verdict: what is believed, what was decided, who is asked first.
//!
//! Answers: does this request go to an upstream, and if not, what does the proxy say? Loads the running generation,
//! once a request. Never: sends anything.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use pingora::proxy::Session;

use super::context::{AdmittedRequest, Answered, Begun, BodyCount, Context, Passage, Rewritten, Stage};
use super::head::{RequestHead, Room};
use super::headers::run;
use super::observed::{self, GRPC};
use super::peer::pick;
use super::settings::Settings;
use super::trace;
use crate::edge::authority;
use crate::limits::Refusal;
use crate::live::{Generation, Live};
use crate::mirror::Copying;
use crate::observe::{Observer, Sighting};
use crate::pools::Walk;
use graygate_rules::decide::{
    self, Admission, Arrival, Choice, CookieChange, Decision, Fields, Groups, Overrides, Path, Peer, Request,
    RouteId, Routed, Scratch, Seen, ServicePlan, Target, edits, hash, location, rewrite, text,
    without_parameter,
};
use graygate_rules::vocab::{Attribute, ErrorReason, Label, Reason, Share, Timeouts};

/// What is done with a request.
pub enum Verdict {
    Proxy,
    Redirect(u16, String),
    /// The same page again, with or without a tester's word.
    Override(CookieChange),
    /// A limit is reached.
    Limited(Refusal),
    Error(ErrorReason),
}

/// How long a gRPC client waits.
static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Rolls of the dice that says which requests are copied.
const BUCKETS: u16 = Share::ALL.hundredths();

/// Buffers of one serving thread, reused from request to request.
#[derive(Default)]
struct Buffers {
    arrival: decide::Buffers,
    scratch: Scratch,
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = RefCell::default();
}

/// Where requests are decided.
pub struct Intake<'g> {
    pub live: &'g Live,
    pub settings: &'g Settings,
    pub observer: &'g Arc<Observer>,
}

impl Intake<'_> {
    /// Reads a request and decides it. On [`Verdict::Proxy`] the context holds its passage, with the first instance
    /// picked.
    pub fn take_in(&self, head: &mut impl RequestHead, peer: Peer, context: &mut Context) -> Verdict {
        let request_id = trace::request_id(head);
        let trace = trace::fresh(&*head, trace::draw);
        let asked = Asked { head: &*head, peer, request_id, trace, begun: context.begun };
        // A defect costs this request a 500 and nothing else.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            BUFFERS.with_borrow_mut(|buffers| self.admit(asked, &mut context.stage, buffers))
        }));
        hide(head, context);
        decided.unwrap_or_else(|_| {
            tracing::error!("a request made the decision panic");
            Verdict::Error(ErrorReason::Internal)
        })
    }

    /// Lets a request in by `Arrival::admit`, the only way in, and decides it.
    fn admit(&self, asked: Asked<'_, impl RequestHead>, stage: &mut Stage, buffers: &mut Buffers) -> Verdict {
        let generation = self.live.running();
        let draws = generation.as_ref().is_some_and(|generation| generation.snapshot.issues_cookies());
        let fresh = draws.then(|| format!("{:032x}", rand::random::<u128>()));
        let Asked { head, peer, request_id, trace, begun } = asked;
        let target = target(head.target());
        let mut room = Room::new();
        let fields = head.fields(&mut room);
        let beside = head.authority().filter(|_| !fields.contains(&header::HOST));
        let arrival = Arrival {
            method: head.method(),
            authority: target.authority.or(beside),
            path: target.path,
            query: target.query,
            fields,
            peer,
            version: head.version(),
            now: since_1970(begun.time),
            fresh_identity: fresh.as_deref(),
        };
        let believed = generation.as_ref().and_then(|generation| generation.trust.as_deref());
        let trust = believed.unwrap_or(&self.settings.trust);
        let Admission { admitted, request } = arrival.admit(trust, &mut buffers.arrival);
        let admission = Arc::new(AdmittedRequest { admitted, request_id, trace });
        *stage = Stage::Admitted(admission.clone());
        let Some(generation) = &generation else { return Verdict::Error(ErrorReason::NoService) };
        let undecided = Undecided {
            admission,
            generation,
            authority: target.authority,
            length: declared_length(fields),
            overrides: &trust.overrides,
            body_limit: self.settings.limits.body.0,
            observer: self.observer,
            begun: begun.instant,
        };
        let (decided, verdict) = match request {
            Ok(request) => undecided.decide(request, &mut buffers.scratch),
            Err(_) => undecided.refuse(None, Reason::BadRequest, ErrorReason::BadRequest),
        };
        *stage = decided;
        verdict
    }
}

/// A request as it came.
struct Asked<'r, H> {
    head: &'r H,
    peer: Peer,
    request_id: HeaderValue,
    trace: Option<HeaderValue>,
    begun: Begun,
}

/// Nanoseconds since 1970.
fn since_1970(time: SystemTime) -> i128 {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    }
}

/// The declared length of the body; the framing was checked before.
fn declared_length(fields: Fields<'_>) -> u64 {
    let length = fields.first(&header::CONTENT_LENGTH);
    length.and_then(|value| text(value)?.parse().ok()).unwrap_or(0)
}

/// Makes of a head that was read again what it was when it was decided.
pub fn admit_again(head: &mut impl RequestHead, context: &Context) {
    if let Some(admission) = context.admission() {
        trace::set_request_id(head, &admission.request_id);
    }
    hide(head, context);
}

/// The decision did not see what an untrusted client must not say; the upstream must not either.
fn hide(head: &mut impl RequestHead, context: &Context) {
    for edit in context.admission().iter().flat_map(|admission| &admission.admitted.edits) {
        run(edit, head);
    }
}

/// Who asks, over the framework.
pub fn peer_of(session: &Session) -> Peer {
    let address = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
    peer(address, session.digest().is_some_and(|digest| digest.ssl_digest.is_some()))
}

/// Who asks.
pub fn peer(address: Option<IpAddr>, tls: bool) -> Peer {
    Peer {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical(),
        scheme: if tls { "https" } else { "http" },
        trusted: false,
    }
}

/// What a request's line asks for.
struct TargetParts<'r> {
    authority: Option<&'r [u8]>,
    path: &'r [u8],
    query: Option<&'r [u8]>,
}

/// The target's path and query; a whole URL is cut to what follows its authority.
fn target(raw: &[u8]) -> TargetParts<'_> {
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
    TargetParts { authority, path, query }
}

/// A request that was let in, with the rules that decide it.
struct Undecided<'r> {
    admission: Arc<AdmittedRequest>,
    generation: &'r Arc<Generation>,
    /// Of a target that is a whole URL.
    authority: Option<&'r [u8]>,
    /// The declared length of its body.
    length: u64,
    overrides: &'r Overrides,
    /// Where its route says nothing else.
    body_limit: u64,
    observer: &'r Arc<Observer>,
    begun: Instant,
}

impl Undecided<'_> {
    fn decide(self, request: Request<'_>, scratch: &mut Scratch) -> (Stage, Verdict) {
        let generation = self.generation;
        let decision = generation.snapshot.decide(&request, scratch);
        if let Some(change) = self.override_of(&request, decision) {
            return (self.answered(None, Reason::Override), Verdict::Override(change));
        }
        match decision {
            Decision::NoRoute => self.refuse(None, Reason::NoRoute, ErrorReason::NoRoute),
            Decision::NoService(routed, _) => {
                self.refuse(Some(routed.id), Reason::NoService, ErrorReason::NoService)
            }
            Decision::Redirect(routed) => {
                let seen = Seen { request: &request, hidden: None };
                let verdict = match self.refusal(&routed, seen, scratch) {
                    Some(refusal) => Ok(Verdict::Limited(refusal)),
                    None => redirect(&routed, &request),
                };
                match verdict {
                    Ok(verdict) => (self.answered(Some(routed.id), Reason::Redirect), verdict),
                    Err(error) => self.refuse(Some(routed.id), Reason::BadRequest, error),
                }
            }
            Decision::Version(routed, choice) => {
                let route = routed.id;
                let found = Found { undecided: &self, routed, choice, request };
                match found.passage(scratch) {
                    Ok(passage) => found.enter(passage, scratch),
                    Err(error) => self.refuse(Some(route), Reason::BadRequest, error),
                }
            }
        }
    }

    /// What a page of a routed host asks of the tester's cookie.
    fn override_of(&self, request: &Request<'_>, decision: Decision<'_>) -> Option<CookieChange> {
        let is_routed = !matches!(decision, Decision::NoRoute);
        self.overrides.change_of(request).filter(|_| is_routed)
    }

    /// What a limit of the route, or of its service, says to a request that came too early.
    fn refusal(&self, routed: &Routed<'_>, seen: Seen<'_>, scratch: &mut Scratch) -> Option<Refusal> {
        self.generation.limit(routed.id)?.pass(seen, scratch, Instant::now()).err()
    }

    fn answered(self, route: Option<RouteId>, reason: Reason) -> Stage {
        let Undecided { admission, generation, .. } = self;
        Stage::Answered(Answered { admission, generation: generation.clone(), route, reason })
    }

    fn refuse(self, route: Option<RouteId>, reason: Reason, error: ErrorReason) -> (Stage, Verdict) {
        (self.answered(route, reason), Verdict::Error(error))
    }
}

fn redirect(routed: &Routed<'_>, request: &Request<'_>) -> Result<Verdict, ErrorReason> {
    let Target::Redirect(redirect) = &routed.route.target else { return Err(ErrorReason::Internal) };
    let groups = Groups::of(routed, request.path.view);
    let location = location(redirect, routed, request, &groups).map_err(|_| ErrorReason::BadRequest)?;
    Ok(Verdict::Redirect(redirect.status, location))
}

/// A request whose service and version are decided.
struct Found<'a> {
    undecided: &'a Undecided<'a>,
    routed: Routed<'a>,
    choice: Choice,
    request: Request<'a>,
}

impl Found<'_> {
    /// Picks the first instance, so that a request no instance can take is answered on a connection that stays.
    fn enter(&self, mut passage: Box<Passage>, scratch: &mut Scratch) -> (Stage, Verdict) {
        passage.runtime.decided(&passage.choice);
        let plan = passage.plan();
        let is_limited = self.routed.route.limit.is_some() || plan.is_some_and(|plan| plan.limit.is_some());
        let verdict = if self.undecided.length > passage.body.limit {
            Verdict::Error(ErrorReason::BodyTooLarge)
        } else if let Some(refusal) = is_limited.then(|| self.refusal(plan, scratch)).flatten() {
            Verdict::Limited(refusal)
        } else {
            pick(&mut passage, self.undecided.begun).map_or_else(Verdict::Error, |()| Verdict::Proxy)
        };
        (Stage::Routed(passage), verdict)
    }

    /// What limits this request, if it came too early.
    fn refusal(&self, plan: Option<&ServicePlan>, scratch: &mut Scratch) -> Option<Refusal> {
        let hidden = plan.and_then(|plan| plan.hidden(&self.request));
        self.undecided.refusal(&self.routed, Seen { request: &self.request, hidden }, scratch)
    }

    fn passage(&self, scratch: &mut Scratch) -> Result<Box<Passage>, ErrorReason> {
        let (choice, request, generation) = (self.choice, &self.request, self.undecided.generation);
        let plan = generation.snapshot.service(choice.service).ok_or(ErrorReason::Internal)?;
        let runtime = generation.service(choice.service).ok_or(ErrorReason::Internal)?.clone();
        let groups = Groups::of(&self.routed, request.path.view);
        let rewritten = rewrite(&self.routed, request.path, &groups).map_err(|_| ErrorReason::BadRequest)?;
        let host = rewritten.host.as_deref().map(str::as_bytes).or(self.undecided.authority);
        let version = choice.version.and_then(|id| plan.version(id));
        let word = version
            .map(|version| version.header.clone())
            .or_else(|| choice.brought(request).and_then(|word| HeaderValue::from_str(word).ok()));
        let pin = plan.pinned(request, scratch, |value| Label::from(String::from_utf8_lossy(value)));
        let hash_key = match plan.balances_by_identity {
            true => plan.with_hashed(None, request, scratch, |value| u64::from(hash(b"", value))),
            false => None,
        };
        // Copies of requests and those of developers say nothing of what users meet.
        let is_user = pin.is_none() && !self.undecided.admission.admitted.mirrored;
        let observed = if is_user { self.sighting(plan, scratch) } else { None };
        let in_flight = runtime.version(choice.version).begin();
        let deadline = deadline(request.fields);
        let target = self.target(plan.hidden(request), rewritten.path.as_deref());
        let host = host.and_then(|host| HeaderValue::from_bytes(host).ok());
        let limit = self.routed.route.max_body.unwrap_or(self.undecided.body_limit);
        Ok(Box::new(Passage {
            admission: self.undecided.admission.clone(),
            generation: generation.clone(),
            route: self.routed.id,
            choice,
            word: word.ok_or(ErrorReason::Internal)?,
            timeouts: bounded(self.routed.route.timeouts, deadline),
            deadline,
            body: BodyCount::new(limit),
            due: None,
            walk: Walk::new(choice.version, pin, hash_key, plan.retries)
                .into_closed(choice.reason == Reason::Override),
            attempt: None,
            fallback: None,
            upstream: None,
            rewritten: Rewritten { target, host },
            request_edits: edits(&self.routed.route.request_headers, &groups),
            response_edits: edits(&self.routed.route.response_headers, &groups),
            cookie: self.cookie(plan),
            in_flight,
            runtime,
            stale: 0,
            upgrades: false,
            observed,
            copying: self.copying(plan),
            rescue: plan.assets.as_ref().filter(|assets| assets.covers(request)).map(|_| Box::default()),
        }))
    }

    /// Of a service that is asked about.
    fn sighting(&self, plan: &ServicePlan, scratch: &mut Scratch) -> Option<Box<Sighting>> {
        let Undecided { observer, begun, .. } = *self.undecided;
        let (choice, request) = (&self.choice, &self.request);
        observed::Decided { observer, plan, choice, request, begun }.sighting(scratch)
    }

    /// The copy that is made of the request, if one is. A copy is not copied again, and neither is what becomes another
    /// protocol.
    fn copying(&self, plan: &ServicePlan) -> Option<Box<Copying>> {
        let rule = self.choice.rule.and_then(|id| plan.rules.get(id));
        let is_mirrored =
            self.routed.route.mirror.is_some() || rule.is_some_and(|rule| rule.mirror.is_some());
        let is_copy = || self.undecided.admission.admitted.mirrored;
        let switches = || self.request.fields.contains(&header::UPGRADE) || self.request.method == "CONNECT";
        if !is_mirrored || is_copy() || switches() {
            return None;
        }
        let shadow = self.undecided.generation.shadows.of(self.routed.id, &self.choice)?;
        shadow.wants(rand::random_range(0..BUCKETS)).then(|| Box::new(Copying::of(shadow.clone())))
    }

    /// Path and query for the upstream.
    fn target(&self, hidden: Option<&Attribute>, rewritten: Option<&str>) -> String {
        let Path { upstream, .. } = self.request.path;
        let path = rewritten.unwrap_or(upstream);
        let query = self.request.query.map_or(0, |query| "?".len() + query.len());
        let mut target = String::with_capacity(path.len() + query);
        target.push_str(path);
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

    fn cookie(&self, plan: &ServicePlan) -> Option<HeaderValue> {
        let cookie = plan.issue_cookie.as_ref().filter(|_| self.choice.issue_cookie)?;
        let secure = if self.request.scheme == "https" { "; Secure" } else { "" };
        let id = self.request.fresh_identity?;
        let age = cookie.max_age.as_secs();
        let text = format!("{}={id}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}", cookie.name);
        HeaderValue::from_str(&text).ok()
    }
}

/// How long a gRPC client waits for its whole call.
fn deadline(fields: Fields<'_>) -> Option<Duration> {
    let is_grpc = fields.first(&header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with(GRPC));
    let timeout = is_grpc.then(|| fields.first(&GRPC_TIMEOUT)).flatten()?;
    grpc_timeout(text(timeout)?)
}

/// A client's own deadline is a further bound: no answer is awaited behind it.
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
        let mut headers = http::HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static("1m"));
        assert_eq!(bounded(timeouts, deadline((&headers).into())).request, timeouts.request, "no gRPC");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        assert_eq!(bounded(timeouts, deadline((&headers).into())).request, Duration::from_millis(1));
        headers.insert("grpc-timeout", HeaderValue::from_static("99999999H"));
        assert_eq!(bounded(timeouts, deadline((&headers).into())).request, timeouts.request);
    }
}
