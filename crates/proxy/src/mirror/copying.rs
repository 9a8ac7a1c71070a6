//! One request's copy, from its head to the comparison of both answers.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use pingora::http::RequestHeader;
use tokio::sync::oneshot;

use super::exchange::{Exchange, exchange};
use super::shadow::{Place, Shadow};
use graygate_rules::vocab::MirrorOutcome;

/// A copy in the making.
pub struct Copying {
    shadow: Arc<Shadow>,
    state: State,
}

enum State {
    /// The request has not been sent to any instance.
    Fresh,
    Reading {
        header: Box<RequestHeader>,
        /// Copied out of the buffers it came in: a few bytes would hold a whole one of those.
        body: BytesMut,
        place: Place,
    },
    /// On its way; its sender waits to be told the real answer's status.
    Sent(oneshot::Sender<u16>),
    /// It did not fit.
    GivenUp,
}

impl Copying {
    pub fn of(shadow: Arc<Shadow>) -> Copying {
        Copying { shadow, state: State::Fresh }
    }

    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// Whether the head is still to be had.
    pub fn is_fresh(&self) -> bool {
        matches!(self.state, State::Fresh)
    }

    /// Takes the head of the copy, and a place in the budget: what clients send slowly is kept in memory until it is
    /// whole, which has to be bounded as well. `length` is what the request says of its body.
    pub fn begin(&mut self, header: RequestHeader, length: u64) {
        if length > self.shadow.mirror.body.0 {
            return self.give_up(MirrorOutcome::TooLarge);
        }
        match self.shadow.take_place() {
            Some(place) => {
                self.state = State::Reading { header: Box::new(header), body: BytesMut::new(), place };
            }
            None => self.give_up(MirrorOutcome::OverBudget),
        }
    }

    /// The body comes once more from its first byte, for another try.
    pub fn begin_again(&mut self) {
        if let State::Reading { body, .. } = &mut self.state {
            body.clear();
        }
    }

    /// Takes what of the body goes to the instance; at its end the copy is sent.
    pub fn pass(&mut self, bytes: &[u8], end: bool) {
        let State::Reading { body, .. } = &mut self.state else { return };
        if body.len() as u64 + bytes.len() as u64 > self.shadow.mirror.body.0 {
            return self.give_up(MirrorOutcome::TooLarge);
        }
        body.extend_from_slice(bytes);
        if end {
            self.send();
        }
    }

    fn send(&mut self) {
        let (tell, real) = oneshot::channel();
        let reading = std::mem::replace(&mut self.state, State::Sent(tell));
        let State::Reading { header, body, place } = reading else { return };
        let shadow = self.shadow.clone();
        let now = Instant::now();
        let Some(instance) = shadow.instance(now) else {
            return self.give_up(MirrorOutcome::NoInstance);
        };
        if shadow.absent.holds(instance.address(), now) {
            return self.give_up(MirrorOutcome::Failed);
        }
        let body = body.freeze();
        tokio::spawn(exchange(Exchange { shadow, address: instance.address(), header, body, place }, real));
    }

    /// The status of the real answer, for the comparison.
    pub fn answered(&mut self, status: u16) {
        if let State::Sent(tell) = std::mem::replace(&mut self.state, State::GivenUp) {
            // The copy may have ended already, without an answer.
            let _ = tell.send(status);
        }
    }

    fn give_up(&mut self, outcome: MirrorOutcome) {
        self.state = State::GivenUp;
        self.shadow.count(outcome);
    }
}
