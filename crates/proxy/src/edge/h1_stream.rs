//! One request over HTTP/1, as the framework sees it.
//!
//! Answers: how is its body read and its response written, and may another request follow? Stands in for the framework's
//! own session, which would read the head once more. Never: admits or decides. To the framework it is "custom", which
//! leaves the connection's end to us: the connection is given back to its loop when the request is over.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use http::{HeaderMap, HeaderValue, Version, header};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::body_buffer::FixedBuffer;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::date::get_cached_date;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::server::ShutdownWatch;
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::time::{Instant, timeout};

use super::chunks::Malformed;
use super::client_stream::ClientStream;
use super::h1_response::{Framing, Told, framing};
use super::handed::{self, Handed};
use super::head::Lines;
use super::rest::Rest;

/// Bytes of a request's body that are held for another try, as over HTTP/2.
const HELD: usize = 64 << 10;
/// Bytes of a body that are read at a time.
const ROOM: usize = 64 << 10;

const KEEP_ALIVE: HeaderValue = HeaderValue::from_static("keep-alive");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What becomes of a connection behind a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another request may follow.
    Next,
    /// The response was whole, and the last one.
    Last,
    /// The same, and the client may still send what was not waited for.
    Unread,
    /// Only its end says that the response is not whole.
    Broken,
}

/// A connection whose request is over.
type Back = (Box<ClientStream>, After);

/// Gets a connection back once its request is over.
#[derive(Clone, Default)]
pub struct WayBack(Arc<Mutex<Option<Back>>>);

impl WayBack {
    pub fn take(self) -> Option<Back> {
        self.0.lock().take()
    }
}

/// A request and its response.
pub struct H1Stream {
    request: RequestHeader,
    /// `None` only while it is being dropped.
    client: Option<Box<ClientStream>>,
    way_back: WayBack,
    shutdown: ShutdownWatch,
    digest: Digest,
    rest: Rest,
    /// Bytes of its body so far.
    read: usize,
    held: Option<FixedBuffer>,
    read_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
    written: Option<Box<ResponseHeader>>,
    told: Told,
    /// No request follows.
    is_last: bool,
    /// The client did not take what was written, or not yet.
    is_unsure: bool,
    is_upgraded: bool,
}

/// A request's head, and what is to come of it.
pub struct Request {
    pub header: RequestHeader,
    pub rest: Rest,
    /// The client wants the connection to end behind the answer.
    pub is_last: bool,
}

impl Request {
    /// Of the head whose bytes these are; an error where it says what the framework cannot.
    pub fn new(head: &Bytes, lines: &Lines, rest: Rest) -> Result<Request> {
        let (method, target) = (lines.method.within(head), lines.target.within(head));
        let mut header = RequestHeader::build(method, target, Some(lines.fields.len()))?;
        header.set_version(lines.version);
        for line in &lines.fields {
            let value = HeaderValue::from_maybe_shared(head.slice(line.value.range()));
            let value = value.or_err(ErrorType::InvalidHTTPHeader, "in a field of a request")?;
            header.append_header(head.slice(line.name.range()), value)?;
        }
        Ok(Request { header, rest, is_last: lines.is_last })
    }
}

impl H1Stream {
    /// `rate` is the slowest body, bytes a second; 0: in its own time. The [`WayBack`] gets the connection back.
    pub fn new(
        client: Box<ClientStream>,
        request: Request,
        rate: u64,
        shutdown: &ShutdownWatch,
    ) -> (H1Stream, WayBack) {
        let Request { mut header, rest, is_last } = request;
        let (way_back, digest) = (WayBack::default(), client.digest());
        client.waits().begin(if rest.is_over() { 0 } else { rate });
        header.extensions_mut().insert(client.waits().clone());
        let stream = H1Stream {
            request: header,
            client: Some(client),
            way_back: way_back.clone(),
            shutdown: shutdown.clone(),
            digest,
            rest,
            read: 0,
            held: None,
            read_timeout: None,
            drain_timeout: None,
            written: None,
            told: Told::default(),
            is_last,
            is_unsure: false,
            is_upgraded: false,
        };
        (stream, way_back)
    }

    /// Lets the framework's hooks have what is known of the request.
    pub fn hand(&mut self, known: Handed) {
        handed::hand(self.request.extensions_mut(), known);
    }

    /// Ready with the next piece of the body, or `None` behind its end.
    fn poll_body(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        while !self.rest.is_over() {
            let client = client(&mut self.client)?;
            if !client.ahead().is_empty() {
                let piece = self.rest.take(client.ahead()).map_err(malformed)?;
                if !piece.is_empty() {
                    self.note_read(&piece);
                    return Poll::Ready(Ok(Some(piece)));
                }
                continue;
            }
            match client.poll_ahead(ROOM, cx) {
                Poll::Ready(Ok(0)) if self.is_upgraded => self.rest = Rest::Bytes(0),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(gone("in its request"))),
                Poll::Ready(Ok(count)) => client.waits().got(count),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Error::e_because(ErrorType::ReadError, "in a request's body", error));
                }
                Poll::Pending => return self.poll_overdue(due, cx),
            }
        }
        Poll::Ready(Ok(None))
    }

    fn note_read(&mut self, piece: &Bytes) {
        self.read += piece.len();
        if let Some(held) = &mut self.held {
            held.write_to_buffer(piece);
        }
    }

    /// Fails once the client has gone.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match client(&mut self.client)?.poll_gone(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(gone("before its answer"))),
            Poll::Ready(Err(error)) => {
                Poll::Ready(Error::e_because(ErrorType::ReadError, "before an answer", error))
            }
            Poll::Pending => self.poll_overdue(None, cx),
        }
    }

    fn poll_overdue(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        let client = client(&mut self.client)?;
        if let Poll::Ready(overdue) = client.poll_overdue(cx) {
            return Poll::Ready(Error::e_explain(ErrorType::ReadTimedout, overdue.as_str()));
        }
        let Some(due) = due else { return Poll::Pending };
        ready!(client.poll_due(due, cx));
        Poll::Ready(Error::e_explain(ErrorType::ReadTimedout, "the request's body stopped"))
    }

    fn write_header(&mut self, mut response: Box<ResponseHeader>) -> Result<()> {
        if self.written.is_some() {
            return Ok(());
        }
        if response.status.is_informational() && response.status != 101 {
            // Clients of HTTP/1.0 know none (RFC 9110, 15.2).
            if self.request.version != Version::HTTP_10 {
                self.told.interim(&response);
            }
            return Ok(());
        }
        let framing = framing(&self.request.method, &response);
        self.settle(&mut response, framing)?;
        self.told.begin(&response, framing);
        self.written = Some(response);
        Ok(())
    }

    /// Says when the response was made, and whether the connection goes on.
    fn settle(&mut self, response: &mut ResponseHeader, framing: Framing) -> Result<()> {
        if response.status == 101 {
            (self.is_upgraded, self.is_last, self.rest) = (true, true, Rest::Everything);
            return Ok(());
        }
        // An answer that overtakes the body is the last one: the rest of the body may be long.
        self.is_last |= framing == Framing::Close || !self.rest.is_over() || *self.shutdown.borrow();
        let date = response.headers.get(header::DATE).cloned().unwrap_or_else(get_cached_date);
        response.insert_header(header::DATE, date)?;
        response.insert_header(header::CONNECTION, if self.is_last { CLOSE } else { KEEP_ALIVE })
    }

    async fn write_piece(&mut self, piece: Bytes) -> Result<()> {
        self.is_unsure = true;
        self.told.piece(client(&mut self.client)?, piece).await?;
        self.is_unsure = false;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.written.is_some() && !self.told.has_ended() {
            self.told.end()?;
        }
        if self.is_upgraded {
            // What the client may still say has no hearer.
            self.rest = Rest::Bytes(0);
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        self.is_unsure = true;
        self.told.flush(client(&mut self.client)?).await?;
        self.is_unsure = false;
        Ok(())
    }

    /// Takes one step of the response; true at its end.
    async fn run(&mut self, task: HttpTask) -> Result<bool> {
        let (written, end) = match task {
            HttpTask::Header(header, end) => (self.write_header(header), end),
            HttpTask::Body(Some(piece), end) | HttpTask::UpgradedBody(Some(piece), end) => {
                (self.write_piece(piece).await, end)
            }
            HttpTask::Body(None, end) | HttpTask::UpgradedBody(None, end) => (Ok(()), end),
            // Trailers concern the upstream's framing; what they say is not passed on.
            HttpTask::Trailer(_) | HttpTask::Done => (Ok(()), true),
            // Whose fault that is it says itself; what came before it is sent.
            HttpTask::Failed(error) => {
                self.flush().await.map_err(Error::into_down)?;
                return Err(error);
            }
        };
        written.map(|()| end).map_err(Error::into_down)
    }

    /// What becomes of the connection.
    fn after(&self) -> After {
        match (self.told.has_ended() && !self.is_unsure, self.is_last) {
            (true, false) => After::Next,
            (true, true) if self.rest.is_over() => After::Last,
            (true, true) => After::Unread,
            (false, _) => After::Broken,
        }
    }
}

impl Drop for H1Stream {
    fn drop(&mut self) {
        let after = self.after();
        *self.way_back.0.lock() = self.client.take().map(|client| (client, after));
    }
}

/// Beside the rest of the request, which stays free to be changed.
fn client(client: &mut Option<Box<ClientStream>>) -> Result<&mut ClientStream> {
    client.as_deref_mut().ok_or_else(|| gone("already"))
}

fn gone(when: &'static str) -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, format!("the client left {when}"))
}

fn malformed(error: Malformed) -> Box<Error> {
    Error::because(ErrorType::InvalidHTTPHeader, "in a request's body", error)
}

#[async_trait]
impl Session for H1Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let due = self.read_timeout.map(|limit| Instant::now() + limit);
        poll_fn(|cx| self.poll_body(due, cx)).await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.rest.is_over() {
            return poll_fn(|cx| self.poll_gone(cx)).await;
        }
        self.read_body_bytes().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout.unwrap_or(Duration::MAX);
        let drained = async {
            while self.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        let drained = timeout(limit, drained).await;
        drained.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "while draining a body"))
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        let is_interim = response.status.is_informational();
        self.write_header(response)?;
        match (end, is_interim) {
            (true, _) => self.finish().await,
            (false, true) => self.flush().await,
            // A body follows at once, and goes with the head.
            (false, false) => Ok(()),
        }
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, end: bool) -> Result<()> {
        self.write_response_header(Box::new(response.clone()), end).await
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> Result<()> {
        self.write_piece(piece).await?;
        if end { self.finish().await } else { self.flush().await }
    }

    async fn write_trailers(&mut self, _trailers: HeaderMap) -> Result<()> {
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut has_ended = false;
        for task in tasks {
            has_ended |= self.run(task).await?;
        }
        match has_ended {
            true => self.finish().await.map_err(Error::into_down)?,
            false => self.flush().await.map_err(Error::into_down)?,
        }
        Ok(has_ended || self.told.has_ended())
    }

    async fn finish(&mut self) -> Result<()> {
        // What was said is sent even where it is not whole.
        let ended = self.end();
        self.flush().await?;
        ended
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        self.is_unsure = true;
    }

    fn set_read_timeout(&mut self, limit: Option<Duration>) {
        self.read_timeout = limit;
    }

    fn get_read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    // The connection itself watches for a client that takes nothing.
    fn set_write_timeout(&mut self, _limit: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, limit: Option<Duration>) {
        self.drain_timeout = limit;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} over HTTP/1", self.request.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    fn is_body_done(&mut self) -> bool {
        self.rest.is_over()
    }

    fn is_body_empty(&mut self) -> bool {
        self.read == 0 && self.rest.is_over()
    }

    fn body_bytes_sent(&self) -> usize {
        self.told.sent()
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Some(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    fn enable_retry_buffering(&mut self) {
        self.held.get_or_insert_with(|| FixedBuffer::new(HELD));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.held.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.held.as_ref().filter(|held| !held.is_truncated())?.get_buffer()
    }

    fn is_upgrade_req(&self) -> bool {
        self.request.version == Version::HTTP_11 && self.request.headers.contains_key(header::UPGRADE)
    }

    fn was_upgraded(&self) -> bool {
        self.is_upgraded
    }

    // What follows is for subrequests and for protocols with messages beside a body; there are none here.

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(&mut self) -> Option<MessageReader> {
        None
    }

    fn restore_custom_message_reader(&mut self, _reader: MessageReader) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _writer: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}

type MessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::Method;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::watch;

    use super::super::client_stream::WRITE_STALL;
    use super::super::head::{Head, find};
    use super::super::settings::Limits;
    use super::*;

    const RATE: u64 = 10;
    const SECOND: Duration = Duration::from_secs(1);

    /// A request whose head is `head`, behind which `ahead` came, and the client's end of its connection.
    fn asked(head: &str, ahead: &str) -> (H1Stream, WayBack, DuplexStream) {
        let Head::Complete(found) = find(head.as_bytes(), 0, &Limits::default()) else { panic!("{head}") };
        let bytes = Bytes::copy_from_slice(head.as_bytes());
        let request = Request::new(&bytes, &found.lines, Rest::of(found.body)).unwrap();
        let (own, client) = duplex(64 << 10);
        let mut connection = ClientStream::open(Box::new(own), WRITE_STALL);
        connection.put_back(BytesMut::from(ahead));
        let (_running, shutdown) = watch::channel(false);
        let (mut stream, way_back) = H1Stream::new(connection, request, RATE, &shutdown);
        stream.set_read_timeout(Some(60 * SECOND));
        (stream, way_back, client)
    }

    fn get() -> (H1Stream, WayBack, DuplexStream) {
        asked("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "")
    }

    fn header(status: u16, fields: &[(&'static str, &'static str)]) -> Box<ResponseHeader> {
        let mut header = ResponseHeader::build(status, None).unwrap();
        header.insert_header("Date", "now").unwrap();
        for (name, value) in fields {
            header.append_header(*name, *value).unwrap();
        }
        Box::new(header)
    }

    fn body(text: &'static str, end: bool) -> HttpTask {
        HttpTask::Body(Some(Bytes::from_static(text.as_bytes())), end)
    }

    #[test]
    fn a_head_is_the_one_that_came() {
        let (stream, _, _client) = asked("PUT /a?b HTTP/1.0\r\nX-Own:  v \r\nx-own: w\r\n\r\n", "");
        let header = stream.req_header();
        assert_eq!((&header.method, header.version), (&Method::PUT, Version::HTTP_10));
        assert_eq!(header.raw_path(), b"/a?b");
        let mut written = BytesMut::new();
        header.header_to_h1_wire(&mut written);
        assert_eq!(&written[..], b"X-Own: v\r\nx-own: w\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_response_ends_the_wait_once() {
        let (mut stream, _back, _client) = get();
        let waits = stream.client.as_ref().unwrap().waits().clone();
        for seconds in [5, 60, 3] {
            let due = Instant::now() + seconds * SECOND;
            waits.expect_response(due.into_std());
            let error = stream.read_body_or_idle(true).await.unwrap_err();
            assert_eq!((error.etype(), Instant::now()), (&ErrorType::ReadTimedout, due));
            assert!(waits.take_late());
            assert!(!waits.take_late());
        }
        waits.expect_response((Instant::now() + SECOND).into_std());
        waits.response_began();
        assert!(timeout(3_600 * SECOND, stream.read_body_or_idle(true)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_left_and_one_that_flows_is_not() {
        let (mut stream, _back, mut client) =
            asked("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n", "");
        let waits = stream.client.as_ref().unwrap().waits().clone();
        // Twice the rate, for a minute.
        for _ in 0..60 {
            let (read, ()) = tokio::join!(stream.read_body_bytes(), async {
                tokio::time::sleep(SECOND).await;
                client.write_all(&[0; 20]).await.unwrap();
            });
            assert_eq!(read.unwrap().unwrap().len(), 20);
        }
        // What we do not read we do not wait for.
        tokio::time::sleep(3_600 * SECOND).await;
        let begun = Instant::now();
        // Half a minute and the grace are what was earned; every byte adds a tenth of a second.
        let failed = loop {
            let (read, ()) = tokio::join!(stream.read_body_bytes(), async {
                tokio::time::sleep(SECOND).await;
                let _ = client.write_all(&[0]).await;
            });
            if let Err(error) = read {
                break error;
            }
        };
        assert_eq!(failed.etype(), &ErrorType::ReadTimedout);
        let taken = begun.elapsed().as_secs();
        assert!((65..=80).contains(&taken), "{taken}");
        assert!(waits.take_slow());
        assert!(!waits.take_slow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_is_left() {
        let (mut stream, _back, _client) =
            asked("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n", "");
        stream.client.as_ref().unwrap().waits().body_ended();
        let begun = Instant::now();
        let error = stream.read_body_bytes().await.unwrap_err();
        assert_eq!((error.etype(), begun.elapsed()), (&ErrorType::ReadTimedout, 60 * SECOND));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_no_further() {
        let chunked = "Transfer-Encoding: chunked";
        for (field, ahead, later, expected) in [
            ("Content-Length: 4", "", "bodyGET /next", Ok("body")),
            ("Content-Length: 4", "bodyGET", " /next", Ok("body")),
            ("Content-Length: 4", "bo", "dyGET /next", Ok("body")),
            (chunked, "2\r\nbo\r", "\n2\r\ndy\r\n0\r\n\r\nGET /next", Ok("body")),
            (chunked, "0\r\n\r\nGET /", "next", Ok("")),
            (chunked, "2\r\nbo\r", "x", Err(ErrorType::InvalidHTTPHeader)),
            ("Content-Length: 4", "bo", "", Err(ErrorType::ConnectionClosed)),
        ] {
            let head = format!("PUT / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
            let (mut stream, way_back, mut client) = asked(&head, ahead);
            stream.enable_retry_buffering();
            assert!(!stream.is_body_empty() && !stream.is_body_done());
            client.write_all(later.as_bytes()).await.unwrap();
            client.shutdown().await.unwrap();
            let mut body = Vec::new();
            let read = loop {
                match stream.read_body_bytes().await {
                    Ok(Some(piece)) => body.extend_from_slice(&piece),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error.etype().clone()),
                }
            };
            assert_eq!(read.map(|()| std::str::from_utf8(&body).unwrap()), expected, "{field} {ahead}");
            assert_eq!(stream.body_bytes_read(), body.len());
            if expected.is_err() {
                continue;
            }
            assert!(stream.is_body_done() && stream.is_body_empty() == body.is_empty());
            assert_eq!(stream.get_retry_buffer().unwrap_or_default(), body);
            // The client's end shows only once nothing of the request is left.
            let error = stream.read_body_or_idle(false).await.unwrap_err();
            assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
            stream.write_response_header(header(204, &[]), true).await.unwrap();
            drop(stream);
            let Some((mut back, After::Next)) = way_back.take() else { panic!("{field} {ahead}") };
            let mut next = String::new();
            back.read_to_string(&mut next).await.unwrap();
            assert_eq!(next, "GET /next");
        }
    }

    #[tokio::test]
    async fn bytes_before_a_switch_of_protocols_are_read_behind_it() {
        let (mut stream, way_back, mut client) =
            asked("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "early, ");
        assert!(stream.is_upgrade_req() && !stream.was_upgraded());
        client.write_all(b"between, ").await.unwrap();
        // While the other side has not answered, the framework waits for the end of the connection, again and again.
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(1), stream.read_body_or_idle(false)).await.is_err());
        }
        let switch = header(101, &[("Upgrade", "x")]);
        assert!(!stream.response_duplex_vec(vec![HttpTask::Header(switch, false)]).await.unwrap());
        assert!(stream.was_upgraded() && !stream.is_body_done());
        client.write_all(b"later").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        while let Some(piece) = stream.read_body_or_idle(false).await.unwrap() {
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, b"early, between, later");
        let said = HttpTask::UpgradedBody(Some(Bytes::from_static(b"any bytes")), true);
        assert!(stream.response_duplex_vec(vec![said]).await.unwrap());
        drop(stream);
        assert!(matches!(way_back.take(), Some((_, After::Last))));
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        assert_eq!(told, "HTTP/1.1 101 Switching Protocols\r\nDate: now\r\nUpgrade: x\r\n\r\nany bytes");
    }

    #[tokio::test]
    async fn the_end_of_the_connection_shows_at_once() {
        let (mut stream, _back, client) = get();
        drop(client);
        let error = stream.read_body_or_idle(false).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    }

    #[tokio::test]
    async fn a_response_says_whether_another_request_may_follow() {
        const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        const PUT: &str = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";
        const LAST: &str = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        const OLD: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        let length = || HttpTask::Header(header(200, &[("Content-Length", "2")]), false);
        let chunks = || HttpTask::Header(header(200, &[("Transfer-Encoding", "chunked")]), false);
        let until_the_end = || HttpTask::Header(header(200, &[]), false);
        let hint = || HttpTask::Header(header(103, &[]), false);
        let failed = || HttpTask::Failed(Error::new(ErrorType::ReadError));
        let (keep, close) = ("Connection: keep-alive\r\n", "Connection: close\r\n");
        let with = |fields: &str, connection: &str, body: &str| {
            format!("HTTP/1.1 200 OK\r\nDate: now\r\n{fields}{connection}\r\n{body}")
        };
        let two = "Content-Length: 2\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        for (request, tasks, expected, after) in [
            (GET, vec![length(), body("ab", true)], with(two, keep, "ab"), After::Next),
            (GET, vec![length(), body("abc", false)], with(two, keep, "ab"), After::Next),
            (GET, vec![length(), body("a", true)], with(two, keep, "a"), After::Broken),
            (GET, vec![length(), body("a", false), failed()], with(two, keep, "a"), After::Broken),
            (
                GET,
                vec![chunks(), body("ab", false), HttpTask::Done],
                with(chunked, keep, "2\r\nab\r\n0\r\n\r\n"),
                After::Next,
            ),
            (GET, vec![chunks(), body("ab", false)], with(chunked, keep, "2\r\nab\r\n"), After::Broken),
            (GET, vec![until_the_end(), body("ab", true)], with("", close, "ab"), After::Last),
            (LAST, vec![length(), body("ab", true)], with(two, close, "ab"), After::Last),
            (OLD, vec![hint(), length(), body("ab", true)], with(two, keep, "ab"), After::Next),
            (PUT, vec![length(), body("ab", true)], with(two, close, "ab"), After::Unread),
            (
                GET,
                vec![hint(), length(), body("ab", true)],
                format!("HTTP/1.1 103 Early Hints\r\nDate: now\r\n\r\n{}", with(two, keep, "ab")),
                After::Next,
            ),
            (GET, vec![], String::new(), After::Broken),
        ] {
            let (mut stream, way_back, mut client) = asked(request, "");
            let names: Vec<_> = tasks.iter().map(HttpTask::type_str).collect();
            let _ = stream.response_duplex_vec(tasks).await;
            drop(stream);
            let (connection, came_to) = way_back.take().unwrap();
            drop(connection);
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            assert_eq!((told, came_to), (expected, after), "{request} {names:?}");
        }
    }

    #[tokio::test]
    async fn the_last_response_of_a_process_says_so() {
        let (mut stream, way_back, _client) = get();
        let (ending, shutdown) = watch::channel(false);
        stream.shutdown = shutdown;
        ending.send(true).unwrap();
        stream.write_response_header(header(204, &[]), true).await.unwrap();
        assert_eq!(stream.response_written().unwrap().headers["connection"], "close");
        drop(stream);
        assert!(matches!(way_back.take(), Some((_, After::Last))));
    }
}
