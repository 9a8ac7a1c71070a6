//! Documents most tests begin with.

use std::net::SocketAddr;

use super::proxy::Proxy;
use super::upstream::Upstream;

/// Everything goes to the service `s`.
pub const ALL: (&str, &str) = ("routes/all.yaml", "service: s\n");

/// Who says so in `x-want` gets `gray`.
pub const WANTED: (&str, &str) =
    ("rules/10-wanted.yaml", "when: {attribute: header:x-want, equals: gray}\nversion: gray\n");

/// The `instances` of a service, one line each.
pub fn instances(pools: &[(&str, SocketAddr)]) -> String {
    let line = |(version, address): &(&str, SocketAddr)| {
        format!("  - {{address: \"{address}\", version: {version}}}\n")
    };
    let lines: String = pools.iter().map(line).collect();
    format!("instances:\n{lines}")
}

/// A proxy in front of one upstream, everything routed to it.
pub async fn in_front_of(config: &str, upstream: &Upstream) -> Proxy {
    let service = instances(&[("release", upstream.address)]);
    Proxy::start(config, &[ALL, ("services/s.yaml", &service)]).await
}
