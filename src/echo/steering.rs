//! What a request's query asks of its answer: `echo-status`, `echo-delay`, `echo-bytes`.

use std::io;
use std::time::Duration;

use http::StatusCode;

use super::head::{digits, malformed};
use graygate_rules::vocab::{ByteSize, parse_duration};

/// Longest `echo-delay`: beyond any timeout one wants to try.
const DELAY_LIMIT: Duration = Duration::from_secs(600);
/// Largest `echo-bytes`: beyond any body one wants to try.
const BYTES_LIMIT: u64 = 1 << 30;

/// What the query asks of the answer.
#[derive(PartialEq, Eq, Debug)]
pub struct Steering {
    pub status: StatusCode,
    pub delay: Duration,
    /// Instead of the JSON object.
    pub bytes: Option<u64>,
}

impl Steering {
    pub fn read(target: &str) -> io::Result<Steering> {
        let mut steering = Steering { status: StatusCode::OK, delay: Duration::ZERO, bytes: None };
        let query = target.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            let read = match name {
                "echo-status" => status(value).map(|status| steering.status = status),
                "echo-delay" => parse_duration(value)
                    .filter(|delay| *delay <= DELAY_LIMIT)
                    .map(|delay| steering.delay = delay),
                "echo-bytes" => ByteSize::parse(value)
                    .filter(|size| size.0 <= BYTES_LIMIT)
                    .map(|size| steering.bytes = Some(size.0)),
                _ => Some(()),
            };
            read.ok_or_else(|| malformed(&format!("`{name}` cannot be `{value}`")))?;
        }
        Ok(steering)
    }
}

/// A status a final answer can have.
fn status(text: &str) -> Option<StatusCode> {
    let code = digits(text, 10).filter(|code| (200..600).contains(code))?;
    StatusCode::from_u16(u16::try_from(code).ok()?).ok()
}
