//! The life of the process: when it is ready, who takes its listeners over, and what ends it.
//!
//! Answers: which signal does what, and what is the service manager told? SIGTERM drains; SIGQUIT hands the listeners to a
//! process that waits for them, and changes nothing where none does. Never: what happens to requests meanwhile.

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::{
    ListenFds, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch, UnixShutdownSignalWatch,
};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::handover::{self, ADMIN, Successor, Taken};
use super::run::can_listen;
use crate::admin::Desk;
use crate::live::Live;

/// How long the listeners of a fresh start are kept back until there is something to serve with; from a cache it takes a
/// little more than half a second.
const FIRST_DOCUMENTS: Duration = Duration::from_secs(1);
/// Between two looks at whether something runs.
const LOOK: Duration = Duration::from_millis(10);
/// The watchdog's period where nobody tells it: shorter than anybody sets it.
const UNTOLD_WATCHDOG: Duration = Duration::from_secs(1);

/// What this process listens with, for itself and for its successor.
#[derive(Clone)]
pub struct Listeners {
    addresses: Arc<[SocketAddr]>,
    /// The framework's table; empty before it starts.
    table: Arc<Mutex<Option<ListenFds>>>,
    pub desk: Desk,
}

impl Listeners {
    pub fn new(addresses: impl Iterator<Item = SocketAddr>, desk: Desk) -> Listeners {
        Listeners { addresses: addresses.collect(), table: Arc::default(), desk }
    }

    fn are_bound(&self, table: &ListenFds) -> bool {
        self.addresses.iter().all(|address| table.lock().get(&address.to_string()).is_some())
    }

    /// Sends them to the process that waits at the socket, and leaves the admin address to it. Blocks.
    fn give(&self, socket: &Path) -> anyhow::Result<()> {
        let admin = self.desk.listener();
        let table = self.table.lock().clone().context("nothing listens yet")?;
        let (names, descriptors) = table.lock().serialize();
        let mut listeners: Vec<_> = names.into_iter().zip(descriptors).collect();
        listeners.extend(admin.iter().map(|admin| (ADMIN.to_owned(), admin.as_raw_fd())));
        handover::give(socket, &listeners)?;
        self.desk.leave();
        Ok(())
    }

    /// Puts what a predecessor gave where the framework and the admin address look for it. An address it did not have has
    /// to be free, or this process would serve a part only.
    fn take(&self, taken: &mut Taken, table: &ListenFds) -> anyhow::Result<()> {
        for address in self.addresses.iter() {
            let name = address.to_string();
            match taken.remove_raw(&name) {
                Some(descriptor) => table.lock().add(name, descriptor),
                None => can_listen(*address)?,
            }
        }
        self.desk.take(taken.remove(ADMIN).map(Into::into));
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
        table: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        let Some(table) = table else { return };
        *self.listeners.table.lock() = Some(table.clone());
        let taken = match self.successor.take() {
            None => {
                let runs = self.until(|own| own.live.running().is_some());
                // Past that, clients are better told than refused.
                let _ = tokio::time::timeout(FIRST_DOCUMENTS, runs).await;
                None
            }
            Some(successor) => match self.take_over(successor, &table).await {
                Ok(taken) => Some(taken),
                Err(error) => {
                    tracing::error!("the running process goes on: {error:#}");
                    std::process::exit(1);
                }
            },
        };
        // From here on the framework listens.
        ready.notify_ready();
        self.until(|own| own.listeners.are_bound(&table)).await;
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
    async fn take_over(&self, successor: Successor, table: &ListenFds) -> anyhow::Result<Taken> {
        tracing::info!("waiting for the running process: send it SIGQUIT");
        let mut taken = tokio::task::spawn_blocking(|| successor.take()).await??;
        self.until(|own| own.live.running().is_some()).await;
        self.listeners.take(&mut taken, table)?;
        Ok(taken)
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Tells the service manager, where there is one.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Feeds the service manager's watchdog, where it has one. How often is told to the process the manager started; a
/// successor is told nothing, and feeds it often enough for any.
async fn watch_over(is_successor: bool) {
    let told = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    let told = told.filter(|microseconds| *microseconds > 0).map(Duration::from_micros);
    let managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    let Some(period) = told.or((is_successor && managed).then_some(UNTOLD_WATCHDOG)) else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(period / 2).await;
    }
}

/// SIGTERM and SIGINT, from whoever heard the first of them to whoever waits for a second. Listening anew would miss one
/// that comes before that.
#[derive(Clone, Default)]
pub struct Again(Arc<Mutex<Option<(Signal, Signal)>>>);

impl Again {
    /// Returns when SIGTERM or SIGINT comes once more; to be asked once, after the first.
    pub async fn comes(&self) {
        let heard = self.0.lock().take();
        let Some((mut terminate, mut interrupt)) = heard else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Which signals end the process.
pub struct Ending {
    /// Noted for those who ask whether the process is ready.
    pub is_ending: Arc<AtomicBool>,
    pub listeners: Listeners,
    /// Where a successor waits; `None`: nowhere.
    pub socket: Option<PathBuf>,
    pub again: Again,
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        let shutdown = match kinds.map(signal) {
            [Ok(mut terminate), Ok(mut interrupt), Ok(quit)] => {
                let shutdown = self.wait(&mut terminate, &mut interrupt, quit).await;
                *self.again.0.lock() = Some((terminate, interrupt));
                shutdown
            }
            _ => UnixShutdownSignalWatch.recv().await,
        };
        self.is_ending.store(true, Ordering::Relaxed);
        shutdown
    }
}

impl Ending {
    async fn wait(&self, terminate: &mut Signal, interrupt: &mut Signal, mut quit: Signal) -> ShutdownSignal {
        let mut giving: Option<JoinHandle<anyhow::Result<()>>> = None;
        loop {
            let given = async {
                match giving.as_mut() {
                    Some(giving) => giving.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => {
                    tell(&[NotifyState::Stopping]);
                    tracing::info!("SIGTERM: requests under way may finish");
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = interrupt.recv() => {
                    tell(&[NotifyState::Stopping]);
                    tracing::info!("SIGINT: the process ends");
                    return ShutdownSignal::FastShutdown;
                }
                outcome = given => {
                    match outcome {
                        Ok(Ok(())) => {
                            tracing::info!("a new process serves; requests under way may finish here");
                            return ShutdownSignal::GracefulTerminate;
                        }
                        Ok(Err(error)) => tracing::error!("SIGQUIT is refused, this process goes on: {error:#}"),
                        Err(error) => tracing::error!(%error, "SIGQUIT is refused, this process goes on"),
                    }
                    giving = None;
                }
                _ = quit.recv() => match (&self.socket, &giving) {
                    (None, _) => tracing::error!(
                        "SIGQUIT is refused, this process goes on: there is neither `upgrade_socket` nor `cache`"
                    ),
                    (Some(socket), None) => {
                        let (listeners, socket) = (self.listeners.clone(), socket.clone());
                        giving = Some(tokio::task::spawn_blocking(move || listeners.give(&socket)));
                    }
                    (Some(_), Some(_)) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::process::Command;
    use std::task::Poll;

    use super::*;

    #[tokio::test]
    async fn a_second_signal_is_heard_that_comes_before_anybody_waits_for_it() {
        let again = Again::default();
        let ending = Ending {
            is_ending: Arc::default(),
            listeners: Listeners::new(std::iter::empty(), Desk::new(false)),
            socket: None,
            again: again.clone(),
        };
        let mut arrives = signal(SignalKind::terminate()).unwrap();
        let mut kill = async || {
            let pid = std::process::id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            arrives.recv().await.unwrap();
        };
        let mut first = pin!(ending.recv());
        // Polled once, it listens.
        std::future::poll_fn(|cx| {
            assert!(first.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        kill().await;
        assert!(matches!(first.await, ShutdownSignal::GracefulTerminate));
        kill().await;
        tokio::time::timeout(Duration::from_secs(5), again.comes()).await.expect("it was not heard");
    }
}
