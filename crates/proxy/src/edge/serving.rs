//! What every connection needs to serve its requests, whatever it speaks.

use std::sync::Arc;

use pingora::server::ShutdownWatch;

use super::refused::Refused;
use super::settings::Limits;

/// Whom requests are handed to, and what bounds them.
pub struct Serving<A, S> {
    pub app: Arc<A>,
    /// Who serves plain requests in the framework's place.
    pub short: Option<Arc<S>>,
    pub limits: Limits,
    pub refused: Arc<Refused>,
}

/// Waits until the process begins to end.
pub async fn ending(shutdown: &ShutdownWatch) {
    let mut shutdown = shutdown.clone();
    // A dropped sender is an end as well.
    let _ = shutdown.wait_for(|end| *end).await;
}
