//! The calls of RocketMQ 5's service, and what clients say of themselves in every one.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};

use super::frames::{Body, framed};
use bytes::Bytes;

const SERVICE: &str = "/apache.rocketmq.v2.MessagingService/";
pub const CLIENT_ID: HeaderName = HeaderName::from_static("x-mq-client-id");
/// How long the caller waits: digits and a unit (gRPC over HTTP/2, "Timeout").
pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// A call that is not sent on as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    QueryRoute,
    QueryAssignment,
    Telemetry,
    Heartbeat,
    NotifyClientTermination,
    ReceiveMessage,
    AckMessage,
    ChangeInvisibleDuration,
    ForwardMessageToDeadLetterQueue,
    SendMessage,
    /// Reads and offsets by number, which know no filter that could keep lanes apart.
    PullMessage,
    UpdateOffset,
    GetOffset,
}

const CALLS: [(&str, Call); 13] = [
    ("QueryRoute", Call::QueryRoute),
    ("QueryAssignment", Call::QueryAssignment),
    ("Telemetry", Call::Telemetry),
    ("Heartbeat", Call::Heartbeat),
    ("NotifyClientTermination", Call::NotifyClientTermination),
    ("ReceiveMessage", Call::ReceiveMessage),
    ("AckMessage", Call::AckMessage),
    ("ChangeInvisibleDuration", Call::ChangeInvisibleDuration),
    ("ForwardMessageToDeadLetterQueue", Call::ForwardMessageToDeadLetterQueue),
    ("SendMessage", Call::SendMessage),
    ("PullMessage", Call::PullMessage),
    ("UpdateOffset", Call::UpdateOffset),
    ("GetOffset", Call::GetOffset),
];

impl Call {
    /// `None`: whatever it is, it passes as it came.
    pub fn of(path: &str) -> Option<Call> {
        let name = path.strip_prefix(SERVICE)?;
        CALLS.iter().find(|(word, _)| *word == name).map(|(_, call)| *call)
    }

    pub fn path(self) -> String {
        let name = CALLS.iter().find(|(_, call)| *call == self).map_or("", |(name, _)| name);
        format!("{SERVICE}{name}")
    }
}

/// Who calls.
#[derive(Clone, Debug)]
pub struct Caller {
    pub address: IpAddr,
    /// What the listener fixes.
    pub version: Option<String>,
    pub headers: HeaderMap,
    /// Empty where it says none.
    pub client: String,
    came: Instant,
}

impl Caller {
    pub fn new(address: IpAddr, version: Option<String>, mut headers: HeaderMap) -> Caller {
        // Answers have to be read here, and clients take them uncompressed as well.
        headers.remove(ACCEPT_ENCODING);
        // What is edited has another length, and HTTP/2 ends a call whose body has not the one that its head says.
        headers.remove(http::header::CONTENT_LENGTH);
        let client = headers.get(CLIENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        Caller { address, version, headers, client, came: Instant::now() }
    }

    /// A call that was held goes on with what is left of its time: a message that comes later would find no one.
    pub fn shorten(&self, headers: &mut HeaderMap) {
        let Some(timeout) = headers.get(TIMEOUT).and_then(|value| timeout(value.to_str().ok()?)) else {
            return;
        };
        let left = timeout.saturating_sub(self.came.elapsed());
        if let Ok(value) = HeaderValue::from_str(&format!("{}m", left.as_millis().min(LONGEST))) {
            headers.insert(TIMEOUT, value);
        }
    }

    /// The headers of a call in the name of another client.
    pub fn headers_as(&self, client: &str) -> HeaderMap {
        let mut headers = self.headers.clone();
        if let Ok(value) = HeaderValue::from_str(client) {
            headers.insert(CLIENT_ID, value);
        }
        headers
    }
}

/// A timeout has eight digits at most.
const LONGEST: u128 = 99_999_999;

fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = digits.parse::<u64>().ok()?;
    match unit {
        "H" => number.checked_mul(3_600).map(Duration::from_secs),
        "M" => number.checked_mul(60).map(Duration::from_secs),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Statuses of gRPC that this program answers with by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    InvalidArgument = 3,
    Unimplemented = 12,
    Unavailable = 14,
}

pub fn refused(refusal: Refusal, message: &str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(refusal as u16));
    if let Ok(message) = HeaderValue::from_str(message) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// One message, and that all is well.
pub fn answered(message: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    with_trailers(HeaderMap::new(), message, trailers)
}

pub fn with_trailers(head: HeaderMap, message: &[u8], trailers: HeaderMap) -> Response<Body> {
    let body = Full::new(framed(message)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.map_err(|never| match never {}).boxed_unsync());
    *response.headers_mut() = head;
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().entry(http::header::CONTENT_TYPE).or_insert(kind);
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_that_a_client_told_does_not_go_on_with_a_message_that_is_edited() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("7"));
        headers.insert(CLIENT_ID, HeaderValue::from_static("one"));
        let caller = Caller::new([127, 0, 0, 1].into(), None, headers);
        assert_eq!(caller.headers.len(), 1);
        assert_eq!(caller.client, "one");
    }

    #[test]
    fn a_held_call_goes_on_with_what_is_left_of_its_time() {
        let caller = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TIMEOUT, HeaderValue::from_static(text));
            let mut caller = Caller::new([127, 0, 0, 1].into(), None, headers);
            caller.came -= Duration::from_secs(5);
            caller
        };
        for (text, from, to) in [
            ("33S", 27_900, 28_000),
            ("33000m", 27_900, 28_000),
            ("1M", 54_900, 55_000),
            ("1H", 3_594_900, 3_595_000),
            ("99999999H", 99_999_999, 99_999_999),
            ("4000000u", 0, 0),
            ("1n", 0, 0),
        ] {
            let caller = caller(text);
            let mut headers = caller.headers.clone();
            caller.shorten(&mut headers);
            let left = headers[TIMEOUT].to_str().unwrap().strip_suffix('m').unwrap().parse::<u64>().unwrap();
            assert!((from..=to).contains(&left), "{text}: {left}");
        }
        for text in ["", "S", "1x", "soon"] {
            let caller = caller(text);
            let mut headers = caller.headers.clone();
            caller.shorten(&mut headers);
            assert_eq!(headers, caller.headers, "{text} passes as it came");
        }
    }
}
