//! The headers of both directions: what of a client's request an upstream gets, and what of its response the client.
//!
//! Answers: who is told what? Owns the order of the edits and what concerns one connection alone. Never: decides.

use std::cell::RefCell;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Version, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;

use super::context::Passage;
use super::head::{RequestHead, Room};
use super::settings::{RespondVersion, Settings};
use super::trace;
use graygate_rules::decide::{Admitted, Edit, MIRROR_HEADER, remove_attribute, set_baggage};

const REASON_HEADER: HeaderName = HeaderName::from_static("x-gray-reason");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const VIA_OLD: HeaderValue = HeaderValue::from_static("1.0 graygate");
const VIA_HTTP1: HeaderValue = HeaderValue::from_static("1.1 graygate");
const VIA_HTTP2: HeaderValue = HeaderValue::from_static("2 graygate");

/// Whom a request comes from, as its upstream is told.
pub struct Sender {
    pub peer: Option<IpAddr>,
    /// What it speaks.
    pub version: Version,
    pub body: BodyKind,
}

/// Whether a body follows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    None,
    Some,
}

impl Sender {
    pub fn of(session: &mut Session) -> Sender {
        let body = if session.as_mut().is_body_empty() { BodyKind::None } else { BodyKind::Some };
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        Sender { peer, version: session.req_header().version, body }
    }
}

/// Makes of the client's request what the upstream gets, but for its target.
pub fn edit_request(settings: &Settings, sender: &Sender, request: &mut impl RequestHead, passage: &Passage) {
    remove_hidden(passage, request);
    let client_host = request.shared(&header::HOST);
    if let Some(trace) = &passage.admission.trace {
        trace::set(request, trace.clone());
    }
    for edit in &passage.request_edits {
        run(edit, request);
    }
    forward(sender, request, &passage.admission.admitted, client_host);
    if let Some(host) = &passage.rewritten.host {
        request.set(header::HOST, host.clone());
    }
    name_host(request, passage);
    if wants_length(request) && sender.body == BodyKind::None {
        // Over HTTP/2 nothing says so, and there are servers that answer 411 to such a request without a length.
        request.set(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    let version = passage.plan().and_then(|plan| plan.version(passage.choice.version?));
    for (name, value) in version.iter().flat_map(|version| version.request_headers.iter()) {
        request.set(name.clone(), value.clone());
    }
    request.set(settings.trust.version_header.clone(), passage.word.clone());
    if settings.trust.baggage {
        let edit = set_baggage(request.fields(&mut Room::new()), passage.word.to_str().ok());
        edit.iter().for_each(|edit| run(edit, request));
    }
}

/// Makes of what the upstream gets what a copy is; for another try the copy begins again.
pub fn copy_request(settings: &Settings, request: &RequestHeader, passage: &mut Passage) -> Result<()> {
    let own = passage.plan().and_then(|plan| plan.version(passage.choice.version?));
    let own: Vec<HeaderName> =
        own.iter().flat_map(|version| &version.request_headers).map(|(name, _)| name.clone()).collect();
    let Some(copying) = &mut passage.copying else { return Ok(()) };
    if !copying.is_fresh() {
        copying.begin_again();
        return Ok(());
    }
    let mut copy = request.clone();
    for name in &own {
        copy.remove_header(name);
    }
    let told = &copying.shadow().told;
    for (name, value) in &told.headers {
        copy.insert_header(name.clone(), value.clone())?;
    }
    copy.insert_header(settings.trust.version_header.clone(), told.word.clone())?;
    if settings.trust.baggage
        && let Some(edit) = set_baggage((&copy.headers).into(), told.word.to_str().ok())
    {
        run(&edit, &mut copy);
    }
    copy.insert_header(MIRROR_HEADER.clone(), HeaderValue::from_static("1"))?;
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
    copying.begin(copy, length);
    Ok(())
}

/// An upstream is always told a host: a client of HTTP/1.0 need not name one, and none, or an empty one, is no request
/// for many servers.
fn name_host(request: &mut impl RequestHead, passage: &Passage) {
    let is_named = request.value(&header::HOST).is_some_and(|host| !host.is_empty());
    if let Some(attempt) = passage.attempt.as_ref().filter(|_| !is_named)
        && let Ok(host) = HeaderValue::try_from(attempt.instance.address().to_string())
    {
        request.set(header::HOST, host);
    }
}

/// Whether the request is of a kind that usually has a body, and says nothing of one.
fn wants_length(request: &impl RequestHead) -> bool {
    matches!(request.method(), "POST" | "PUT" | "PATCH")
        && request.value(&header::CONTENT_LENGTH).is_none()
        && request.value(&header::TRANSFER_ENCODING).is_none()
}

/// Says who asked and how: appended behind a trusted proxy, set otherwise.
fn forward(sender: &Sender, request: &mut impl RequestHead, admitted: &Admitted, host: Option<HeaderValue>) {
    let own_for = sender.peer.map_or_else(|| Some(HeaderValue::from_static("")), written);
    // What was received counts, and not what the upstream speaks (RFC 9110, 7.6.3).
    let own_via = match sender.version {
        Version::HTTP_2 => VIA_HTTP2,
        Version::HTTP_10 => VIA_OLD,
        _ => VIA_HTTP1,
    };
    let kept_host = admitted.forwarded_trusted.then(|| request.shared(&FORWARDED_HOST)).flatten();
    let lines = [
        (FORWARDED_FOR, own_for.and_then(|own| joined(request, admitted, &FORWARDED_FOR, own))),
        (header::VIA, joined(request, admitted, &header::VIA, own_via)),
        (FORWARDED_PROTO, Some(HeaderValue::from_static(admitted.scheme))),
        (FORWARDED_HOST, kept_host.or(host)),
    ];
    for (name, value) in lines {
        match value {
            Some(value) => request.set(name, value),
            None => request.remove(&name),
        }
    }
}

/// A value behind those that a trusted proxy sent.
fn joined(
    request: &impl RequestHead,
    admitted: &Admitted,
    name: &HeaderName,
    own: HeaderValue,
) -> Option<HeaderValue> {
    if !admitted.forwarded_trusted {
        return Some(own);
    }
    let before = request.values(name).filter(|line| !line.is_empty());
    let mut all: Vec<&[u8]> = before.collect();
    all.push(own.as_bytes());
    HeaderValue::from_bytes(&all.join(&b", "[..])).ok()
}

/// An address as a field's value. A connection sends many requests, so the last one is remembered.
fn written(address: IpAddr) -> Option<HeaderValue> {
    thread_local! {
        static LAST: RefCell<Option<(IpAddr, HeaderValue)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, value)) if *known == address => Some(value.clone()),
        _ => {
            let value = HeaderValue::from_str(&address.to_canonical().to_string()).ok()?;
            *last = Some((address, value.clone()));
            Some(value)
        }
    })
}

/// Headers that concern the upstream's connection and not the client's.
const HOP_BY_HOP: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
];

/// Makes of the upstream's response what the client gets.
pub fn edit_response(settings: &Settings, response: &mut ResponseHeader, passage: &Passage) -> Result<()> {
    remove_hop_by_hop(response);
    for edit in &passage.response_edits {
        match edit {
            Edit::Remove(name) => {
                response.remove_header(name);
            }
            Edit::Set(name, value) => response.insert_header(name.clone(), value.clone())?,
            Edit::SetIfAbsent(name, value) => {
                if !response.headers.contains_key(name) {
                    response.insert_header(name.clone(), value.clone())?;
                }
            }
            Edit::Add(name, value) => {
                response.append_header(name.clone(), value.clone())?;
            }
        }
    }
    if let Some(cookie) = &passage.cookie {
        response.append_header(header::SET_COOKIE, cookie.clone())?;
    }
    if shows_version(settings, passage) {
        response.insert_header(settings.trust.version_header.clone(), passage.word.clone())?;
        response.insert_header(REASON_HEADER, HeaderValue::from_static(passage.choice.reason.as_str()))?;
    }
    Ok(())
}

/// Whether [`edit_response`] has anything to say beside what concerns the upstream's connection.
pub fn edits_response(settings: &Settings, passage: &Passage) -> bool {
    !passage.response_edits.is_empty() || passage.cookie.is_some() || shows_version(settings, passage)
}

fn shows_version(settings: &Settings, passage: &Passage) -> bool {
    match settings.respond_version {
        RespondVersion::Never => false,
        RespondVersion::Trusted => passage.admission.admitted.version_trusted,
        RespondVersion::Always => true,
    }
}

/// Takes from an interim response what concerns the upstream's connection, and a body it cannot have.
pub fn strip_interim(response: &mut ResponseHeader) {
    remove_hop_by_hop(response);
    for name in [header::CONNECTION, header::UPGRADE, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
        response.remove_header(&name);
    }
}

/// Says how the response's body ends, as its client can understand it.
pub fn settle_framing(session: &Session, response: &mut ResponseHeader) {
    if response.status == 204 {
        response.remove_header(&header::TRANSFER_ENCODING);
        response.remove_header(&header::CONTENT_LENGTH);
    }
    if session.req_header().version == Version::HTTP_10 {
        response.remove_header(&header::TRANSFER_ENCODING);
    }
}

fn remove_hop_by_hop(response: &mut ResponseHeader) {
    // A response that switches protocols needs its `Connection` and `Upgrade`.
    if response.status == 101 {
        return;
    }
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(',').map(str::trim))
        .filter(|option| !["keep-alive", "close"].iter().any(|usual| option.eq_ignore_ascii_case(usual)))
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| *name != header::TRANSFER_ENCODING && *name != header::CONTENT_LENGTH)
        .collect();
    for name in nominated {
        response.remove_header(&name);
    }
    for name in &HOP_BY_HOP {
        response.remove_header(name);
    }
}

/// Removes what an untrusted client must not say to the upstream either.
fn remove_hidden(passage: &Passage, request: &mut impl RequestHead) {
    let trusted = passage.admission.admitted.version_trusted;
    let Some(pin) = passage.plan().and_then(|plan| plan.pin.as_ref()).filter(|_| !trusted) else { return };
    let edit = remove_attribute(&pin.attribute, request.fields(&mut Room::new()));
    edit.iter().for_each(|edit| run(edit, request));
}

/// Runs one edit on a request's head.
pub fn run(edit: &Edit, request: &mut impl RequestHead) {
    match edit {
        Edit::Remove(name) => request.remove(name),
        Edit::Set(name, value) => request.set(name.clone(), value.clone()),
        Edit::SetIfAbsent(name, value) => {
            if request.value(name).is_none() {
                request.set(name.clone(), value.clone());
            }
        }
        Edit::Add(name, value) => request.add(name.clone(), value.clone()),
    }
}
