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

/// Connections at a time; more wait in the listener's backlog.
const CONNECTIONS: usize = 256;
/// The pause after a failed bind or accept: at once, the reason would still be there.
const PAUSE: Duration = Duration::from_millis(100);

/// The admin address, as a part of the process that nothing but its end stops.
pub struct Listener {
    server: Arc<HttpServer<Admin>>,
    settings: Settings,
}

impl Listener {
    pub fn new(admin: Admin, settings: Settings) -> Listener {
        Listener { server: Arc::new(HttpServer::new_app(admin)), settings }
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
        let listener = self.bind().await;
        // Never set: who asks during the shutdown is answered like everybody else.
        let (_running, never) = watch::channel(false);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
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
