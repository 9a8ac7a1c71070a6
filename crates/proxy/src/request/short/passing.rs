//! A response's body, from its upstream to its client.
//!
//! Answers: where does the body end, and did all of it arrive? Bytes go on as they come; nothing is read that the client
//! has no room for. Never: heads, or what a failure means.

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncReadExt as _;
use tokio::time::Instant;

use super::client::{self, Client};
use super::response::Framing;
use crate::edge::Apart;

/// Bytes of a body that are read at a time.
pub const PIECE: usize = 32 << 10;

/// One body under way.
pub struct Passing<'p, C> {
    pub client: &'p mut C,
    pub upstream: &'p mut Stream,
    /// What is to be told before the body: its head.
    pub out: &'p mut BytesMut,
    /// What was read of the body.
    pub input: &'p mut BytesMut,
    /// Longest pause between two pieces.
    pub pause: Duration,
}

/// What of the bytes here belongs to the body.
struct Piece {
    length: usize,
    is_last: bool,
}

impl<C: Client> Passing<'_, C> {
    /// Passes the whole body on. `sent` counts the body's bytes, also where not all of them arrived.
    pub async fn pass(mut self, mut framing: Framing, sent: &mut u64) -> Result<()> {
        loop {
            let piece = match next(&mut framing, self.input, sent, |content| self.client.take(content)) {
                Ok(piece) => piece,
                Err(error) => {
                    self.client.break_off(self.out).await?;
                    return Err(error);
                }
            };
            let bytes = self.input.get(..piece.length).unwrap_or_default();
            self.client.tell(self.out, bytes, piece.is_last).await?;
            self.input.advance(piece.length);
            if piece.is_last {
                return Ok(());
            }
            if !self.read(&framing).await? {
                return self.client.end().await;
            }
        }
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

fn next(framing: &mut Framing, input: &[u8], sent: &mut u64, mut take: impl FnMut(&[u8])) -> Result<Piece> {
    match framing {
        Framing::Empty => Ok(Piece { length: 0, is_last: true }),
        Framing::Bytes(left) => {
            let length = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= length as u64;
            *sent += length as u64;
            take(input.get(..length).unwrap_or_default());
            Ok(Piece { length, is_last: *left == 0 })
        }
        Framing::Chunked(scanner) => {
            let before = scanner.content();
            let malformed = |error| {
                let what = "the chunks of the response are malformed";
                Error::because(ErrorType::InvalidHTTPHeader, what, error).into_up()
            };
            let end = scanner.scan_into(input, take).map_err(malformed)?;
            *sent += scanner.content() - before;
            Ok(Piece { length: end.unwrap_or(input.len()), is_last: end.is_some() })
        }
        Framing::Close => {
            *sent += input.len() as u64;
            take(input);
            Ok(Piece { length: input.len(), is_last: false })
        }
    }
}
