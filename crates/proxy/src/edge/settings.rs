//! What the process file says about listeners and clients.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use graygate_rules::vocab::ByteSize;

/// One address requests come to, and what is spoken there beside HTTP/1.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub tls: Option<Tls>,
    /// Offered to clients of a TLS listener.
    pub h2: bool,
    /// HTTP/2 without TLS, by prior knowledge.
    pub h2c: bool,
    /// Every connection begins with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}

/// How a listener encrypts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// A directory of `name.crt` and `name.key`.
    pub certificates: PathBuf,
    pub min_version: TlsVersion,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl Listener {
    pub fn plain(address: SocketAddr) -> Listener {
        Listener { address, tls: None, h2: false, h2c: false, proxy_protocol: false }
    }
}

/// Limits on what clients may ask of the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The whole head of a request.
    pub header_bytes: ByteSize,
    pub headers: usize,
    /// From a head's first byte to its last.
    pub header_timeout: Duration,
    pub body: ByteSize,
    /// Slowest body, bytes a second, after a few seconds' grace; 0: no limit.
    pub body_rate: ByteSize,
    /// How long a connection may wait for its next request.
    pub keepalive: Duration,
    /// Connections of all listeners together.
    pub connections: usize,
    /// Connections of one client's address; 0: no limit.
    pub connections_per_ip: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: ByteSize(64 << 10),
            headers: 100,
            header_timeout: Duration::from_secs(10),
            body: ByteSize(100 << 20),
            body_rate: ByteSize(1 << 10),
            keepalive: Duration::from_secs(60),
            connections: 100_000,
            connections_per_ip: 0,
        }
    }
}
