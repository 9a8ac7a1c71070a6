//! Listens on the admin address for as long as the process lives.
//!
//! Not a service of the framework: those stop listening when the end begins, just when somebody wants to know whether the
//! process is ready, what still runs, and for how long. Never: what is answered.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::http_app::HttpServer;
use pingora::protocols::l4::stream::Stream;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use pingora::services::listening::Service;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::{Admin, Settings};

/// Whose turn it is at the admin address: a process that takes over gets the listener, and the one before leaves it.
#[derive(Clone)]
pub struct ListenerHandoff(watch::Sender<Turn>);

#[derive(Clone)]
enum Turn {
    /// The listener comes from another process.
    Awaited,
    /// Nobody has the address yet.
    Free,
    Ours(Arc<std::net::TcpListener>),
    /// Another process has it now.
    Left,
}

impl ListenerHandoff {
    pub fn new(comes_from_another: bool) -> ListenerHandoff {
        ListenerHandoff(watch::Sender::new(if comes_from_another { Turn::Awaited } else { Turn::Free }))
    }

    /// The other process's listener; `None`: it had none, and the address is bound.
    pub fn take(&self, listener: Option<std::net::TcpListener>) {
        self.0.send_replace(listener.map_or(Turn::Free, |listener| Turn::Ours(Arc::new(listener))));
    }

    /// What this process listens with.
    pub fn listener(&self) -> Option<Arc<std::net::TcpListener>> {
        match &*self.0.borrow() {
            Turn::Ours(listener) => Some(listener.clone()),
            _ => None,
        }
    }

    /// Another process answers from now on.
    pub fn leave(&self) {
        self.0.send_replace(Turn::Left);
    }
}

/// Connections at a time; more wait in the listener's backlog.
const CONNECTIONS: usize = 256;
/// The pause after a failed bind or accept: at once, the reason would still be there.
const PAUSE: Duration = Duration::from_millis(100);

/// The admin address, as a part of the process that nothing but its end stops.
pub struct Listener {
    server: Arc<HttpServer<Admin>>,
    settings: Settings,
    handoff: ListenerHandoff,
}

impl Listener {
    pub fn new(admin: Admin, settings: Settings, handoff: ListenerHandoff) -> Listener {
        Listener { server: Arc::new(HttpServer::new_app(admin)), settings, handoff }
    }

    /// Listens, once it is this process's turn; `None` where it never is.
    async fn listen(&self) -> Option<TcpListener> {
        let mut turn = self.handoff.0.subscribe();
        loop {
            let now = turn.borrow_and_update().clone();
            match now {
                Turn::Awaited => turn.changed().await.ok()?,
                Turn::Free => {
                    let listener = self.bind().await.into_std().ok()?;
                    self.handoff.take(Some(listener));
                }
                Turn::Ours(listener) => return TcpListener::from_std(listener.try_clone().ok()?).ok(),
                Turn::Left => return None,
            }
        }
    }

    /// Binds; while a process that is on its way out still has the address, again and again.
    async fn bind(&self) -> TcpListener {
        let mut told = false;
        loop {
            match TcpListener::bind(self.settings.address).await {
                Ok(listener) => return listener,
                Err(error) if !told => {
                    tracing::warn!(address = %self.settings.address, %error, "the admin address is taken; trying on");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl BackgroundService for Listener {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Some(listener) = self.listen().await else { return };
        tracing::info!(address = %self.settings.address, "listening for questions");
        let mut turn = self.handoff.0.subscribe();
        // Never set: who asks during the shutdown is answered like everybody else.
        let (_running, never) = watch::channel(false);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = turn.wait_for(|turn| matches!(turn, Turn::Left)) => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let (server, never) = (self.server.clone(), never.clone());
            tokio::spawn(async move {
                let _place = place;
                Service::handle_event(Box::new(Stream::from(stream)), server, never).await;
            });
        }
    }
}
