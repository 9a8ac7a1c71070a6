//! Sessions, who one is, users and tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::{Page, Tagged};
use super::extract::{Body, Named, Who, read_json, text};
use super::guard::{From, session_cookie, set_cookie};
use super::site::Site;
use crate::control::{Control, Me, NewToken, NewUser, TokenMade, TokenShown, UserChange, UserShown};
use crate::error::{Error, Result};

/// Largest body of a sign-in, which strangers may send on every connection there is.
const CREDENTIALS_LIMIT: usize = 16 << 10;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    user: String,
    password: String,
}

#[derive(Serialize, ToSchema)]
pub struct SessionShown {
    user: String,
    csrf: String,
}

/// Sign in.
#[utoipa::path(post, path = "/session", tag = "people", request_body = Credentials,
    responses((status = 201, description = "the session's cookie is set", body = SessionShown)))]
pub async fn sign_in(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    request: Request,
) -> Result<Response> {
    let headers = request.headers().clone();
    let sent: Credentials = read_json(request, CREDENTIALS_LIMIT).await?;
    let signed_in = site.control.sign_in(&sent.user, &sent.password, &from).await?;
    if let Some(old) = session_cookie(&site.front, &headers)
        && let Ok(who) = site.control.by_cookie(&old, &from).await
    {
        site.control.sign_out(&old, &who).await?;
    }
    let cookie = set_cookie(&site.front, Some(&signed_in.cookie));
    let shown = SessionShown { user: signed_in.user, csrf: signed_in.csrf };
    Ok((StatusCode::CREATED, [(header::SET_COOKIE, cookie)], Json(shown)).into_response())
}

/// The link that signs its first bearer in, and leads to the first page.
pub async fn accept(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    Named(invitation): Named<String>,
) -> Result<Response> {
    let signed_in = site.control.accept(&invitation, &from).await?;
    let cookie = set_cookie(&site.front, Some(&signed_in.cookie));
    let there = format!("{}/", site.front.path);
    Ok((StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie)], [(header::LOCATION, there)]).into_response())
}

/// Sign out.
#[utoipa::path(delete, path = "/session", tag = "people",
    responses((status = 204, description = "the session is over")))]
pub async fn sign_out(State(site): State<Site>, Who(who): Who, headers: HeaderMap) -> Result<Response> {
    if let Some(cookie) = session_cookie(&site.front, &headers).filter(|_| who.csrf.is_some()) {
        site.control.sign_out(&cookie, &who).await?;
    }
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(&site.front, None))]).into_response())
}

/// Who one is, and what one may.
#[utoipa::path(get, path = "/me", tag = "people",
    responses((status = 200, description = "who one is, and what one may", body = Me)))]
pub async fn me(State(control): State<Arc<Control>>, Who(who): Who) -> Json<Me> {
    Json(control.me(&who))
}

/// Every user who has an account.
#[utoipa::path(get, path = "/users", tag = "people",
    responses((status = 200, description = "every user", body = Page<UserShown>)))]
pub async fn users(State(control): State<Arc<Control>>, Who(who): Who) -> Result<Json<Page<UserShown>>> {
    Ok(Json(Page { items: control.users(&who).await?, next: None }))
}

/// A new account.
#[utoipa::path(post, path = "/users", tag = "people", request_body = NewUser,
    responses((status = 201, description = "the account", body = UserShown)))]
pub async fn add_user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(new): Body<NewUser>,
) -> Result<Tagged<UserShown>> {
    let user = control.add_user(&who, new).await?;
    Ok(Tagged(StatusCode::CREATED, user.etag.clone(), user))
}

/// One account.
#[utoipa::path(get, path = "/users/{name}", tag = "people", params(("name" = String, Path)),
    responses((status = 200, description = "the account", body = UserShown)))]
pub async fn user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
) -> Result<Tagged<UserShown>> {
    let user = control.user(&who, &name).await?;
    Ok(Tagged(StatusCode::OK, user.etag.clone(), user))
}

/// Another password, or other roles.
#[utoipa::path(put, path = "/users/{name}", tag = "people", request_body = UserChange,
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, description = "the account", body = UserShown)))]
pub async fn change_user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    headers: HeaderMap,
    Body(change): Body<UserChange>,
) -> Result<Tagged<UserShown>> {
    if change.password.is_none() && change.roles.is_none() {
        return Err(Error::Invalid("nothing to change: send `password` or `roles`".to_owned()));
    }
    let user = control.change_user(&who, &name, change, text(&headers, "if-match")).await?;
    Ok(Tagged(StatusCode::OK, user.etag.clone(), user))
}

/// Take an account away, with its sessions.
#[utoipa::path(delete, path = "/users/{name}", tag = "people",
    params(("name" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "it is gone")))]
pub async fn remove_user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<StatusCode> {
    control.remove_user(&who, &name, text(&headers, "if-match")).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All tokens, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "people",
    responses((status = 200, description = "all of them", body = Page<TokenShown>)))]
pub async fn tokens(State(control): State<Arc<Control>>, Who(who): Who) -> Result<Json<Page<TokenShown>>> {
    Ok(Json(Page { items: control.tokens(&who).await?, next: None }))
}

/// A new token, shown this once.
#[utoipa::path(post, path = "/tokens", tag = "people", request_body = NewToken,
    responses((status = 201, description = "the token", body = TokenMade)))]
pub async fn add_token(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<TokenMade>)> {
    Ok((StatusCode::CREATED, Json(control.add_token(&who, new).await?)))
}

/// Take a token away.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "people", params(("id" = String, Path)),
    responses((status = 204, description = "it is gone")))]
pub async fn remove_token(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<StatusCode> {
    control.remove_token(&who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
