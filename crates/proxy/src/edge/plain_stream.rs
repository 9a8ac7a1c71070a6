//! Which requests over HTTP/2 are plain.
//!
//! Answers: is this request here whole, and does it ask for no more than an answer? What HTTP/2 forbids, and what was
//! refused before, is not looked for again. Never: decides, or answers.

use std::future::poll_fn;

use http::{HeaderName, header};
use pingora::protocols::http::custom::server::Session as _;
use tokio::time::timeout;

use super::h2_stream::H2Stream;
use super::short::{WHOLE_BODY, WHOLE_WAIT};
use crate::responses::is_grpc;

/// Fields that ask for something between head and answer, or for another protocol.
const ASKING: [HeaderName; 3] = [header::EXPECT, header::UPGRADE, HeaderName::from_static("http2-settings")];

/// Whether the request is plain; a small body is waited for a moment, and can still be read.
pub async fn is_plain(stream: &mut H2Stream) -> bool {
    let request = stream.req_header();
    if is_grpc(request) || ASKING.iter().any(|name| request.headers.contains_key(name)) {
        return false;
    }
    let length = request.headers.get(header::CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().ok().and_then(|length| length.parse::<u64>().ok()));
    match (length, stream.client_has_ended()) {
        (None | Some(Some(0)), true) => true,
        (Some(Some(1..=WHOLE_BODY)), false) => {
            timeout(WHOLE_WAIT, poll_fn(|cx| stream.poll_whole(cx))).await.unwrap_or(false)
        }
        // One of no known length is passed on as it comes.
        _ => false,
    }
}
