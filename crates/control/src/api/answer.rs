//! The shapes of answers that all calls share.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::{ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder};

use super::envelope::{EnvelopeError, is_enveloped};
use super::site::Site;
use crate::audit::Chain;
use crate::error::{Error, Mistake};

/// RFC 9457.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemShown {
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// What is wrong with documents, where that is the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problems: Option<Vec<Mistake>>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What `after` has to be for the next page; null where this is the last one.
    pub next: Option<String>,
}

/// An answer with its ETag.
pub struct Tagged<T>(pub StatusCode, pub String, pub T);

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = (self.0, Json(self.2)).into_response();
        tag(&mut response, &self.1);
        response
    }
}

pub fn tag(response: &mut Response, etag: &str) {
    if let Ok(value) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

/// An error as an answer.
pub fn problem(error: Error) -> Response {
    let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let problems = match &error {
        Error::Problems(mistakes) => Some(mistakes.clone()),
        _ => None,
    };
    if let Error::Internal(detail) = &error {
        tracing::error!(detail, "a call failed");
    }
    let shown = ProblemShown {
        title: error.title().to_owned(),
        status: status.as_u16(),
        detail: error.to_string(),
        problems,
    };
    let mut response = (status, Json(shown)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    match &error {
        Error::TooMany { after, .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        Error::Unauthenticated | Error::WrongPassword | Error::NotLetIn(_) => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        Error::PreconditionFailed { etag: Some(etag), .. } => tag(&mut response, etag),
        _ => {}
    }
    response.extensions_mut().insert(error);
    response
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        problem(self)
    }
}

pub async fn no_such_call() -> Error {
    Error::NotFound("there is no such call".to_owned())
}

pub async fn no_such_method() -> Error {
    Error::Method
}

pub async fn openapi_document(document: Arc<String>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], (*document).clone())
}

/// Ready once the store answers.
pub async fn readyz(State(site): State<Site>) -> Result<&'static str, Error> {
    site.control.check_ready()?;
    Chain::read(&*site.control.state).await?;
    Ok("ready\n")
}

pub async fn metrics(State(site): State<Site>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        site.control.metrics.text()
            + &site.control.registries.borrow().metrics()
            + &site.control.plans.metrics()
            + &site.control.configs.metrics(),
    )
}

/// Says of every call that any other answer is a problem.
pub fn describe_problems(document: &mut OpenApi) {
    let problem = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(problem)).build();
    let response = ResponseBuilder::new()
        .description("why it was not done")
        .content("application/problem+json", content)
        .build();
    let enveloped = RefOr::Ref(Ref::from_schema_name("EnvelopeError"));
    let content = ContentBuilder::new().schema(Some(enveloped)).build();
    let enveloped = ResponseBuilder::new()
        .description("why it was not done")
        .content("application/json", content)
        .build();
    for (path, item) in &mut document.paths.paths {
        let response = if is_enveloped(path) { &enveloped } else { &response };
        let calls = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
        for call in calls.into_iter().flatten() {
            call.responses.responses.insert("default".to_owned(), RefOr::T(response.clone()));
        }
    }
    let components = document.components.get_or_insert_default();
    let mut schemas = Vec::new();
    ProblemShown::schemas(&mut schemas);
    EnvelopeError::schemas(&mut schemas);
    schemas.push(("Problem".to_owned(), <ProblemShown as utoipa::PartialSchema>::schema()));
    schemas.push(("EnvelopeError".to_owned(), <EnvelopeError as utoipa::PartialSchema>::schema()));
    schemas.push(("Mistake".to_owned(), <Mistake as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
}
