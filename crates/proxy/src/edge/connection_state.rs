//! What is known of one client's connection beside its bytes.
//!
//! Answers: what of the bytes belongs to the request under way, what came behind it, and may the connection go on after
//! it? Shared by the hooks, the connection's loop and its stream. Never: reads from the connection.

use std::any::Any;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderValue;
use parking_lot::{Mutex, MutexGuard};
use pingora::protocols::Stream;

use super::chunks::{ChunkScanner, Malformed};
use super::waits::Waits;

/// What the hooks, the connection's loop and the stream itself share about one connection.
#[derive(Default)]
pub struct ConnectionState {
    pub waits: Arc<Waits>,
    state: Mutex<State>,
}

/// What changes while the connection stands.
#[derive(Default)]
pub(super) struct State {
    pub rest: Rest,
    /// What came behind the request.
    pub ahead: BytesMut,
    /// The body's framing was wrong, and no hook has taken note yet.
    is_malformed: bool,
    /// The connection may go on though the framework gave it up.
    pub is_kept: bool,
    pub given_up: Option<Stream>,
    /// What the next response's `Date` is to say instead of ours.
    pub date: Option<HeaderValue>,
    /// What is known already of the request that the framework is about to get.
    handed: Option<Handed>,
}

/// What the short path found out about a request before it handed it over; the request's hooks know its type.
pub type Handed = Box<dyn Any + Send + Sync>;

/// What of a connection's bytes still belongs to the request.
#[derive(Debug, Default)]
pub enum Rest {
    /// All of them: there is no request, or the connection has changed its protocol.
    #[default]
    Everything,
    Bytes(u64),
    /// A chunked body, whose end shows while it is read.
    Chunks(ChunkScanner),
}

impl Rest {
    pub fn is_over(&self) -> bool {
        matches!(self, Rest::Bytes(0))
    }

    /// How many of these bytes, which are read from now on, belong to the request.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        match self {
            Rest::Everything => Ok(bytes.len()),
            Rest::Bytes(left) => {
                let own = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= own as u64;
                Ok(own)
            }
            Rest::Chunks(scanner) => match scanner.scan(bytes)? {
                Some(end) => {
                    *self = Rest::Bytes(0);
                    Ok(end)
                }
                None => Ok(bytes.len()),
            },
        }
    }
}

impl State {
    /// The same for bytes that were read; the error goes to their reader.
    pub fn take_own(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.rest.take(bytes).map_err(|error| {
            self.is_malformed = true;
            io::Error::new(ErrorKind::InvalidData, error)
        })
    }
}

impl ConnectionState {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A request begins; `rest` of it is still to come, and `ahead` came behind it.
    pub fn begin(&self, rest: Rest, mut ahead: BytesMut, rate: u64) {
        self.waits.begin(if rest.is_over() { 0 } else { rate });
        let mut state = self.state.lock();
        if !ahead.is_empty() {
            ahead.unsplit(std::mem::take(&mut state.ahead));
            state.ahead = ahead;
        }
        if matches!(rest, Rest::Everything) {
            // What was known of one request is never taken for another's.
            state.handed = None;
        }
        state.rest = rest;
        state.is_malformed = false;
        state.is_kept = false;
        state.date = None;
    }

    /// The connection has changed its protocol: there is no next request.
    pub fn pass_everything(&self) {
        self.state.lock().rest = Rest::Everything;
    }

    /// The request was answered whole: the connection goes on, whatever the framework does with it.
    pub fn keep(&self) {
        self.state.lock().is_kept = true;
    }

    /// Whether the body's framing was wrong; true once.
    pub fn take_malformed(&self) -> bool {
        std::mem::take(&mut self.state.lock().is_malformed)
    }

    /// The next request comes with what is known of it.
    pub fn hand(&self, known: Handed) {
        self.state.lock().handed = Some(known);
    }

    /// What is known of the request; once.
    pub fn take_handed(&self) -> Option<Handed> {
        self.state.lock().handed.take()
    }

    /// The next response was made at this time: the framework would say when it passed it on.
    pub fn date_response(&self, date: HeaderValue) {
        self.state.lock().date = Some(date);
    }
}
