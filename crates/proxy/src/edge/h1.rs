//! HTTP/1 connections: one request after the other.
//!
//! Answers: where does the next request begin and end, and for how long may it wait? Reads every head itself, whole and
//! against a deadline, so that a slow or ambiguous client is answered by us and counted. Never: routing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::GetSocketDigest as _;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::chunks::ChunkScanner;
use super::client_stream::ClientStream;
use super::connection_state::Rest;
use super::head::{self, Body, Complete, Head, Lines};
use super::serving::{Serving, ending};
use super::settings::Limits;
use super::short::{PlainRequest, Served, ShortPath, WHOLE_BODY, WHOLE_WAIT};
use super::waits::Alarm;
use crate::responses::error_bytes;
use graygate_rules::vocab::ErrorReason;

/// First room for a head; most fit.
const HEAD_ROOM: usize = 4 << 10;
/// How long an idle connection is kept for one more request while the process ends.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves a connection until it ends, is idle for too long, or the process ends.
pub async fn serve<A: HttpServerApp, S: ShortPath>(
    serving: &Serving<A, S>,
    mut stream: Box<ClientStream>,
    shutdown: &ShutdownWatch,
) {
    let limits = &serving.limits;
    let mut room = BytesMut::with_capacity(HEAD_ROOM);
    let ended = pin!(ended(shutdown));
    let mut arrivals = Arrivals {
        limits,
        has_short_path: serving.short.is_some(),
        idle: limits.header_timeout,
        alarm: Alarm::default(),
        ended,
    };
    loop {
        match arrivals.next(&mut stream, room).await {
            Arrived::Closed => return,
            Arrived::Refused(reason) => {
                serving.refused.report(stream.get_socket_digest().as_deref(), reason);
                return farewell(&mut stream, reason).await;
            }
            Arrived::Request { mut bytes, rest, mut ahead, lines } => {
                let short = serving.short.as_deref().zip(lines).filter(|_| rest.is_over());
                if let Some((short, lines)) = short {
                    stream.begin_plain(std::mem::take(&mut ahead));
                    match short.serve(&mut stream, PlainRequest::new(bytes, lines), shutdown).await {
                        Served::Kept(again) => {
                            stream.end_plain();
                            room = emptied(again);
                            arrivals.idle = limits.keepalive;
                            continue;
                        }
                        Served::Closed => return,
                        Served::HandedOver(unserved, known) => {
                            bytes = unserved;
                            known.into_iter().for_each(|known| stream.state().hand(known));
                        }
                    }
                }
                // What came behind the request stays with the connection: it may be the next request, or the first
                // bytes of another protocol. Where there is nothing, the room it would have taken is used again.
                room = match ahead.is_empty() && ahead.capacity() > 0 {
                    true => std::mem::take(&mut ahead),
                    false => BytesMut::with_capacity(HEAD_ROOM),
                };
                let (lent, way_back) = stream.begin(rest, ahead, limits.body_rate.0);
                let mut session = ServerSession::new_http1(lent);
                session.set_pipelined_prefix(bytes);
                session.set_keepalive(Some(limits.keepalive.as_secs().max(1)));
                let reusable = serving.app.process_new_http(session, shutdown).await;
                let Some(back) = way_back.take(reusable.map(|reusable| reusable.consume().0)) else {
                    return;
                };
                stream = back;
            }
        }
        arrivals.idle = limits.keepalive;
    }
}

/// What came of waiting for a head.
enum Arrived {
    Request {
        /// The head, and what is here of its body.
        bytes: BytesMut,
        /// What is still to come of its body.
        rest: Rest,
        /// What came behind it.
        ahead: BytesMut,
        /// Of a plain one.
        lines: Option<Lines>,
    },
    Refused(ErrorReason),
    /// Nothing more comes.
    Closed,
}

/// An idle connection ends a moment after the process began to: a request that was on its way is still answered, with
/// the word that it is the last one.
async fn ended(shutdown: &ShutdownWatch) {
    ending(shutdown).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

/// Waits for one head after another. It lives as long as the connection: its timers, made again for each request, would
/// cost more than the request's decision.
struct Arrivals<'c, F> {
    limits: &'c Limits,
    /// A request that is here whole may be served without the framework.
    has_short_path: bool,
    /// Longest wait for a first byte.
    idle: Duration,
    alarm: Alarm,
    /// Ready when an idle connection has to end.
    ended: Pin<&'c mut F>,
}

impl<F: Future<Output = ()>> Arrivals<'_, F> {
    /// Waits for a first byte, and from then on for the whole head: a request that has begun is served, however the
    /// process goes on.
    async fn next(&mut self, stream: &mut ClientStream, bytes: BytesMut) -> Arrived {
        match self.head(stream, bytes).await {
            Ok((mut bytes, found)) => {
                if self.has_short_path {
                    self.rest(stream, &mut bytes, &found).await;
                }
                split(bytes, found)
            }
            Err(other) => other,
        }
    }

    /// The bytes so far, with what was found in them; or why there is no head.
    async fn head(
        &mut self,
        stream: &mut ClientStream,
        mut bytes: BytesMut,
    ) -> Result<(BytesMut, Complete), Arrived> {
        let limits = self.limits;
        let mut deadline = Instant::now() + self.idle;
        let (mut seen, mut has_begun) = (0, false);
        loop {
            match head::find(&bytes, seen, limits) {
                Head::Complete(found) => return Ok((bytes, found)),
                Head::Refused(reason) => return Err(Arrived::Refused(reason)),
                Head::Partial => {}
            }
            // Most heads are whole with their first bytes.
            if !bytes.is_empty() && !std::mem::replace(&mut has_begun, true) {
                deadline = Instant::now() + limits.header_timeout;
            }
            seen = bytes.len();
            let mut read = pin!(stream.read_buf(&mut bytes));
            let in_time = poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(Some(read)),
                Poll::Pending if seen == 0 && self.ended.as_mut().poll(cx).is_ready() => Poll::Ready(None),
                Poll::Pending => self.alarm.poll_until(deadline, cx).map(|()| None),
            });
            match in_time.await {
                Some(Ok(0) | Err(_)) => return Err(Arrived::Closed),
                Some(Ok(_)) => {}
                None if seen == 0 => return Err(Arrived::Closed),
                None => return Err(Arrived::Refused(ErrorReason::Timeout)),
            }
        }
    }

    /// Waits a moment for the rest of a plain request. That it did not come is for the reader of its body to say.
    async fn rest(&mut self, stream: &mut ClientStream, bytes: &mut BytesMut, found: &Complete) {
        let (Some(_), Body::Bytes(count @ 1..=WHOLE_BODY)) = (&found.lines, found.body) else { return };
        let whole = found.length + usize::try_from(count).unwrap_or_default();
        if bytes.len() >= whole {
            return;
        }
        bytes.reserve(whole - bytes.len());
        let deadline = Instant::now() + WHOLE_WAIT;
        while bytes.len() < whole {
            let mut read = pin!(stream.read_buf(bytes));
            let in_time = poll_fn(|cx| match read.as_mut().poll(cx) {
                Poll::Ready(read) => Poll::Ready(read.is_ok_and(|count| count > 0)),
                Poll::Pending => self.alarm.poll_until(deadline, cx).map(|()| false),
            });
            if !in_time.await {
                return;
            }
        }
    }
}

/// Room for the next head: an idle connection does not keep what a body took.
fn emptied(mut room: BytesMut) -> BytesMut {
    if room.capacity() > 2 * HEAD_ROOM {
        return BytesMut::with_capacity(HEAD_ROOM);
    }
    room.clear();
    room.reserve(HEAD_ROOM);
    room
}

/// Parts a request from what follows it. A body that is framed wrong in what is here is refused before anything of it
/// goes anywhere.
fn split(mut bytes: BytesMut, head: Complete) -> Arrived {
    let Complete { length, body, rewritten, lines } = head;
    let mut rest = match body {
        Body::Bytes(count) => Rest::Bytes(count),
        Body::Chunked => Rest::Chunks(ChunkScanner::default()),
    };
    let Ok(own) = rest.take(bytes.get(length..).unwrap_or_default()) else {
        return Arrived::Refused(ErrorReason::BadRequest);
    };
    let has_more = bytes.len() > length + own;
    // Parting what need not be parted costs an allocation.
    let ahead = if lines.is_none() || has_more { bytes.split_off(length + own) } else { BytesMut::new() };
    if let Some(head) = rewritten {
        let body = bytes.split_off(length);
        bytes = BytesMut::from(head.as_slice());
        bytes.extend_from_slice(&body);
    }
    Arrived::Request { bytes, rest, ahead, lines }
}

/// Sends the answer and closes; who does not listen is not waited for.
pub async fn farewell(stream: &mut ClientStream, reason: ErrorReason) {
    let answer = error_bytes(reason);
    let farewell = async {
        stream.write_all(&answer).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        // Closing on unread bytes would reset the connection, and the answer with it.
        let mut ignored = [0; 4096];
        while stream.read(&mut ignored).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(FAREWELL, farewell).await;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use pingora::apps::ReusedHttpStream;
    use tokio::io::duplex;
    use tokio::sync::{mpsc, watch};
    use tokio::time::sleep;

    use super::super::client_stream::WRITE_STALL;
    use super::super::h2_stream::H2Stream;
    use super::super::refused::Refused;
    use super::*;

    /// Which way a request went.
    #[derive(Debug, PartialEq, Eq)]
    enum Way {
        /// With so much of its body.
        Short(usize),
        Pipeline,
    }

    struct Noting(mpsc::UnboundedSender<Way>);

    #[async_trait]
    impl HttpServerApp for Noting {
        async fn process_new_http(
            self: &Arc<Self>,
            _: ServerSession,
            _: &ShutdownWatch,
        ) -> Option<ReusedHttpStream> {
            self.0.send(Way::Pipeline).unwrap();
            None
        }
    }

    impl ShortPath for Noting {
        async fn serve(&self, _: &mut ClientStream, request: PlainRequest, _: &ShutdownWatch) -> Served {
            self.0.send(Way::Short(request.body().len())).unwrap();
            Served::Closed
        }

        async fn serve_stream(&self, stream: H2Stream) -> Option<H2Stream> {
            Some(stream)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_body_that_follows_at_once_goes_the_short_path() {
        let head = |length: u64| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        let large = "x".repeat(WHOLE_BODY as usize);
        let soon = WHOLE_WAIT / 2;
        for (length, pieces, expected) in [
            (4, vec![("", "abcd")], Way::Short(4)),
            (4, vec![("", "a"), ("soon", "bcd")], Way::Short(4)),
            (4, vec![("", ""), ("soon", "abcdGET /next")], Way::Short(4)),
            (4, vec![("", "a"), ("late", "bcd")], Way::Pipeline),
            (4, vec![("", "a")], Way::Pipeline),
            (WHOLE_BODY, vec![("", ""), ("soon", &*large)], Way::Short(large.len())),
            (WHOLE_BODY + 1, vec![("", &*large), ("", "x")], Way::Pipeline),
        ] {
            let (note, mut noted) = mpsc::unbounded_channel();
            let serving = Serving {
                app: Arc::new(Noting(note.clone())),
                short: Some(Arc::new(Noting(note))),
                limits: Limits::default(),
                refused: Arc::new(Refused::unreported()),
            };
            let (own, mut client) = duplex(1 << 20);
            let (_running, shutdown) = watch::channel(false);
            let stream = ClientStream::open(Box::new(own), WRITE_STALL);
            let send = async {
                client.write_all(head(length).as_bytes()).await.unwrap();
                for (when, piece) in &pieces {
                    match *when {
                        "soon" => sleep(soon).await,
                        "late" => sleep(2 * WHOLE_WAIT).await,
                        _ => {}
                    }
                    // Who serves it may have closed the connection.
                    let _ = client.write_all(piece.as_bytes()).await;
                }
                sleep(2 * WHOLE_WAIT).await;
            };
            tokio::join!(serve(&serving, stream, &shutdown), send);
            assert_eq!(noted.recv().await, Some(expected), "{length}, {} pieces", pieces.len());
        }
    }
}
