//! What every answer carries, and the count of calls.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::site::Site;

/// Nothing but what comes from here; no inline script or style, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// For how many seconds the store has been away, where it is: what is told was so before.
const STALE: HeaderName = HeaderName::from_static("x-graygate-stale");

pub async fn dress(State(site): State<Site>, request: Request, next: Next) -> Response {
    let begun = site.control.clock.instant();
    let mut response = next.run(request).await;
    let took = site.control.clock.instant().saturating_duration_since(begun);
    let path = response.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str());
    site.control.metrics.call(path, response.status().as_u16(), took);
    dress_with(&site, response.headers_mut());
    response
}

/// Puts on what every answer carries.
pub fn dress_with(site: &Site, headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // A report that is kept as a file has its style in itself, and says so by its hash.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(stale) = site.control.state.stale() {
        headers.insert(STALE, HeaderValue::from(stale.as_secs()));
    }
    if site.front.secure {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
}
