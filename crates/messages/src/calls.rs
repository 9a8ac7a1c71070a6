//! The calls of RocketMQ 5's service, and what clients say of themselves in every one.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};

use super::frames::{Body, framed};
use bytes::Bytes;

const SERVICE: &str = "/apache.rocketmq.v2.MessagingService/";
pub const CLIENT_ID: HeaderName = HeaderName::from_static("x-mq-client-id");
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
}

impl Caller {
    pub fn new(address: IpAddr, version: Option<String>, mut headers: HeaderMap) -> Caller {
        // Answers have to be read here, and clients take them uncompressed as well.
        headers.remove(ACCEPT_ENCODING);
        let client = headers.get(CLIENT_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        Caller { address, version, headers, client }
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
