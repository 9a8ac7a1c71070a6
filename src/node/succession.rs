//! From one process to the next: when this one serves, and who takes its listeners over.
//!
//! Answers: what does this process listen with, and since when? Owns: the listeners' way from a predecessor to the
//! loops that accept, and on to a successor. Never: how they travel (`handover.rs`), or what happens to requests meanwhile.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use sd_notify::NotifyState;

use super::end::{End, exit};
use super::handover::{self, ADMIN, Successor, Taken};
use super::systemd::{tell, watch_over};
use graygate_proxy::admin::ListenerHandoff;
use graygate_proxy::edge::Sockets;
use graygate_proxy::live::Live;

/// How long the listeners of a fresh start are kept back until there is something to serve with; from a cache it takes a
/// little more than half a second.
const FIRST_DOCUMENTS: Duration = Duration::from_secs(1);
/// Between two looks at whether something runs.
const LOOK: Duration = Duration::from_millis(10);

/// After a bind that failed: the process that has the address does not let go of it at once.
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// Connections that may wait to be accepted; the system allows less where its own limit is lower.
const BACKLOG: i32 = 65_535;

/// What this process listens with, for itself and for its successor.
#[derive(Clone)]
pub struct Listeners {
    addresses: Arc<[SocketAddr]>,
    /// Where the loops that accept find theirs.
    lent: Sockets,
    /// The other end of what they accept from; kept to be handed on, and let go of once the end begins.
    kept: Arc<Mutex<Vec<(String, TcpListener)>>>,
    pub admin: ListenerHandoff,
    admin_address: SocketAddr,
}

impl Listeners {
    pub fn new(
        addresses: impl Iterator<Item = SocketAddr>,
        lent: Sockets,
        admin: (SocketAddr, ListenerHandoff),
    ) -> Listeners {
        let (admin_address, admin) = admin;
        Listeners { addresses: addresses.collect(), lent, kept: Arc::default(), admin, admin_address }
    }

    /// Binds every address that did not come from a predecessor. One that is taken meanwhile is tried again: the start
    /// has seen that it was free.
    async fn bind(&self) {
        for address in self.addresses.iter() {
            if self.lent.has(*address) {
                continue;
            }
            let mut is_told = false;
            while let Err(error) =
                TcpListener::bind(address).and_then(|listener| self.add(listener, *address))
            {
                if !is_told {
                    tracing::warn!(%address, %error, "the address is taken; trying on");
                    is_told = true;
                }
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }

    /// Lends a listener to the loop that accepts.
    fn add(&self, listener: TcpListener, address: SocketAddr) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        // Once more, for the length of its queue: the library's is short.
        rustix::net::listen(&listener, BACKLOG)?;
        self.lent.add(address, listener.try_clone()?);
        self.kept.lock().push((address.to_string(), listener));
        Ok(())
    }

    /// Lets go of the listeners: kept beyond the end's beginning, they would hold connections that are never accepted.
    pub fn close(&self) {
        self.kept.lock().clear();
    }

    /// Sends them to the process that waits at the socket, and leaves the admin address to it. Blocks.
    pub fn give(&self, socket: &Path) -> anyhow::Result<()> {
        let admin = self.admin.listener();
        // Of their own for the time that giving takes: the end may begin meanwhile.
        let duplicate = |(name, kept): &(String, TcpListener)| Ok((name.clone(), kept.try_clone()?));
        let kept = self.kept.lock().iter().map(duplicate).collect::<io::Result<Vec<_>>>()?;
        anyhow::ensure!(!kept.is_empty(), "nothing listens yet");
        let kept = kept.iter().map(|(name, listener)| (name.clone(), listener.as_fd()));
        let admin = admin.iter().map(|admin| (ADMIN.to_owned(), admin.as_fd()));
        handover::give(socket, &kept.chain(admin).collect::<Vec<_>>())?;
        self.admin.leave();
        Ok(())
    }

    /// Puts what a predecessor gave where the loops and the admin address look for it. An address it did not have has
    /// to be free, or this process would serve a part only.
    fn take(&self, taken: &mut Taken) -> anyhow::Result<()> {
        for address in self.addresses.iter() {
            match taken.remove(&address.to_string()) {
                Some(descriptor) => self.add(descriptor.into(), *address)?,
                None => can_listen(*address)?,
            }
        }
        // One at another address than this process's file says stays behind, and is closed.
        let admin = taken.remove(ADMIN).map(TcpListener::from);
        let admin =
            admin.filter(|admin| admin.local_addr().is_ok_and(|address| address == self.admin_address));
        if admin.is_none() {
            can_listen(self.admin_address)?;
        }
        self.admin.take(admin);
        Ok(())
    }
}

/// The part of the process that is there before the listeners are and that says when it serves.
pub struct Succession {
    /// There in a process that takes over.
    pub successor: Option<Successor>,
    pub listeners: Listeners,
    pub live: Arc<Live>,
    /// Set once every listener is bound.
    pub listening: Arc<AtomicBool>,
}

#[async_trait]
impl ServiceWithDependents for Succession {
    async fn start_service(
        &mut self,
        _table: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let taken = match self.successor.take() {
            None => {
                let runs = self.until(|own| own.live.running().is_some());
                // Past that, clients are better told than refused.
                let _ = tokio::time::timeout(FIRST_DOCUMENTS, runs).await;
                None
            }
            Some(successor) => match self.take_over(successor).await {
                Ok(taken) => Some(taken),
                Err(error) => {
                    tracing::error!("the running process goes on: {error:#}");
                    exit(End::Failed);
                }
            },
        };
        self.listeners.bind().await;
        // From here on connections are accepted.
        ready.notify_ready();
        self.listening.store(true, Ordering::Relaxed);
        for address in self.listeners.addresses.iter() {
            tracing::info!(%address, "listening for requests");
        }
        self.until(|own| own.live.running().is_some()).await;
        let is_successor = taken.is_some();
        match taken.map(Taken::serve) {
            None => tell(&[NotifyState::Ready]),
            Some(said) => {
                if let Err(error) = said {
                    tracing::warn!(%error, "the process before this one left early");
                }
                tracing::info!("this process serves in the other one's place");
                tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
            }
        }
        watch_over(is_successor).await;
    }

    fn name(&self) -> &str {
        "succession"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}

impl Succession {
    /// Takes the listeners, and waits until there is something to serve with.
    async fn take_over(&self, successor: Successor) -> anyhow::Result<Taken> {
        tracing::info!("waiting for the running process: send it SIGQUIT");
        let mut taken = tokio::task::spawn_blocking(|| successor.take()).await??;
        self.until(|own| own.live.running().is_some()).await;
        self.listeners.take(&mut taken)?;
        Ok(taken)
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Binds and lets go: an address that is taken is said before anything runs.
pub fn can_listen(address: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| format!("cannot listen on {address}"))
}
