//! Connections, bodies and answers.
//!
//! Owns: the loop of one connection and every limit on it. Never: what a head says (`head.rs`), or what the query asks
//! for (`steering.rs`).

use std::borrow::Cow;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::head::{Framing, Head, chunk_size, malformed};
use super::steering::Steering;

/// Connections at a time; more wait in the listener's backlog.
const CONNECTIONS: usize = 10_000;

/// Longest request head: well above what the proxy lets through, so that it is the proxy's limit one sees.
const HEAD_BYTES: usize = 1 << 20;

/// Longest line between chunks, and all trailers together.
const CHUNK_LINE_BYTES: usize = 8 << 10;

/// How much of a body is shown; the rest is only counted.
const SHOWN_BYTES: usize = 64 << 10;

/// How long a connection may be unused, and each piece of a request or an answer under way. Longer than a proxy keeps idle connections by
/// default, so that the proxy is the one to close them.
const IDLE: Duration = Duration::from_secs(120);

/// How long requests under way may go on after the shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// The pause after a failed accept: out of file descriptors, trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A piece of an `echo-bytes` body.
static FILLING: [u8; 16 << 10] = [b'x'; 16 << 10];

/// Answers requests as `version` until `shutdown`; then waits a little for those under way.
pub async fn serve(
    listener: TcpListener,
    version: &str,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    HeaderValue::from_str(version).map_err(|_| invalid("the version cannot stand in a header"))?;
    let version: Arc<str> = version.into();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (running, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // Tasks that ended are collected as they come, or the set would grow for ever.
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &places) => {
                let (version, ending) = (version.clone(), ending.clone());
                connections.spawn(async move {
                    let _place = place;
                    // How a connection ended is its client's business.
                    let _ = converse(stream, version, ending).await;
                });
            }
        }
    }
    drop((listener, running));
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // What is still under way after that is cut off with the set.
    let _ = timeout(GRACE, all_ended).await;
    Ok(())
}

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        if let Ok(place) = places.clone().acquire_owned().await
            && let Ok((stream, _)) = listener.accept().await
        {
            return (stream, place);
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

/// One connection: request after request until a side wants to close.
async fn converse(stream: TcpStream, version: Arc<str>, mut ending: watch::Receiver<()>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut connection =
        Connection { address: stream.local_addr()?, stream, unread: BytesMut::new(), version };
    loop {
        let request = tokio::select! {
            request = connection.next_head() => request,
            // The sender is gone: the server ends, and this connection waits for nothing.
            _ = ending.changed() => return Ok(()),
        };
        let outcome = match request {
            Ok(Some(head)) => connection.answer(&head, &ending).await,
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Next::Request) => {}
            Ok(Next::Close) => return connection.stream.shutdown().await,
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return connection.refuse(&error.to_string()).await;
            }
            Err(error) => return Err(error),
        }
    }
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    /// Bytes that have arrived and belong to no request yet.
    unread: BytesMut,
    version: Arc<str>,
}

/// What follows an answer.
enum Next {
    Request,
    Close,
}

/// The JSON object that is answered.
#[derive(Serialize)]
struct Echo<'a> {
    version: &'a str,
    address: SocketAddr,
    method: &'a str,
    path: &'a str,
    headers: &'a [(Cow<'a, str>, Cow<'a, str>)],
    body_bytes: u64,
    body: Cow<'a, str>,
}

impl Connection {
    /// The bytes of the next request's head without the empty line; nothing where the client closed in between.
    async fn next_head(&mut self) -> io::Result<Option<Bytes>> {
        const END: &[u8] = b"\r\n\r\n";
        let mut searched = 0;
        loop {
            let fresh = self.unread.get(searched..).unwrap_or_default();
            if let Some(found) = fresh.windows(END.len()).position(|bytes| bytes == END) {
                let head = self.unread.split_to(searched + found).freeze();
                self.unread.advance(END.len());
                return Ok(Some(head));
            }
            if self.unread.len() > HEAD_BYTES {
                return Err(malformed("the request head is too long"));
            }
            searched = self.unread.len().saturating_sub(END.len() - 1);
            match self.receive().await {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                outcome => outcome?,
            }
        }
    }

    async fn answer(&mut self, head: &[u8], ending: &watch::Receiver<()>) -> io::Result<Next> {
        let head = Head::parse(head)?;
        let framing = head.framing()?;
        if head.expects_continue() && !matches!(framing, Framing::Length(0)) {
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let mut body = Body::default();
        match framing {
            Framing::Length(length) => self.read_exactly(length, &mut body).await?,
            Framing::Chunked => self.read_chunks(&mut body).await?,
        }
        let steering = Steering::read(&head.target)?;
        sleep(steering.delay).await;
        // An error means that the sender is gone, and with it the server.
        let keep = head.keep_alive() && ending.has_changed().is_ok();
        self.respond(&head, &body, &steering, keep).await?;
        Ok(if keep { Next::Request } else { Next::Close })
    }

    async fn respond(
        &mut self,
        head: &Head<'_>,
        body: &Body,
        steering: &Steering,
        keep: bool,
    ) -> io::Result<()> {
        let echo = Echo {
            version: &self.version,
            address: self.address,
            method: &head.method,
            path: &head.target,
            headers: &head.headers,
            body_bytes: body.length,
            body: String::from_utf8_lossy(&body.shown),
        };
        let (content_type, json) = match steering.bytes {
            Some(_) => ("application/octet-stream", Vec::new()),
            None => ("application/json", serde_json::to_vec(&echo)?),
        };
        let length = steering.bytes.unwrap_or(json.len() as u64);
        let mut answer = self.response_head(steering.status, content_type, keep);
        // These two never have a body, and a 204 must not even say how long it is.
        let bodiless = matches!(steering.status.as_u16(), 204 | 304);
        if !bodiless {
            answer.push_str(&format!("content-length: {length}\r\n"));
        }
        answer.push_str("\r\n");
        let mut answer = answer.into_bytes();
        if bodiless || head.method == "HEAD" {
            return self.send(&answer).await;
        }
        answer.extend_from_slice(&json);
        self.send(&answer).await?;
        match steering.bytes {
            Some(bytes) => self.fill(bytes).await,
            None => Ok(()),
        }
    }

    fn response_head(&self, status: StatusCode, content_type: &str, keep: bool) -> String {
        let (code, reason) = (status.as_u16(), status.canonical_reason());
        let version = &self.version;
        let connection = if keep { "keep-alive" } else { "close" };
        format!(
            "HTTP/1.1 {code} {}\r\nx-echo-version: {version}\r\ncontent-type: {content_type}\r\n\
             connection: {connection}\r\n",
            reason.unwrap_or("Unnamed")
        )
    }

    async fn fill(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let piece = usize::try_from(bytes).map_or(FILLING.len(), |b| b.min(FILLING.len()));
            let piece = FILLING.get(..piece).unwrap_or(&FILLING);
            self.send(piece).await?;
            bytes -= piece.len() as u64;
        }
        Ok(())
    }

    /// Says what was wrong and closes: where the next request begins cannot be known.
    async fn refuse(&mut self, message: &str) -> io::Result<()> {
        let mut answer = self.response_head(StatusCode::BAD_REQUEST, "text/plain", false);
        let length = message.len() + 1;
        answer.push_str(&format!("content-length: {length}\r\n\r\n{message}\n"));
        self.send(answer.as_bytes()).await?;
        self.stream.shutdown().await
    }

    async fn read_exactly(&mut self, length: u64, body: &mut Body) -> io::Result<()> {
        let mut missing = length;
        while missing > 0 {
            if self.unread.is_empty() {
                self.receive().await?;
            }
            let here = usize::try_from(missing).unwrap_or(usize::MAX).min(self.unread.len());
            body.take(&self.unread.split_to(here));
            missing -= here as u64;
        }
        Ok(())
    }

    async fn read_chunks(&mut self, body: &mut Body) -> io::Result<()> {
        loop {
            let line = self.read_line().await?;
            let size = line.as_ref().split(|byte: &u8| *byte == b';').next().unwrap_or_default();
            let size = chunk_size(size).ok_or_else(|| malformed("a chunk has no size"))?;
            if size == 0 {
                break;
            }
            self.read_exactly(size, body).await?;
            if !self.read_line().await?.is_empty() {
                return Err(malformed("a chunk is longer than its size"));
            }
        }
        let mut trailers = 0;
        loop {
            let line = self.read_line().await?;
            trailers += line.len();
            if line.is_empty() {
                return Ok(());
            }
            if trailers > CHUNK_LINE_BYTES {
                return Err(malformed("the trailers are too long"));
            }
        }
    }

    /// A line between chunks, without its end.
    async fn read_line(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.unread.split_to(end);
                self.unread.advance(2);
                return Ok(line);
            }
            if self.unread.len() > CHUNK_LINE_BYTES {
                return Err(malformed("a line between chunks is too long"));
            }
            self.receive().await?;
        }
    }

    /// Waits until a piece of an answer is taken.
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(IDLE, self.stream.write_all(bytes)).await;
        sent.unwrap_or(Err(ErrorKind::TimedOut.into()))
    }

    /// Waits for more bytes.
    async fn receive(&mut self) -> io::Result<()> {
        match timeout(IDLE, self.stream.read_buf(&mut self.unread)).await {
            Ok(Ok(0)) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(outcome) => outcome.map(drop),
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    }
}

/// A request's body: how long it was, and how it began.
#[derive(Default)]
struct Body {
    length: u64,
    shown: Vec<u8>,
}

impl Body {
    fn take(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        let room = SHOWN_BYTES - self.shown.len();
        self.shown.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;

    struct Server {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        ended: JoinHandle<io::Result<()>>,
    }

    async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            serve(listener, "gray", shutdown).await
        });
        Server { address, stop, ended }
    }

    /// Everything the server answers to these bytes until it closes.
    async fn exchange(bytes: &[u8]) -> (String, SocketAddr) {
        let server = start().await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        server.stop.send(()).unwrap();
        server.ended.await.unwrap().unwrap();
        (String::from_utf8(answer).unwrap(), server.address)
    }

    fn json(answer: &str) -> serde_json::Value {
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    #[tokio::test]
    async fn a_request_is_shown_as_it_arrived() {
        let (answer, address) = exchange(
            b"GET //a/../%2e/\xff?x=%zz&y=<1>#f HTTP/1.1\r\nHost: h\r\nX-B: 1\r\nx-a:  2 \r\nX-B: \xff\r\n\
              Empty:\r\nConnection: close\r\n\r\n",
        )
        .await;
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\nx-echo-version: gray\r\n"), "{head}");
        assert_eq!(
            json(&answer),
            serde_json::json!({
                "version": "gray",
                "address": address.to_string(),
                "method": "GET",
                "path": "//a/../%2e/\u{fffd}?x=%zz&y=<1>#f",
                "headers": [["Host", "h"], ["X-B", "1"], ["x-a", "2"], ["X-B", "\u{fffd}"], ["Empty", ""],
                    ["Connection", "close"]],
                "body_bytes": 0,
                "body": "",
            })
        );
    }

    #[tokio::test]
    async fn bodies_are_counted_whole_and_shown_in_part() {
        let long = "x".repeat(SHOWN_BYTES + 10);
        let length = long.len();
        for (request, bytes, shown) in [
            ("content-length: 5\r\n\r\nhello".to_owned(), 5, "hello"),
            (
                "Transfer-Encoding: Chunked\r\n\r\n3;e=1\r\nhel\r\n02\r\nlo\r\n0\r\nt: 1\r\n\r\n".to_owned(),
                5,
                "hello",
            ),
            (format!("content-length: {length}\r\n\r\n{long}"), length, &long[..SHOWN_BYTES]),
        ] {
            let request = format!("POST /b HTTP/1.1\r\nconnection: close\r\n{request}");
            let (answer, _) = exchange(request.as_bytes()).await;
            let seen = json(&answer);
            assert_eq!(seen["body_bytes"], bytes);
            assert_eq!(seen["body"], shown);
        }
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_requests_may_be_pipelined() {
        let (answer, _) = exchange(
            b"GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiHEAD /3 HTTP/1.1\r\n\r\n\
              GET /4?echo-status=204 HTTP/1.1\r\n\r\nGET /5 HTTP/1.0\r\n\r\n",
        )
        .await;
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 4);
        assert_eq!(answer.matches("HTTP/1.1 204 No Content\r\n").count(), 1);
        let shown = |path: &str| answer.contains(&format!("\"path\":\"{path}\""));
        assert_eq!(["/1", "/2", "/3", "/5"].map(shown), [true, true, false, true]);
        assert_eq!(answer.matches("connection: close").count(), 1);
    }

    #[tokio::test]
    async fn expect_is_answered_before_the_body() {
        let server = start().await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head =
            b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"hi").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(json(&answer)["body"], "hi");
    }

    #[tokio::test]
    async fn the_query_steers_the_answer() {
        let request =
            b"GET /x?echo-status=503&echo-bytes=40000&echo-delay=1ms HTTP/1.1\r\nconnection: close\r\n\r\n";
        let (answer, _) = exchange(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("content-length: 40000"), "{head}");
        assert_eq!(body, "x".repeat(40_000));
        for query in [
            "echo-status=99",
            "echo-status=600",
            "echo-status=+200",
            "echo-delay=2",
            "echo-delay=1d",
            "echo-bytes=2GiB",
            "echo-bytes=x",
        ] {
            assert!(Steering::read(&format!("/?{query}")).is_err(), "{query}");
        }
        assert_eq!(Steering::read("/?echo-status&other=1&=").unwrap(), Steering::read("/").unwrap());
    }

    #[tokio::test]
    async fn what_can_be_read_in_two_ways_is_refused() {
        for request in [
            "GET / HTTP/2.0\r\n\r\n",
            "GET /a b HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
            "GET / HTTP/1.1\r\nspace : 1\r\n\r\n",
            "GET / HTTP/1.1\r\n folded: 1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length:\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            let (answer, _) = exchange(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{request:?}");
            assert!(answer.contains("connection: close\r\n"), "{request:?}");
        }
    }

    #[tokio::test]
    async fn shutdown_closes_idle_connections_and_ends_requests() {
        let server = start().await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET /idle HTTP/1.1\r\n\r\n").await.unwrap();
        let mut first = [0; 15];
        idle.read_exact(&mut first).await.unwrap();
        // Half of a body: the request is under way until the other half arrives.
        let head = b"POST /busy HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        busy.write_all(head).await.unwrap();
        let mut interim = [0; 25];
        busy.read_exact(&mut interim).await.unwrap();
        server.stop.send(()).unwrap();
        let mut rest = String::new();
        idle.read_to_string(&mut rest).await.unwrap();
        assert!(rest.contains("/idle"));
        busy.write_all(b"hi").await.unwrap();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        server.ended.await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[tokio::test]
    async fn a_version_that_would_break_the_answer_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let outcome = serve(listener, "a\r\nb", std::future::pending()).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
