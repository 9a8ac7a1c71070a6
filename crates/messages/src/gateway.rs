//! The server clients connect to: HTTP/2 with and without TLS, and where each call goes.
//!
//! Owns: listeners, connections and their limits. Never: edits; a call that this program does not know passes frame by
//! frame, in both directions, as it comes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::calls::{Call, Caller, Refusal, refused};
use super::consumers;
use super::edit;
use super::frames::{Body, MESSAGE_LIMIT, single, streamed};
use super::producers;
use super::receive;
use super::shared::{Failure, Shared};
use super::streams;
use super::wire;

/// How long a handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a failed accept: at once, the reason would still be there.
const PAUSE: Duration = Duration::from_millis(100);
/// A client that is silent for so long is asked whether it lives, and how long it may take: one that vanished without a
/// word keeps its lane for no longer than both.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// Calls of one connection at a time: a client has one long poll a queue.
const STREAMS: u32 = 4_096;
const WINDOWS: (u32, u32) = (2 << 20, 16 << 20);

/// Where clients connect.
#[derive(Clone)]
pub struct Listener {
    pub address: SocketAddr,
    /// The version of all its clients.
    pub version: Option<String>,
    pub tls: Option<Arc<ServerConfig>>,
}

/// Binds; while a process that is on its way out still has the address, again and again.
async fn bind(address: SocketAddr) -> TcpListener {
    let mut is_told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(bound) => return bound,
            Err(error) if !is_told => {
                tracing::warn!(%address, %error, "the address for messages cannot be had yet");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(PAUSE).await;
    }
}

/// Serves every client that comes.
pub async fn serve(shared: Arc<Shared>, listener: Listener) {
    let bound = bind(listener.address).await;
    tracing::info!(address = %listener.address, "listening for clients of RocketMQ");
    loop {
        match bound.accept().await {
            Ok((stream, from)) => {
                tokio::spawn(connection(shared.clone(), listener.clone(), stream, from));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for messages could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, listener: Listener, stream: TcpStream, from: SocketAddr) {
    let _ = stream.set_nodelay(true);
    match &listener.tls {
        None => exchange(shared, listener.version, stream, from).await,
        Some(tls) => {
            let accepted = timeout(TLS_TIMEOUT, TlsAcceptor::from(tls.clone()).accept(stream)).await;
            if let Ok(Ok(stream)) = accepted {
                exchange(shared, listener.version, stream, from).await;
            }
        }
    }
}

async fn exchange<S>(shared: Arc<Shared>, version: Option<String>, stream: S, from: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, version) = (shared.clone(), version.clone());
        async move { Ok::<_, Infallible>(respond(&shared, version, from, request).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    // Clients go whenever they like.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(
    shared: &Arc<Shared>,
    version: Option<String>,
    from: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let caller = Caller::new(from.ip(), version, head.headers);
    match answer(shared, &path, caller, body).await {
        Ok(response) => response,
        Err(Failure::Malformed(malformed)) => refused(Refusal::InvalidArgument, &malformed.to_string()),
        Err(error @ Failure::Upstream(_)) => refused(Refusal::Unavailable, &with_causes(&error)),
    }
}

/// An error and what it came from: the first alone says no more than `http2 error`.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

async fn answer(
    shared: &Arc<Shared>,
    path: &str,
    caller: Caller,
    body: Incoming,
) -> Result<Response<Body>, Failure> {
    let Some(call) = Call::of(path) else { return through(shared, path, caller, streamed(body)).await };
    if call == Call::Telemetry {
        return streams::telemetry(shared, caller, streamed(body)).await;
    }
    let collected = Limited::new(body, MESSAGE_LIMIT).collect().await?.to_bytes();
    let Some(message) = single(collected) else {
        return Ok(refused(Refusal::Unimplemented, "compressed requests are not taken"));
    };
    match call {
        Call::QueryRoute => consumers::route(shared, caller, message).await,
        Call::QueryAssignment => consumers::assignment(shared, caller, message).await,
        Call::Heartbeat | Call::NotifyClientTermination => {
            consumers::in_name(shared, caller, call, message).await
        }
        Call::ReceiveMessage => receive::receive(shared, caller, message).await,
        Call::AckMessage => consumers::acknowledge(shared, caller, message).await,
        Call::ChangeInvisibleDuration | Call::ForwardMessageToDeadLetterQueue => {
            consumers::about_one(shared, caller, call, message).await
        }
        Call::SendMessage => producers::send(shared, caller, message).await,
        Call::PullMessage | Call::UpdateOffset | Call::GetOffset => {
            by_offset(shared, path, caller, message).await
        }
        Call::Telemetry => Ok(refused(Refusal::Unimplemented, "a stream is no single call")),
    }
}

/// Reads by offset would pass lanes by.
async fn by_offset(
    shared: &Arc<Shared>,
    path: &str,
    caller: Caller,
    message: Bytes,
) -> Result<Response<Body>, Failure> {
    let group = wire::text(&message, edit::group::FIRST)?;
    if shared.with(|state| state.has_group(group)) {
        return Ok(refused(Refusal::Unimplemented, "a group with lanes cannot be read by offset"));
    }
    through(shared, path, caller, super::upstream::whole(super::frames::framed(&message))).await
}

/// As it came.
async fn through(
    shared: &Arc<Shared>,
    path: &str,
    caller: Caller,
    body: Body,
) -> Result<Response<Body>, Failure> {
    let response = shared.upstreams.call(&caller.client, path, caller.headers, body).await?;
    Ok(response.map(streamed))
}
