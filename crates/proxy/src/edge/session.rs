//! What the hooks reach of a request beside its head.
//!
//! Answers: what does the request wait for, and what is known of it already? Never: changes either.

use std::sync::Arc;

use pingora::proxy::Session;

use super::handed::{self, Handed};
use super::waits::Waits;

/// What a request waits for.
pub fn waits(session: &Session) -> Option<&Waits> {
    session.req_header().extensions.get::<Arc<Waits>>().map(|waits| &**waits)
}

/// What the short path found out about the request; once.
pub fn take_handed(session: &Session) -> Option<Handed> {
    handed::take(&session.req_header().extensions)
}
