//! A plain request over HTTP/1, for the exchange.
//!
//! Answers: how is its upstream told what its lines say, and its client the response? Bytes of a response go on as they
//! came wherever they can. Owns whether the client's connection goes on behind it. Never: which upstream is asked.

use std::io;
use std::net::IpAddr;
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use http::Version;
use pingora::http::ResponseHeader;
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::head::PlainHead;
use super::lines::{self, Connection, Told};
use super::response::{Framing, Head};
use crate::edge::{Apart, ClientStream, PlainRequest, write_head};
use crate::request::context::Context;
use crate::request::{intake, report};
use graygate_rules::decide::Peer;

/// Pieces up to this size are written together with what comes before them.
const TOGETHER: usize = 8 << 10;
/// How long a connection that ends may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// One request's client.
pub struct Http1<'c> {
    stream: &'c mut ClientStream,
    address: Option<IpAddr>,
    request: &'c PlainRequest,
    /// What was decided on; a later try reads it again.
    head: Option<PlainHead<'c>>,
    shutdown: &'c ShutdownWatch,
    /// How it was told where the response ends.
    told: Told,
    /// Whether its connection goes on.
    connection: Connection,
}

impl<'c> Http1<'c> {
    /// The client of a request, of which `head` is decided on.
    pub fn new(
        stream: &'c mut ClientStream,
        request: &'c PlainRequest,
        head: PlainHead<'c>,
        shutdown: &'c ShutdownWatch,
    ) -> Http1<'c> {
        let (told, connection) = (Told::AsItCame, Connection::Closed);
        let address = address(stream);
        Http1 { stream, address, request, head: Some(head), shutdown, told, connection }
    }

    /// Ends the connection behind a whole response where it is to end.
    pub async fn part(self) -> Connection {
        if self.connection == Connection::Closed {
            let _ = timeout(FAREWELL, self.stream.shutdown()).await;
        }
        self.connection
    }

    /// Settles what is said of the response's end, and of the connection's.
    fn settle(&mut self, head: &Head) {
        self.told = told(head);
        let is_last = self.request.lines.is_last
            || *self.shutdown.borrow()
            || (matches!(head.framing, Framing::Close) && self.told == Told::AsItCame);
        self.connection = if is_last { Connection::Closed } else { Connection::Kept };
    }

    async fn write(&mut self, out: &mut BytesMut, piece: &[u8]) -> io::Result<()> {
        let is_chunk = self.told == Told::InChunks && !piece.is_empty();
        if is_chunk {
            out.put_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        if piece.len() <= TOGETHER {
            out.put_slice(piece);
        } else {
            self.stream.write_all(out).await?;
            out.clear();
            self.stream.write_all(piece).await?;
        }
        if is_chunk {
            out.put_slice(b"\r\n");
        }
        self.write_out(out).await
    }

    async fn write_out(&mut self, out: &mut BytesMut) -> io::Result<()> {
        self.stream.write_all(out).await?;
        out.clear();
        self.stream.flush().await
    }
}

/// Who asks.
pub fn peer(client: &ClientStream) -> Peer {
    intake::peer(address(client), client.is_encrypted())
}

fn address(client: &ClientStream) -> Option<IpAddr> {
    let socket = client.socket()?;
    Some(socket.peer_addr()?.as_inet()?.ip())
}

/// How the client is told where the response ends.
fn told(head: &Head) -> Told {
    match head.framing {
        _ if head.status == 204 => Told::Nothing,
        Framing::Close if !head.has.transfer_encoding => Told::InChunks,
        _ => Told::AsItCame,
    }
}

/// The client takes no more.
fn failed(error: io::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "while answering", error).into_down()
}

/// The client's head once more, as it was decided on.
fn read_again<'c>(request: &'c PlainRequest, context: &Context) -> PlainHead<'c> {
    let mut head = PlainHead::of(request);
    intake::admit_again(&mut head, context);
    head
}

impl<'c> Client for Http1<'c> {
    type Head = PlainHead<'c>;

    const VERSION: Version = Version::HTTP_11;

    fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn method(&self) -> &[u8] {
        self.request.method()
    }

    fn body_length(&self) -> usize {
        self.request.body().len()
    }

    fn head(&mut self, context: &Context) -> PlainHead<'c> {
        let mut head = self.head.take().unwrap_or_else(|| read_again(self.request, context));
        head.strip();
        head
    }

    fn write_request(&self, head: PlainHead<'c>, target: &[u8], out: &mut BytesMut) {
        head.write(target, out);
    }

    fn poll_apart(&mut self, due: Instant, cx: &mut Task<'_>) -> Poll<Apart> {
        self.stream.poll_apart(due, cx)
    }

    fn fields(head: &Head, bytes: &[u8]) -> Result<ResponseHeader> {
        head.header(bytes)
    }

    async fn tell_interim(&mut self, fields: ResponseHeader, out: &mut BytesMut) -> Result<()> {
        out.clear();
        write_head(out, &fields);
        self.write_out(out).await.map_err(failed)
    }

    fn begin_as_it_came(&mut self, head: &Head, bytes: &[u8], out: &mut BytesMut) -> bool {
        self.settle(head);
        out.clear();
        lines::write_response(out, head, bytes, self.told, self.connection);
        true
    }

    fn begin(&mut self, head: &Head, mut fields: ResponseHeader, out: &mut BytesMut) -> Result<()> {
        self.settle(head);
        out.clear();
        lines::write_edited(out, &mut fields, self.told, self.connection);
        Ok(())
    }

    // It gets the bytes that frame the content as well.
    fn take(&mut self, _: &[u8]) {}

    async fn tell(&mut self, out: &mut BytesMut, piece: &[u8], _: bool) -> Result<()> {
        self.write(out, piece).await.map_err(failed)
    }

    async fn end(&mut self) -> Result<()> {
        if self.told != Told::InChunks {
            return Ok(());
        }
        self.write_out(&mut BytesMut::from(&b"0\r\n\r\n"[..])).await.map_err(failed)
    }

    async fn break_off(&mut self, out: &mut BytesMut) -> Result<()> {
        // The head was counted as told; the client reads it, and that the rest is missing.
        self.write_out(out).await.map_err(failed)
    }

    async fn leave(&mut self) {
        let _ = timeout(FAREWELL, self.stream.flush()).await;
    }

    fn told(&self, bytes_out: u64) -> report::Told<'_> {
        let request = self.request;
        report::Told {
            method: request.method(),
            target: request.target(),
            host: request.field("host"),
            user_agent: request.field("user-agent"),
            request_id: None,
            bytes_out,
        }
    }
}

#[cfg(test)]
mod tests {
    use pingora::protocols::Stream;
    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::sync::watch;

    use super::super::passing::{PIECE, Passing};
    use super::*;
    use crate::edge::{ChunkScanner, plain_request};

    const PAUSE: Duration = Duration::from_secs(60);

    /// What the client reads of a body that comes in these pieces, how many bytes of it are counted, and the error.
    async fn passed(framing: Framing, told: Told, pieces: &[&[u8]]) -> (Vec<u8>, u64, Option<ErrorType>) {
        let (own, mut client_end) = duplex(1 << 20);
        let (upstream, mut upstream_end) = duplex(1 << 20);
        let mut stream = ClientStream::open(Box::new(own), PAUSE);
        let request = plain_request(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        let (_running, shutdown) = watch::channel(false);
        let head = PlainHead::of(&request);
        let mut client = Http1::new(&mut stream, &request, head, &shutdown);
        client.told = told;
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
            pause: PAUSE,
        };
        let (result, ()) = tokio::join!(passing.pass(framing, &mut sent), feed);
        drop(client);
        drop(stream);
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
