//! Accepted connections: who may stay, and what is spoken.
//!
//! Answers: is there room for this connection, whose is it, and which protocol serves it? Owns the order of those
//! questions: a connection that is refused has cost as little as can be. Never: reads HTTP.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::{GetSocketDigest as _, Stream};
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::client_io::ClientIo;
use super::client_stream::{ClientStream, WRITE_STALL};
use super::listener::{BoundListener, Refusal, Speaks};
use super::open_connections::OpenConnections;
use super::serving::Serving;
use super::short::ShortPath;
use super::{h1, h2, proxy_protocol};
use graygate_rules::vocab::ErrorReason;

/// What the framework hands connections to; `A` is what their requests are handed to, and `S` serves the plain ones.
pub struct Edge<A, S> {
    serving: Serving<A, S>,
    connections: OpenConnections,
    listeners: Vec<BoundListener>,
}

impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> Edge<A, S> {
    pub fn new(serving: Serving<A, S>, listeners: Vec<BoundListener>) -> Edge<A, S> {
        Edge { serving, connections: OpenConnections::default(), listeners }
    }

    /// How many connections are open, for those who wait for the last one.
    pub fn open_connections(&self) -> Arc<AtomicUsize> {
        self.connections.count()
    }

    /// The listener a connection came to.
    fn listener(&self, stream: &Stream) -> Option<&BoundListener> {
        let local = stream.get_socket_digest()?.local_addr()?.as_inet().copied()?;
        let exact = self.listeners.iter().find(|bound| bound.listener.address == local);
        exact.or_else(|| self.listeners.iter().find(|bound| bound.listener.address.port() == local.port()))
    }

    /// From a connection to what is spoken on it.
    async fn welcome(&self, bound: &BoundListener, mut io: ClientIo, shutdown: &ShutdownWatch) {
        let limits = &self.serving.limits;
        let slot = self.connections.take();
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

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> ServerApp for Edge<A, S> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if let Some(bound) = self.listener(&stream) {
            let _occupied = bound.connections.occupy();
            self.welcome(bound, ClientIo::new(stream), shutdown).await;
        }
        None
    }

    async fn cleanup(&self) {
        self.serving.app.http_cleanup().await;
    }
}
