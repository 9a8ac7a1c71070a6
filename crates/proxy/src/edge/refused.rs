//! Requests that were refused before they became one: counted and logged as every request is.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use pingora::protocols::SocketDigest;

use crate::metrics::Metrics;
use graygate_rules::vocab::{ErrorReason, Reason};
use graygate_telemetry::{AccessLog, ClientText, Entry};

/// Where refusals are reported to.
pub struct Refused {
    metrics: Option<Metrics>,
    access_log: Option<AccessLog>,
}

impl Refused {
    pub fn new(metrics: Metrics, access_log: Option<AccessLog>) -> Refused {
        Refused { metrics: Some(metrics), access_log }
    }

    /// Where nothing is counted.
    pub fn unreported() -> Refused {
        Refused { metrics: None, access_log: None }
    }

    /// Reports one refusal, of the client at the other end of `socket`.
    pub fn report(&self, socket: Option<&SocketDigest>, error: ErrorReason) {
        if let Some(metrics) = &self.metrics {
            metrics.unrouted(error.as_str()).increment();
        }
        if let Some(log) = &self.access_log {
            let peer = socket.and_then(|digest| digest.peer_addr()?.as_inet().map(|peer| peer.ip()));
            log.write(&entry(peer, error), rand::random());
        }
    }
}

/// The line of what never became a request: there is nothing of it to name.
fn entry(peer: Option<IpAddr>, error: ErrorReason) -> Entry<'static> {
    Entry {
        time: SystemTime::now(),
        client: peer.map(|peer| peer.to_canonical()),
        method: ClientText(b""),
        host: None,
        path: ClientText(b""),
        status: Some(error.status()),
        bytes_in: 0,
        bytes_out: error.line().len() as u64,
        duration: Duration::ZERO,
        upstream: None,
        route: None,
        service: None,
        version: None,
        reason: Some(Reason::BadRequest),
        rule: None,
        bucket: None,
        served_by: None,
        fallback: None,
        tries: 0,
        error: Some(error.as_str()),
        request_id: None,
        user_agent: None,
    }
}
