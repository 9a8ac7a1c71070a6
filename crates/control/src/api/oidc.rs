//! Sign-in by the identity provider: there, and back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::extract::{Ask, text};
use super::guard::{From, set_cookie};
use super::site::{Front, Site};
use crate::error::Result;
use crate::oidc::{LASTS, Returned};

/// The cookie of a sign-in under way, over TLS and over loopback.
const COOKIES: (&str, &str) = ("__Host-graygate-oidc", "graygate-oidc");

#[derive(Deserialize)]
pub struct Back {
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
}

/// Sends the browser to the identity provider.
pub async fn begin(State(site): State<Site>, headers: HeaderMap) -> Result<Response> {
    let begun = site.control.begin_oidc(&back(&site.front, &headers)).await?;
    let cookie = cookie(&site.front, &begun.cookie);
    Ok((StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie)], [(header::LOCATION, begun.there)])
        .into_response())
}

/// Takes the browser back, signs it in, and leads to the first page.
pub async fn finish(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    Ask(asked): Ask<Back>,
    headers: HeaderMap,
) -> Result<Response> {
    let sent = under_way(&site.front, &headers).unwrap_or_default();
    let returned = Returned { code: asked.code, state: asked.state, issuer: asked.iss };
    let signed_in = site.control.finish_oidc(&back(&site.front, &headers), (&sent, returned), &from).await?;
    // Another site sent the browser here, so a redirect would go without the new cookie, which is `SameSite=Strict`: the
    // page leads on by itself.
    let there = format!("{}/", site.front.path);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>graygate</title>\
         <meta http-equiv=\"refresh\" content=\"0;url={there}\"><p><a href=\"{there}\">graygate</a></p></html>"
    );
    let mut response = Html(page).into_response();
    let cookies = [set_cookie(&site.front, Some(&signed_in.cookie)), cookie(&site.front, "")];
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// The address the provider sends the browser back to; its host is one of ours, the guard has looked.
fn back(front: &Arc<Front>, headers: &HeaderMap) -> String {
    let scheme = if front.secure { "https" } else { "http" };
    let host = text(headers, "host").unwrap_or_default();
    format!("{scheme}://{host}{}/sign-in/oidc/callback", front.path)
}

fn under_way(front: &Front, headers: &HeaderMap) -> Option<String> {
    let name = if front.secure { COOKIES.0 } else { COOKIES.1 };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
}

/// `Lax`, because the browser comes back from another site.
fn cookie(front: &Front, value: &str) -> HeaderValue {
    let (name, secure) = if front.secure { (COOKIES.0, "; Secure") } else { (COOKIES.1, "") };
    let age = if value.is_empty() { 0 } else { LASTS.as_secs() };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age={age}");
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
