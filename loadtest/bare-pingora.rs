//! A proxy that only forwards: what Pingora costs by itself, the yardstick of `make loadtest`.
//!
//! The smallest proxy one can write with the framework, built with the same features and profile as graygate, on the
//! system's allocator, and run with as many threads and kept connections: it passes every request on to one upstream and
//! decides nothing.
//! Usage: bare-pingora LISTEN UPSTREAM THREADS

use std::net::SocketAddr;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::Result;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::upstreams::peer::HttpPeer;

/// As graygate's.
const UPSTREAM_POOL: usize = 1_024;

struct Forward(SocketAddr);

#[async_trait]
impl ProxyHttp for Forward {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _context: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

pub fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: bare-pingora LISTEN UPSTREAM THREADS");
    let (listen, upstream, threads) = (next()?, next()?.parse()?, next()?.parse()?);
    let conf = ServerConf {
        threads,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Forward(upstream));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}
