//! One protocol and nothing else, on connections that another listener accepted: what a whole proxy is fuzzed and tested through.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use super::client_stream::{ClientStream, WRITE_STALL};
use super::listener::Speaks;
use super::refused::Refused;
use super::serving::Serving;
use super::settings::Limits;
use super::short::ShortPath;
use super::{h1, h2};

/// Serves connections without limits on their number, and counts no refusal.
pub struct Plain<A, S> {
    serving: Serving<A, S>,
    speaks: Speaks,
}

impl<A: HttpServerApp, S: ShortPath> Plain<A, S> {
    pub fn new(app: A, short: Option<S>, speaks: Speaks) -> Plain<A, S> {
        let refused = Arc::new(Refused::unreported());
        let short = short.map(Arc::new);
        Plain { serving: Serving { app: Arc::new(app), short, limits: Limits::default(), refused }, speaks }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static, S: ShortPath> ServerApp for Plain<A, S> {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let stream = ClientStream::open(stream, WRITE_STALL);
        match self.speaks {
            Speaks::Http1 => h1::serve(&self.serving, stream, shutdown).await,
            Speaks::Http2 => h2::serve(&self.serving, stream, shutdown).await,
        }
        None
    }
}
