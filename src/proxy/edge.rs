//! Connections: from accept to the framework's session, and back for the next request.
//!
//! Answers: whose turn is it on this connection, and for how long may it wait? Reads every head itself, whole and
//! against a deadline, so that a slow or ambiguous client is answered by us and counted. Never: routing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::{GetSocketDigest as _, SocketDigest, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::answer::error_bytes;
use super::client::{ClientStream, WRITE_STALL};
use super::front::Front;
use super::gate::Gate;
use super::head::{self, Body, Head};
use super::listener::{Door, Refusal, Speaks};
use super::places::Places;
use super::proxy_protocol;
use super::report;
use super::settings::{Limits, Settings};
use super::waits::Alarm;
use crate::telemetry::{AccessLog, Metrics};
use crate::vocab::ErrorReason;

/// First room for a head; most fit.
const HEAD_ROOM: usize = 4 << 10;
/// How long an idle connection is kept for one more request while the process ends.
const LAST_REQUEST: Duration = Duration::from_secs(1);
/// How long a refused client may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the framework hands connections to.
pub struct Edge {
    pub(super) proxy: Arc<HttpProxy<Gate>>,
    pub(super) settings: Arc<Settings>,
    metrics: Metrics,
    access_log: Option<AccessLog>,
    places: Places,
    doors: Vec<Door>,
}

/// What came of waiting for a head.
enum Arrived {
    /// The head and what belongs to its request of the bytes behind it; the rest is the next request's.
    Request {
        bytes: BytesMut,
        rest: BytesMut,
        /// Bytes of its body that are still to come; `None` where only reading tells.
        missing: Option<u64>,
    },
    Refused(ErrorReason),
    /// Nothing more comes.
    Closed,
}

impl Edge {
    pub fn new(
        proxy: HttpProxy<Gate>,
        settings: Arc<Settings>,
        doors: Vec<Door>,
        metrics: Metrics,
        access_log: Option<AccessLog>,
    ) -> Edge {
        Edge { proxy: Arc::new(proxy), settings, metrics, access_log, places: Places::default(), doors }
    }

    /// How many connections are open, for those who wait for the last one.
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        self.places.open()
    }

    /// The listener a connection came to.
    fn door(&self, stream: &Stream) -> Option<&Door> {
        let local = stream.get_socket_digest()?.local_addr()?.as_inet().copied()?;
        let exact = self.doors.iter().find(|door| door.listener.address == local);
        exact.or_else(|| self.doors.iter().find(|door| door.listener.address.port() == local.port()))
    }

    /// Counts what never became a request, and logs it, as every request is.
    pub(super) fn count_refused(&self, socket: Option<&SocketDigest>, reason: ErrorReason) {
        self.metrics.unrouted(reason.as_str()).increment();
        if let Some(log) = &self.access_log {
            let peer = socket.and_then(|digest| digest.peer_addr()?.as_inet().map(|peer| peer.ip()));
            report::refused(log, peer, reason);
        }
    }

    async fn refuse(&self, stream: &mut ClientStream, reason: ErrorReason) {
        self.count_refused(stream.get_socket_digest().as_deref(), reason);
        farewell(stream, reason).await;
    }

    /// Refuses a connection before anything was spent on it; one that would be encrypted cannot be told why.
    async fn turn_away(&self, door: &Door, front: Front) {
        door.refuse(Refusal::Limit);
        match door.listener.tls {
            Some(_) => self.count_refused(front.get_socket_digest().as_deref(), ErrorReason::Overloaded),
            None => {
                let mut stream = ClientStream::open(front.into_stream(), WRITE_STALL);
                self.refuse(&mut stream, ErrorReason::Overloaded).await;
            }
        }
    }

    /// From a connection to what is spoken on it.
    async fn welcome(self: &Arc<Self>, door: &Door, mut front: Front, shutdown: &ShutdownWatch) {
        let limits = &self.settings.limits;
        let place = self.places.take();
        if place.before >= limits.connections {
            return self.turn_away(door, front).await;
        }
        if door.listener.proxy_protocol
            && !timeout(limits.header_timeout, proxy_protocol::accept(&mut front)).await.unwrap_or(false)
        {
            return door.refuse(Refusal::ProxyProtocol);
        }
        let address = front.peer().map(|peer| peer.ip()).filter(|_| limits.connections_per_ip > 0);
        let _address_place = match address {
            None => None,
            Some(address) => match self.places.take_for(address, limits.connections_per_ip) {
                Some(place) => Some(place),
                None => return self.turn_away(door, front).await,
            },
        };
        // In boxes of their own: a handshake is over soon, and idle connections should not carry the room for it.
        let agreed = Box::pin(door.agree(front, limits.header_timeout)).await;
        let Some((front, speaks)) = agreed else { return };
        let stream = ClientStream::open(front.into_stream(), WRITE_STALL);
        match speaks {
            Speaks::Http1 => self.serve(stream, shutdown).await,
            Speaks::Http2 => Box::pin(self.serve_h2(stream.count_frames(), shutdown)).await,
        }
    }

    async fn serve(&self, mut stream: Box<ClientStream>, shutdown: &ShutdownWatch) {
        let limits = &self.settings.limits;
        let mut bytes = BytesMut::with_capacity(HEAD_ROOM);
        let mut wait = limits.header_timeout;
        // Both live as long as the connection: made anew for each request they would cost more than its decision.
        let mut alarm = Alarm::default();
        let mut ended = pin!(ended(shutdown));
        loop {
            let arrived = arrival(&mut stream, bytes, (wait, limits), &mut alarm, ended.as_mut()).await;
            let rest = match arrived {
                Arrived::Closed => return,
                Arrived::Refused(reason) => {
                    self.refuse(&mut stream, reason).await;
                    return;
                }
                Arrived::Request { bytes, rest, missing } => {
                    let (lent, ticket) = stream.begin(missing, limits.body_rate.0);
                    let mut session = ServerSession::new_http1(lent);
                    session.set_pipelined_prefix(bytes);
                    session.set_keepalive(Some(limits.keepalive.as_secs().max(1)));
                    let reusable = self.proxy.process_new_http(session, shutdown).await;
                    let Some(back) = ticket.redeem(reusable.map(|reusable| reusable.consume().0)) else {
                        return;
                    };
                    stream = back;
                    rest
                }
            };
            bytes = rest;
            wait = limits.keepalive;
        }
    }
}

/// An idle connection ends a moment after the process began to: a request that was on its way is still answered, with
/// the word that it is the last one.
async fn ended(shutdown: &ShutdownWatch) {
    ending(shutdown).await;
    tokio::time::sleep(LAST_REQUEST).await;
}

/// Waits until the process begins to end.
pub(super) async fn ending(shutdown: &ShutdownWatch) {
    let mut shutdown = shutdown.clone();
    // A dropped sender is an end as well.
    let _ = shutdown.wait_for(|end| *end).await;
}

/// Waits up to `wait` for a first byte, or until `ended`, and from then on for the whole head: a request that has begun
/// is served, however the process goes on.
async fn arrival(
    stream: &mut ClientStream,
    mut bytes: BytesMut,
    (wait, limits): (Duration, &Limits),
    alarm: &mut Alarm,
    mut ended: Pin<&mut impl Future<Output = ()>>,
) -> Arrived {
    let mut deadline = Instant::now() + if bytes.is_empty() { wait } else { limits.header_timeout };
    let bounds = (limits.header_bytes.0, limits.headers);
    let mut seen = 0;
    loop {
        match head::find(&bytes, seen, bounds) {
            Head::Complete { length, body } => return split(bytes, length, body),
            Head::Refused(reason) => return Arrived::Refused(reason),
            Head::Partial => {}
        }
        seen = bytes.len();
        let mut read = pin!(stream.read_buf(&mut bytes));
        let in_time = poll_fn(|cx| match read.as_mut().poll(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending if seen == 0 && ended.as_mut().poll(cx).is_ready() => Poll::Ready(None),
            Poll::Pending => alarm.poll_until(deadline, cx).map(|()| None),
        });
        match in_time.await {
            Some(Ok(0) | Err(_)) => return Arrived::Closed,
            Some(Ok(_)) if seen == 0 => deadline = Instant::now() + limits.header_timeout,
            Some(Ok(_)) => {}
            None if seen == 0 => return Arrived::Closed,
            None => return Arrived::Refused(ErrorReason::Timeout),
        }
    }
}

/// Keeps what follows the request for the next one. A chunked body's end is not known yet: all of it goes on.
fn split(mut bytes: BytesMut, length: usize, body: Body) -> Arrived {
    let here = (bytes.len() - length.min(bytes.len())) as u64;
    let (own, missing) = match body {
        Body::Bytes(count) => (count.min(here) as usize + length, Some(count.saturating_sub(here))),
        Body::Chunked => (bytes.len(), None),
    };
    let rest = bytes.split_off(own);
    if let Some(head) = bytes.get(..length).and_then(head::origin_form) {
        let body = bytes.split_off(length);
        bytes = BytesMut::from(head.as_slice());
        bytes.extend_from_slice(&body);
    }
    Arrived::Request { bytes, rest, missing }
}

/// Sends the answer and closes; who does not listen is not waited for.
async fn farewell(stream: &mut ClientStream, reason: ErrorReason) {
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

#[async_trait]
impl ServerApp for Edge {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if let Some(door) = self.door(&stream) {
            let _occupied = door.connections.occupy();
            self.welcome(door, Front::new(stream), shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
