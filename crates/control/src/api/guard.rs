//! What a request passes before any handler sees it: host, principal, origin, and the note of what was refused.
//!
//! Everything that is not on the short list of open paths takes a principal, unknown paths too: the list is compared
//! with the path as it was sent, so that no spelling steps around it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::answer::problem;
use super::extract::text;
use super::site::{BASE, Front, Site};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Via};

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// What a session's writes carry.
const CSRF: &str = "x-graygate-csrf";
const REQUEST_ID: &str = "x-request-id";
/// Longest id of a request that is taken from outside.
const REQUEST_ID_LIMIT: usize = 128;
/// The cookie, over TLS and over loopback.
const COOKIES: (&str, &str) = ("__Host-graygate", "graygate");
/// Where a browser without a session wanted to go, and for how many seconds that is remembered.
pub const THERE_COOKIE: &str = "graygate-there";
const THERE_FOR: u32 = 600;
/// Statuses of a write that count as a refusal worth a record.
const REFUSALS: [u16; 4] = [403, 409, 412, 422];

pub async fn guard(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let looked = look(&site, &mut request, &path);
    let admitted = match looked {
        Err(error) => Err(Box::new(problem(error))),
        Ok(None) => Ok(None),
        Ok(Some(asked)) => admit(&site, &asked, &path).await.map(Some),
    };
    let mut response = match admitted {
        Err(answer) => *answer,
        Ok(None) => next.run(request).await,
        Ok(Some(who)) => {
            // Only a refused write is recorded; a read costs nothing of it.
            let write = (!is_reading(request.method())).then(|| {
                let who = match &who {
                    Admitted::Proven(who) | Admitted::Unproven(who) => who.clone(),
                };
                (who, action(request.method(), &path))
            });
            match who {
                Admitted::Proven(who) => drop(request.extensions_mut().insert(who)),
                Admitted::Unproven(who) => drop(request.extensions_mut().insert(Unproven(who))),
            }
            let response = next.run(request).await;
            let refused = REFUSALS.contains(&response.status().as_u16());
            if let (Some((who, (action, object))), true, Some(error)) =
                (write, refused, response.extensions().get::<Error>())
            {
                site.control.refused(&who, &action, &object, error).await;
            }
            response
        }
    };
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Who asks, and whether the session's token came along.
enum Admitted {
    Proven(Principal),
    Unproven(Principal),
}

/// Who sent a form whose session's token stands among its fields, which no one has looked at yet. It is no
/// [`Principal`] on purpose: what takes one finds none.
#[derive(Clone, Debug)]
pub struct Unproven(pub Principal);

/// What is known of a request that takes a principal.
struct Asked {
    from: Principal,
    method: Method,
    headers: HeaderMap,
    is_page: bool,
    is_form: bool,
    /// Path and query, without the prefix.
    place: String,
}

/// What needs no look into the store; nothing where the path is open to every user.
fn look(site: &Site, request: &mut Request, path: &str) -> Result<Option<Asked>> {
    name_host(request);
    let is_health = matches!(path, "/healthz" | "/readyz");
    let peer = request.extensions().get::<Peer>();
    let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip().to_canonical());
    if !is_health {
        check_host(&site.front, request.headers(), peer)?;
    }
    let from = origin_of(&site.front, request.headers(), peer);
    request.extensions_mut().insert(From(from.clone()));
    check_site(request.headers(), request.method())?;
    if is_health || is_open(request.method(), path) {
        return Ok(None);
    }
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let place = request.uri().path_and_query().map_or("/", |place| place.as_str()).to_owned();
    let (is_page, is_form) = (is_page(request, path), is_form(request, path));
    Ok(Some(Asked { from, method, headers, is_page, is_form, place }))
}

/// Who asks; the error is the answer. It holds no request: a body is not shared between threads.
async fn admit(site: &Site, asked: &Asked, path: &str) -> std::result::Result<Admitted, Box<Response>> {
    let fail = |error: Error| Box::new(problem(error));
    match identify(site, asked).await {
        Ok(Admitted::Proven(who)) if path == "/metrics" => match who.may_somewhere(Permission::Read) {
            Ok(()) => Ok(Admitted::Proven(who)),
            Err(denied) => Err(fail(denied.into())),
        },
        Ok(who) => Ok(who),
        Err(Error::Unauthenticated) if asked.is_page => Err(Box::new(to_sign_in(&site.front, &asked.place))),
        Err(error) => {
            if error.status() == 401 {
                tracing::debug!(
                    path,
                    address = asked.from.address,
                    "a request without a principal was refused"
                );
            }
            Err(fail(error))
        }
    }
}

/// To the page for signing in, which leads back.
fn to_sign_in(front: &Front, place: &str) -> Response {
    let page = format!("{}/sign-in", front.path);
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, page)]).into_response();
    let back = format!("{THERE_COOKIE}={place}; Path=/; Max-Age={THERE_FOR}; HttpOnly; SameSite=Lax");
    if is_place(place)
        && place != "/"
        && let Ok(back) = HeaderValue::from_str(&back)
    {
        response.headers_mut().insert(header::SET_COOKIE, back);
    }
    response
}

/// A place of ours to go to after signing in; anything that might lead elsewhere is none.
pub fn is_place(text: &str) -> bool {
    text.starts_with('/')
        && !text.starts_with("//")
        && !text.contains(['\\', '\r', '\n', ';', ' '])
        && text.len() <= 2_048
}

/// Where a request came from, for those who act on it.
#[derive(Clone, Debug)]
pub struct From(pub Principal);

/// What answers without a principal.
fn is_open(method: &Method, path: &str) -> bool {
    let session = path.strip_prefix(BASE) == Some("/session");
    let page = path == "/sign-in" || path.starts_with("/sign-in/") || path.starts_with("/static/");
    (session && *method == Method::POST) || page
}

/// Whether a person's browser asks for a page.
fn is_page(request: &Request, path: &str) -> bool {
    let is_api = path.starts_with("/api") || path.starts_with("/gateway") || path.starts_with("/metrics");
    is_reading(request.method()) && !is_api && text(request.headers(), "authorization").is_none()
}

/// Whether a page's form is sent: its fields may carry the session's token, which the header of a call carries else.
fn is_form(request: &Request, path: &str) -> bool {
    let kind = text(request.headers(), "content-type").unwrap_or_default();
    let is_api = path.starts_with("/api") || path.starts_with("/gateway");
    *request.method() == Method::POST && !is_api && kind.starts_with("application/x-www-form-urlencoded")
}

fn is_reading(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// HTTP/2 names the host elsewhere; all that looks at it looks at the header.
fn name_host(request: &mut Request) {
    let authority = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let (None, Some(Ok(host))) = (request.headers().get(header::HOST), authority) {
        request.headers_mut().insert(header::HOST, host);
    }
}

pub(super) fn check_host(front: &Front, headers: &HeaderMap, peer: IpAddr) -> Result<()> {
    let host = text(headers, "host").unwrap_or_default();
    let name = host_name(host);
    if front.behind_tls && !is_trusted(front, peer) {
        return Err(Error::Misdirected(host.to_owned()));
    }
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let is_own = name.parse::<IpAddr>().is_ok_and(|address| address == front.address);
    let is_named = front.hosts.iter().any(|known| known.eq_ignore_ascii_case(name));
    match is_loopback || is_own || is_named {
        true => Ok(()),
        false => Err(Error::Misdirected(host.chars().take(256).collect())),
    }
}

/// A host without port, brackets and the dot at its end; in letters as they were sent.
fn host_name(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.trim_end_matches('.')
}

fn is_trusted(front: &Front, address: IpAddr) -> bool {
    front.trust.iter().any(|net| net.contains(&address))
}

/// The client's address: the peer's, or what those say who are trusted.
pub(super) fn client_of(front: &Front, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    let mut client = peer;
    if is_trusted(front, peer) {
        let forwarded: Vec<&str> = headers
            .get_all("x-forwarded-for")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for text in forwarded.into_iter().rev() {
            let Ok(address) = text.trim().parse::<IpAddr>() else { break };
            client = address.to_canonical();
            if !is_trusted(front, client) {
                break;
            }
        }
    }
    client
}

/// Where a request comes from, and what it says of itself.
fn origin_of(front: &Front, headers: &HeaderMap, peer: IpAddr) -> Principal {
    let client = client_of(front, headers, peer);
    let given = text(headers, REQUEST_ID).filter(|id| (1..=REQUEST_ID_LIMIT).contains(&id.len()));
    Principal {
        address: client.to_string(),
        user_agent: text(headers, "user-agent").unwrap_or_default().to_owned(),
        request_id: given.map_or_else(crate::people::short_id, str::to_owned),
        grants: Vec::new(),
        ..Principal::own("", Via::Session)
    }
}

/// A browser tells when another site's page made it ask. Nothing of this API is for such pages.
fn check_site(headers: &HeaderMap, method: &Method) -> Result<()> {
    if is_reading(method) || text(headers, "authorization").is_some() {
        return Ok(());
    }
    let refuse = || Err(Error::Denied("another site's page made this request".to_owned()));
    if let Some(site) = text(headers, "sec-fetch-site") {
        return if site == "same-origin" { Ok(()) } else { refuse() };
    }
    let Some(origin) = text(headers, "origin") else { return Ok(()) };
    let host = text(headers, "host").unwrap_or_default();
    let own = origin.split_once("://").map(|(_, rest)| rest);
    if own == Some(host) { Ok(()) } else { refuse() }
}

async fn identify(site: &Site, asked: &Asked) -> Result<Admitted> {
    let Asked { from, method, headers, .. } = asked;
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let token = authorization.to_str().ok().and_then(bearer).ok_or(Error::Unauthenticated)?;
        return site.control.by_token(token, from).await.map(Admitted::Proven);
    }
    let cookie = session_cookie(&site.front, headers).ok_or(Error::Unauthenticated)?;
    let who = site.control.by_cookie(&cookie, from).await?;
    if is_reading(method) {
        return Ok(Admitted::Proven(who));
    }
    let sent = text(headers, CSRF).unwrap_or_default();
    let known = who.csrf.as_deref().unwrap_or_default();
    let same: bool = subtle::ConstantTimeEq::ct_eq(sent.as_bytes(), known.as_bytes()).into();
    match same && !known.is_empty() {
        true => Ok(Admitted::Proven(who)),
        false if asked.is_form && sent.is_empty() => Ok(Admitted::Unproven(who)),
        false => Err(Error::Denied(format!("a write of a session carries its token in `{CSRF}`"))),
    }
}

pub(super) fn bearer(text: &str) -> Option<&str> {
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The session's cookie, if exactly one was sent.
pub fn session_cookie(front: &Front, headers: &HeaderMap) -> Option<String> {
    let name = if front.secure { COOKIES.0 } else { COOKIES.1 };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut found = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then(|| value.to_owned())
    });
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The header that sets the session's cookie, or, without a value, takes it away.
pub fn set_cookie(front: &Front, value: Option<&str>) -> HeaderValue {
    let (name, secure) = if front.secure { (COOKIES.0, "; Secure") } else { (COOKIES.1, "") };
    let age = if value.is_some() { "" } else { "; Max-Age=0" };
    let text =
        format!("{name}={}; Path=/; HttpOnly; SameSite=Strict{secure}{age}", value.unwrap_or_default());
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// What a call would be in the audit, and what it is about.
fn action(method: &Method, path: &str) -> (String, String) {
    let rest =
        path.strip_prefix(BASE).or_else(|| path.strip_prefix("/api")).unwrap_or(path).trim_matches('/');
    let parts: Vec<&str> = rest.split('/').collect();
    let (first, last) =
        (parts.first().copied().unwrap_or_default(), parts.last().copied().unwrap_or_default());
    let verb = |put: &str, delete: &str, post: &str| match *method {
        Method::PUT => put.to_owned(),
        Method::DELETE => delete.to_owned(),
        _ => post.to_owned(),
    };
    let name = match first {
        "documents" => verb("document.put", "document.delete", "document.undo"),
        "changes" => "changes".to_owned(),
        "lists" => verb("list.put", "list.put", "list.members"),
        "users" => verb("user.change", "user.remove", "user.add"),
        "tokens" => verb("token.add", "token.remove", "token.add"),
        "plans" => verb("plan.put", "plan.delete", &format!("plan.{last}")),
        "configs" => verb("config.put", "config.delete", "config.put"),
        "gateway" => match last {
            "update" | "info" => "gateway.versions".to_owned(),
            other => format!("gateway.{other}"),
        },
        "gray-release" if parts.contains(&"item") => verb("config.put", "config.delete", "config.put"),
        "gray-release" if last == "monitor" => "measure".to_owned(),
        "gray-release" if parts.len() < 4 => verb("plan.put", "plan.delete", "plan.put"),
        "gray-release" => format!("plan.{last}"),
        "proposals" => format!("proposal.{last}"),
        "messages" => "message.read".to_owned(),
        "channels" => "channel.test".to_owned(),
        "session" => verb("session", "session.end", "session.begin"),
        other => other.to_owned(),
    };
    let object = match first {
        "documents" => parts.get(1..).unwrap_or_default().join("/"),
        _ => rest.to_owned(),
    };
    let object = object.trim_end_matches("/undo").trim_end_matches("/members");
    let object = object.trim_end_matches("/test").to_owned();
    (name, object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_port_and_dot() {
        for (host, name) in [
            ("Gray.Example.com:8443", "Gray.Example.com"),
            ("gray.example.com.", "gray.example.com"),
            ("[::1]:9180", "::1"),
            ("127.0.0.1:9180", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_name(host), name, "{host}");
        }
    }

    #[test]
    fn only_what_is_listed_is_open() {
        let open = |method, path| is_open(&method, path);
        assert!(open(Method::POST, "/api/v1/session"));
        assert!(open(Method::GET, "/sign-in"));
        for (method, path) in [
            (Method::GET, "/api/v1/session"),
            (Method::DELETE, "/api/v1/session"),
            (Method::POST, "/api/v1/session/"),
            (Method::POST, "/api/v1//session"),
            (Method::POST, "/API/v1/session"),
            (Method::GET, "/api/v1/documents/x.js"),
            (Method::GET, "/sign-in/../api/v1/me"),
        ] {
            assert!(!open(method.clone(), path) || path.starts_with("/sign-in/"), "{method} {path}");
        }
    }

    #[test]
    fn only_places_of_ours_are_gone_to() {
        for (text, is) in [
            ("/plans/x?run=1", true),
            ("//evil.example", false),
            ("/\\evil.example", false),
            ("http://evil.example", false),
            ("", false),
        ] {
            assert_eq!(is_place(text), is, "{text}");
        }
    }

    #[test]
    fn calls_have_the_names_of_the_audit() {
        for (method, path, name, object) in [
            (Method::PUT, "/api/v1/documents/rules/x", "document.put", "rules/x"),
            (Method::POST, "/api/v1/documents/rules/x/undo", "document.undo", "rules/x"),
            (Method::POST, "/api/v1/lists/pilot/members", "list.members", "lists/pilot"),
            (Method::POST, "/api/v1/plans/p8/start", "plan.start", "plans/p8/start"),
            (Method::DELETE, "/api/v1/users/li", "user.remove", "users/li"),
        ] {
            assert_eq!(action(&method, path), (name.to_owned(), object.to_owned()));
        }
    }
}
