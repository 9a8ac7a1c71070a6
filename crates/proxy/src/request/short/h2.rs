//! A plain request over HTTP/2, for the exchange.
//!
//! Answers: how is its upstream asked over HTTP/1, and its client told the answer in frames? Its stream is the one that
//! the framework would get, and bounds the same waits. A response that is not whole is never ended: the stream is reset
//! when it is dropped. Never: which upstream is asked.

use std::net::IpAddr;
use std::task::{Context as Task, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderName, Request, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::custom::server::Session as _;
use pingora::{Error, Result};
use tokio::time::Instant;

use super::client::Client;
use super::response::{Framing, Head};
use crate::edge::{Alarm, Apart, H2Stream, WRITE_STALL};
use crate::request::context::Context;
use crate::request::intake;
use crate::request::report::Told;
use graygate_rules::decide::Peer;

/// Fields for one connection, as far as HTTP/2 does not forbid them: an upstream is not told.
const CLIENTS_OWN: [HeaderName; 4] =
    [header::PROXY_AUTHENTICATE, header::PROXY_AUTHORIZATION, header::TE, header::TRAILER];

/// One request's client.
pub struct Http2<'c> {
    stream: &'c mut H2Stream,
    alarm: Alarm,
    /// Of the response's body, for the next frame.
    content: BytesMut,
}

impl<'c> Http2<'c> {
    pub fn new(stream: &'c mut H2Stream) -> Http2<'c> {
        stream.set_write_timeout(Some(WRITE_STALL));
        Http2 { stream, alarm: Alarm::default(), content: BytesMut::new() }
    }
}

/// Who asks.
pub fn peer(stream: &H2Stream) -> Peer {
    let is_encrypted = stream.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    intake::peer(address(stream), is_encrypted)
}

fn address(stream: &H2Stream) -> Option<IpAddr> {
    Some(stream.client_addr()?.as_inet()?.ip())
}

impl Client for Http2<'_> {
    type Head = RequestHeader;

    const VERSION: Version = Version::HTTP_2;

    fn address(&self) -> Option<IpAddr> {
        address(self.stream)
    }

    fn method(&self) -> &[u8] {
        self.stream.req_header().method.as_str().as_bytes()
    }

    fn body_length(&self) -> usize {
        self.stream.ahead().iter().map(Bytes::len).sum()
    }

    fn head(&mut self, _: &Context) -> RequestHeader {
        let came = self.stream.req_header();
        // One of HTTP/1: that is what the upstream gets.
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = came.method.clone();
        parts.headers = came.headers.clone();
        let mut head = RequestHeader::from(parts);
        for name in &CLIENTS_OWN {
            head.remove_header(name);
        }
        head
    }

    fn write_request(&self, head: RequestHeader, target: &[u8], out: &mut BytesMut) {
        out.put_slice(head.method.as_str().as_bytes());
        out.put_u8(b' ');
        out.put_slice(target);
        out.put_slice(b" HTTP/1.1\r\n");
        head.header_to_h1_wire(out);
        out.put_slice(b"\r\n");
        for piece in self.stream.ahead() {
            out.put_slice(piece);
        }
    }

    fn poll_apart(&mut self, due: Instant, cx: &mut Task<'_>) -> Poll<Apart> {
        match self.stream.poll_reset(cx) {
            Poll::Ready(()) => Poll::Ready(Apart::Gone),
            Poll::Pending => self.alarm.poll_until(due, cx).map(|()| Apart::Due),
        }
    }

    fn fields(head: &Head, bytes: &[u8]) -> Result<ResponseHeader> {
        head.lower_header(bytes)
    }

    async fn tell_interim(&mut self, _: ResponseHeader, _: &mut BytesMut) -> Result<()> {
        // The `h2` crate sends one head.
        Ok(())
    }

    fn begin_as_it_came(&mut self, _: &Head, _: &[u8], _: &mut BytesMut) -> bool {
        false
    }

    fn begin(&mut self, head: &Head, mut fields: ResponseHeader, out: &mut BytesMut) -> Result<()> {
        out.clear();
        if head.status == 204 {
            fields.remove_header(&header::CONTENT_LENGTH);
        }
        let is_whole = matches!(head.framing, Framing::Empty | Framing::Bytes(0));
        self.stream.begin_response(fields, is_whole).map_err(Error::into_down)
    }

    fn take(&mut self, content: &[u8]) {
        self.content.extend_from_slice(content);
    }

    async fn tell(&mut self, _: &mut BytesMut, _: &[u8], is_last: bool) -> Result<()> {
        let content = self.content.split().freeze();
        if content.is_empty() && !is_last {
            return Ok(());
        }
        self.stream.write_piece(content, is_last).await.map_err(Error::into_down)
    }

    async fn end(&mut self) -> Result<()> {
        self.stream.write_piece(Bytes::new(), true).await.map_err(Error::into_down)
    }

    async fn break_off(&mut self, _: &mut BytesMut) -> Result<()> {
        Ok(())
    }

    async fn leave(&mut self) {
        // What the connection was not given time to send goes with the stream.
        tokio::task::yield_now().await;
    }

    fn told(&self, _: u64) -> Told<'_> {
        // What is still to be told of a piece that was read is not counted.
        Told::of_header(self.stream.req_header(), self.stream.body_bytes_sent() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pingora::ErrorType;
    use pingora::protocols::Stream;
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::super::passing::Passing;
    use super::super::response::{self, Asked};
    use super::*;
    use crate::edge::{ChunkScanner, asked_over_h2};

    const PAUSE: Duration = Duration::from_secs(600);

    /// Begins a response of this length over the client's stream.
    fn begin(client: &mut Http2<'_>, framing: &str) {
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nX-Own: a\r\n{framing}\r\n\r\n");
        let found = response::find(head.as_bytes(), Asked::Other).unwrap().unwrap();
        let fields = Http2::fields(&found, head.as_bytes()).unwrap();
        client.begin(&found, fields, &mut BytesMut::new()).unwrap();
    }

    /// What the client reads of a body that comes in these pieces, and whether it ends.
    async fn passed(framing: Framing, told: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool, u64) {
        let (mut stream, response) = asked_over_h2(64 << 10).await;
        let (upstream, mut upstream_end) = duplex(1 << 20);
        let (mut upstream, mut input, mut sent): (Stream, _, _) = (Box::new(upstream), BytesMut::new(), 0);
        let feed = async {
            for piece in pieces {
                upstream_end.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(upstream_end);
        };
        let serve = async {
            let mut client = Http2::new(&mut stream);
            begin(&mut client, told);
            let (client, out) = (&mut client, &mut BytesMut::new());
            let passing = Passing { client, upstream: &mut upstream, out, input: &mut input, pause: PAUSE };
            let _ = passing.pass(framing, &mut sent).await;
            drop(stream);
        };
        let read = async {
            let (head, mut body) = response.await.unwrap().into_parts();
            assert_eq!(head.headers.get("connection"), None);
            assert_eq!(head.headers.get("transfer-encoding"), None);
            assert_eq!(head.headers["x-own"], "a");
            let mut read = Vec::new();
            loop {
                match body.data().await {
                    Some(Ok(piece)) => read.extend_from_slice(&piece),
                    Some(Err(_)) => return (read, false),
                    None => return (read, true),
                }
            }
        };
        let ((), (), (read, is_whole)) = tokio::join!(feed, serve, read);
        (read, is_whole, sent)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_arrive_without_their_frames_and_end_where_they_do() {
        let chunked = || Framing::Chunked(ChunkScanner::default());
        const CHUNKED: &str = "Transfer-Encoding: chunked";
        for (framing, told, pieces, expected) in [
            (Framing::Bytes(5), "Content-Length: 5", &[&b"ab"[..], b"cde-more"][..], ("abcde", true)),
            (Framing::Bytes(0), "Content-Length: 0", &[], ("", true)),
            (chunked(), CHUNKED, &[b"2\r\nab\r", b"\n1;x\r\nc\r\n0\r\nX: y\r\n\r\n"], ("abc", true)),
            (chunked(), CHUNKED, &[b"0\r\n\r\n"], ("", true)),
            (Framing::Close, "X: y", &[b"ab", b"c"], ("abc", true)),
            (Framing::Close, "X: y", &[], ("", true)),
            (Framing::Bytes(5), "Content-Length: 5", &[b"ab"], ("ab", false)),
            (chunked(), CHUNKED, &[b"2\r\nab\r\n"], ("ab", false)),
            (chunked(), CHUNKED, &[b"2\r\nab\r\n", b"x"], ("ab", false)),
        ] {
            let (read, is_whole, sent) = passed(framing, told, pieces).await;
            assert_eq!((is_whole, sent), (expected.1, expected.0.len() as u64), "{pieces:?}");
            // A part of what is not whole may be lost.
            let read = String::from_utf8(read).unwrap();
            assert!(expected.0.starts_with(&read) && (read == expected.0 || !is_whole), "{read}, {pieces:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_holds_its_upstream_back_and_is_left() {
        const LENGTH: u64 = 1 << 20;
        let (mut stream, response) = asked_over_h2(10).await;
        let (upstream, mut upstream_end) = duplex(1 << 10);
        let (mut upstream, mut input, mut sent): (Stream, _, _) = (Box::new(upstream), BytesMut::new(), 0);
        let mut client = Http2::new(&mut stream);
        begin(&mut client, "Content-Length: 1048576");
        let begun = Instant::now();
        let (client, out) = (&mut client, &mut BytesMut::new());
        let passing = Passing { client, upstream: &mut upstream, out, input: &mut input, pause: PAUSE };
        let mut offered = 0;
        let feed = async {
            while upstream_end.write_all(&[0; 100]).await.is_ok() {
                offered += 100;
            }
        };
        let left = tokio::select! {
            passed = passing.pass(Framing::Bytes(LENGTH), &mut sent) => passed.unwrap_err(),
            () = feed => unreachable!("the upstream is there"),
        };
        assert_eq!((left.etype(), begun.elapsed()), (&ErrorType::WriteTimedout, WRITE_STALL));
        assert!(offered < 10_000, "{offered} bytes were read for a client that takes none");
        drop(response);
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_noticed_before_and_behind_the_head() {
        for has_begun in [false, true] {
            let (mut stream, response) = asked_over_h2(10).await;
            let mut client = Http2::new(&mut stream);
            if has_begun {
                begin(&mut client, "Content-Length: 5");
            }
            drop(response);
            let due = Instant::now() + PAUSE;
            let apart = std::future::poll_fn(|cx| client.poll_apart(due, cx)).await;
            assert_eq!(apart, Apart::Gone, "{has_begun}");
        }
    }
}
