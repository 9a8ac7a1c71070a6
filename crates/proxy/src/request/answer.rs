//! Answers the proxy gives itself: one line of text, the reason in a header, and the connection kept where it can be.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use crate::limits::Refusal;
use crate::responses::{error_header, grpc_error_header, is_grpc};
use graygate_rules::decide::CookieChange;
use graygate_rules::vocab::ErrorReason;

/// Bodies larger than this are not read to the end just to keep a connection.
const DRAIN_LIMIT: u64 = 64 << 10;
/// Nor is an answer held back for longer than this.
const DRAIN_WAIT: Duration = Duration::from_millis(500);

/// Whether more follows before the response proper.
pub fn is_interim(response: &ResponseHeader) -> bool {
    response.status.is_informational() && response.status != 101
}

/// Whether the client has seen more than interim answers.
pub fn has_begun(session: &Session) -> bool {
    session.response_written().is_some_and(|written| !is_interim(written))
}

/// Answers with an error. A response that has begun cannot be taken back: only its connection's end, or its stream's, says
/// that it is not whole.
pub async fn error(session: &mut Session, reason: ErrorReason) -> Result<()> {
    if has_begun(session) {
        return Ok(());
    }
    if is_grpc(session.req_header()) {
        return send(session, grpc_error_header(reason)?, Bytes::new()).await;
    }
    let header = error_header(reason)?;
    send(session, header, Bytes::from_static(reason.line().as_bytes())).await
}

/// Answers that a limit is reached, and when to come again.
pub async fn limited(session: &mut Session, refusal: Refusal) -> Result<()> {
    let reason = ErrorReason::RateLimited;
    let (mut header, body) = match is_grpc(session.req_header()) {
        true => (grpc_error_header(reason)?, ""),
        false => (error_header(reason)?, reason.line()),
    };
    header.insert_header(header::RETRY_AFTER, refusal.seconds())?;
    send(session, header, Bytes::from_static(body.as_bytes())).await
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

/// Sends the client to the same page again, with or without a tester's word; no cache may keep the answer.
pub async fn change_override(session: &mut Session, change: &CookieChange) -> Result<()> {
    let mut response = ResponseHeader::build(302, Some(5))?;
    let value = |text: &str| {
        HeaderValue::from_str(text)
            .map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "a line of the answer is no header"))
    };
    response.insert_header(header::LOCATION, value(&change.location)?)?;
    response.insert_header(header::SET_COOKIE, value(&change.cookie)?)?;
    response.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    response.insert_header(header::CONTENT_LENGTH, 0)?;
    send(session, response, Bytes::new()).await
}

async fn send(session: &mut Session, header: ResponseHeader, body: Bytes) -> Result<()> {
    if session.req_header().version != Version::HTTP_2 {
        read_if_cheap(session).await;
    }
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

/// Reads what is left of the request's body, if it is small: a connection ends whose answer overtakes the body.
async fn read_if_cheap(session: &mut Session) {
    let headers = &session.req_header().headers;
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let small = match length {
        Some(length) => length <= DRAIN_LIMIT,
        None => !headers.contains_key(header::TRANSFER_ENCODING),
    };
    // Who waits for `100 Continue` will not send it any more.
    let sent = !headers.contains_key(header::EXPECT);
    if small && sent {
        // That it did not come, the session knows itself.
        let _ = tokio::time::timeout(DRAIN_WAIT, session.as_downstream_mut().drain_request_body()).await;
    }
}
