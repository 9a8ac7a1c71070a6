//! The listener of the control plane: connections in, requests to what answers.
//!
//! Owns: accepting, TLS, limits on connections and heads, and the orderly end. Never: what a request means.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::api::{Answers, Peer};

/// Connections at one time: pages and streams of some hundred people, and the watches of some thousand instances.
const CONNECTIONS: usize = 10_000;
/// How long the head of a request, or a handshake, may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head.
const HEAD_BYTES: usize = 64 << 10;
/// How long requests that have begun may take once the process ends.
const GRACE: Duration = Duration::from_secs(5);

/// Serves until the shutdown; requests that have begun end within the grace period.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    answers: impl Into<Answers>,
    mut shutdown: watch::Receiver<bool>,
) {
    let answers = answers.into();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let acceptor = tls.map(TlsAcceptor::from);
    let graceful = Arc::new(GracefulShutdown::new());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|end| *end) => break,
        };
        let Ok((stream, address)) = accepted else {
            // Out of file descriptors: let some connections end first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (answers, acceptor, watcher) = (answers.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move {
            match acceptor {
                None => connection(stream, Peer(address), answers, watcher).await,
                Some(acceptor) => {
                    let shaken = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        connection(stream, Peer(address), answers, watcher).await;
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    answers: Answers,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let service = service_fn(move |request| answers.answer(request, peer));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(20));
    let served = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    // A client that goes away in the middle concerns no other.
    let _ = watcher.watch(served).await;
}
