//! Accepted connections: who may stay, and what is spoken.
//!
//! Answers: is there room for this connection, whose is it, and which protocol serves it? Owns the order of those
//! questions: a connection that is refused has cost as little as can be. Never: reads HTTP.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pingora::apps::HttpServerApp;
use pingora::protocols::GetSocketDigest as _;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::client_io::ClientIo;
use super::client_socket::ClientSocket;
use super::client_stream::{ClientStream, WRITE_STALL};
use super::listener::{BoundListener, Refusal, Speaks};
use super::open_connections::{OpenConnections, Slot};
use super::serving::Serving;
use super::short::ShortPath;
use super::{h1, h2, proxy_protocol};
use graygate_rules::vocab::ErrorReason;

/// What connections are handed to; `A` is what their requests are handed to, and `S` serves the plain ones.
pub struct Edge<A, S> {
    serving: Serving<A, S>,
    connections: OpenConnections,
    listeners: Vec<BoundListener>,
}

/// A connection that was accepted, and of which nothing is known but whom it is with.
pub struct Newcomer {
    pub socket: TcpStream,
    pub peer: SocketAddr,
    pub slot: Slot,
}

impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> Edge<A, S> {
    pub fn new(serving: Serving<A, S>, listeners: Vec<BoundListener>) -> Edge<A, S> {
        Edge { serving, connections: OpenConnections::default(), listeners }
    }

    /// How many connections are open, for those who wait for the last one.
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        self.connections.count()
    }

    /// Counts a connection from the moment it was accepted.
    pub(super) fn slot(&self) -> Slot {
        self.connections.take()
    }

    /// Serves a connection that came to the listener at `address`, to its end and on this thread.
    pub(super) async fn serve(&self, address: SocketAddr, newcomer: Newcomer, shutdown: &ShutdownWatch) {
        let Newcomer { socket, peer, slot } = newcomer;
        let bound = self.listeners.iter().find(|bound| bound.listener.address == address);
        if let (Some(bound), Ok(socket)) = (bound, ClientSocket::open(socket, peer)) {
            let _occupied = bound.connections.occupy();
            self.welcome(bound, ClientIo::new(Box::new(socket)), slot, shutdown).await;
        }
    }

    /// The process takes no connection any more.
    pub(super) async fn cleanup(&self) {
        self.serving.app.http_cleanup().await;
    }

    /// From a connection to what is spoken on it.
    async fn welcome(&self, bound: &BoundListener, mut io: ClientIo, slot: Slot, shutdown: &ShutdownWatch) {
        let limits = &self.serving.limits;
        if slot.before >= limits.connections {
            return self.turn_away(bound, io).await;
        }
        if bound.listener.proxy_protocol
            && !timeout(limits.header_timeout, proxy_protocol::accept(&mut io)).await.unwrap_or(false)
        {
            return bound.refuse(Refusal::ProxyProtocol);
        }
        let address = io.peer().map(|peer| peer.ip()).filter(|_| limits.connections_per_ip > 0);
        let _address_slot = match address {
            None => None,
            Some(address) => match self.connections.take_for(address, limits.connections_per_ip) {
                Some(slot) => Some(slot),
                None => return self.turn_away(bound, io).await,
            },
        };
        // In boxes of their own: a handshake is over soon, and idle connections should not carry the room for it.
        let agreed = Box::pin(bound.agree(io, limits.header_timeout)).await;
        let Some((io, speaks)) = agreed else { return };
        let stream = ClientStream::open(io.into_stream(), WRITE_STALL);
        match speaks {
            Speaks::Http1 => h1::serve(&self.serving, stream, shutdown).await,
            Speaks::Http2 => Box::pin(h2::serve(&self.serving, stream, shutdown)).await,
        }
    }

    /// Refuses a connection before anything was spent on it; one that would be encrypted cannot be told why.
    async fn turn_away(&self, bound: &BoundListener, io: ClientIo) {
        bound.refuse(Refusal::Limit);
        self.serving.refused.report(io.get_socket_digest().as_deref(), ErrorReason::Overloaded);
        if bound.listener.tls.is_none() {
            let mut stream = ClientStream::open(io.into_stream(), WRITE_STALL);
            h1::farewell(&mut stream, ErrorReason::Overloaded).await;
        }
    }
}
