//! Connections to the RocketMQ proxies behind.
//!
//! Owns: one HTTP/2 connection to each, opened again when it is lost, and which of them a client's calls go to: always the
//! same one while it answers, since a proxy keeps a client's settings. Never: edits.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::frames::{Body, BoxError, MESSAGE_LIMIT, framed, single};

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that is silent for so long is asked whether it lives, and how long it may take to say so. gRPC's Java
/// servers hang up on those who ask more often than every five minutes.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(330), Duration::from_secs(20));
/// What a stream and a connection may have on their way unread: a batch of large messages, and several of them.
const WINDOWS: (u32, u32) = (2 << 20, 16 << 20);
/// Settings that wait to be sent in a stream of one of our own sessions: one is sent.
const QUEUED: usize = 4;

/// One proxy.
pub struct Upstream {
    address: String,
    sender: Mutex<Option<SendRequest<Body>>>,
}

/// All of them.
pub struct Upstreams(Vec<Upstream>);

/// The answer to a unary call.
pub struct Answered {
    pub head: HeaderMap,
    /// `None`: only a status of gRPC.
    pub message: Option<Bytes>,
    pub trailers: Option<HeaderMap>,
}

impl Upstream {
    async fn ready(&self) -> Result<SendRequest<Body>, BoxError> {
        let mut held = self.sender.lock().await;
        if let Some(sender) = held.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1);
        let (sender, connection) =
            timeout(CONNECT_TIMEOUT, builder.handshake(TokioIo::new(stream))).await??;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a RocketMQ proxy has ended");
            }
        });
        *held = Some(sender.clone());
        Ok(sender)
    }
}

impl Upstreams {
    pub fn new(addresses: &[String]) -> Upstreams {
        let one = |address: &String| Upstream { address: address.clone(), sender: Mutex::new(None) };
        Upstreams(addresses.iter().map(one).collect())
    }

    /// Calls the client's proxy, or the next one that can be reached.
    pub async fn call(
        &self,
        client: &str,
        path: &str,
        headers: HeaderMap,
        body: Body,
    ) -> Result<Response<Incoming>, BoxError> {
        let first =
            client.bytes().fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let mut last: BoxError = "no RocketMQ proxy is named".into();
        for turn in 0..self.0.len() {
            let at = first.wrapping_add(turn).checked_rem(self.0.len()).unwrap_or(0);
            let Some(upstream) = self.0.get(at) else { break };
            match upstream.ready().await {
                Ok(mut sender) => {
                    let mut request = Request::post(uri(&upstream.address, path)?).body(body)?;
                    *request.headers_mut() = headers;
                    sender.ready().await?;
                    return Ok(sender.send_request(request).await?);
                }
                Err(error) => last = format!("`{}`: {error}", upstream.address).into(),
            }
        }
        Err(last)
    }

    /// A call of one message, answered by one.
    pub async fn unary(
        &self,
        client: &str,
        path: &str,
        headers: HeaderMap,
        message: &[u8],
    ) -> Result<Answered, BoxError> {
        let response = self.call(client, path, headers, whole(framed(message))).await?;
        let (head, body) = response.into_parts();
        let collected = Limited::new(body, MESSAGE_LIMIT).collect().await?;
        let trailers = collected.trailers().cloned();
        let bytes = collected.to_bytes();
        Ok(Answered { head: head.headers, message: single(bytes), trailers })
    }
}

fn uri(address: &str, path: &str) -> Result<Uri, http::Error> {
    Uri::builder().scheme("http").authority(address).path_and_query(path).build()
}

/// A body that is there at once.
pub fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is written to for as long as the sender lives.
pub fn channel() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(QUEUED);
    (sender, Receiving(receiver).boxed_unsync())
}

struct Receiving(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Receiving {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}
