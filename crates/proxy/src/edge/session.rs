//! What the hooks reach of a connection through the framework's session.
//!
//! Answers: whose connection carries this request, what does the request wait for, and what is known of it already?
//! Never: changes either.

use std::sync::Arc;

use pingora::proxy::Session;

use super::client_stream::ClientStream;
use super::connection_state::{ConnectionState, Handed};
use super::h2_stream::Known;
use super::waits::Waits;

/// The state of a request's connection; a request over HTTP/2 shares its connection with others and has none.
pub fn connection(session: &Session) -> Option<&ConnectionState> {
    let stream = (**session.as_ref().stream()?).as_any();
    stream.downcast_ref::<ClientStream>().map(ClientStream::state)
}

/// What a request waits for.
pub fn waits(session: &Session) -> Option<&Waits> {
    // Over HTTP/2 a request brings its own; over HTTP/1 the connection has those of its one request.
    let own = || session.req_header().extensions.get::<Arc<Waits>>();
    connection(session).map(|connection| &*connection.waits).or_else(|| own().map(|waits| &**waits))
}

/// What the short path found out about the request; once.
pub fn take_handed(session: &Session) -> Option<Handed> {
    match connection(session) {
        Some(connection) => connection.take_handed(),
        // Over HTTP/2 a request brings it along.
        None => session.req_header().extensions.get::<Known>()?.take(),
    }
}
