//! What of a connection's bytes still belongs to a request.

use super::chunks::{ChunkScanner, Malformed};
use super::head::Body;
use bytes::{Buf as _, Bytes, BytesMut};

/// What is still to come of a request.
#[derive(Debug)]
pub enum Rest {
    Bytes(u64),
    /// A chunked body, whose end shows while it is read.
    Chunks(ChunkScanner),
    /// All that comes: the connection has changed its protocol.
    Everything,
}

impl Rest {
    pub fn of(body: Body) -> Rest {
        match body {
            Body::Bytes(count) => Rest::Bytes(count),
            Body::Chunked => Rest::Chunks(ChunkScanner::default()),
        }
    }

    pub fn is_over(&self) -> bool {
        matches!(self, Rest::Bytes(0))
    }

    /// Takes what belongs to the request away from `bytes`: its content, without what frames it.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Bytes, Malformed> {
        match self {
            Rest::Everything => Ok(bytes.split().freeze()),
            Rest::Bytes(left) => {
                let own = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= own as u64;
                Ok(bytes.split_to(own).freeze())
            }
            Rest::Chunks(scanner) => {
                let mut content = BytesMut::with_capacity(bytes.len());
                let end = scanner.scan_into(bytes, |piece| content.extend_from_slice(piece))?;
                bytes.advance(end.unwrap_or(bytes.len()));
                if end.is_some() {
                    *self = Rest::Bytes(0);
                }
                Ok(content.freeze())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_what_is_its_own() {
        let taken = |mut rest: Rest, bytes: &str| {
            let mut bytes = BytesMut::from(bytes);
            let own = rest.take(&mut bytes).map(|own| String::from_utf8(own.to_vec()).unwrap());
            (own, rest.is_over(), String::from_utf8(bytes.to_vec()).unwrap())
        };
        let text = |own: &str| Ok(own.to_owned());
        for (body, bytes, own, is_over, beyond) in [
            (Body::Bytes(0), "GET", text(""), true, "GET"),
            (Body::Bytes(4), "bodyGET", text("body"), true, "GET"),
            (Body::Bytes(4), "bo", text("bo"), false, ""),
            (Body::Chunked, "2\r\nab\r\n1\r\nc\r\n0\r\n\r\nGET", text("abc"), true, "GET"),
            (Body::Chunked, "2\r\nab\r\n1\r\n", text("ab"), false, ""),
            (Body::Chunked, "x", Err(Malformed), false, "x"),
        ] {
            assert_eq!(taken(Rest::of(body), bytes), (own, is_over, beyond.to_owned()), "{bytes}");
        }
        assert_eq!(taken(Rest::Everything, "any"), (text("any"), false, String::new()));
    }
}
