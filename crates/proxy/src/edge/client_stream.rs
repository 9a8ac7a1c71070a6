//! The client's connection as the framework sees it, with three things the framework lacks.
//!
//! Answers: for how long is the other side waited for, and where does a request end? Owns a limit on clients that take
//! nothing (the framework bounds no flush and no header), and the bytes and the connection that outlive a request; over
//! HTTP/1 it fails a read once what its request waits for is overdue. Never: reads HTTP.

use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use http::HeaderValue;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::blocks::Blocks;
use super::connection_state::{ConnectionState, Rest};
use super::frames::FrameMeter;
use super::waits::{Alarm, Watch};

/// Longest wait for a client that takes nothing of its response.
pub const WRITE_STALL: Duration = Duration::from_secs(60);

/// Bytes of later requests that are kept while one is under way; a client that sends more waits.
const AHEAD_LIMIT: usize = 16 << 10;

/// Bytes of frames that are read at a time.
const FRAMES_ROOM: usize = 16 << 10;

/// What is known of the frames of a connection.
struct Frames {
    meter: FrameMeter,
    blocks: Blocks,
    /// Looked at, and still to be given out.
    ready: BytesMut,
}

impl Frames {
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.meter.look(bytes, Instant::now()) {
            return Err(io::Error::new(ErrorKind::InvalidData, "too many frames or fields"));
        }
        self.blocks.take(bytes, &mut self.ready);
        Ok(())
    }
}

/// Why something is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// The client has gone.
    Gone,
    /// The time is over.
    Due,
}

/// A client's connection.
pub struct ClientStream {
    /// `None` only while it is being dropped.
    inner: Option<Stream>,
    shared: Arc<ConnectionState>,
    stall: Duration,
    watch: Watch,
    /// Rings when a request's upstream has had its time, without the framework.
    alarm: Alarm,
    /// A response's head that was written again, as far as it is still to be sent.
    head: BytesMut,
    /// Looks at the frames of a connection that speaks HTTP/2.
    frames: Option<Box<Frames>>,
    /// Rings when the client has taken nothing for too long; the flag says whether it is waited for.
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalling: bool,
}

impl ClientStream {
    pub fn open(stream: Stream, stall: Duration) -> Box<ClientStream> {
        ClientStream::with(stream, Arc::default(), stall)
    }

    fn with(inner: Stream, shared: Arc<ConnectionState>, stall: Duration) -> Box<ClientStream> {
        let watch = Watch::over(shared.waits.clone());
        Box::new(ClientStream {
            inner: Some(inner),
            shared,
            stall,
            watch,
            alarm: Alarm::default(),
            head: BytesMut::new(),
            frames: None,
            stalled: None,
            is_stalling: false,
        })
    }

    pub fn state(&self) -> &ConnectionState {
        &self.shared
    }

    /// Ends the connection when frames come on it that cost too much, and mends those that would end it for all streams.
    /// `list`: the limit on lists of fields that the connection was told.
    pub fn look_at_frames(mut self: Box<Self>, list: usize) -> Box<Self> {
        let (meter, blocks) = (FrameMeter::new(Instant::now()), Blocks::new(list));
        self.frames = Some(Box::new(Frames { meter, blocks, ready: BytesMut::new() }));
        self
    }

    /// Hands the connection to a request, of which `rest` is still to come, at no less than `rate` bytes a second;
    /// `ahead` came behind it. The [`Return`] gets the connection back.
    pub fn begin(self: Box<Self>, rest: Rest, ahead: BytesMut, rate: u64) -> (Stream, Return) {
        self.shared.begin(rest, ahead, rate);
        let way_back = Return { shared: self.shared.clone(), stall: self.stall };
        (self, way_back)
    }

    /// The connection carries a request that is here whole; `ahead` came behind it. Until [`Self::end_plain`] a read
    /// says nothing but that the client has gone.
    pub fn begin_plain(&mut self, ahead: BytesMut) {
        self.shared.begin(Rest::Bytes(0), ahead, 0);
    }

    /// The request was answered whole.
    pub fn end_plain(&mut self) {
        self.shared.begin(Rest::Everything, BytesMut::new(), 0);
    }

    /// Ready once the client of a request that is here whole has gone, or it is `due`.
    pub fn poll_apart(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<Apart> {
        match self.watch_for_end(cx) {
            Poll::Ready(_) => Poll::Ready(Apart::Gone),
            Poll::Pending => self.alarm.poll_until(due, cx).map(|()| Apart::Due),
        }
    }

    fn inner(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.inner.as_mut().map(Pin::new).ok_or_else(|| ErrorKind::NotConnected.into())
    }

    /// Gives out what came ahead, if it belongs to the request.
    fn read_ahead(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let state = &mut *self.shared.lock();
        if state.ahead.is_empty() || state.rest.is_over() {
            return Ok(false);
        }
        let mut bytes = state.ahead.split_to(state.ahead.len().min(buf.remaining()));
        let own = state.take_own(&bytes)?;
        let mut beyond = bytes.split_off(own);
        beyond.unsplit(std::mem::take(&mut state.ahead));
        state.ahead = beyond;
        buf.put_slice(&bytes);
        Ok(own > 0)
    }

    /// Reads frames of HTTP/2.
    fn read_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some(frames) = &mut self.frames
                && !frames.ready.is_empty()
            {
                let count = frames.ready.len().min(buf.remaining());
                buf.put_slice(&frames.ready.split_to(count));
                return Poll::Ready(Ok(()));
            }
            let mut room = [const { MaybeUninit::uninit() }; FRAMES_ROOM];
            let mut piece = ReadBuf::uninit(&mut room);
            ready!(self.inner()?.poll_read(cx, &mut piece))?;
            let Some(frames) = self.frames.as_deref_mut().filter(|_| !piece.filled().is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            frames.take(piece.filled())?;
        }
    }

    /// Reads, and puts aside what belongs to the next request.
    fn read_own(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.frames.is_some() {
            return self.read_frames(cx, buf);
        }
        let before = buf.filled().len();
        ready!(self.inner()?.poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        self.shared.waits.got(read.len());
        let state = &mut *self.shared.lock();
        let own = state.take_own(read)?;
        if let Some(beyond) = read.get(own..) {
            state.ahead.extend_from_slice(beyond);
        }
        buf.set_filled(before + own);
        Poll::Ready(Ok(()))
    }

    /// The request is read whole: only the connection's end is news; bytes are kept for the next request.
    fn watch_for_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [0; 1024];
        while self.shared.lock().ahead.len() < AHEAD_LIMIT {
            let mut buf = ReadBuf::new(&mut piece);
            ready!(self.inner()?.poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.shared.lock().ahead.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }

    /// Sends what is left of a head that was written again.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.head.is_empty() {
            let Some(inner) = &mut self.inner else {
                return Poll::Ready(Err(ErrorKind::NotConnected.into()));
            };
            let sent = ready!(Pin::new(inner).poll_write(cx, &self.head))?;
            if sent == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.head.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes a response's head whose `Date` is to be another one; false: these bytes can go as they are.
    fn takes_head(&mut self, bytes: &[u8]) -> bool {
        let mut state = self.shared.lock();
        // Interim heads have none, and may come before this one though it was set first.
        let Some(head) = state.date.as_ref().and_then(|date| dated(bytes, date)) else { return false };
        state.date = None;
        drop(state);
        self.head = head;
        true
    }

    fn poll_write_own(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_head(cx))?;
        if self.takes_head(buf) {
            // What cannot be sent at once is sent before anything that follows.
            if let Poll::Ready(Err(error)) = self.poll_head(cx) {
                return Poll::Ready(Err(error));
            }
            return Poll::Ready(Ok(buf.len()));
        }
        self.inner()?.poll_write(cx, buf)
    }

    fn meter_sent(&mut self, written: &Poll<io::Result<usize>>) {
        if let (Some(frames), Poll::Ready(Ok(bytes))) = (&mut self.frames, written) {
            frames.meter.sent(*bytes);
        }
    }

    /// Passes on what writing came to, and fails when the client has taken nothing for too long.
    fn watch_stall<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.is_stalling = false;
            return written;
        }
        let limit = Instant::now() + self.stall;
        let alarm = self.stalled.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if !self.is_stalling {
            self.is_stalling = true;
            alarm.as_mut().reset(limit);
        }
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.given_up = self.inner.take().filter(|_| state.is_kept);
    }
}

/// A response's head with another `Date`; `None` where there is none to replace.
fn dated(head: &[u8], date: &HeaderValue) -> Option<BytesMut> {
    const NAME: &[u8] = b"\r\nDate: ";
    let start = memchr::memmem::find(head, NAME)? + NAME.len();
    let end = start + memchr::memchr(b'\r', head.get(start..)?)?;
    let parts = [head.get(..start)?, date.as_bytes(), head.get(end..)?];
    let is_head = head.starts_with(b"HTTP/1.");
    is_head.then(|| parts.iter().copied().flatten().copied().collect())
}

/// Gets a connection back after a request.
pub struct Return {
    shared: Arc<ConnectionState>,
    stall: Duration,
}

impl Return {
    /// The connection for the next request, if there is to be one; `returned` is what the framework gave back.
    pub fn take(self, returned: Option<Stream>) -> Option<Box<ClientStream>> {
        let stream = match returned {
            Some(stream) => stream.into_any().downcast::<ClientStream>().ok()?,
            None => {
                let given_up = self.shared.lock().given_up.take()?;
                ClientStream::with(given_up, self.shared.clone(), self.stall)
            }
        };
        self.shared.begin(Rest::Everything, BytesMut::new(), 0);
        Some(stream)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_ahead(buf)? {
            return Poll::Ready(Ok(()));
        }
        let is_whole = self.shared.lock().rest.is_over();
        let read = match is_whole {
            true => self.watch_for_end(cx),
            false => self.read_own(cx, buf),
        };
        match read {
            Poll::Pending => {
                let overdue = ready!(self.watch.poll(cx));
                Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, overdue.as_str())))
            }
            ready => ready,
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.poll_write_own(cx, buf);
        self.meter_sent(&written);
        self.watch_stall(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_head(cx) {
            Poll::Ready(Ok(())) => self.inner()?.poll_flush(cx),
            unsent => unsent,
        };
        self.watch_stall(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = match self.poll_head(cx) {
            Poll::Ready(Ok(())) => self.inner()?.poll_shutdown(cx),
            unsent => unsent,
        };
        self.watch_stall(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match self.poll_head(cx) {
            Poll::Ready(Ok(())) => self.inner()?.poll_write_vectored(cx, bufs),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        };
        self.meter_sent(&written);
        self.watch_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.as_ref().is_some_and(|inner| inner.is_write_vectored())
    }
}

#[async_trait]
impl Shutdown for ClientStream {
    async fn shutdown(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.shutdown().await;
        }
    }
}

#[async_trait]
impl Peek for ClientStream {}

impl UniqueID for ClientStream {
    fn id(&self) -> UniqueIDType {
        self.inner.as_ref().map_or(-1, |inner| inner.id())
    }
}

impl Ssl for ClientStream {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.as_ref()?.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.as_ref()?.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.as_ref()?.selected_alpn_proto()
    }
}

impl GetTimingDigest for ClientStream {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.as_ref().map(|inner| inner.get_timing_digest()).unwrap_or_default()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.as_ref().map_or(Duration::ZERO, |inner| inner.get_read_pending_time())
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.as_ref().map_or(Duration::ZERO, |inner| inner.get_write_pending_time())
    }
}

impl GetProxyDigest for ClientStream {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.as_ref()?.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        if let Some(inner) = &mut self.inner {
            inner.set_proxy_digest(digest);
        }
    }
}

impl GetSocketDigest for ClientStream {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.as_ref()?.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        if let Some(inner) = &mut self.inner {
            inner.set_socket_digest(digest);
        }
    }
}

impl fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientStream").field(&self.inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    const STALL: Duration = Duration::from_secs(60);
    const RATE: u64 = 10;

    /// A connection whose request has `rest` bytes to come, and the client's end of it.
    fn lent(rest: Rest) -> (Stream, Return, Arc<ConnectionState>, DuplexStream) {
        let (own, client) = duplex(64);
        let stream = ClientStream::open(Box::new(own), STALL);
        let shared = stream.shared.clone();
        let (lent, way_back) = stream.begin(rest, BytesMut::new(), RATE);
        (lent, way_back, shared, client)
    }

    async fn read(stream: &mut Stream) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; 100];
        let count = stream.read(&mut bytes).await?;
        bytes.truncate(count);
        Ok(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_response_ends_the_wait_once() {
        let (mut stream, _back, shared, _client) = lent(Rest::Bytes(0));
        let begun = Instant::now();
        for seconds in [5, 60, 3] {
            let due = Instant::now() + Duration::from_secs(seconds);
            shared.waits.expect_response(due.into_std());
            assert_eq!(read(&mut stream).await.unwrap_err().kind(), ErrorKind::TimedOut);
            assert_eq!(Instant::now(), due);
            assert!(shared.waits.take_late());
            assert!(!shared.waits.take_late());
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(68));
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_began_is_never_late() {
        let (mut stream, _back, shared, mut client) = lent(Rest::Everything);
        shared.waits.expect_response((Instant::now() + Duration::from_secs(5)).into_std());
        shared.waits.response_began();
        let hour = Duration::from_secs(3_600);
        assert!(tokio::time::timeout(hour, read(&mut stream)).await.is_err());
        client.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), b"more");
        assert!(!shared.waits.take_late());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_drips_is_left_and_one_that_flows_is_not() {
        let (mut stream, _back, shared, mut client) = lent(Rest::Bytes(10_000));
        // Twice the rate, for a minute.
        for _ in 0..60 {
            let (read, ()) = tokio::join!(read(&mut stream), async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                client.write_all(&[0; 20]).await.unwrap();
            });
            assert_eq!(read.unwrap().len(), 20);
        }
        // What we do not read we do not wait for.
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let begun = Instant::now();
        // Half a minute and the grace are what was earned; every byte adds a tenth of a second.
        let failed = loop {
            let (read, ()) = tokio::join!(read(&mut stream), async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = client.write_all(&[0]).await;
            });
            if let Err(error) = read {
                break error;
            }
        };
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
        let taken = begun.elapsed().as_secs();
        assert!((65..=80).contains(&taken), "{taken}");
        assert!(shared.waits.take_slow());
        assert!(!shared.waits.take_slow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_left() {
        let (mut stream, _back, _shared, mut client) = lent(Rest::Bytes(0));
        stream.write_all(&[0; 64]).await.unwrap();
        let begun = Instant::now();
        // As long as it takes something now and then, it is waited for.
        let slow = async {
            for _ in 0..10 {
                tokio::time::sleep(STALL - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 2]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 20]), slow);
        written.unwrap();
        assert_eq!(stream.write_all(&[0; 1]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), 10 * (STALL - Duration::from_secs(1)) + STALL);
    }

    #[tokio::test]
    async fn bytes_behind_a_request_are_kept_for_the_next_one() {
        let (mut stream, way_back, shared, mut client) = lent(Rest::Bytes(4));
        client.write_all(b"bodyGET /").await.unwrap();
        assert_eq!(read(&mut stream).await.unwrap(), b"body");
        client.write_all(b"next").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(1), read(&mut stream)).await;
        assert!(waited.is_err(), "the request is over: {waited:?}");
        shared.keep();
        drop(stream);
        let mut again = way_back.take(None).unwrap();
        let mut bytes = [0; 9];
        again.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"GET /next");
    }

    #[tokio::test]
    async fn bytes_before_a_switch_of_protocols_are_read_behind_it() {
        // As much again as is kept, so that some of it stays with the connection until the switch.
        let between = vec![b'b'; 2 * AHEAD_LIMIT];
        let (own, mut client) = duplex(3 * AHEAD_LIMIT);
        let stream = ClientStream::open(Box::new(own), STALL);
        let shared = stream.shared.clone();
        let (mut stream, _back) = stream.begin(Rest::Bytes(0), BytesMut::from("early"), RATE);
        client.write_all(&between).await.unwrap();
        // While the other side has not answered, the framework waits for the end of the connection, again and again.
        for _ in 0..3 {
            assert!(tokio::time::timeout(Duration::from_millis(1), stream.read(&mut [0])).await.is_err());
        }
        shared.pass_everything();
        client.write_all(b"later").await.unwrap();
        let mut bytes = vec![0; 5 + between.len() + 5];
        stream.read_exact(&mut bytes).await.unwrap();
        assert!(bytes == [b"early", &between[..], b"later"].concat());
    }

    #[tokio::test]
    async fn what_is_not_kept_is_closed() {
        let (stream, way_back, _shared, mut client) = lent(Rest::Bytes(0));
        drop(stream);
        assert!(way_back.take(None).is_none());
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_end_of_the_connection_shows_at_once() {
        let (mut stream, _back, _shared, client) = lent(Rest::Bytes(0));
        drop(client);
        assert_eq!(read(&mut stream).await.unwrap(), b"");
    }
}
