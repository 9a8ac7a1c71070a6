//! The loops that accept connections.
//!
//! Answers: which sockets do connections come to, and what if none can be accepted? Owns the loop of each socket, from
//! the first connection until the process begins to end. Never: serves a connection, or binds an address.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::apps::HttpServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::accept::{Edge, Newcomer};
use super::serving::ending;
use super::serving_threads::ServingThreads;
use super::short::ShortPath;

/// How long nothing is accepted once the system has no room for a connection: the ones that are open may end meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often the log says so.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Listening sockets on their way from who binds them to the loops that accept from them.
#[derive(Clone, Default)]
pub struct Sockets(Arc<Mutex<Vec<(SocketAddr, TcpListener)>>>);

impl Sockets {
    /// Hands one over, which does not block.
    pub fn add(&self, address: SocketAddr, socket: TcpListener) {
        self.0.lock().push((address, socket));
    }

    pub fn has(&self, address: SocketAddr) -> bool {
        self.0.lock().iter().any(|(own, _)| *own == address)
    }

    fn take(&self) -> Vec<(SocketAddr, TcpListener)> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// Accepts from all sockets for as long as the process takes connections.
pub struct Accepting<A, S> {
    edge: Arc<Edge<A, S>>,
    sockets: Sockets,
    threads: ServingThreads,
}

impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> Accepting<A, S> {
    /// From the sockets that are there when the framework starts it.
    pub fn new(edge: Edge<A, S>, sockets: Sockets, threads: ServingThreads) -> Accepting<A, S> {
        Accepting { edge: Arc::new(edge), sockets, threads }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> Service for Accepting<A, S> {
    async fn start_service(&mut self, _table: Option<ListenFds>, shutdown: ShutdownWatch, _loops: usize) {
        let mut loops = Vec::new();
        for (number, (address, socket)) in self.sockets.take().into_iter().enumerate() {
            let own = Loop {
                edge: self.edge.clone(),
                threads: self.threads.clone(),
                shutdown: shutdown.clone(),
                address,
                said: None,
            };
            // On the threads that serve: with one of them, accepting wakes no other.
            loops.extend(self.threads.spawn_at(number, own.run(socket)));
        }
        for ended in loops {
            let _ = ended.await;
        }
        self.edge.cleanup().await;
    }

    fn name(&self) -> &str {
        "proxy"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

/// The loop of one socket.
struct Loop<A, S> {
    edge: Arc<Edge<A, S>>,
    threads: ServingThreads,
    shutdown: ShutdownWatch,
    address: SocketAddr,
    /// When the log last said that nothing can be accepted.
    said: Option<Instant>,
}

impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> Loop<A, S> {
    async fn run(mut self, socket: TcpListener) {
        let shutdown = self.shutdown.clone();
        let mut ending = pin!(ending(&shutdown));
        let socket = match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => socket,
            Err(error) => return tracing::error!(address = %self.address, %error, "nothing is accepted"),
        };
        loop {
            tokio::select! {
                biased;
                () = &mut ending => return,
                accepted = socket.accept() => match accepted {
                    Ok((socket, peer)) => self.hand_on(socket, peer),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => {
                        self.say(&error);
                        tokio::select! {
                            () = &mut ending => return,
                            () = sleep(PAUSE) => {}
                        }
                    }
                }
            }
        }
    }

    fn hand_on(&self, socket: TcpStream, peer: SocketAddr) {
        let slot = self.edge.slot();
        // This thread would be woken for it, whichever serves it.
        let Ok(socket) = socket.into_std() else { return };
        let newcomer = Newcomer { socket, peer, slot };
        let (edge, address, shutdown) = (self.edge.clone(), self.address, self.shutdown.clone());
        self.threads.serve(async move { edge.serve(address, newcomer, &shutdown).await });
    }

    fn say(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            self.said = Some(now);
            tracing::error!(address = %self.address, %error, "connections wait to be accepted");
        }
    }
}

/// Whether the next connection may be accepted although this one was not: accept(2) also says what became of a
/// connection that waited.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::Interrupted
            | ErrorKind::PermissionDenied
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::HostUnreachable
            | ErrorKind::TimedOut
    )
}
