//! A response's body, from its upstream to its client.
//!
//! Answers: where does the body end, and did all of it arrive? Bytes go on as they come; nothing is read that the client
//! has no room for. Never: heads, or what a failure means.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::client;
use super::lines::Told;
use super::response::Framing;
use crate::edge::{Apart, ClientStream};

/// Pieces up to this size are written together with what comes before them.
const TOGETHER: usize = 8 << 10;
/// Bytes of a body that are read at a time.
const PIECE: usize = 32 << 10;

/// One body under way.
pub struct Passing<'p> {
    pub client: &'p mut ClientStream,
    pub upstream: &'p mut Stream,
    /// What is to be written before the body: its head.
    pub out: &'p mut BytesMut,
    /// What was read of the body.
    pub input: &'p mut BytesMut,
    pub told: Told,
    /// Longest pause between two pieces.
    pub pause: Duration,
}

/// What of the bytes here belongs to the body.
struct Piece {
    length: usize,
    is_last: bool,
}

impl Passing<'_> {
    /// Passes the whole body on. `sent` counts the body's bytes, also where not all of them arrived.
    pub async fn pass(mut self, mut framing: Framing, sent: &mut u64) -> Result<()> {
        loop {
            let piece = match next(&mut framing, self.input, sent) {
                Ok(piece) => piece,
                Err(error) => {
                    // The head was counted as told; the client reads it, and that the rest is missing.
                    self.write(&Piece { length: 0, is_last: true }).await.map_err(client::failed)?;
                    return Err(error);
                }
            };
            self.write(&piece).await.map_err(client::failed)?;
            if piece.is_last {
                return Ok(());
            }
            if !self.read(&framing).await? {
                if self.told == Told::InChunks {
                    self.client.write_all(b"0\r\n\r\n").await.map_err(client::failed)?;
                    self.client.flush().await.map_err(client::failed)?;
                }
                return Ok(());
            }
        }
    }

    async fn write(&mut self, piece: &Piece) -> std::io::Result<()> {
        let bytes = self.input.get(..piece.length).unwrap_or_default();
        let is_chunk = self.told == Told::InChunks && !bytes.is_empty();
        if is_chunk {
            self.out.put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
        }
        if bytes.len() <= TOGETHER {
            self.out.put_slice(bytes);
        } else {
            self.client.write_all(self.out).await?;
            self.out.clear();
            self.client.write_all(bytes).await?;
        }
        if is_chunk {
            self.out.put_slice(b"\r\n");
        }
        self.client.write_all(self.out).await?;
        self.out.clear();
        self.input.advance(piece.length);
        self.client.flush().await
    }

    /// Reads more of the body; false at the end of one that ends with its connection.
    async fn read(&mut self, framing: &Framing) -> Result<bool> {
        self.input.reserve(PIECE);
        let read = self.upstream.read_buf(self.input);
        let due = Instant::now() + self.pause;
        match client::wait(self.client, due, read).await {
            Ok(Ok(0)) if matches!(framing, Framing::Close) => Ok(false),
            Ok(Ok(0)) => Err(Error::explain(ErrorType::ConnectionClosed, "the response broke off").into_up()),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) => {
                Err(Error::because(ErrorType::ReadError, "while reading a response's body", error).into_up())
            }
            Err(Apart::Due) => Err(Error::explain(ErrorType::ReadTimedout, "the response stopped").into_up()),
            Err(Apart::Gone) => Err(client::gone()),
        }
    }
}

fn next(framing: &mut Framing, input: &[u8], sent: &mut u64) -> Result<Piece> {
    match framing {
        Framing::Empty => Ok(Piece { length: 0, is_last: true }),
        Framing::Bytes(left) => {
            let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= length as u64;
            *sent += length as u64;
            Ok(Piece { length, is_last: *left == 0 })
        }
        Framing::Chunked(scanner) => {
            let before = scanner.content();
            let malformed = |error| {
                let what = "the chunks of the response are malformed";
                Error::because(ErrorType::InvalidHTTPHeader, what, error).into_up()
            };
            let end = scanner.scan(input).map_err(malformed)?;
            *sent += scanner.content() - before;
            Ok(Piece { length: end.unwrap_or(input.len()), is_last: end.is_some() })
        }
        Framing::Close => {
            *sent += input.len() as u64;
            Ok(Piece { length: input.len(), is_last: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;
    use crate::edge::ChunkScanner;

    const PAUSE: Duration = Duration::from_secs(60);

    /// What the client reads of a body that comes in these pieces, how many bytes of it are counted, and the error.
    async fn passed(framing: Framing, told: Told, pieces: &[&[u8]]) -> (Vec<u8>, u64, Option<ErrorType>) {
        let (own, mut client_end) = duplex(1 << 20);
        let (upstream, mut upstream_end) = duplex(1 << 20);
        let mut client = ClientStream::open(Box::new(own), PAUSE);
        client.begin_plain(BytesMut::new());
        let (mut upstream, mut out): (Stream, _) = (Box::new(upstream), BytesMut::from("head "));
        let (mut input, mut sent) = (BytesMut::new(), 0);
        let feed = async {
            for piece in pieces {
                upstream_end.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(upstream_end);
        };
        let passing = Passing {
            client: &mut client,
            upstream: &mut upstream,
            out: &mut out,
            input: &mut input,
            told,
            pause: PAUSE,
        };
        let (result, ()) = tokio::join!(passing.pass(framing, &mut sent), feed);
        drop(client);
        let mut read = Vec::new();
        client_end.read_to_end(&mut read).await.unwrap();
        (read, sent, result.err().map(|error| error.etype().clone()))
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_arrive_as_they_are_framed() {
        let chunked = || Framing::Chunked(ChunkScanner::default());
        for (framing, told, pieces, expected, sent, error) in [
            (Framing::Empty, Told::AsItCame, &[&b"next"[..]][..], "head ", 0, None),
            (Framing::Bytes(5), Told::AsItCame, &[b"ab", b"cde-more"], "head abcde", 5, None),
            (Framing::Bytes(5), Told::AsItCame, &[b"ab"], "head ab", 2, Some(ErrorType::ConnectionClosed)),
            (
                chunked(),
                Told::AsItCame,
                &[b"2\r\nab\r", b"\n0\r\nX: y\r\n\r\n"],
                "head 2\r\nab\r\n0\r\nX: y\r\n\r\n",
                2,
                None,
            ),
            (
                chunked(),
                Told::AsItCame,
                &[b"2\r\nab\r\n"],
                "head 2\r\nab\r\n",
                2,
                Some(ErrorType::ConnectionClosed),
            ),
            (chunked(), Told::AsItCame, &[b"x"], "head ", 0, Some(ErrorType::InvalidHTTPHeader)),
            (Framing::Close, Told::InChunks, &[b"abc"], "head 3\r\nabc\r\n0\r\n\r\n", 3, None),
            (Framing::Close, Told::InChunks, &[], "head 0\r\n\r\n", 0, None),
            (Framing::Close, Told::AsItCame, &[b"ab", b"c"], "head abc", 3, None),
        ] {
            let (read, counted, failed) = passed(framing, told, pieces).await;
            assert_eq!((String::from_utf8_lossy(&read), counted, failed), (expected.into(), sent, error));
        }
        let long = vec![b'x'; 3 * PIECE];
        let (read, counted, _) = passed(Framing::Bytes(long.len() as u64), Told::AsItCame, &[&long]).await;
        assert_eq!((read.len(), counted), (5 + long.len(), long.len() as u64));
    }
}
