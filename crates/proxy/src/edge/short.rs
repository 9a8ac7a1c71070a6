//! The way past the framework, for requests that are plain.
//!
//! Answers: what may be served without the framework's pipeline, and what does the pipeline get with what is known
//! already? Owns the agreement between a connection's loop and the room that serves plain requests. Never: decides, or IO.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::server::ShutdownWatch;

use super::client_stream::ClientStream;
use super::connection_state::Handed;
use super::head::Lines;

/// Serves plain requests in the framework's place.
pub trait ShortPath: Send + Sync + 'static {
    /// Serves one request, or says who does. The connection is at the request's end already.
    fn serve(
        &self,
        client: &mut ClientStream,
        request: PlainRequest,
        shutdown: &ShutdownWatch,
    ) -> impl Future<Output = Served> + Send;
}

/// What became of a plain request.
pub enum Served {
    /// It was answered, and the connection goes on. The room can be used again.
    Kept(BytesMut),
    /// Nothing more is to be done with the connection.
    Closed,
    /// The framework serves the request, whose bytes these are, with what is known of it.
    HandedOver(BytesMut, Option<Handed>),
}

/// A plain request, every byte of which is here.
pub struct PlainRequest {
    /// Fields of heads made of it share them.
    bytes: Bytes,
    pub lines: Lines,
}

/// Names of fields that a thread has met; clients send the same few, and each would be read again.
const NAMES: usize = 256;
/// Longest name that is remembered: clients choose them.
const NAME_LIMIT: usize = 64;

thread_local! {
    static MET: RefCell<Vec<Option<HeaderName>>> = RefCell::new(vec![None; NAMES]);
}

/// A field's name out of its bytes, in any case.
fn named(bytes: &[u8]) -> Option<HeaderName> {
    if bytes.len() > NAME_LIMIT {
        return HeaderName::from_bytes(bytes).ok();
    }
    // Names of one length mostly differ in one of these letters; two that do not only take turns.
    let letter = |at: usize| bytes.get(at).map_or(0, |byte| usize::from(byte | 0x20));
    let half = bytes.len() / 2;
    let letters = [letter(0), letter(half), letter(half + 1), letter(bytes.len().wrapping_sub(1))];
    let place = letters.iter().fold(bytes.len(), |sum, letter| sum.wrapping_mul(31).wrapping_add(*letter));
    MET.with_borrow_mut(|met| {
        let met = met.get_mut(place % NAMES)?;
        if let Some(name) = met.as_ref().filter(|name| name.as_str().as_bytes().eq_ignore_ascii_case(bytes)) {
            return Some(name.clone());
        }
        let name = HeaderName::from_bytes(bytes).ok()?;
        *met = Some(name.clone());
        Some(name)
    })
}

impl PlainRequest {
    pub fn new(bytes: BytesMut, lines: Lines) -> PlainRequest {
        PlainRequest { bytes: bytes.freeze(), lines }
    }

    /// The bytes again; a copy while fields made of them are in use.
    pub fn into_bytes(self) -> BytesMut {
        self.bytes.try_into_mut().unwrap_or_else(|bytes| BytesMut::from(&bytes[..]))
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

    /// The fields as decisions read them; `None` where the library has no room for what they say. There is room for
    /// `more` of them.
    pub fn fields(&self, more: usize) -> Option<HeaderMap> {
        let mut fields = HeaderMap::with_capacity(self.lines.fields.len() + more);
        for line in &self.lines.fields {
            let name = named(line.name.within(&self.bytes))?;
            let value = HeaderValue::from_maybe_shared(self.bytes.slice(line.value.range())).ok()?;
            fields.append(name, value);
        }
        Some(fields)
    }
}

/// None: the framework serves every request.
pub enum NoShortPath {}

impl ShortPath for NoShortPath {
    async fn serve(&self, _: &mut ClientStream, _: PlainRequest, _: &ShutdownWatch) -> Served {
        match *self {}
    }
}

/// A request that is plain.
#[cfg(test)]
pub fn plain_request(bytes: &[u8]) -> PlainRequest {
    use super::head::{Head, find};
    match find(bytes, 0, &super::settings::Limits::default()) {
        Head::Complete(found) => PlainRequest::new(BytesMut::from(bytes), found.lines.unwrap()),
        other => panic!("{other:?}"),
    }
}
