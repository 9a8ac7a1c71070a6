//! What handlers take from a request, with mistakes told as problems.

use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::site::BODY_LIMIT;
use crate::error::{Error, Result};
use crate::people::Principal;

/// How long the body of a call may take, and that of a list of 256 MiB.
const PATIENCE: Duration = Duration::from_secs(30);
const LIST_PATIENCE: Duration = Duration::from_secs(600);

/// Who asks.
pub struct Who(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Who> {
        parts.extensions.get::<Principal>().cloned().map(Who).ok_or(Error::Unauthenticated)
    }
}

/// A body that is JSON.
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Body<T>> {
        read_json(request, BODY_LIMIT).await.map(Body)
    }
}

/// Reads a whole body that is JSON, up to a limit.
pub async fn read_json<T: DeserializeOwned>(request: Request, limit: usize) -> Result<T> {
    let bytes = read_body(request, limit).await?;
    // Nothing at all is an object without fields, for calls whose fields may all be left out.
    let bytes = if bytes.is_empty() { Bytes::from_static(b"{}") } else { bytes };
    serde_json::from_slice(&bytes).map_err(|error| match error.is_data() {
        true => Error::Invalid(format!("the body is not what this call takes: {error}")),
        false => Error::BadRequest(format!("the body is not JSON: {error}")),
    })
}

/// Reads a whole body, up to a limit.
pub async fn read_body(request: Request, limit: usize) -> Result<Bytes> {
    let declared = request.headers().get(http::header::CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<usize>().ok());
    let too_large = || Error::TooLarge(format!("a body has at most {} KiB here", limit >> 10));
    if declared.is_some_and(|bytes| bytes > limit) {
        return Err(too_large());
    }
    let patience = if limit > BODY_LIMIT { LIST_PATIENCE } else { PATIENCE };
    let read = tokio::time::timeout(patience, axum::body::to_bytes(request.into_body(), limit)).await;
    let late = || Error::BadRequest(format!("the body did not come within {} s", patience.as_secs()));
    read.map_err(|_| late())?.map_err(|error| {
        let text = error.to_string();
        match text.contains("length limit") {
            true => too_large(),
            false => Error::BadRequest(format!("the body broke off: {text}")),
        }
    })
}

/// The query.
pub struct Ask<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Ask<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ask<T>> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Ask(query)).map_err(|error| Error::BadRequest(error.body_text()))
    }
}

/// The names in a path.
pub struct Named<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named<T>> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(names)| Named(names))
            .map_err(|error: PathRejection| Error::BadRequest(error.body_text()))
    }
}

/// A header's text; one that is no text counts as absent.
pub fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
