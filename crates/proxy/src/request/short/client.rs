//! The client of a plain request, whatever it speaks.
//!
//! Answers: what did it ask, has it gone, and how is it told an answer? Owns what the exchange has to know of its
//! client; `h1` and `h2` say what it means for theirs. Never: what is told, or which upstream is asked.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context as Task, Poll};

use bytes::BytesMut;
use http::Version;
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorType, Result};
use tokio::time::Instant;

use super::response::Head;
use crate::edge::Apart;
use crate::request::context::Context;
use crate::request::head::RequestHead;
use crate::request::report::Told;

/// One request's client, whose request is here whole.
pub trait Client: Send {
    /// Its request's head, to be edited for an upstream.
    type Head: RequestHead;

    /// What it speaks.
    const VERSION: Version;

    /// Its address, where its connection has one.
    fn address(&self) -> Option<IpAddr>;

    fn method(&self) -> &[u8];

    /// Bytes of the request's body.
    fn body_length(&self) -> usize;

    /// The head as it was decided on, without what concerns the client's connection; once for each try.
    fn head(&mut self, context: &Context) -> Self::Head;

    /// Writes the request for an upstream that is asked for `target`, the body behind the head.
    fn write_request(&self, head: Self::Head, target: &[u8], out: &mut BytesMut);

    /// Ready once the client has gone, or it is `due`.
    fn poll_apart(&mut self, due: Instant, cx: &mut Task<'_>) -> Poll<Apart>;

    /// The fields of a response's head as this client can be told them. `bytes`: what the head was read from.
    fn fields(head: &Head, bytes: &[u8]) -> Result<ResponseHeader>;

    /// Tells a head before the one of the response proper.
    fn tell_interim(
        &mut self,
        fields: ResponseHeader,
        out: &mut BytesMut,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Begins a response that nothing is to be changed in; false: its fields are asked for. What is left in `out` is
    /// told together with the body.
    fn begin_as_it_came(&mut self, head: &Head, bytes: &[u8], out: &mut BytesMut) -> bool;

    /// Begins a response that came with this head, with the fields it is left with.
    fn begin(&mut self, head: &Head, fields: ResponseHeader, out: &mut BytesMut) -> Result<()>;

    /// Takes content of the body that [`Client::tell`] tells next, for who frames bodies in another way.
    fn take(&mut self, content: &[u8]);

    /// Tells a piece of the body: these bytes, as they came, behind what is left in `out`.
    fn tell(
        &mut self,
        out: &mut BytesMut,
        piece: &[u8],
        is_last: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Ends a body that ended with its upstream's connection.
    fn end(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The response breaks off here: what is left in `out` is told, and not that the response has ended.
    fn break_off(&mut self, out: &mut BytesMut) -> impl Future<Output = Result<()>> + Send;

    /// Nothing more will be said.
    fn leave(&mut self) -> impl Future<Output = ()> + Send;

    /// What the log tells of the request. `bytes_out`: what was read of the response's body.
    fn told(&self, bytes_out: u64) -> Told<'_>;
}

/// Waits for a step, unless the client goes or the time is over before.
pub async fn wait<T>(
    client: &mut impl Client,
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

/// The client gave the request up.
pub fn gone() -> Box<Error> {
    Error::explain(ErrorType::ConnectionClosed, "the client is gone").into_down()
}
