//! One proxy's admin address: a connection that is kept, one question at a time.
//!
//! Owns: where the token goes (over TLS or loopback alone), how large an answer may be, and that redirects are not
//! followed: they would lead where the file does not. Never: what an answer means.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::client::{connect_tls, is_loopback};

/// Largest answer: two thousand rows with 256 clients each have some 11 MB.
const ANSWER_LIMIT: usize = 16 << 20;

/// How long a proxy may take to begin an answer, and how long to end it. What it waits meanwhile for others to be read is
/// not its fault and not counted.
pub const DEADLINE: Duration = Duration::from_millis(800);
/// Bodies that are read at a time: what was not read yet waits at its proxy and not in memory here.
const READ_AT_ONCE: usize = 32;
/// What is read of a connection at a time, and what each keeps between two questions; hyper's own buffer grows to 400 KiB.
const PIECE: usize = 8 << 10;
/// What a length that was only announced is believed for.
const FIRST_ROOM: u64 = 1 << 20;

/// What answers of one round may take in memory together.
pub struct Budget {
    bytes: AtomicUsize,
    readers: Semaphore,
}

/// A status and a body; while it is held, so many fewer are read.
pub struct Answered<'b> {
    pub status: u16,
    pub body: Bytes,
    _reader: SemaphorePermit<'b>,
}

/// A question to an admin address.
pub struct Asked<'a> {
    pub path: &'a str,
    pub token: Option<&'a str>,
    /// JSON that is posted; without one the path is only got.
    pub body: Option<Bytes>,
}

/// A way to one address.
pub struct Link {
    uri: Uri,
    sender: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        Budget { bytes: AtomicUsize::new(bytes), readers: Semaphore::new(READ_AT_ONCE) }
    }

    fn take(&self, bytes: usize) -> Result<(), String> {
        let taken =
            self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| "the answers of all proxies together are too large".to_owned())
    }
}

impl Link {
    /// `url` as the file or a fleet's key says it.
    pub fn new(url: &str) -> Result<Link, String> {
        let uri: Uri = url.parse().map_err(|_| format!("`{url}` is not an address"))?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => {}
            _ => return Err(format!("`{url}` is not an address")),
        }
        Ok(Link { uri, sender: tokio::sync::Mutex::default() })
    }

    /// Asks once.
    pub async fn get<'b>(
        &self,
        path: &str,
        token: Option<&str>,
        budget: &'b Budget,
    ) -> Result<Answered<'b>, String> {
        self.ask(&Asked { path, token, body: None }, budget).await
    }

    /// Asks once; a kept connection that has died meanwhile is replaced.
    pub async fn ask<'b>(&self, asked: &Asked<'_>, budget: &'b Budget) -> Result<Answered<'b>, String> {
        let late = |_| format!("no answer within {} ms", DEADLINE.as_millis());
        // While an answer is under way there is none to keep: a caller that gives up in the middle leaves nothing behind.
        let mut kept = self.sender.lock().await;
        let begun = timeout(DEADLINE, self.begin(kept.take(), asked)).await;
        let (sender, answer) = begun.map_err(late)??;
        let reader = budget.readers.acquire().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = timeout(DEADLINE, read(answer, budget)).await.map_err(late)??;
        *kept = Some(sender);
        Ok(Answered { status, body, _reader: reader })
    }

    async fn begin(
        &self,
        kept: Option<SendRequest<Full<Bytes>>>,
        asked: &Asked<'_>,
    ) -> Result<(SendRequest<Full<Bytes>>, http::Response<Incoming>), String> {
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
            && let Ok(answer) = sender.send_request(self.request(asked)?).await
        {
            return Ok((sender, answer));
        }
        let mut sender = self.connect().await?;
        let answer = sender.send_request(self.request(asked)?).await.map_err(|error| error.to_string())?;
        Ok((sender, answer))
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    fn request(&self, asked: &Asked<'_>) -> Result<Request<Full<Bytes>>, String> {
        let path = asked.path;
        let prefix = self.uri.path().trim_end_matches('/');
        let port = self.uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let mut request = Request::builder()
            .uri(format!("{prefix}{path}"))
            .header(header::HOST, format!("{}{port}", self.host()));
        if let Some(token) = asked.token.filter(|_| self.is_tls() || is_loopback(self.host())) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if asked.body.is_some() {
            request = request.method(Method::POST).header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Full::new(asked.body.clone().unwrap_or_default())).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        let port = self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
        match self.is_tls() {
            true => converse(connect_tls(host, stream).await?).await,
            false => converse(stream).await,
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let shaken = http1::Builder::new().read_buf_exact_size(Some(PIECE)).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    // Ends with its sender.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(answer: http::Response<Incoming>, budget: &Budget) -> Result<Bytes, String> {
    let mut body = answer.into_body();
    let room = body.size_hint().lower().min(FIRST_ROOM);
    let mut read = BytesMut::with_capacity(usize::try_from(room).unwrap_or(0));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(piece) = frame.into_data() else { continue };
        if read.len() + piece.len() > ANSWER_LIMIT {
            return Err("the answer is too large".to_owned());
        }
        budget.take(piece.len())?;
        read.extend_from_slice(&piece);
    }
    Ok(read.freeze())
}
