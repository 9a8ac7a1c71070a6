//! The envelope of the two APIs that platforms speak already: `{code, message, data}`, errors too.
//!
//! Owns: which paths have it, and the change of a problem into one. Never: what is answered.

use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::control::ProposalShown;
use crate::error::{Error, Mistake, Result};

/// Below these everything is answered in the envelope.
pub const GATEWAY: &str = "/gateway";
pub const GRAY_RELEASE: &str = "/api/gray-release";

/// Mistakes whose sentences stand in the message; all of them are in the data.
const MISTAKES_TOLD: usize = 3;

#[derive(Serialize, ToSchema)]
pub struct Envelope<T> {
    /// The HTTP status.
    pub code: u16,
    pub message: String,
    pub data: T,
}

/// An error in the envelope.
#[derive(Serialize, ToSchema)]
pub struct EnvelopeError {
    pub code: u16,
    pub message: String,
    /// What is wrong, where documents or a setting are; else null.
    pub data: Option<EnvelopeProblems>,
}

/// What waits for a second person.
#[derive(Serialize, ToSchema)]
pub struct ProposalWaiting {
    pub proposal: ProposalShown,
}

#[derive(Serialize, ToSchema)]
pub struct EnvelopeProblems {
    pub problems: Vec<Mistake>,
}

pub fn success<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope { code: 200, message: "success".to_owned(), data })
}

/// What waits for a second person.
pub fn waiting(proposal: ProposalShown) -> Response {
    let message = "it waits for a second person".to_owned();
    let envelope = Envelope { code: 202, message, data: ProposalWaiting { proposal } };
    (StatusCode::ACCEPTED, Json(envelope)).into_response()
}

pub fn is_enveloped(path: &str) -> bool {
    [GATEWAY, GRAY_RELEASE]
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Puts what any layer refused into the envelope.
pub async fn envelop(request: Request, next: Next) -> Response {
    let is_ours = is_enveloped(request.uri().path());
    let mut response = next.run(request).await;
    if !is_ours {
        return response;
    }
    let Some(error) = response.extensions().get::<Error>().cloned() else { return response };
    let body = serde_json::to_vec(&told(&error)).unwrap_or_default();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = body.into();
    response
}

fn told(error: &Error) -> Value {
    let (message, data) = match error {
        Error::Problems(mistakes) => {
            let sentence = |mistake: &Mistake| format!("{}: {}", mistake.field, mistake.message);
            let told: Vec<_> = mistakes.iter().take(MISTAKES_TOLD).map(sentence).collect();
            (format!("{error}: {}", told.join("; ")), json!({"problems": mistakes}))
        }
        other => (other.to_string(), Value::Null),
    };
    json!({"code": error.status(), "message": message, "data": data})
}

/// A body whose mistakes all count as one of the caller's.
pub fn read<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(|error| match error.is_data() {
        true => Error::Invalid(format!("the body is not what this call takes: {error}")),
        false => Error::BadRequest(format!("the body is not JSON: {error}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_roots_are_enveloped() {
        for (path, is) in [
            ("/gateway/syn", true),
            ("/gateway", true),
            ("/gateways", false),
            ("/api/gray-release/plan", true),
            ("/api/v1/plans", false),
        ] {
            assert_eq!(is_enveloped(path), is, "{path}");
        }
    }
}
