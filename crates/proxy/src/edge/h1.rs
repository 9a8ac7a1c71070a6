//! HTTP/1 connections: one request after the other.
//!
//! Answers: where does the next request begin and end, and for how long may it wait? Reads every head itself, whole and
//! against a deadline, so that a slow or ambiguous client is answered by us and counted. Never: routing.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::apps::HttpServerApp;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::chunks::ChunkScanner;
use super::client_stream::ClientStream;
use super::h1_stream::{After, H1Stream, Request};
use super::head::{self, Body, Complete, Head, Lines};
use super::rest::Rest;
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
        short: serving.short.as_deref(),
        idle: limits.header_timeout,
        alarm: Alarm::default(),
        ended,
    };
    loop {
        let (request, known) = match arrivals.next(&mut stream, room).await {
            Arrived::Closed => return,
            Arrived::Refused(reason) => return refuse(serving, &mut stream, reason).await,
            Arrived::Whole(short, request) => match short.serve(&mut stream, request, shutdown).await {
                Served::Kept(again) => {
                    room = emptied(again);
                    arrivals.idle = limits.keepalive;
                    continue;
                }
                Served::Closed => return,
                Served::HandedOver(request, known) => {
                    let (request, body) = request.into_parts();
                    stream.put_back(body);
                    (request, Some(known))
                }
            },
            Arrived::Other(head, lines, rest) => (Request::new(&head, &lines, rest), None),
        };
        let Ok(request) = request else {
            return refuse(serving, &mut stream, ErrorReason::BadRequest).await;
        };
        let (mut session, way_back) = H1Stream::new(stream, request, limits.body_rate.0, shutdown);
        if let Some(known) = known {
            session.hand(known);
        }
        serving.app.process_new_http(ServerSession::new_custom(Box::new(session)), shutdown).await;
        stream = match way_back.take() {
            Some((back, After::Next)) => back,
            Some((mut back, After::Last)) => {
                let _ = timeout(FAREWELL, back.shutdown()).await;
                return;
            }
            Some((mut back, After::Unread)) => {
                let _ = timeout(FAREWELL, linger(&mut back)).await;
                return;
            }
            Some((_, After::Broken)) | None => return,
        };
        room = BytesMut::with_capacity(HEAD_ROOM);
        arrivals.idle = limits.keepalive;
    }
}

/// What came of waiting for a head.
enum Arrived<'s, S> {
    /// A plain request that is here whole, and who serves it.
    Whole(&'s S, PlainRequest),
    /// The head of any other, where its parts are, and what is to come of it.
    Other(Bytes, Lines, Rest),
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
struct Arrivals<'c, F, S> {
    limits: &'c Limits,
    /// Who serves plain requests that are here whole.
    short: Option<&'c S>,
    /// Longest wait for a first byte.
    idle: Duration,
    alarm: Alarm,
    /// Ready when an idle connection has to end.
    ended: Pin<&'c mut F>,
}

impl<'c, F: Future<Output = ()>, S> Arrivals<'c, F, S> {
    /// Waits for a first byte, and from then on for the whole head: a request that has begun is served, however the
    /// process goes on.
    async fn next(&mut self, stream: &mut ClientStream, bytes: BytesMut) -> Arrived<'c, S> {
        match self.head(stream, bytes).await {
            Ok((mut bytes, found)) => {
                if self.short.is_some() && found.is_plain {
                    self.rest(stream, &mut bytes, &found).await;
                }
                self.split(stream, bytes, found)
            }
            Err(other) => other,
        }
    }

    /// The bytes so far, with what was found in them; or why there is no head.
    async fn head(
        &mut self,
        stream: &mut ClientStream,
        mut bytes: BytesMut,
    ) -> Result<(BytesMut, Complete), Arrived<'c, S>> {
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
        let Body::Bytes(count @ 1..=WHOLE_BODY) = found.body else { return };
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

    /// Parts a request from what follows it. A body that is framed wrong in what is here is refused before anything of it
    /// goes anywhere.
    fn split(&self, stream: &mut ClientStream, mut bytes: BytesMut, found: Complete) -> Arrived<'c, S> {
        let length = found.length;
        if let (Some(short), true, Body::Bytes(count @ 0..=WHOLE_BODY)) =
            (self.short, found.is_plain, found.body)
        {
            let whole = length + usize::try_from(count).unwrap_or(usize::MAX);
            if whole <= bytes.len() {
                // Parting what need not be parted costs an allocation.
                if whole < bytes.len() {
                    stream.put_back(bytes.split_off(whole));
                }
                return Arrived::Whole(short, PlainRequest::new(bytes, found.lines));
            }
        }
        let beyond = bytes.split_off(length);
        if found.body == Body::Chunked && ChunkScanner::default().scan(&beyond).is_err() {
            return Arrived::Refused(ErrorReason::BadRequest);
        }
        stream.put_back(beyond);
        let head = found.rewritten.map_or_else(|| bytes.freeze(), Bytes::from);
        Arrived::Other(head, found.lines, Rest::of(found.body))
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

/// Sends the answer and closes; who does not listen is not waited for.
pub async fn farewell(stream: &mut ClientStream, reason: ErrorReason) {
    let answer = error_bytes(reason);
    let farewell = async {
        stream.write_all(&answer).await?;
        stream.flush().await?;
        linger(stream).await
    };
    let _ = timeout(FAREWELL, farewell).await;
}

/// Ends a connection whose client may still send: to close it on unread bytes would reset it, and the answer with it.
async fn linger(stream: &mut ClientStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut ignored = [0; 4096];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

async fn refuse<A, S>(serving: &Serving<A, S>, stream: &mut ClientStream, reason: ErrorReason) {
    serving.refused.report(stream.socket().as_deref(), reason);
    farewell(stream, reason).await;
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
