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

/// Serves connections without limits on their number, and counts no refusal.
pub struct Plain<A>(Serving<A>);

impl<A: HttpServerApp> Plain<A> {
    pub fn new(app: A) -> Plain<A> {
        let refused = Arc::new(Refused::unreported());
        Plain(Serving { app: Arc::new(app), limits: Limits::default(), refused })
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> ServerApp for Plain<A> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        h1::serve(&self.0, ClientStream::open(stream, WRITE_STALL), shutdown).await;
        None
    }
}
