//! HTTP/2: from a connection to its requests.
//!
//! Answers: which stream becomes a request, and how long does a connection stay without one? Owns the limits on
//! streams, header lists and control frames, refuses what could be read in two ways, and joins what HTTP/2 cuts apart.
//! A plain request is served by the short path, every other one by the framework. Never: routing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use pingora::apps::HttpServerApp;
use pingora::http::RequestHeader;
use pingora::http::authority::{RawTargetAuthority, raw_target_authority};
use pingora::protocols::Digest;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::authority::validate_request_authority;
use pingora::protocols::http::custom::server::Session as _;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::client_stream::{ClientStream, WRITE_STALL};
use super::h2_stream::{Client, H2Stream};
use super::mended::REFUSED;
use super::plain_stream::is_plain;
use super::serving::{Serving, ending};
use super::settings::Limits;
use super::short::ShortPath;
use crate::responses::{error_header, grpc_error_header, is_grpc};
use graygate_rules::vocab::ErrorReason;

/// Requests on one connection at a time; browsers and gRPC clients expect about as many.
const STREAMS: u32 = 128;
/// Bytes of body on their way to us, for one request and for all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of responses a connection holds for a client that takes them slowly, for each of its streams.
const SEND_BUFFER: usize = 128 << 10;
/// Streams a client took back before we had looked at them; more at a time is an attack (rapid reset).
const RESETS: usize = 32;
/// Requests on one connection that could be read in two ways, or were too large; its client speaks another language. What the `h2` crate
/// resets by itself it bounds by itself: among it are bodies that were on their way when we had answered.
const MALFORMED: usize = 32;
/// How long a connection that is told to end may take, once nothing is under way on it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Bytes of a list of fields. What is a little too large is answered by us, and counted; what is far too large is
/// answered by the `h2` crate.
fn list_bytes(limits: &Limits) -> u32 {
    u32::try_from(limits.header_bytes.0.saturating_mul(2)).unwrap_or(u32::MAX)
}

fn options(limits: &Limits) -> Builder {
    let mut options = Builder::new();
    options
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(list_bytes(limits))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(RESETS);
    options
}

/// The requests of a connection that are under way.
#[derive(Default)]
struct Streams {
    active: AtomicUsize,
    changed: Notify,
}

struct Active(Arc<Streams>);

impl Streams {
    fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(self.clone())
    }

    /// Ends once no request has been under way for `wait`.
    async fn idle_for(&self, wait: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.active.load(Ordering::Relaxed) > 0 {
                changed.await;
            } else if timeout(wait, changed).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.changed.notify_one();
    }
}

/// Serves a connection until it ends, is idle for too long, or the process ends.
pub async fn serve<A: HttpServerApp + Send + Sync + 'static, S: ShortPath>(
    serving: &Serving<A, S>,
    stream: Box<ClientStream>,
    shutdown: &ShutdownWatch,
) {
    let limits = &serving.limits;
    let digest = Arc::new(stream.digest());
    let stream = stream.look_at_frames(list_bytes(limits) as usize);
    let shaken = timeout(limits.header_timeout, options(limits).handshake(stream)).await;
    let Ok(Ok(mut connection)) = shaken else { return };
    let streams = Arc::new(Streams::default());
    let (mut malformed, mut is_ending) = (0, false);
    let mut wait = limits.header_timeout;
    loop {
        let accepted = tokio::select! {
            biased;
            () = ending(shutdown), if !is_ending => {
                connection.graceful_shutdown();
                (is_ending, wait) = (true, FAREWELL);
                continue;
            }
            accepted = connection.accept() => accepted,
            () = streams.idle_for(wait) => {
                if is_ending {
                    return;
                }
                connection.graceful_shutdown();
                (is_ending, wait) = (true, FAREWELL);
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { return };
        if !is_ending {
            wait = limits.keepalive;
        }
        let (stream, admitted) = take_in(request, respond, limits, digest.clone());
        malformed += usize::from(admitted.is_err());
        if let Err(reason) = admitted {
            serving.refused.report(digest.socket_digest.as_deref(), reason);
        }
        if malformed >= MALFORMED {
            return;
        }
        let (app, short) = (serving.app.clone(), serving.short.clone());
        let (shutdown, active) = (shutdown.clone(), streams.begin());
        tokio::spawn(async move {
            let _active = active;
            match admitted {
                Ok(()) => answer(stream, short.as_deref(), &app, &shutdown).await,
                // A client that is gone does not miss the answer.
                Err(reason) => drop(refuse(stream, reason).await),
            }
        });
    }
}

/// Serves a request: without the framework where that will do.
async fn answer<A: HttpServerApp + Send + Sync + 'static, S: ShortPath>(
    mut stream: H2Stream,
    short: Option<&S>,
    app: &Arc<A>,
    shutdown: &ShutdownWatch,
) {
    if let Some(short) = short
        && is_plain(&mut stream).await
    {
        match short.serve_stream(stream).await {
            Some(unserved) => stream = unserved,
            None => return,
        }
    }
    app.process_new_http(ServerSession::new_custom(Box::new(stream)), shutdown).await;
}

/// A request as the framework will see it, and whether it gets there.
fn take_in(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    limits: &Limits,
    digest: Arc<Digest>,
) -> (H2Stream, Result<(), ErrorReason>) {
    let (head, body) = request.into_parts();
    let mut request = RequestHeader::from(head);
    let admitted = admit(&mut request, limits);
    // Calls of gRPC are conversations.
    let rate = if is_grpc(&request) { 0 } else { limits.body_rate.0 };
    let client = Client { digest, respond };
    (H2Stream::new(request, body, client, rate), admitted)
}

async fn refuse(mut stream: H2Stream, reason: ErrorReason) -> pingora::Result<()> {
    stream.set_write_timeout(Some(WRITE_STALL));
    if is_grpc(stream.req_header()) {
        return stream.write_response_header(Box::new(grpc_error_header(reason)?), true).await;
    }
    stream.write_response_header(Box::new(error_header(reason)?), false).await?;
    stream.write_body(Bytes::from_static(reason.line().as_bytes()), true).await
}

/// Holds a request against the limits, and makes of it what HTTP/1 would have sent: one `Host`, one `Cookie`.
fn admit(request: &mut RequestHeader, limits: &Limits) -> Result<(), ErrorReason> {
    // A tunnel is no request.
    if request.method == Method::CONNECT || request.headers.contains_key(REFUSED) || !is_clear(request) {
        return Err(ErrorReason::BadRequest);
    }
    join_cookies(request)?;
    let target = request.raw_path().len() + request.uri.authority().map_or(0, |name| name.as_str().len());
    let length = target
        + request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>();
    if request.headers.len() > limits.headers || length as u64 > limits.header_bytes.0 {
        return Err(ErrorReason::HeadersTooLarge);
    }
    if !request.headers.contains_key(header::HOST)
        && let Some(authority) = request.uri.authority()
    {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| ErrorReason::BadRequest)?;
        request.insert_header(header::HOST, host).map_err(|_| ErrorReason::Internal)?;
    }
    Ok(())
}

/// Whether there is one way to read it, also for an upstream that is sent it over HTTP/1. How `Content-Length` is
/// spelled, and that it is true, the `h2` crate has seen to.
fn is_clear(request: &RequestHeader) -> bool {
    let target = request.raw_path();
    let is_named = request.uri.authority().is_some() || request.headers.contains_key(header::HOST);
    is_named
        && request.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_none()
        && !target.iter().any(|b| matches!(b, b'\0' | b'\r' | b'\n' | b' '))
        && matches!(raw_target_authority(target), RawTargetAuthority::None)
        && validate_request_authority(request).is_ok()
}

/// Clients may cut their cookies into crumbs; a rule and an HTTP/1 upstream see one line (RFC 9113, 8.2.3).
fn join_cookies(request: &mut RequestHeader) -> Result<(), ErrorReason> {
    let crumbs = |headers: &HeaderMap| headers.get_all(header::COOKIE).iter().cloned().collect::<Vec<_>>();
    let crumbs = crumbs(&request.headers);
    if crumbs.len() < 2 {
        return Ok(());
    }
    let pieces: Vec<&[u8]> = crumbs.iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&pieces.join(&b"; "[..])).map_err(|_| ErrorReason::BadRequest)?;
    request.insert_header(header::COOKIE, joined).map_err(|_| ErrorReason::Internal)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use pingora::apps::ReusedHttpStream;
    use tokio::io::duplex;
    use tokio::sync::{mpsc, watch};

    use super::super::refused::Refused;
    use super::super::short::{PlainRequest, Served, WHOLE_BODY, WHOLE_WAIT};
    use super::*;

    /// Which way a request went, with so much of its body.
    #[derive(Debug, PartialEq, Eq)]
    enum Way {
        Short(usize),
        Pipeline(usize),
    }

    /// Notes every request; the short path hands back those that ask for it.
    struct Noting(mpsc::UnboundedSender<Way>);

    #[async_trait]
    impl HttpServerApp for Noting {
        async fn process_new_http(
            self: &Arc<Self>,
            mut session: ServerSession,
            _: &ShutdownWatch,
        ) -> Option<ReusedHttpStream> {
            let mut length = 0;
            while let Ok(Some(piece)) = session.read_request_body().await {
                length += piece.len();
            }
            self.0.send(Way::Pipeline(length)).unwrap();
            None
        }
    }

    impl ShortPath for Noting {
        async fn serve(&self, _: &mut ClientStream, _: PlainRequest, _: &ShutdownWatch) -> Served {
            Served::Closed
        }

        async fn serve_stream(&self, stream: H2Stream) -> Option<H2Stream> {
            if stream.req_header().headers.contains_key("x-back") {
                return Some(stream);
            }
            self.0.send(Way::Short(stream.ahead().iter().map(Bytes::len).sum())).unwrap();
            None
        }
    }

    /// A request whose body comes in these pieces, each soon, or late, behind the one before; which way it goes.
    async fn way(fields: &[(&str, &str)], pieces: &[(&str, &[u8])]) -> Way {
        let (note, mut noted) = mpsc::unbounded_channel();
        let serving = Serving {
            app: Arc::new(Noting(note.clone())),
            short: Some(Arc::new(Noting(note))),
            limits: Limits::default(),
            refused: Arc::new(Refused::unreported()),
        };
        let (own, client) = duplex(1 << 20);
        let (_running, shutdown) = watch::channel(false);
        let stream = ClientStream::open(Box::new(own), WRITE_STALL);
        let ask = async {
            let (client, connection) = h2::client::handshake(client).await.unwrap();
            tokio::spawn(connection);
            let head = fields
                .iter()
                .fold(Request::post("http://a/"), |head, (name, value)| head.header(*name, *value));
            let mut client = client.ready().await.unwrap();
            let (_response, mut sender) =
                client.send_request(head.body(()).unwrap(), pieces.is_empty()).unwrap();
            for (at, (when, piece)) in pieces.iter().enumerate() {
                tokio::time::sleep(if *when == "late" { 2 * WHOLE_WAIT } else { WHOLE_WAIT / 8 }).await;
                // Who serves it may have ended the stream.
                let _ = sender.send_data(Bytes::copy_from_slice(piece), at + 1 == pieces.len());
            }
            noted.recv().await.unwrap()
        };
        tokio::select! {
            way = ask => way,
            () = serve(&serving, stream, &shutdown) => panic!("the connection ended"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn plain_requests_go_the_short_path() {
        let quarter = vec![b'x'; WHOLE_BODY as usize / 4];
        let (most, more) = (WHOLE_BODY.to_string(), (WHOLE_BODY + 1).to_string());
        let length = |length| vec![("content-length", length)];
        for (fields, pieces, expected) in [
            (vec![], vec![], Way::Short(0)),
            (length("0"), vec![], Way::Short(0)),
            (vec![("te", "trailers"), ("accept", "*/*")], vec![], Way::Short(0)),
            (length("4"), vec![("soon", &b"abcd"[..])], Way::Short(4)),
            (length("4"), vec![("soon", b"a"), ("soon", b""), ("soon", b"bcd")], Way::Short(4)),
            (length("4"), vec![("soon", b"a"), ("late", b"bcd")], Way::Pipeline(4)),
            (length("4"), vec![("soon", b"abcdef")], Way::Pipeline(0)),
            (length("0"), vec![("soon", b"")], Way::Pipeline(0)),
            (vec![], vec![("soon", b"abcd")], Way::Pipeline(4)),
            (length(&most), vec![("soon", &*quarter); 4], Way::Short(WHOLE_BODY as usize)),
            (
                length(&more),
                vec![
                    ("soon", &*quarter),
                    ("soon", &*quarter),
                    ("soon", &*quarter),
                    ("soon", &*quarter),
                    ("soon", b"x"),
                ],
                Way::Pipeline(WHOLE_BODY as usize + 1),
            ),
            (vec![("expect", "100-continue")], vec![], Way::Pipeline(0)),
            (vec![("content-type", "application/grpc")], vec![], Way::Pipeline(0)),
            (
                vec![("content-length", "4"), ("x-back", "1")],
                vec![("soon", b"ab"), ("soon", b"cd")],
                Way::Pipeline(4),
            ),
        ] {
            assert_eq!(way(&fields, &pieces).await, expected, "{fields:?}, {} pieces", pieces.len());
        }
    }
}
