//! The way past the framework, for requests that are plain.
//!
//! Answers: what may be served without the framework's pipeline, and what does the pipeline get with what is known
//! already? Owns the agreement between a connection's loop and the room that serves plain requests. Never: decides, or IO.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use pingora::Result;
use pingora::server::ShutdownWatch;

use super::client_stream::ClientStream;
use super::h1_stream::Request;
use super::h2_stream::H2Stream;
use super::handed::Handed;
use super::head::{Lines, Span};
use super::rest::Rest;

/// Longest body that a plain request is waited for with, and for how long: most follow their heads at once. One that does
/// not is passed on as it comes, without the short path.
pub const WHOLE_BODY: u64 = 64 << 10;
pub const WHOLE_WAIT: Duration = Duration::from_millis(20);

/// Serves plain requests in the framework's place.
pub trait ShortPath: Send + Sync + 'static {
    /// Serves one request, or says who does. The connection is at the request's end already.
    fn serve(
        &self,
        client: &mut ClientStream,
        request: PlainRequest,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = Served> + Send;

    /// Serves one request over HTTP/2, which is here whole; or gives it back for the framework, with what is known of it.
    fn serve_stream(&self, stream: H2Stream) -> impl Future<Output = Option<H2Stream>> + Send;
}

/// What became of a plain request.
pub enum Served {
    /// It was answered, and the connection goes on. The room can be used again.
    Kept(BytesMut),
    /// Nothing more is to be done with the connection.
    Closed,
    /// The framework serves the request, with what is known of it.
    HandedOver(PlainRequest, Handed),
}

/// A plain request, every byte of which is here.
pub struct PlainRequest {
    /// Values that are kept share them.
    bytes: Bytes,
    pub lines: Lines,
}

impl PlainRequest {
    pub fn new(bytes: BytesMut, lines: Lines) -> PlainRequest {
        PlainRequest { bytes: bytes.freeze(), lines }
    }

    /// The bytes again; a copy while fields made of them are in use.
    pub fn into_bytes(self) -> BytesMut {
        self.bytes.try_into_mut().unwrap_or_else(|bytes| BytesMut::from(&bytes[..]))
    }

    /// The request as the framework gets it, and its body; an error where its head cannot be one of ours.
    pub fn into_parts(self) -> (Result<Request>, BytesMut) {
        let body = BytesMut::from(self.body());
        let rest = Rest::Bytes(body.len() as u64);
        (Request::new(&self.bytes, &self.lines, rest), body)
    }

    /// Head and body.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn method(&self) -> &[u8] {
        self.lines.method.within(&self.bytes)
    }

    pub fn target(&self) -> &[u8] {
        self.lines.target.within(&self.bytes)
    }

    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.lines.length..).unwrap_or_default()
    }

    /// The first field of a name.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.lines.fields.iter();
        let line = fields.find(|line| line.name.within(&self.bytes).eq_ignore_ascii_case(name.as_bytes()))?;
        Some(line.value.within(&self.bytes))
    }

    /// A part that is a field's value, which shares the request's bytes.
    pub fn share(&self, value: Span) -> Option<HeaderValue> {
        HeaderValue::from_maybe_shared(self.bytes.slice(value.range())).ok()
    }
}

/// None: the framework serves every request.
pub enum NoShortPath {}

impl ShortPath for NoShortPath {
    async fn serve(&self, _: &mut ClientStream, _: PlainRequest, _: &ShutdownWatch) -> Served {
        match *self {}
    }

    async fn serve_stream(&self, _: H2Stream) -> Option<H2Stream> {
        match *self {}
    }
}

/// A request that is plain.
#[cfg(test)]
pub fn plain_request(bytes: &[u8]) -> PlainRequest {
    use super::head::{Head, find};
    match find(bytes, 0, &super::settings::Limits::default()) {
        Head::Complete(found) => PlainRequest::new(BytesMut::from(bytes), found.lines),
        other => panic!("{other:?}"),
    }
}
