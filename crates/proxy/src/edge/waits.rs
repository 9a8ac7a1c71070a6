//! How long one request waits: for the upstream's response to begin, and for the client's body to come in.
//!
//! Answers: when has the upstream had enough time, and when has the client? The framework bounds single reads only, and
//! a client that sends one byte at a time would never be late. The hooks say what is awaited; whatever the framework reads the
//! client with polls a [`Watch`] beside it, and fails when the time is over. Never: reads anything itself.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep, sleep_until};

/// A body may be slower than the limit for this long: connections take a while to get going.
const BODY_GRACE: Duration = Duration::from_secs(5);

/// What the hooks and the client's side share about one request.
#[derive(Default)]
pub struct Waits(Mutex<State>);

#[derive(Default)]
struct State {
    /// When the response has to have begun.
    due: Option<Instant>,
    /// The deadline has passed, and no hook has taken note yet.
    is_late: bool,
    /// The body that is awaited; `None`: nothing is, or it may take its time.
    body: Option<Awaited>,
    /// The body was too slow, and no hook has taken note yet.
    is_slow: bool,
    /// The client is waited for: nothing of its body is here to be passed on.
    is_client_awaited: bool,
}

/// How a request's body comes in.
#[derive(Clone, Copy)]
struct Awaited {
    /// Slowest, bytes a second.
    rate: u64,
    bytes: u64,
    /// How long we have waited for bytes: what the upstream makes us wait is not the client's fault.
    waited: Duration,
    since: Option<Instant>,
}

impl Awaited {
    /// When the client will have been waited for too long.
    fn due(&self, since: Instant) -> Instant {
        let earned = Duration::from_secs_f64(self.bytes as f64 / self.rate as f64);
        since + (BODY_GRACE + earned).saturating_sub(self.waited)
    }

    fn got(&mut self, bytes: usize, now: Instant) {
        self.bytes += bytes as u64;
        self.waited += self.since.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
    }
}

impl Waits {
    /// A request begins, whose body may come no slower than `rate` bytes a second; 0: in its own time.
    pub fn begin(&self, rate: u64) {
        let awaited = Awaited { rate, bytes: 0, waited: Duration::ZERO, since: None };
        *self.0.lock() = State { body: (rate > 0).then_some(awaited), ..State::default() };
    }

    /// The response has to have begun by then.
    pub fn expect_response(&self, due: std::time::Instant) {
        self.0.lock().due = Some(due.into());
    }

    /// From now on both sides speak; what the client adds may take its time.
    pub fn response_began(&self) {
        let mut state = self.0.lock();
        state.due = None;
        state.body = None;
    }

    pub fn body_ended(&self) {
        self.0.lock().body = None;
    }

    /// Whether the body was too slow; true once.
    pub fn take_slow(&self) -> bool {
        std::mem::take(&mut self.0.lock().is_slow)
    }

    /// Whether the deadline passed; true once.
    pub fn take_late(&self) -> bool {
        std::mem::take(&mut self.0.lock().is_late)
    }

    /// Bytes of the body are here.
    pub fn got(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.is_client_awaited = false;
        if let Some(body) = &mut state.body {
            body.got(bytes, Instant::now());
        }
    }

    /// Whether more of the body could be passed on if the client had sent it.
    pub fn is_client_awaited(&self) -> bool {
        self.0.lock().is_client_awaited
    }

    fn response_due(&self) -> Option<Instant> {
        self.0.lock().due
    }

    /// When the body will be too slow, from now on waited for.
    fn body_due(&self) -> Option<Instant> {
        let mut state = self.0.lock();
        state.is_client_awaited = true;
        let body = state.body.as_mut()?;
        let since = *body.since.get_or_insert_with(Instant::now);
        Some(body.due(since))
    }

    fn set_late(&self) {
        let mut state = self.0.lock();
        state.due = None;
        state.is_late = true;
    }

    fn set_slow(&self) {
        let mut state = self.0.lock();
        state.body = None;
        state.is_slow = true;
    }
}

/// What has taken too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    Response,
    Body,
}

impl Overdue {
    pub fn as_str(self) -> &'static str {
        match self {
            Overdue::Response => "the response is late",
            Overdue::Body => "the body is too slow",
        }
    }
}

/// Waits for one deadline after another, as a connection does with its requests. Most are met long before, so a timer
/// once set is only set again when it rings or a deadline is earlier: deadlines that move on cost nothing.
#[derive(Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready from `due` on.
    pub fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.is_elapsed() || timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            // A timer of an earlier deadline may ring before this one.
            if timer.deadline() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// Watches the time of one request after the other.
pub struct Watch {
    pub waits: Arc<Waits>,
    /// Rings when the response is late.
    late: Alarm,
    /// Rings when the body is too slow.
    slow: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub fn over(waits: Arc<Waits>) -> Watch {
        Watch { waits, late: Alarm::default(), slow: None }
    }

    /// Ready once something has taken too long. To be polled while nothing comes from the client, and only then.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        match self.poll_response(cx) {
            Poll::Pending => self.poll_body(cx),
            late => late,
        }
    }

    fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let Some(due) = self.waits.response_due() else { return Poll::Pending };
        ready!(self.late.poll_until(due, cx));
        self.waits.set_late();
        Poll::Ready(Overdue::Response)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        let Some(due) = self.waits.body_due() else { return Poll::Pending };
        let alarm = self.slow.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        ready!(alarm.as_mut().poll(cx));
        self.waits.set_slow();
        Poll::Ready(Overdue::Body)
    }
}
