//! Listens on the admin address for as long as the process lives.
//!
//! Not a service of the framework: those stop listening when the end begins, just when an operator wants to know whether the
//! process is ready, what still runs, and for how long. HTTP is hyper's: what is no request is answered with 400, and a
//! client of HTTP/1.0 gets its end of the connection. Never: what is answered.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// Whose turn it is at the admin address: a process that takes over gets the listener, and the one before leaves it.
#[derive(Clone)]
pub struct ListenerHandoff(watch::Sender<Turn>);

#[derive(Clone)]
enum Turn {
    /// The listener comes from another process.
    Awaited,
    /// No process has the address yet.
    Free,
    Ours(Arc<std::net::TcpListener>),
    /// Another process has it now.
    Left,
}

impl ListenerHandoff {
    pub fn new(comes_from_another: bool) -> ListenerHandoff {
        ListenerHandoff(watch::Sender::new(if comes_from_another { Turn::Awaited } else { Turn::Free }))
    }

    /// The other process's listener; `None`: it had none at this address, which is bound.
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

/// Until a head is there whole, and between two requests of one connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a handshake may take.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head and piece of a body that is buffered.
const BUFFER_BYTES: usize = 64 << 10;

/// What is answered.
pub trait Answers: Send + Sync + 'static {
    fn respond(&self, request: Request<Incoming>) -> impl Future<Output = Response<Vec<u8>>> + Send;
}

/// The admin address, as a part of the process that nothing but its end stops.
pub struct Listener<A> {
    answers: Arc<A>,
    address: SocketAddr,
    /// `None`: without TLS.
    tls: Option<Arc<ServerConfig>>,
    handoff: ListenerHandoff,
}

impl<A> Listener<A> {
    pub fn new(
        answers: A,
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        handoff: ListenerHandoff,
    ) -> Listener<A> {
        Listener { answers: Arc::new(answers), address, tls, handoff }
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
            match TcpListener::bind(self.address).await {
                Ok(listener) => return listener,
                Err(error) if !told => {
                    tracing::warn!(address = %self.address, %error, "the admin address is taken; trying on");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[async_trait]
impl<A: Answers> BackgroundService for Listener<A> {
    async fn start(&self, _shutdown: ShutdownWatch) {
        let Some(listener) = self.listen().await else { return };
        tracing::info!(address = %self.address, "listening for questions");
        let mut turn = self.handoff.0.subscribe();
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
            let (answers, tls) = (self.answers.clone(), self.tls.clone());
            tokio::spawn(async move {
                let _place = place;
                converse(stream, tls, answers).await;
            });
        }
    }
}

/// One connection. How it ended is its client's business.
async fn converse<A: Answers>(stream: TcpStream, tls: Option<Arc<ServerConfig>>, answers: Arc<A>) {
    let Some(tls) = tls else { return serve(stream, answers).await };
    if let Ok(Ok(stream)) = tokio::time::timeout(TLS_TIMEOUT, TlsAcceptor::from(tls).accept(stream)).await {
        serve(stream, answers).await;
    }
}

async fn serve<A: Answers>(stream: impl AsyncRead + AsyncWrite + Unpin, answers: Arc<A>) {
    let respond = service_fn(|request| {
        let answers = answers.clone();
        async move { Ok::<_, Infallible>(answers.respond(request).await.map(|body| Full::new(Bytes::from(body)))) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER_BYTES);
    let _ = http.serve_connection(TokioIo::new(stream), respond).await;
}
