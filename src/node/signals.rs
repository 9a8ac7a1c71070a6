//! Which signal does what.
//!
//! SIGTERM drains, SIGINT ends; SIGQUIT hands the listeners to a process that waits for them, and changes nothing where
//! none does; SIGUSR1 opens the access log again; SIGHUP and SIGUSR2 are noted and change nothing. Never: how long
//! draining takes (`end.rs`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, UnixShutdownSignalWatch};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use super::end::{AtEnd, End, exit};
use super::second_signal::SecondSignal;
use super::succession::Listeners;
use super::systemd::tell;
use graygate_telemetry::AccessLog;

/// Which signals end the process.
pub struct Ending {
    /// Noted for those who ask whether the process is ready.
    pub is_ending: Arc<AtomicBool>,
    pub listeners: Listeners,
    /// Where a successor waits; `None`: nowhere.
    pub socket: Option<PathBuf>,
    pub second: SecondSignal,
    pub at_end: AtEnd,
}

#[async_trait]
impl ShutdownSignalWatch for Ending {
    async fn recv(&self) -> ShutdownSignal {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        let shutdown = match kinds.map(signal) {
            [Ok(mut terminate), Ok(mut interrupt), Ok(quit)] => {
                let shutdown = self.wait(&mut terminate, &mut interrupt, quit).await;
                self.second.hear(terminate, interrupt);
                shutdown
            }
            _ => UnixShutdownSignalWatch.recv().await,
        };
        self.is_ending.store(true, Ordering::Relaxed);
        self.listeners.close();
        if matches!(shutdown, ShutdownSignal::FastShutdown) {
            // Not by the framework, which gives each of its runtimes time to end.
            self.at_end.run();
            exit(End::Interrupted);
        }
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

/// SIGUSR1 opens the access log again, for those who rotate it. It is heard where there is no log as well: unheard, it
/// would end the process.
pub fn reopen_log_on_signal(log: Option<AccessLog>) {
    let Ok(mut rotated) = signal(SignalKind::user_defined1()) else { return };
    tokio::spawn(async move {
        while rotated.recv().await.is_some() {
            if let Some(Err(error)) = log.as_ref().map(AccessLog::reopen) {
                tracing::error!(%error, "the access log cannot be opened again");
            }
        }
    });
}

/// Notes the signals that reload other servers. Here documents, certificates and what they name are followed by
/// themselves, and the process file is taken up by a successor; unheard, these signals would end the process at once,
/// with every request under way.
pub fn note_reload_signals() {
    for (kind, name) in [(SignalKind::hangup(), "SIGHUP"), (SignalKind::user_defined2(), "SIGUSR2")] {
        let Ok(mut heard) = signal(kind) else { continue };
        tokio::spawn(async move {
            while heard.recv().await.is_some() {
                tracing::info!(
                    "{name} changes nothing: documents and certificates are followed by themselves; for a changed \
                     process file start a new process with `run --upgrade` and send SIGQUIT to this one"
                );
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::process::Command;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use graygate_proxy::admin::ListenerHandoff;
    use graygate_proxy::edge::Sockets;

    #[tokio::test]
    async fn a_second_signal_is_heard_that_comes_before_it_is_awaited() {
        let second = SecondSignal::default();
        let ending = Ending {
            is_ending: Arc::default(),
            listeners: Listeners::new(
                std::iter::empty(),
                Sockets::default(),
                (([127, 0, 0, 1], 1).into(), ListenerHandoff::new(false)),
            ),
            socket: None,
            second: second.clone(),
            at_end: AtEnd::default(),
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
        tokio::time::timeout(Duration::from_secs(5), second.comes()).await.expect("it was not heard");
    }
}
