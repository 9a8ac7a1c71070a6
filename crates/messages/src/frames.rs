//! gRPC's frames: one byte whether the message is compressed, four with its length, the message.
//!
//! Owns: cutting a stream into messages, and a body whose messages are edited on their way, each as soon as it is whole.
//! Never: what a message says; holding back a message that is whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Frame, Incoming};

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body of either side.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A body of a connection as one that edits can be laid over.
pub fn streamed(body: Incoming) -> Body {
    body.map_err(Into::into).boxed_unsync()
}

const HEAD_BYTES: usize = 5;
/// Largest message: RocketMQ's own limit is 4 MiB, and a batch may have several.
pub const MESSAGE_LIMIT: usize = 32 << 20;

/// A message behind its head.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(0);
    let mut out = BytesMut::with_capacity(HEAD_BYTES + message.len());
    out.extend_from_slice(&[0]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
    out.freeze()
}

/// What stands at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Cut {
    Message(Bytes),
    /// A message that is compressed, with its head.
    Compressed(Bytes),
    /// Not whole yet.
    Incomplete,
    TooLong,
}

pub fn cut(buffer: &mut BytesMut) -> Cut {
    let Some((head, _)) = buffer.split_first_chunk::<HEAD_BYTES>() else { return Cut::Incomplete };
    let [flag, length @ ..] = *head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MESSAGE_LIMIT {
        return Cut::TooLong;
    }
    if buffer.len() < HEAD_BYTES + length {
        return Cut::Incomplete;
    }
    let mut frame = buffer.split_to(HEAD_BYTES + length).freeze();
    if flag != 0 {
        return Cut::Compressed(frame);
    }
    frame.advance(HEAD_BYTES);
    Cut::Message(frame)
}

/// The only message of a unary call; `None` where there is none, or one that cannot be read.
pub fn single(bytes: Bytes) -> Option<Bytes> {
    let mut buffer = BytesMut::from(bytes.as_ref());
    match cut(&mut buffer) {
        Cut::Message(message) if buffer.is_empty() => Some(message),
        _ => None,
    }
}

/// Changes messages one by one; `None` leaves one out.
pub type Edit = Box<dyn FnMut(Bytes) -> Option<Bytes> + Send>;

/// A stream of messages that are edited on their way.
pub struct Edited {
    inner: Body,
    buffer: BytesMut,
    edit: Edit,
}

impl Edited {
    pub fn new(inner: Body, edit: Edit) -> Edited {
        Edited { inner, buffer: BytesMut::new(), edit }
    }

    /// The next message that leaves; an error for a stream that is none.
    fn edited(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            match cut(&mut self.buffer) {
                Cut::Message(message) => {
                    if let Some(changed) = (self.edit)(message) {
                        return Ok(Some(framed(&changed)));
                    }
                }
                Cut::Compressed(frame) => return Ok(Some(frame)),
                Cut::Incomplete => return Ok(None),
                Cut::TooLong => return Err("a message is longer than 32 MiB".into()),
            }
        }
    }
}

impl hyper::body::Body for Edited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        loop {
            match self.edited() {
                Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Err(error) => return Poll::Ready(Some(Err(error))),
                Ok(None) => {}
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                    // Trailers end a stream; what is left before them is no message.
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_wherever_the_stream_was() {
        let stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        for size in 1..stream.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in stream.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Cut::Message(message) = cut(&mut buffer) {
                    found.push(message);
                }
            }
            assert_eq!(found, ["one", "", "three"], "{size}");
        }
        let mut long = BytesMut::from(&[0, 0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(cut(&mut long), Cut::TooLong);
        assert_eq!(single(Bytes::from([framed(b"a"), framed(b"b")].concat())), None);
    }
}
