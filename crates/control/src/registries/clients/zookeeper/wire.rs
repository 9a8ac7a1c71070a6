//! ZooKeeper's wire format, as far as a reader needs it: connect, ping, authenticate, children, content, watches.
//!
//! Owns: bytes. Never: IO. A crate for this brings a second runtime of its own (async-io) and thirty others; a reader
//! that lists again after every loss needs no session that survives, which is most of what such a crate is about.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest frame: the server's own limit (`jute.maxbuffer`) is 1 MiB unless an operator raised it.
pub const FRAME_LIMIT: usize = 16 << 20;

pub const PING: i32 = -2;
pub const WATCH: i32 = -1;
pub const AUTH: i32 = -4;

const OP_EXISTS: i32 = 3;
const OP_GET: i32 = 4;
const OP_SYNC: i32 = 9;
const OP_PING: i32 = 11;
const OP_CHILDREN: i32 = 12;
const OP_AUTH: i32 = 100;

pub const NO_NODE: i32 = -101;
pub const NO_AUTH: i32 = -102;

/// A frame, with its length before it.
fn framed(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    fill(&mut frame);
    let length = i32::try_from(frame.len() - 4).unwrap_or(i32::MAX);
    if let Some(head) = frame.get_mut(..4) {
        head.copy_from_slice(&length.to_be_bytes());
    }
    frame.freeze()
}

fn put_text(frame: &mut BytesMut, text: &str) {
    frame.put_i32(i32::try_from(text.len()).unwrap_or(i32::MAX));
    frame.put_slice(text.as_bytes());
}

/// The first frame of a connection: a new session of this timeout.
pub fn connect(timeout_ms: i32) -> Bytes {
    framed(|frame| {
        frame.put_i32(0); // version of the protocol
        frame.put_i64(0); // last change seen: none, so any server will do
        frame.put_i32(timeout_ms);
        frame.put_i64(0); // a new session
        frame.put_i32(16);
        frame.put_bytes(0, 16); // its password, unused
        frame.put_u8(1); // a read-only server will do
    })
}

/// The timeout the server grants in milliseconds; `None` where it refuses the session.
pub fn connected(mut frame: Bytes) -> Option<i32> {
    let _version = frame.try_get_i32().ok()?;
    frame.try_get_i32().ok().filter(|timeout| *timeout > 0)
}

pub fn ping() -> Bytes {
    framed(|frame| {
        frame.put_i32(PING);
        frame.put_i32(OP_PING);
    })
}

pub fn auth(scheme: &str, secret: &str) -> Bytes {
    framed(|frame| {
        frame.put_i32(AUTH);
        frame.put_i32(OP_AUTH);
        frame.put_i32(0);
        put_text(frame, scheme);
        put_text(frame, secret);
    })
}

/// What is asked about a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    Exists,
    Content,
    Children,
    /// Bring the server up to date with its leader.
    Sync,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Watching {
    Yes,
    No,
}

pub fn request(xid: i32, ask: Ask, path: &str, watching: Watching) -> Bytes {
    framed(|frame| {
        frame.put_i32(xid);
        frame.put_i32(match ask {
            Ask::Exists => OP_EXISTS,
            Ask::Content => OP_GET,
            Ask::Children => OP_CHILDREN,
            Ask::Sync => OP_SYNC,
        });
        put_text(frame, path);
        if ask != Ask::Sync {
            frame.put_u8(u8::from(watching == Watching::Yes));
        }
    })
}

/// An answer, or an event.
#[derive(Debug)]
pub struct Reply {
    pub xid: i32,
    /// 0: none.
    pub error: i32,
    pub body: Bytes,
}

pub fn reply(mut frame: Bytes) -> Option<Reply> {
    let xid = frame.try_get_i32().ok()?;
    let _zxid = frame.try_get_i64().ok()?;
    let error = frame.try_get_i32().ok()?;
    Some(Reply { xid, error, body: frame })
}

/// The node an event is about; `None`: the event is about the session.
pub fn event(mut body: Bytes) -> Option<String> {
    let kind = body.try_get_i32().ok()?;
    let _state = body.try_get_i32().ok()?;
    take_text(&mut body).filter(|_| kind > 0)
}

pub fn children(mut body: Bytes) -> Option<Vec<String>> {
    let count = body.try_get_i32().ok()?;
    // A list that is absent has a count of -1.
    (0..count.max(0)).map(|_| take_text(&mut body)).collect()
}

pub fn content(mut body: Bytes) -> Option<Bytes> {
    take_bytes(&mut body)
}

fn take_text(body: &mut Bytes) -> Option<String> {
    String::from_utf8(take_bytes(body)?.into()).ok()
}

fn take_bytes(body: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(body.try_get_i32().ok()?.max(0)).ok()?;
    (length <= body.len()).then(|| body.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_their_length() {
        let frame = request(7, Ask::Children, "/services", Watching::Yes);
        assert_eq!(&frame[..4], 22i32.to_be_bytes());
        assert_eq!(frame.len(), 26);
        assert_eq!(frame[25], 1);
        assert_eq!(connect(4_000).len(), 4 + 45);
    }

    #[test]
    fn torn_answers_are_no_answers() {
        let mut body = BytesMut::new();
        body.put_i32(2);
        put_text(&mut body, "a");
        put_text(&mut body, "bc");
        let whole = body.freeze();
        assert_eq!(children(whole.clone()), Some(vec!["a".to_owned(), "bc".to_owned()]));
        for cut in 0..whole.len() {
            assert_eq!(children(whole.slice(..cut)), None, "{cut}");
        }
        assert_eq!(children(Bytes::from_static(&[0xff; 4])), Some(vec![]));
        assert_eq!(children(Bytes::from_static(&[0x7f; 4])), None);
        assert_eq!(content(Bytes::from_static(&[0xff; 4])), Some(Bytes::new()));
        assert!(reply(Bytes::from_static(&[0; 15])).is_none());
        assert!(connected(Bytes::from_static(&[0; 16])).is_none());
    }
}
