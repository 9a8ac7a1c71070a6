//! Answers the proxy gives itself: one line of text, the reason in a header, and the connection kept where it can be.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::vocab::ErrorReason;

/// The header that says why the proxy answered by itself.
pub const ERROR_HEADER: &str = "x-graygate-error";

/// Bodies larger than this are not read to the end just to keep a connection.
const DRAIN_LIMIT: u64 = 64 << 10;
/// Nor is an answer held back for longer than this.
const DRAIN_WAIT: Duration = Duration::from_millis(500);

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
        ErrorReason::BodyTooLarge | ErrorReason::HeadersTooLarge => RESOURCE_EXHAUSTED,
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

/// Answers with an error. A response that has begun cannot be taken back; then the connection ends.
pub async fn error(session: &mut Session, reason: ErrorReason) -> Result<()> {
    if super::upstream::has_begun(session) {
        session.set_keepalive(None);
        return Ok(());
    }
    if is_grpc(session.req_header()) {
        return send(session, grpc_error_header(reason)?, Bytes::new()).await;
    }
    let header = error_header(reason)?;
    send(session, header, Bytes::from_static(reason.line().as_bytes())).await
}

/// Answers with a redirect.
pub async fn redirect(session: &mut Session, status: u16, location: &str) -> Result<()> {
    let mut response = ResponseHeader::build(status, Some(3))?;
    let location = HeaderValue::from_bytes(location.as_bytes())
        .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "the location is no header"))?;
    response.insert_header(header::LOCATION, location)?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    send(session, response, Bytes::new()).await
}

async fn send(session: &mut Session, header: ResponseHeader, body: Bytes) -> Result<()> {
    keep_only_if_cheap(session).await;
    let bodiless = body.is_empty() || session.req_header().method == Method::HEAD;
    if bodiless && let ServerSession::Custom(stream) = session.as_downstream_mut() {
        // The framework ends such a response later, and not at all behind a failed upstream.
        return stream.write_response_header(Box::new(header), true).await;
    }
    session.write_response_header(Box::new(header), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// A connection is kept only if what is left of the request's body is small. It is read before the answer, because the
/// framework closes a connection whose answer overtakes the body.
async fn keep_only_if_cheap(session: &mut Session) {
    let headers = &session.req_header().headers;
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let small = match length {
        Some(length) => length <= DRAIN_LIMIT,
        None => !headers.contains_key(header::TRANSFER_ENCODING),
    };
    // Who waits for `100 Continue` will not send it any more.
    let sent = !headers.contains_key(header::EXPECT);
    if session.get_keepalive().is_none() {
        return;
    }
    let drained = async { small && sent && session.as_downstream_mut().drain_request_body().await.is_ok() };
    if !tokio::time::timeout(DRAIN_WAIT, drained).await.unwrap_or(false) {
        session.set_keepalive(None);
    }
}
