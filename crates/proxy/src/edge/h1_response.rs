//! A response over HTTP/1, on its way to the client.
//!
//! Answers: how is its head written, how is its body framed, and is it whole? Owns what is written and not yet sent.
//! Never: whether the connection goes on.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Method, Version, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::io::AsyncWriteExt as _;

use super::client_stream::ClientStream;

/// Pieces up to this size are sent together with what comes before them.
const TOGETHER: usize = 8 << 10;

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Behind so many more bytes.
    Bytes(u64),
    Chunks,
    /// With the connection.
    Close,
}

/// What is told of a response so far.
#[derive(Debug, Default)]
pub struct Told {
    /// `None` before its head, and behind its end.
    framing: Option<Framing>,
    has_ended: bool,
    /// Bytes of its body.
    sent: usize,
    /// Written, and not yet sent.
    out: BytesMut,
}

impl Told {
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Writes an interim head, which no body follows.
    pub fn interim(&mut self, head: &ResponseHeader) {
        write_head(&mut self.out, head);
    }

    pub fn begin(&mut self, head: &ResponseHeader, framing: Framing) {
        write_head(&mut self.out, head);
        self.framing = Some(framing);
        self.end_if_whole();
    }

    /// Writes a piece of the body; what is beyond its length is left out.
    pub async fn piece(&mut self, client: &mut ClientStream, mut piece: Bytes) -> Result<()> {
        match &mut self.framing {
            None => return Ok(()),
            Some(Framing::Bytes(left)) => {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
            }
            Some(Framing::Chunks | Framing::Close) => {}
        }
        if piece.is_empty() {
            return Ok(());
        }
        self.sent += piece.len();
        let is_chunk = self.framing == Some(Framing::Chunks);
        if is_chunk {
            self.out.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        if piece.len() <= TOGETHER {
            self.out.put_slice(&piece);
        } else {
            self.send(client).await?;
            client
                .write_all(&piece)
                .await
                .or_err(ErrorType::WriteError, "while writing the response's body")?;
        }
        if is_chunk {
            self.out.put_slice(b"\r\n");
        }
        self.end_if_whole();
        Ok(())
    }

    /// Nothing more follows. An error where the head said that more would.
    pub fn end(&mut self) -> Result<()> {
        match self.framing.take() {
            Some(Framing::Bytes(_)) => {
                return Error::e_explain(ErrorType::ConnectionClosed, "the response's body is not whole");
            }
            Some(Framing::Chunks) => self.out.put_slice(b"0\r\n\r\n"),
            Some(Framing::Close) | None => {}
        }
        self.has_ended = true;
        Ok(())
    }

    pub async fn flush(&mut self, client: &mut ClientStream) -> Result<()> {
        self.send(client).await?;
        client.flush().await.or_err(ErrorType::WriteError, "while sending the response")
    }

    async fn send(&mut self, client: &mut ClientStream) -> Result<()> {
        let out = self.out.split();
        client.write_all(&out).await.or_err(ErrorType::WriteError, "while writing the response")
    }

    fn end_if_whole(&mut self) {
        if self.framing == Some(Framing::Bytes(0)) {
            self.framing = None;
            self.has_ended = true;
        }
    }
}

/// How the body of a response ends that answers `method`, by what its head says.
pub fn framing(method: &Method, head: &ResponseHeader) -> Framing {
    match head.status.as_u16() {
        101 => Framing::Close,
        204 | 304 => Framing::Bytes(0),
        _ if *method == Method::HEAD => Framing::Bytes(0),
        _ if is_chunked(&head.headers) => Framing::Chunks,
        _ => length(&head.headers).map_or(Framing::Close, Framing::Bytes),
    }
}

/// Whether chunks are the last of the body's codings.
fn is_chunked(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(header::TRANSFER_ENCODING).into_iter().next_back();
    let last = codings.and_then(|codings| codings.as_bytes().rsplit(|byte| *byte == b',').next());
    last.is_some_and(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"))
}

/// The body's length; `None` where it is not said, or not in one way.
fn length(fields: &HeaderMap) -> Option<u64> {
    let lines = fields.get_all(header::CONTENT_LENGTH).into_iter();
    let mut lengths = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(|length| {
        let digits = length.trim_ascii();
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits);
        std::str::from_utf8(digits?).ok()?.parse().ok()
    });
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// A response's head as bytes, its blank line included.
pub fn write_head(out: &mut BytesMut, head: &ResponseHeader) {
    let phrase = head.get_reason_phrase().unwrap_or_default();
    write_status(out, head.version, head.status.as_u16(), phrase.as_bytes());
    head.header_to_h1_wire(out);
    out.put_slice(b"\r\n");
}

/// The first line of a head.
pub fn write_status(out: &mut BytesMut, version: Version, status: u16, phrase: &[u8]) {
    out.put_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    let digits = [status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + (digit % 10) as u8);
    out.put_slice(&digits);
    out.put_u8(b' ');
    out.put_slice(phrase);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;

    fn head(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
        let mut head = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        let (length, chunked) = (("Content-Length", "3"), ("Transfer-Encoding", "gzip, Chunked"));
        for (method, status, fields, expected) in [
            (Method::GET, 200, &[length][..], Framing::Bytes(3)),
            (Method::GET, 200, &[length, length], Framing::Bytes(3)),
            (Method::GET, 200, &[("Content-Length", "3, 4")], Framing::Close),
            (Method::GET, 200, &[("Content-Length", "+3")], Framing::Close),
            (Method::GET, 200, &[("Content-Length", "")], Framing::Close),
            (Method::GET, 200, &[length, chunked], Framing::Chunks),
            (Method::GET, 200, &[("Transfer-Encoding", "chunked, gzip"), length], Framing::Bytes(3)),
            (Method::GET, 200, &[], Framing::Close),
            (Method::HEAD, 200, &[length, chunked], Framing::Bytes(0)),
            (Method::GET, 204, &[chunked], Framing::Bytes(0)),
            (Method::GET, 304, &[length], Framing::Bytes(0)),
            (Method::GET, 101, &[], Framing::Close),
        ] {
            assert_eq!(framing(&method, &head(status, fields)), expected, "{method} {status} {fields:?}");
        }
    }

    #[tokio::test]
    async fn what_is_sent_is_framed_and_whole_or_not() {
        let long = "x".repeat(TOGETHER + 1);
        for (framing, pieces, expected, is_whole) in [
            (Framing::Bytes(3), &["ab", "c"][..], "abc".to_owned(), true),
            (Framing::Bytes(3), &["abc", "d"], "abc".to_owned(), true),
            (Framing::Bytes(3), &["ab"], "ab".to_owned(), false),
            (Framing::Bytes(0), &["a"], String::new(), true),
            (Framing::Chunks, &["ab", "", &long], format!("2\r\nab\r\n2001\r\n{long}\r\n0\r\n\r\n"), true),
            (Framing::Close, &["ab", &long], format!("ab{long}"), true),
        ] {
            let (own, mut client) = duplex(1 << 20);
            let mut stream = ClientStream::open(Box::new(own), Duration::from_secs(60));
            let mut told = Told::default();
            told.begin(&head(200, &[]), framing);
            for piece in pieces {
                told.piece(&mut stream, Bytes::copy_from_slice(piece.as_bytes())).await.unwrap();
            }
            assert_eq!(
                (told.end().is_ok(), told.has_ended()),
                (is_whole, is_whole),
                "{framing:?} {pieces:?}"
            );
            told.flush(&mut stream).await.unwrap();
            drop(stream);
            let mut read = String::new();
            client.read_to_string(&mut read).await.unwrap();
            assert_eq!(read, format!("HTTP/1.1 200 OK\r\n\r\n{expected}"));
        }
    }
}
