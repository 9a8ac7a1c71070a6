//! A client's connection, with three things that sockets lack.
//!
//! Answers: for how long is a client waited for that takes nothing, and what was read before it was asked for? Owns the
//! bytes that came behind a request, and the frames of HTTP/2 on their way in. Never: reads HTTP/1.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use pingora::protocols::{Digest, SocketDigest, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::blocks::Blocks;
use super::frames::FrameMeter;
use super::waits::{Alarm, Overdue, Waits, Watch};

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
    inner: Stream,
    /// Read already, and still to be given out.
    ahead: BytesMut,
    /// What the request under way waits for, and when it was too long.
    watch: Watch,
    /// Rings when a wait of ours was too long.
    alarm: Alarm,
    /// Looks at the frames of a connection that speaks HTTP/2.
    frames: Option<Box<Frames>>,
    stall: Duration,
    /// Rings when the client has taken nothing for too long; the flag says whether it is waited for.
    stalled: Option<Pin<Box<Sleep>>>,
    is_stalling: bool,
}

impl ClientStream {
    pub fn open(inner: Stream, stall: Duration) -> Box<ClientStream> {
        Box::new(ClientStream {
            inner,
            ahead: BytesMut::new(),
            watch: Watch::over(Arc::default()),
            alarm: Alarm::default(),
            frames: None,
            stall,
            stalled: None,
            is_stalling: false,
        })
    }

    /// What is known of the connection itself.
    pub fn digest(&self) -> Digest {
        Digest {
            ssl_digest: self.inner.get_ssl_digest(),
            timing_digest: self.inner.get_timing_digest(),
            proxy_digest: self.inner.get_proxy_digest(),
            socket_digest: self.socket(),
        }
    }

    pub fn socket(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    pub fn is_encrypted(&self) -> bool {
        self.inner.get_ssl_digest().is_some()
    }

    /// Ends the connection when frames come on it that cost too much, and mends those that would end it for all streams.
    /// `list`: the limit on lists of fields that the connection was told.
    pub fn look_at_frames(mut self: Box<Self>, list: usize) -> Box<Self> {
        let (meter, blocks) = (FrameMeter::new(Instant::now()), Blocks::new(list));
        self.frames = Some(Box::new(Frames { meter, blocks, ready: BytesMut::new() }));
        self
    }

    /// Bytes that were read too far: they are read again, before all others.
    pub fn put_back(&mut self, mut bytes: BytesMut) {
        if !bytes.is_empty() {
            bytes.unsplit(std::mem::take(&mut self.ahead));
            self.ahead = bytes;
        }
    }

    /// Bytes that are here already.
    pub fn ahead(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Reads more bytes ahead, at most `room`; 0 where none follow.
    pub fn poll_ahead(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(room);
        let read = pin!(self.inner.read_buf(&mut self.ahead)).poll(cx);
        if read.is_pending() && self.ahead.is_empty() {
            // Who says nothing for hours holds no room.
            self.ahead = BytesMut::new();
        }
        read
    }

    /// Ready once the client has gone. Until then its bytes are kept, and no more are read than are kept for a next
    /// request.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut piece = [const { MaybeUninit::uninit() }; 1024];
        while self.ahead.len() < AHEAD_LIMIT {
            let mut buf = ReadBuf::uninit(&mut piece);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(buf.filled());
        }
        Poll::Pending
    }

    /// Ready once the client of a request that is here whole has gone, or it is `due`.
    pub fn poll_apart(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<Apart> {
        match self.poll_gone(cx) {
            Poll::Ready(_) => Poll::Ready(Apart::Gone),
            Poll::Pending => self.poll_due(due, cx).map(|()| Apart::Due),
        }
    }

    /// What the request under way waits for.
    pub fn waits(&self) -> &Arc<Waits> {
        &self.watch.waits
    }

    /// Ready once it has waited too long. To be polled while nothing comes from the client, and only then.
    pub fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        self.watch.poll(cx)
    }

    /// Ready from `due` on.
    pub fn poll_due(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        self.alarm.poll_until(due, cx)
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
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
            let Some(frames) = self.frames.as_deref_mut().filter(|_| !piece.filled().is_empty()) else {
                return Poll::Ready(Ok(()));
            };
            frames.take(piece.filled())?;
        }
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

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            return Poll::Ready(Ok(()));
        }
        match self.frames {
            Some(_) => self.read_frames(cx, buf),
            None => Pin::new(&mut self.inner).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.meter_sent(&written);
        self.watch_stall(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch_stall(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch_stall(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.meter_sent(&written);
        self.watch_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_left() {
        let (own, mut client) = duplex(64);
        let mut stream = ClientStream::open(Box::new(own), STALL);
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
    async fn bytes_that_come_while_the_client_is_watched_are_read_afterwards() {
        // As much again as is kept, so that some of it stays with the connection.
        let sent = [&b"put back, "[..], &vec![b'b'; 2 * AHEAD_LIMIT][..]].concat();
        let (own, mut client) = duplex(3 * AHEAD_LIMIT);
        let mut stream = ClientStream::open(Box::new(own), STALL);
        client.write_all(&sent).await.unwrap();
        let mut first = BytesMut::zeroed(10);
        stream.read_exact(&mut first).await.unwrap();
        for _ in 0..3 {
            let gone = std::future::poll_fn(|cx| stream.poll_gone(cx));
            assert!(tokio::time::timeout(Duration::from_millis(1), gone).await.is_err());
        }
        stream.put_back(first);
        drop(client);
        let mut read = Vec::new();
        stream.read_to_end(&mut read).await.unwrap();
        assert!(read == sent);
        std::future::poll_fn(|cx| stream.poll_gone(cx)).await.unwrap();
    }
}
