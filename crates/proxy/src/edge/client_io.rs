//! A client's connection below HTTP: what was read ahead of it, whom it announces, and its encryption.
//!
//! Answers: what does the framework see of a connection whose first bytes were looked at? Gives the bytes out again,
//! shows the announced address as the peer's, and says that a connection is encrypted. Never: reads HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::SslDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A connection of which bytes were read ahead.
#[derive(Debug)]
pub struct ClientIo {
    io: Layer,
    /// Read already, and still to be given out.
    ahead: BytesMut,
    socket: Option<Arc<SocketDigest>>,
    tls: Option<Arc<SslDigest>>,
    is_announced: bool,
}

#[derive(Debug)]
enum Layer {
    Plain(Stream),
    Encrypted(Box<TlsStream<ClientIo>>),
}

impl ClientIo {
    pub fn new(stream: Stream) -> ClientIo {
        let socket = stream.get_socket_digest();
        ClientIo { io: Layer::Plain(stream), ahead: BytesMut::new(), socket, tls: None, is_announced: false }
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.peer_addr()?.as_inet().copied()
    }

    /// Reads more bytes ahead; 0 where none follow.
    pub async fn read_ahead(&mut self) -> io::Result<usize> {
        let mut bytes = std::mem::take(&mut self.ahead);
        let read = self.read_buf(&mut bytes).await;
        self.ahead = bytes;
        read
    }

    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Takes `count` of the bytes read ahead away.
    pub fn skip(&mut self, count: usize) {
        self.ahead.advance(count.min(self.ahead.len()));
    }

    /// The peer is another one than the other end of the wire.
    pub fn announce(&mut self, peer: SocketAddr) {
        let digest = SocketDigest::from_raw_fd(self.id());
        let local = self.socket.as_ref().and_then(|socket| socket.local_addr().cloned());
        // Both cells are new and empty.
        let _ = digest.peer_addr.set(Some(PingoraAddr::Inet(peer)));
        let _ = digest.local_addr.set(local);
        self.socket = Some(Arc::new(digest));
        self.is_announced = true;
    }

    /// Shakes hands; the name of the chosen protocol is asked afterwards.
    pub async fn encrypt(self, config: Arc<ServerConfig>) -> io::Result<ClientIo> {
        let socket = self.socket.clone();
        let stream = TlsAcceptor::from(config).accept(self).await?;
        let (_, session) = stream.get_ref();
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
        let version = session.protocol_version().and_then(|version| version.as_str());
        let digest =
            SslDigest::new(cipher.unwrap_or_default(), version.unwrap_or_default(), None, None, Vec::new());
        let io = Layer::Encrypted(Box::new(stream));
        Ok(ClientIo { io, ahead: BytesMut::new(), socket, tls: Some(Arc::new(digest)), is_announced: false })
    }

    /// Whether HTTP/2 was agreed on.
    pub fn chose_h2(&self) -> bool {
        match &self.io {
            Layer::Plain(_) => false,
            Layer::Encrypted(stream) => stream.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }

    /// The connection for HTTP; without this layer where there is nothing to it.
    pub fn into_stream(self) -> Stream {
        match self {
            ClientIo { io: Layer::Plain(stream), ahead, is_announced: false, .. } if ahead.is_empty() => {
                stream
            }
            encrypted_or_ahead => Box::new(encrypted_or_ahead),
        }
    }

    fn wire(&self) -> &Stream {
        match &self.io {
            Layer::Plain(stream) => stream,
            Layer::Encrypted(stream) => stream.get_ref().0.wire(),
        }
    }
}

impl AsyncRead for ClientIo {
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
        match &mut self.io {
            Layer::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Layer::Encrypted(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Layer::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Layer::Encrypted(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Layer::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Layer::Encrypted(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Layer::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Layer::Encrypted(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Layer::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Layer::Encrypted(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Layer::Plain(stream) => stream.is_write_vectored(),
            Layer::Encrypted(stream) => stream.is_write_vectored(),
        }
    }
}

#[async_trait]
impl Shutdown for ClientIo {
    async fn shutdown(&mut self) {
        // The side that closes has nothing left to say to a client that is gone.
        let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
    }
}

#[async_trait]
impl Peek for ClientIo {}

impl UniqueID for ClientIo {
    fn id(&self) -> UniqueIDType {
        self.wire().id()
    }
}

impl Ssl for ClientIo {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }
}

impl GetTimingDigest for ClientIo {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.wire().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.wire().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.wire().get_write_pending_time()
    }
}

impl GetProxyDigest for ClientIo {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.wire().get_proxy_digest()
    }
}

impl GetSocketDigest for ClientIo {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.socket.clone()
    }
}
