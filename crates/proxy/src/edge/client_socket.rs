//! A client's socket, registered with the thread that serves it.
//!
//! Answers: how do the bytes of a connection get here, and who is at its other end? Owns joining small writes into one
//! packet. Never: encrypts, or reads HTTP.

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufWriter, ReadBuf};
use tokio::net::TcpStream;

/// Bytes that wait for more before they are sent: a packet of most networks. What is longer is sent from where it is.
const PACKET: usize = 1460;

/// The socket of one client.
#[derive(Debug)]
pub struct ClientSocket {
    tcp: BufWriter<TcpStream>,
    digest: Arc<SocketDigest>,
}

impl ClientSocket {
    /// Takes a socket over that does not block, whichever thread accepted it: its events come to this one.
    pub fn open(socket: net::TcpStream, peer: SocketAddr) -> io::Result<ClientSocket> {
        socket.set_nodelay(true)?;
        let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
        // The cell is new and empty.
        let _ = digest.peer_addr.set(Some(peer.into()));
        let tcp = BufWriter::with_capacity(PACKET, TcpStream::from_std(socket)?);
        Ok(ClientSocket { tcp, digest: Arc::new(digest) })
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for ClientSocket {
    async fn shutdown(&mut self) {
        // The side that closes has nothing left to say to a client that is gone.
        let _ = self.tcp.shutdown().await;
    }
}

#[async_trait]
impl Peek for ClientSocket {}

impl UniqueID for ClientSocket {
    fn id(&self) -> UniqueIDType {
        self.tcp.get_ref().as_raw_fd()
    }
}

impl Ssl for ClientSocket {}

impl GetTimingDigest for ClientSocket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        // No caller asks.
        Vec::new()
    }
}

impl GetProxyDigest for ClientSocket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for ClientSocket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}
