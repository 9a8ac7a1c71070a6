//! The proxy's own answers: status, headers, bytes, and the status gRPC has for them.
//!
//! Answers: what does a client read when the proxy answers by itself? Owns the one table from reasons to responses'
//! shape; the words and statuses are `vocab`'s. Never: sends anything.

use http::{HeaderValue, Version, header};
use pingora::Result;
use pingora::http::{RequestHeader, ResponseHeader};

use graygate_rules::vocab::ErrorReason;

/// The header that says why the proxy answered by itself.
pub const ERROR_HEADER: &str = "x-graygate-error";

/// The response header of an error.
pub fn error_header(reason: ErrorReason) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(reason.status(), Some(4))?;
    response.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))?;
    response.insert_header(header::CONTENT_LENGTH, reason.line().len())?;
    response.insert_header(ERROR_HEADER, HeaderValue::from_static(reason.as_str()))?;
    Ok(response)
}

/// Whether a gRPC client asks; it looks for its error in a trailer, and for nothing else.
pub fn is_grpc(request: &RequestHeader) -> bool {
    let kind = request.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    request.version == Version::HTTP_2
        && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The same for a gRPC client: a response that is nothing but trailers.
pub fn grpc_error_header(reason: ErrorReason) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(200, Some(5))?;
    response.insert_header(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))?;
    response.insert_header("grpc-status", grpc_status(reason))?;
    response.insert_header("grpc-message", HeaderValue::from_static(reason.line().trim_ascii_end()))?;
    response.insert_header(ERROR_HEADER, HeaderValue::from_static(reason.as_str()))?;
    Ok(response)
}

/// As Envoy does it for the status of HTTP, but for what gRPC has a better word for.
fn grpc_status(reason: ErrorReason) -> u16 {
    const DEADLINE_EXCEEDED: u16 = 4;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    match reason {
        ErrorReason::BadRequest | ErrorReason::Internal => INTERNAL,
        ErrorReason::NoRoute => UNIMPLEMENTED,
        ErrorReason::Timeout | ErrorReason::UpstreamTimeout => DEADLINE_EXCEEDED,
        ErrorReason::BodyTooLarge | ErrorReason::HeadersTooLarge | ErrorReason::RateLimited => {
            RESOURCE_EXHAUSTED
        }
        ErrorReason::UpstreamError
        | ErrorReason::NoInstance
        | ErrorReason::NoService
        | ErrorReason::Overloaded => UNAVAILABLE,
    }
}

/// The same answer as bytes, for a connection whose request never became one.
pub fn error_bytes(reason: ErrorReason) -> Vec<u8> {
    let status = reason.status();
    let phrase = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         {ERROR_HEADER}: {reason}\r\nconnection: close\r\n\r\n{}",
        phrase.unwrap_or_default(),
        reason.line().len(),
        reason.line()
    )
    .into_bytes()
}
