//! The console: pages that answer what is gray, whom it touches, whether it is well, and what waits for me.
//!
//! Owns: pages, forms, their words in two languages, one style sheet and one script. Every page is rendered here from
//! templates that are compiled; every button is a form that works without the script, which only keeps pages live and adds
//! keys. Never: anything the API cannot do: both call the functions of [`Control`](crate::control::Control). Start at
//! [`rooms`].

mod assets;
mod channels;
mod composer;
mod configs;
mod documents;
mod editor;
mod lists;
mod merge;
mod moves;
mod now;
mod operate;
mod people;
mod plan_evidence;
mod plan_marks;
mod plans;
mod refused;
mod replay;
mod service;
mod shell;
mod show;
mod sign_in;
mod visit;
mod why;
mod words;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use http::StatusCode;
use maud::html;

use crate::api::Site;
use crate::error::Error;
use crate::people::Principal;
use shell::{Page, Tab};
use visit::Look;

/// All pages, to be put beside the API.
pub fn rooms() -> Router<Site> {
    Router::new()
        .route("/", get(now::overview))
        .route("/services/{name}", get(service::show))
        .route("/plans", get(plans::list))
        .route("/plans/new", get(composer::show).post(composer::act))
        .route("/plans/{name}", get(plans::show).post(plans::act))
        .route("/configs", get(configs::show).post(configs::act))
        .route("/documents", get(documents::list))
        .route("/documents/{kind}/{name}", get(editor::show).post(editor::act))
        .route("/documents/{kind}/{name}/{part}", get(editor::show_part).post(editor::act_part))
        .route("/lists/{name}", get(lists::show).post(lists::act))
        .route("/why", get(why::show))
        .route("/replay", get(replay::show).post(replay::act))
        .route("/find", get(why::find))
        .route("/fleet", get(operate::fleet))
        .route("/audit", get(operate::audit))
        .route("/audit/csv", get(operate::audit_csv))
        .route("/messages", get(operate::messages).post(operate::read))
        .route("/channels", get(channels::show).post(channels::act))
        .route("/proposals/{id}", get(operate::proposal).post(operate::decide))
        .route("/people", get(people::show).post(people::act))
        .route("/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/sign-in/again", get(sign_in::again))
        .route("/sign-out", post(sign_in::leave))
        .layer(from_fn(explain_refusals))
        .route("/static/{name}", get(assets::serve))
}

/// Answers of errors become pages: a person reads them.
async fn explain_refusals(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let look = Look::of(&parts);
    let who = parts.extensions.get::<Principal>().cloned();
    let who =
        who.or_else(|| parts.extensions.get::<crate::api::Unproven>().map(|unproven| unproven.0.clone()));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    let is_page = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json");
    // A page that tells a refusal itself keeps the note of it, for the audit.
    if !is_page {
        return response;
    }
    let Some(error) = response.extensions_mut().remove::<Error>() else { return response };
    let lang = look.lang;
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let main = html! {
        h1 { (lang.refusal(&error)) }
        (show::refusal(&look, &error))
        p { a href=(look.at(&look.path)) { (lang.reload()) } " · " a href=(look.at("/")) { (lang.overview()) } }
    };
    let page = Page { tab: Tab::Overview, title: lang.refusal(&error).to_owned(), calls: Vec::new(), main };
    let mut shown = shell::bare(&look, (status, who.as_ref()), page);
    if let Some(after) = response.headers().get(http::header::RETRY_AFTER) {
        shown.headers_mut().insert(http::header::RETRY_AFTER, after.clone());
    }
    shown.extensions_mut().insert(error);
    shown
}
