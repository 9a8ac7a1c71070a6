//! The client of a plain request, while its upstream is waited for.
//!
//! Answers: who is it, has it gone, and how long may a step take? Never: reads or writes HTTP.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;

use pingora::protocols::{GetSocketDigest as _, Ssl as _};
use pingora::{Error, ErrorType};
use tokio::time::Instant;

use crate::edge::{Apart, ClientStream};
use crate::request::intake;
use graygate_rules::decide::Peer;

/// Who asks.
pub fn peer(client: &ClientStream) -> Peer {
    intake::peer(address(client), client.get_ssl_digest().is_some())
}

/// Its address, where its connection has one.
pub fn address(client: &ClientStream) -> Option<IpAddr> {
    let socket = client.get_socket_digest()?;
    Some(socket.peer_addr()?.as_inet()?.ip())
}

/// Waits for a step, unless the client goes or the time is over before.
pub async fn wait<T>(
    client: &mut ClientStream,
    due: Instant,
    step: impl Future<Output = T>,
) -> Result<T, Apart> {
    let mut step = pin!(step);
    let either = poll_fn(|cx| match step.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Ok(done)),
        Poll::Pending => client.poll_apart(due, cx).map(Err),
    });
    either.await
}

/// The client ended the connection.
pub fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client is gone").into_down()
}

/// The client takes no more.
pub fn failed(error: std::io::Error) -> Box<Error> {
    Error::because(ErrorType::WriteError, "while answering", error).into_down()
}
