//! How long to wait for an upstream.

use std::time::Duration;

/// The four waits of a service. Every one is bounded: nothing waits for ever.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Timeouts {
    /// Until a connection stands, TLS included.
    pub connect: Duration,
    /// Between two reads of the response.
    pub read: Duration,
    /// The whole request, retries included, until the response header.
    pub request: Duration,
    /// How long an unused upstream connection is kept.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            connect: Duration::from_secs(1),
            read: Duration::from_secs(30),
            request: Duration::from_secs(60),
            idle: Duration::from_secs(50),
        }
    }
}
