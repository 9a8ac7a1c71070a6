//! One plain request, from its decision to its log line.
//!
//! Answers: who is asked, what is sent, and what does the client get? The order of the steps is the pipeline's, and so is
//! what each of them counts. The request stays here until a response began: until then another instance can be asked, or
//! the framework can answer. Never: decides.

use std::time::Instant;

use bytes::{Buf as _, BytesMut};
use http::Method;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::upstreams::peer::Peer as _;
use pingora::{Error, ErrorType, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::client::{self, Client};
use super::passing::Passing;
use super::response::{self, Asked, Head};
use super::rooms;
use super::upstream::{self, Key};
use crate::edge::Apart;
use crate::request::attempt::{self, Sent};
use crate::request::context::Context;
use crate::request::gate::{Decided, Gate};
use crate::request::headers::{self, BodyKind, Sender};
use crate::request::intake::Verdict;
use crate::request::{observed, peer, report};
use graygate_rules::vocab::ErrorReason;

/// Tries of one request, those at dead kept connections included: a bound on a loop that the budget ends long before.
const MOST_TRIES: usize = 32;
/// What a connection without a request takes at once: no clock is read for it.
const AT_ONCE: usize = 4 << 10;

/// What all exchanges have in common.
#[derive(Clone, Copy)]
pub struct Path<'e> {
    pub gate: &'e Gate,
    pub connector: &'e TransportConnector,
}

/// One request's way.
pub struct Exchange<'e, C> {
    path: Path<'e>,
    client: &'e mut C,
    context: Context,
    /// When the last step that was waited for was over; a clock is read as seldom as can be.
    now: Instant,
    /// What is to be sent. Of all the requests that wait for their responses none keeps room for it: so it is the same
    /// room nearly always, and still in the processor's cache.
    out: BytesMut,
    input: BytesMut,
    /// The status the client was told.
    written: Option<u16>,
    /// Bytes of the response's body that were passed on.
    bytes_out: u64,
}

/// What became of a request.
pub enum End {
    /// It was answered whole.
    Answered,
    /// There is nothing more to say, and what was said is not whole.
    Broken,
    /// The framework answers it.
    Undone(Box<Decided>),
}

/// A connection to an instance, in use.
struct Link {
    stream: Stream,
    key: Key,
    /// It carried a request before.
    reused: bool,
}

/// How a try failed.
enum Failed {
    /// Another one follows.
    Again,
    /// The client is told this.
    Answer(ErrorReason),
    /// The client has begun to read another answer.
    Broken(ErrorReason),
    /// There is no client any more.
    Gone,
}

impl<'e, C: Client> Exchange<'e, C> {
    pub fn new(path: Path<'e>, client: &'e mut C, context: Context) -> Exchange<'e, C> {
        let now = context.begun.instant;
        let (out, input) = (BytesMut::new(), rooms::take());
        Exchange { path, client, context, now, out, input, written: None, bytes_out: 0 }
    }

    /// Serves the request.
    pub async fn serve(mut self) -> End {
        for _ in 0..MOST_TRIES {
            let tried = self.attempt().await;
            self.now = Instant::now();
            match tried {
                Ok(kept) => {
                    self.keep(kept);
                    self.finish();
                    return End::Answered;
                }
                Err(Failed::Again) => {}
                Err(Failed::Answer(reason)) => return self.give_up(reason),
                Err(Failed::Gone) => return self.leave(None).await,
                Err(Failed::Broken(reason)) => return self.leave(Some(reason)).await,
            }
        }
        self.give_up(ErrorReason::UpstreamError)
    }

    /// Keeps a connection that may carry another request.
    fn keep(&mut self, link: Option<Link>) {
        if let (Some(link), Some(passage)) = (link, self.context.passage()) {
            upstream::keep(link.key, link.stream, passage.timeouts.idle, self.now);
        }
    }

    /// One try: the upstream's connection, if it may carry another request.
    async fn attempt(&mut self) -> Result<Option<Link>, Failed> {
        let mut link = self.link().await?;
        match self.ask(&mut link).await {
            Ok(keeps) => Ok(keeps.then_some(link)),
            Err(error) => Err(self.failed(error, link.reused)),
        }
    }

    /// A connection to the picked instance.
    async fn link(&mut self) -> Result<Link, Failed> {
        let now = self.now;
        let passage = self.context.routed().map_err(|_| Failed::Answer(ErrorReason::Internal))?;
        let left = peer::instance_with_time(passage, now).map_err(Failed::Answer)?;
        let Some(attempt) = &passage.attempt else { return Err(Failed::Answer(ErrorReason::Internal)) };
        let address = attempt.instance.address();
        let is_plain = passage.runtime.peers.transport().tls.is_none();
        let group = match is_plain {
            true => peer::group_key(passage, attempt),
            // How it is encrypted counts as well.
            false => peer::peer(passage, attempt, left).reuse_hash(),
        };
        let key = Key { address, group };
        if let Some(stream) = upstream::take(&key, now) {
            return Ok(Link { stream, key, reused: true });
        }
        let peer = peer::peer(passage, attempt, left);
        // In a box of its own: connecting is rare, and every connection would carry the room for it.
        let connected = Box::pin(self.path.connector.new_stream(&peer)).await;
        self.now = Instant::now();
        match connected {
            Ok(stream) => Ok(Link { stream, key, reused: false }),
            Err(error) => {
                let error = attempt::failed_to_connect(passage, error.into_up(), self.now);
                Err(self.outcome(&error))
            }
        }
    }

    /// Sends the request and passes the response on: whether the upstream's connection may carry another request.
    async fn ask(&mut self, link: &mut Link) -> Result<bool> {
        let unsent = self.send(link).await?;
        let asked = if self.client.method() == b"HEAD" { Asked::Head } else { Asked::Other };
        let head = match self.read_head(asked, link).await {
            Ok(head) => head,
            // An upstream that took no more of the body may still have said why.
            Err(error) => return Err(unsent.unwrap_or(error)),
        };
        self.begin_response(&head)?;
        self.input.advance(head.length);
        self.written = Some(head.status);
        let keeps = head.keeps && unsent.is_none();
        let pause = peer::longest_pause(self.context.routed()?);
        let passing = Passing {
            client: &mut *self.client,
            upstream: &mut link.stream,
            out: &mut self.out,
            input: &mut self.input,
            pause,
        };
        passing.pass(head.framing, &mut self.bytes_out).await?;
        // Bytes behind the response would be taken for the next one.
        Ok(keeps && self.input.is_empty())
    }

    /// Sends the whole request. An error that is returned as a value came while the body was sent: there may be an
    /// answer nevertheless.
    async fn send(&mut self, link: &mut Link) -> Result<Option<Box<Error>>> {
        let body = self.client.body_length();
        self.write_request(body)?;
        let passage = self.context.routed()?;
        passage.body.begin_try();
        passage.body.pass(body as u64);
        let due = self.now + passage.timeouts.read;
        let (stream, out) = (&mut link.stream, &self.out);
        let sending = async {
            stream.write_all(out).await?;
            stream.flush().await
        };
        let sent = client::wait(self.client, due.into(), sending).await;
        if self.out.len() > AT_ONCE {
            self.now = Instant::now();
        }
        rooms::give_back(std::mem::take(&mut self.out));
        match sent {
            Ok(Ok(())) => Ok(None),
            Ok(Err(error)) => {
                let error = Error::because(ErrorType::WriteError, "while sending a request", error).into_up();
                if body == 0 { Err(error) } else { Ok(Some(error)) }
            }
            Err(Apart::Due) => {
                Err(Error::explain(ErrorType::WriteTimedout, "the request was not taken in time").into_up())
            }
            Err(Apart::Gone) => Err(client::gone()),
        }
    }

    /// Makes of the client's head what the upstream gets.
    fn write_request(&mut self, body: usize) -> Result<()> {
        let mut head = self.client.head(&self.context);
        let body = if body == 0 { BodyKind::None } else { BodyKind::Some };
        let sender = Sender { peer: self.client.address(), version: C::VERSION, body };
        let passage = self.context.routed()?;
        headers::edit_request(&self.path.gate.settings, &sender, &mut head, passage);
        self.out = rooms::take();
        self.input.clear();
        self.client.write_request(head, passage.rewritten.target.as_bytes(), &mut self.out);
        Ok(())
    }

    /// Reads up to the head of the response proper; those before it are passed on.
    async fn read_head(&mut self, asked: Asked, link: &mut Link) -> Result<Head> {
        let mut due = attempt::header_due(self.context.routed()?, self.now);
        let pause = peer::longest_pause(self.context.routed()?);
        loop {
            let found = if self.input.is_empty() { None } else { response::find(&self.input, asked)? };
            match found {
                Some(head) if head.status == 101 => {
                    let what = "the upstream switched protocols unasked";
                    return Err(Error::explain(ErrorType::InvalidHTTPHeader, what).into_up());
                }
                Some(head) if head.status < 200 => {
                    self.pass_interim(&head).await?;
                    self.now = Instant::now();
                    due = attempt::header_due(self.context.routed()?, self.now).or(due);
                    continue;
                }
                Some(head) => return Ok(head),
                None => {}
            }
            self.input.reserve(rooms::ROOM / 2);
            let step = self.now + pause;
            let step = due.map_or(step, |due| due.min(step));
            let read = link.stream.read_buf(&mut self.input);
            match client::wait(self.client, step.into(), read).await {
                Ok(Ok(0)) => {
                    return Err(Error::explain(ErrorType::ConnectionClosed, "no response").into_up());
                }
                Ok(Ok(_)) => self.now = Instant::now(),
                Ok(Err(error)) => {
                    return Err(Error::because(ErrorType::ReadError, "no response", error).into_up());
                }
                Err(Apart::Due) => {
                    let what = "no response header in time";
                    return Err(Error::explain(ErrorType::ReadTimedout, what).into_up());
                }
                Err(Apart::Gone) => return Err(client::gone()),
            }
        }
    }

    async fn pass_interim(&mut self, head: &Head) -> Result<()> {
        let mut interim = C::fields(head, &self.input)?;
        headers::strip_interim(&mut interim);
        self.input.advance(head.length);
        self.client.tell_interim(interim, &mut self.out).await
    }

    /// Counts the response, and begins it for the client.
    fn begin_response(&mut self, head: &Head) -> Result<()> {
        self.out = rooms::take();
        let passage = self.context.routed()?;
        let now = self.now;
        attempt::answered(passage, head.status, now);
        let settings = &self.path.gate.settings;
        let is_edited = passage.observed.is_some() || headers::edits_response(settings, passage);
        let is_as_it_came = !is_edited && !head.has.nominations && !head.has.folds;
        if is_as_it_came && self.client.begin_as_it_came(head, &self.input, &mut self.out) {
            return Ok(());
        }
        let mut fields = C::fields(head, &self.input)?;
        observed::answered(passage, &fields, now);
        headers::edit_response(settings, &mut fields, passage)?;
        self.client.begin(head, fields, &mut self.out)
    }

    fn failed(&mut self, error: Box<Error>, reused: bool) -> Failed {
        let method = Method::from_bytes(self.client.method());
        let sent = Sent {
            is_held: self.written.is_none(),
            is_idempotent: method.is_ok_and(|method| method.is_idempotent()),
            reused,
        };
        let Ok(passage) = self.context.routed() else { return Failed::Gone };
        let error = attempt::failed(passage, error, sent, Instant::now());
        self.outcome(&error)
    }

    /// What follows a failure that was counted.
    fn outcome(&self, error: &Error) -> Failed {
        if error.retry() {
            return Failed::Again;
        }
        match (self.context.error.or_else(|| attempt::reason_of(error)), self.written) {
            (None, _) => Failed::Gone,
            (Some(reason), Some(_)) => Failed::Broken(reason),
            (Some(reason), None) => Failed::Answer(reason),
        }
    }

    /// The framework answers in an upstream's place.
    fn give_up(mut self, reason: ErrorReason) -> End {
        if let Some(passage) = self.context.passage_mut() {
            observed::over(passage, self.now);
        }
        self.context.error = Some(reason);
        End::Undone(Box::new(Decided { context: self.context, verdict: Verdict::Error(reason) }))
    }

    /// There is nothing more to say: only the connection's end, or the stream's, says that what was said is not whole.
    async fn leave(mut self, reason: Option<ErrorReason>) -> End {
        self.context.error = reason;
        self.client.leave().await;
        self.now = Instant::now();
        self.finish();
        End::Broken
    }

    /// Counts and logs the request.
    fn finish(&mut self) {
        let now = self.now;
        if let Some(passage) = self.context.passage_mut() {
            attempt::end(passage, now);
            observed::over(passage, now);
        }
        let gate = self.path.gate;
        let told = || self.client.told(self.bytes_out);
        let ended = report::Ended { status: self.written, at: now };
        report::finish(&gate.metrics, gate.access_log.as_ref(), &mut self.context, ended, told);
        for room in [&mut self.out, &mut self.input] {
            rooms::give_back(std::mem::take(room));
        }
    }
}
