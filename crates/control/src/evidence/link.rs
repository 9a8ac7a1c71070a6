//! One proxy's admin address: a connection that is kept, one question at a time.
//!
//! Owns: where the token goes (over TLS or loopback alone), how large an answer may be, and that redirects are not
//! followed: they would lead where the file does not. Never: what an answer means.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::client::{connect_tls, is_loopback};

/// Largest answer: two thousand rows with 256 clients each have some 11 MB.
const ANSWER_LIMIT: usize = 16 << 20;

/// What answers of one round may take in memory together.
pub struct Budget(AtomicUsize);

/// A status and a body.
pub struct Answered {
    pub status: u16,
    pub body: Bytes,
}

/// A way to one address.
pub struct Link {
    uri: Uri,
    sender: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        Budget(AtomicUsize::new(bytes))
    }

    fn take(&self, bytes: usize) -> Result<(), String> {
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
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

    /// Asks once; a kept connection that has died meanwhile is replaced.
    pub async fn get(&self, path: &str, token: Option<&str>, budget: &Budget) -> Result<Answered, String> {
        let mut kept = self.sender.lock().await;
        // While an answer is under way there is none to keep: a caller that gives up in the middle leaves nothing behind.
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
            && let Ok(answer) = sender.send_request(self.request(path, token)?).await
        {
            let answered = read(answer, budget).await?;
            *kept = Some(sender);
            return Ok(answered);
        }
        let mut sender = self.connect().await?;
        let answer =
            sender.send_request(self.request(path, token)?).await.map_err(|error| error.to_string())?;
        let answered = read(answer, budget).await?;
        *kept = Some(sender);
        Ok(answered)
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    fn request(&self, path: &str, token: Option<&str>) -> Result<Request<Full<Bytes>>, String> {
        let prefix = self.uri.path().trim_end_matches('/');
        let port = self.uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
        let mut request = Request::builder()
            .uri(format!("{prefix}{path}"))
            .header(header::HOST, format!("{}{port}", self.host()));
        if let Some(token) = token.filter(|_| self.is_tls() || is_loopback(self.host())) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())
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
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(|error| error.to_string())?;
    // Ends with its sender.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(answer: http::Response<Incoming>, budget: &Budget) -> Result<Answered, String> {
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        let Ok(piece) = frame.into_data() else { continue };
        if read.len() + piece.len() > ANSWER_LIMIT {
            return Err("the answer is too large".to_owned());
        }
        budget.take(piece.len())?;
        read.extend_from_slice(&piece);
    }
    Ok(Answered { status, body: read.freeze() })
}
