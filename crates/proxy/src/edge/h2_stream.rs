//! One request over HTTP/2, as the framework sees it, and as the short path does.
//!
//! Answers: how is its body read and its response written? Stands in for the framework's own stream, which waits for
//! a client and an upstream without an end, and answers malformed requests in its own words. Never: admits or decides.
//! The framework calls what is no HTTP/1 "custom" and leaves authorities and hop-by-hop headers of it to us: `h2`
//! looks at both before a request gets here.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, Response, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::body_buffer::FixedBuffer;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::http::date::get_cached_date;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::time::timeout;

use super::handed::{self, Handed};
use super::waits::{Waits, Watch};

/// Bytes of a request's body that are held for another try, as over HTTP/1.
const HELD: usize = 64 << 10;

/// Headers that concern an HTTP/1 connection and have no place here (RFC 9113, 8.2.2).
const CONNECTION_HEADERS: [HeaderName; 5] = [
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A request and its response.
pub struct H2Stream {
    request: RequestHeader,
    body: RecvStream,
    /// What was taken of the body before it is read.
    ahead: VecDeque<Bytes>,
    respond: SendResponse<Bytes>,
    /// The response's body, once its header is written.
    sender: Option<SendStream<Bytes>>,
    written: Option<Box<ResponseHeader>>,
    has_ended: bool,
    read: usize,
    sent: usize,
    held: Option<FixedBuffer>,
    digest: Arc<Digest>,
    watch: Watch,
    write_timeout: Option<Duration>,
    drain_timeout: Option<Duration>,
}

/// Who asked, and how to answer.
pub struct Client {
    pub digest: Arc<Digest>,
    pub respond: SendResponse<Bytes>,
}

impl H2Stream {
    /// `rate` is the slowest body, bytes a second; 0: in its own time.
    pub fn new(mut request: RequestHeader, body: RecvStream, client: Client, rate: u64) -> H2Stream {
        let Client { digest, respond } = client;
        let waits = Arc::<Waits>::default();
        waits.begin(if body.is_end_stream() { 0 } else { rate });
        request.extensions_mut().insert(waits.clone());
        H2Stream {
            request,
            body,
            ahead: VecDeque::new(),
            respond,
            sender: None,
            written: None,
            has_ended: false,
            read: 0,
            sent: 0,
            held: None,
            digest,
            watch: Watch::over(waits),
            write_timeout: None,
            drain_timeout: None,
        }
    }

    /// Whether the client will send nothing more, and nothing that came waits to be looked at.
    pub fn client_has_ended(&self) -> bool {
        self.body.is_end_stream()
    }

    /// What was taken of the body by [`Self::poll_whole`].
    pub fn ahead(&self) -> &VecDeque<Bytes> {
        &self.ahead
    }

    /// Ready once the whole body is here, or it shows that it never will be: false. It can still be read.
    pub fn poll_whole(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while !self.body.is_end_stream() {
            let Some(Ok(piece)) = ready!(self.body.poll_data(cx)) else { return Poll::Ready(false) };
            let _ = self.body.flow_control().release_capacity(piece.len());
            if !piece.is_empty() {
                self.ahead.push_back(piece);
            }
        }
        Poll::Ready(true)
    }

    /// Lets the framework's hooks have what is known of the request.
    pub fn hand(&mut self, known: Handed) {
        handed::hand(self.request.extensions_mut(), known);
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if let Some(piece) = self.ahead.pop_front() {
            self.note_read(&piece);
            return Poll::Ready(Ok(Some(piece)));
        }
        // An empty frame is no piece of a body: towards HTTP/1 it would be taken for the last chunk, and the body's end
        // would then write another one.
        let piece = loop {
            match self.body.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) if piece.is_empty() => {}
                Poll::Ready(Some(piece)) => break piece,
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => return self.poll_overdue(cx),
            }
        };
        let piece = piece.or_err(ErrorType::ReadError, "while reading the request's body")?;
        self.note_read(&piece);
        // A connection that is gone needs no room.
        let _ = self.body.flow_control().release_capacity(piece.len());
        Poll::Ready(Ok(Some(piece)))
    }

    fn note_read(&mut self, piece: &Bytes) {
        self.watch.waits.got(piece.len());
        self.read += piece.len();
        if let Some(held) = &mut self.held {
            held.write_to_buffer(piece);
        }
    }

    /// Ready once the client has given the request up.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let reset = match &mut self.sender {
            Some(sender) => sender.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.map(drop)
    }

    /// Fails once the client has given the request up.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        match self.poll_reset(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Error::explain(
                ErrorType::ConnectionClosed,
                "the client gave the request up",
            ))),
            Poll::Pending => self.poll_overdue(cx),
        }
    }

    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        self.watch.poll(cx).map(|overdue| Error::e_explain(ErrorType::ReadTimedout, overdue.as_str()))
    }

    fn is_read_whole(&self) -> bool {
        self.has_no_body() || (self.ahead.is_empty() && self.body.is_end_stream())
    }

    fn has_no_body(&self) -> bool {
        let says_so = || self.request.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        self.read == 0 && self.ahead.is_empty() && (self.body.is_end_stream() || says_so())
    }

    fn write_header(&mut self, mut response: Box<ResponseHeader>, end: bool) -> Result<()> {
        // The `h2` crate sends one header; interim ones are left out.
        if self.has_ended || self.written.is_some() || response.status.is_informational() {
            return Ok(());
        }
        settle(&mut response)?;
        self.send_header(Response::from_parts(response.as_owned_parts(), ()), end)?;
        self.written = Some(response);
        Ok(())
    }

    /// Begins the response of a request that the framework never gets; its header is the final one.
    pub fn begin_response(&mut self, mut response: ResponseHeader, end: bool) -> Result<()> {
        settle(&mut response)?;
        self.send_header(Response::from_parts(response.into(), ()), end)
    }

    fn send_header(&mut self, head: Response<()>, end: bool) -> Result<()> {
        let sender = self.respond.send_response(head, end);
        self.sender = Some(sender.or_err(ErrorType::WriteError, "while writing the response's header")?);
        self.has_ended = end;
        Ok(())
    }

    /// Writes a piece of the response's body, as fast as the client takes it.
    pub async fn write_piece(&mut self, piece: Bytes, end: bool) -> Result<()> {
        if piece.is_empty() && end {
            return self.end();
        }
        if self.has_ended {
            return Ok(());
        }
        let (length, limit) = (piece.len(), self.write_timeout.unwrap_or(Duration::MAX));
        send(self.sender()?, piece, end, limit).await?;
        self.sent += length;
        self.has_ended = end;
        Ok(())
    }

    fn sender(&mut self) -> Result<&mut SendStream<Bytes>> {
        let early = || Error::explain(ErrorType::H2Error, "a body before its header");
        self.sender.as_mut().ok_or_else(early)
    }

    fn end(&mut self) -> Result<()> {
        // Without a header the stream is reset when it is dropped.
        if !self.has_ended
            && let Some(sender) = &mut self.sender
        {
            let ended = sender.send_data(Bytes::new(), true);
            ended.or_err(ErrorType::WriteError, "while ending the response")?;
            self.has_ended = true;
        }
        Ok(())
    }

    /// Takes one step of the response; true at its end.
    async fn run(&mut self, task: HttpTask) -> Result<bool> {
        let (written, end) = match task {
            HttpTask::Header(header, end) => (self.write_header(header, end), end),
            HttpTask::Body(Some(piece), end) if !piece.is_empty() => (self.write_body(piece, end).await, end),
            HttpTask::Body(_, end) => (Ok(()), end),
            HttpTask::Trailer(Some(trailers)) => (self.write_trailers(*trailers).await, true),
            HttpTask::Trailer(None) | HttpTask::Done => (Ok(()), true),
            // Whose fault that is it says itself.
            HttpTask::Failed(error) => return Err(error),
            HttpTask::UpgradedBody(..) => {
                return Error::e_explain(ErrorType::InternalError, "another protocol over HTTP/2");
            }
        };
        written.map(|()| end).map_err(Error::into_down)
    }
}

#[async_trait]
impl Session for H2Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.request
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.request
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_body(cx)).await
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_read_whole() {
            return poll_fn(|cx| self.poll_gone(cx)).await;
        }
        self.read_body_bytes().await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let limit = self.drain_timeout.unwrap_or(Duration::MAX);
        let drained = async {
            while !self.is_read_whole() && self.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        let drained = timeout(limit, drained).await;
        drained.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "while draining a body"))
    }

    async fn write_response_header(&mut self, response: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.write_header(response, end)
    }

    async fn write_response_header_ref(&mut self, response: &ResponseHeader, end: bool) -> Result<()> {
        self.write_header(Box::new(response.clone()), end)
    }

    async fn write_body(&mut self, piece: Bytes, end: bool) -> Result<()> {
        self.write_piece(piece, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if !self.has_ended {
            let sent = self.sender()?.send_trailers(trailers);
            sent.or_err(ErrorType::WriteError, "while writing trailers")?;
            self.has_ended = true;
        }
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut has_ended = false;
        for task in tasks {
            has_ended |= self.run(task).await?;
        }
        if has_ended {
            self.end().map_err(Error::into_down)?;
        }
        Ok(has_ended)
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    async fn shutdown(&mut self, _code: u32, _why: &str) {
        if !self.has_ended {
            self.respond.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    // How long a body may take is watched over `limits.body_rate`; a conversation may be silent.
    fn set_read_timeout(&mut self, _limit: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, limit: Option<Duration>) {
        self.write_timeout = limit;
    }

    fn get_write_timeout(&self) -> Option<Duration> {
        self.write_timeout
    }

    fn set_total_drain_timeout(&mut self, limit: Option<Duration>) {
        self.drain_timeout = limit;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} over HTTP/2", self.request.method)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    fn is_body_done(&mut self) -> bool {
        self.is_read_whole()
    }

    fn is_body_empty(&mut self) -> bool {
        self.has_no_body()
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
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

/// Says when the response was made, and nothing of a connection.
fn settle(response: &mut ResponseHeader) -> Result<()> {
    if !response.headers.contains_key(header::DATE) {
        response.insert_header(header::DATE, get_cached_date())?;
    }
    for name in CONNECTION_HEADERS {
        response.remove_header(&name);
    }
    Ok(())
}

/// Sends a piece as fast as the client takes it; `limit` is the longest wait for a client that takes nothing.
async fn send(sender: &mut SendStream<Bytes>, mut piece: Bytes, end: bool, limit: Duration) -> Result<()> {
    while !piece.is_empty() {
        sender.reserve_capacity(piece.len());
        let room = timeout(limit, poll_fn(|cx| sender.poll_capacity(cx))).await;
        let room = room.map_err(|_| Error::explain(ErrorType::WriteTimedout, "the client takes nothing"))?;
        let room = room.transpose().or_err(ErrorType::WriteError, "while writing the response's body")?;
        let gone = || Error::explain(ErrorType::WriteError, "the client gave the request up");
        let part = piece.split_to(room.ok_or_else(gone)?.min(piece.len()));
        let is_last = end && piece.is_empty();
        sender.send_data(part, is_last).or_err(ErrorType::WriteError, "while writing the response's body")?;
    }
    Ok(())
}

type MessageReader = Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>;

/// A request over a connection of its own, the client's end of it, and the response it waits for.
#[cfg(test)]
pub async fn asked_over_h2(window: u32) -> (H2Stream, h2::client::ResponseFuture) {
    let (own, client) = tokio::io::duplex(64 << 10);
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window);
    let (server, client) = tokio::join!(h2::server::handshake(own), builder.handshake::<_, Bytes>(client));
    let (mut server, (client, connection)) = (server.unwrap(), client.unwrap());
    tokio::spawn(connection);
    let request = http::Request::get("http://app.test/").body(()).unwrap();
    let (response, _) = client.ready().await.unwrap().send_request(request, true).unwrap();
    let (request, respond) = server.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while server.accept().await.is_some() {} });
    let (head, body) = request.into_parts();
    let digest = Arc::new(Digest {
        ssl_digest: None,
        timing_digest: vec![Some(pingora::protocols::TimingDigest::default())],
        proxy_digest: None,
        socket_digest: None,
    });
    (H2Stream::new(head.into(), body, Client { digest, respond }, 0), response)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_left() {
        const LIMIT: Duration = Duration::from_secs(60);
        let (mut stream, response) = asked_over_h2(10).await;
        stream.set_write_timeout(Some(LIMIT));
        let header = Box::new(ResponseHeader::build(200, None).unwrap());
        stream.write_response_header(header, false).await.unwrap();
        let mut body = response.await.unwrap().into_body();
        // As long as it makes room now and then, it is waited for.
        let slow = async {
            for _ in 0..5 {
                let piece = body.data().await.unwrap().unwrap();
                tokio::time::sleep(LIMIT - Duration::from_secs(1)).await;
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_body(Bytes::from_static(&[0; 50]), false), slow);
        written.unwrap();
        let begun = Instant::now();
        let error = stream.write_body(Bytes::from_static(&[0; 50]), true).await.unwrap_err();
        assert_eq!((error.etype(), begun.elapsed()), (&ErrorType::WriteTimedout, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_response_ends_the_wait() {
        let (mut stream, _response) = asked_over_h2(10).await;
        let due = Instant::now() + Duration::from_secs(5);
        stream.watch.waits.expect_response(due.into_std());
        let error = stream.read_body_or_idle(true).await.unwrap_err();
        assert_eq!((error.etype(), Instant::now()), (&ErrorType::ReadTimedout, due));
        assert!(stream.watch.waits.take_late());
    }

    #[tokio::test]
    async fn a_client_that_leaves_ends_the_wait() {
        let (mut stream, response) = asked_over_h2(10).await;
        drop(response);
        let error = stream.read_body_or_idle(true).await.unwrap_err();
        assert_eq!(error.etype(), &ErrorType::ConnectionClosed);
    }
}
