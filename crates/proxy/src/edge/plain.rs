//! HTTP/1 and nothing else, on connections that another listener accepted: what a whole proxy is fuzzed and tested through.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use super::client_stream::{ClientStream, WRITE_STALL};
use super::h1;
use super::refused::Refused;
use super::serving::Serving;
use super::settings::Limits;
use super::short::ShortPath;

/// Serves connections without limits on their number, and counts no refusal.
pub struct Plain<A, S>(Serving<A, S>);

impl<A: HttpServerApp, S: ShortPath> Plain<A, S> {
    pub fn new(app: A, short: Option<S>) -> Plain<A, S> {
        let refused = Arc::new(Refused::unreported());
        Plain(Serving { app: Arc::new(app), short, limits: Limits::default(), refused })
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> ServerApp for Plain<A, S> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        h1::serve(&self.0, ClientStream::open(stream, WRITE_STALL), shutdown).await;
        None
    }
}
