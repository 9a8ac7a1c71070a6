//! Signing in and out.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use maud::html;

use super::shell::{Page, Tab, bare};
use super::show::refusal;
use super::visit::{Fields, Form, Look, cookie};
use crate::api::{From, Site, THERE_COOKIE, is_place, read_body, session_cookie, set_cookie};
use crate::error::{Error, Result};

/// A name and a password.
const FORM_LIMIT: usize = 16 << 10;

pub async fn show(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let look = Look::of(&parts);
    let cookie = session_cookie(&site.front, &parts.headers);
    let who = match &cookie {
        Some(cookie) => site.control.by_cookie(cookie, &from).await.ok(),
        None => None,
    };
    match who {
        Some(who) => {
            let main = html! {
                h1 { (look.lang.sign_in()) }
                p { (look.lang.signed_in_as()) " " strong { (who.name) } }
                p { a href=(look.at("/")) { (look.lang.overview()) } }
            };
            let title = look.lang.sign_in().to_owned();
            bare(
                &look,
                (StatusCode::OK, Some(&who)),
                Page { tab: Tab::Overview, title, calls: Vec::new(), main },
            )
        }
        None => page(&look, (StatusCode::OK, ""), None),
    }
}

fn page(look: &Look, (status, user): (StatusCode, &str), error: Option<&Error>) -> Response {
    let lang = look.lang;
    // A link from another site comes without the session's cookie; the script then asks once more from here.
    let again = (look.is_from_elsewhere && error.is_none()).then(|| look.at("/sign-in/again"));
    let main = html! {
        h1 { (lang.sign_in()) }
        @if let Some(error) = error {
            @match error {
                Error::WrongPassword => p.refusal role="alert" { (lang.wrong_password()) },
                other => (refusal(look, other)),
            }
        }
        form.narrow method="post" action=(look.at("/sign-in")) data-again=[again] {
            label for="user" { (lang.user()) }
            input #user name="user" autocomplete="username" autocapitalize="none" spellcheck="false" required value=(user) autofocus;
            label for="password" { (lang.password()) }
            input #password name="password" type="password" autocomplete="current-password" required;
            button.main type="submit" { (lang.sign_in()) }
        }
        details { summary { (lang.no_account()) } p { (lang.first_account()) } pre tabindex="0" { code { "graygate user add NAME --role admin --control FILE" } } }
    };
    let calls = vec!["POST /session".to_owned()];
    bare(look, (status, None), Page { tab: Tab::Overview, title: lang.sign_in().to_owned(), calls, main })
}

pub async fn enter(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let look = Look::of(&parts);
    let headers = parts.headers.clone();
    let fields = Fields::parse(&read_body(Request::from_parts(parts, body), FORM_LIMIT).await?);
    let signed_in = match site.control.sign_in(fields.get("user"), fields.get("password"), &from).await {
        Ok(signed_in) => signed_in,
        Err(error) => {
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Ok(page(&look, (status, fields.get("user")), Some(&error)));
        }
    };
    if let Some(old) = session_cookie(&site.front, &headers)
        && let Ok(who) = site.control.by_cookie(&old, &from).await
    {
        site.control.sign_out(&old, &who).await?;
    }
    let mut response = to_there(&look, &headers);
    response.headers_mut().append(header::SET_COOKIE, set_cookie(&site.front, Some(&signed_in.cookie)));
    Ok(response)
}

/// Where one wanted to go, and it is forgotten.
fn to_there(look: &Look, headers: &HeaderMap) -> Response {
    let there =
        cookie(headers, THERE_COOKIE).filter(|place| is_place(place)).unwrap_or_else(|| "/".to_owned());
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, look.at(&there))]).into_response();
    let gone = format!("{THERE_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    if let Ok(gone) = HeaderValue::from_str(&gone) {
        response.headers_mut().append(header::SET_COOKIE, gone);
    }
    response
}

/// Asked from the page for signing in, so that the session's cookie comes along if there is one.
pub async fn again(
    State(site): State<Site>,
    axum::Extension(From(from)): axum::Extension<From>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let look = Look::of(&parts);
    if let Some(cookie) = session_cookie(&site.front, &parts.headers)
        && site.control.by_cookie(&cookie, &from).await.is_ok()
    {
        return to_there(&look, &parts.headers);
    }
    page(&look.of_here(), (StatusCode::OK, ""), None)
}

pub async fn leave(State(site): State<Site>, headers: HeaderMap, form: Form) -> Result<Response> {
    if let Some(cookie) = session_cookie(&site.front, &headers).filter(|_| form.visit.who.csrf.is_some()) {
        site.control.sign_out(&cookie, &form.visit.who).await?;
    }
    let mut response = form.visit.go("/sign-in");
    response.headers_mut().append(header::SET_COOKIE, set_cookie(&site.front, None));
    Ok(response)
}
