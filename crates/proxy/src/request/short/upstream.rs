//! Connections to instances that wait for their next request.
//!
//! Answers: is there a connection that can be used again, and for how long is one kept? Each serving thread keeps its
//! own, the last used first: no other thread is woken, and no lock is taken. Never: opens one, or reads HTTP.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};

/// Kept connections of one thread; more would only wait for their end.
const MOST_KEPT: usize = 1024;
/// How often those that waited too long, or were closed from the other side, are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Which requests a connection will do for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub address: SocketAddr,
    /// The service and version, and how the connection is encrypted.
    pub group: u64,
}

/// A connection without a request.
struct Idle {
    stream: Stream,
    /// When it has waited for long enough.
    until: Instant,
}

/// The connections one thread keeps.
#[derive(Default)]
struct Kept {
    idle: HashMap<Key, Vec<Idle>, RandomState>,
    /// How many there are.
    count: usize,
    is_swept: bool,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// A connection that was kept, if one is still good.
pub fn take(key: &Key, now: Instant) -> Option<Stream> {
    KEPT.with_borrow_mut(|kept| {
        let idle = kept.idle.get_mut(key)?;
        while let Some(mut last) = idle.pop() {
            kept.count -= 1;
            if last.until > now && is_quiet(&mut last.stream) {
                return Some(last.stream);
            }
        }
        None
    })
}

/// Keeps a connection for as long as `idle` says.
pub fn keep(key: Key, stream: Stream, idle: Duration, now: Instant) {
    let Some(until) = now.checked_add(idle) else { return };
    let is_first = KEPT.with_borrow_mut(|kept| {
        let list = kept.idle.entry(key).or_default();
        if kept.count < MOST_KEPT {
            list.push(Idle { stream, until });
            kept.count += 1;
        }
        !std::mem::replace(&mut kept.is_swept, true)
    });
    if is_first {
        tokio::spawn(sweep());
    }
}

/// Whether the other side has said nothing, not even that it is gone. Asks the socket only where its readiness is known:
/// nothing of a request or a response is under way on it.
fn is_quiet(stream: &mut Stream) -> bool {
    let mut piece = [0; 1];
    let mut buf = ReadBuf::new(&mut piece);
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut buf).is_pending()
}

/// Closes what is of no use any more, for as long as this thread keeps anything.
async fn sweep() {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let now = Instant::now();
        let is_over = KEPT.with_borrow_mut(|kept| {
            kept.idle.retain(|_, list| {
                list.retain_mut(|idle| idle.until > now && is_quiet(&mut idle.stream));
                !list.is_empty()
            });
            kept.count = kept.idle.values().map(Vec::len).sum();
            kept.is_swept = !kept.idle.is_empty();
            !kept.is_swept
        });
        if is_over {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;

    fn key(group: u64) -> Key {
        Key { address: SocketAddr::from(([127, 0, 0, 1], 80)), group }
    }

    fn connection() -> (Stream, DuplexStream) {
        let (own, other) = duplex(64);
        (Box::new(own), other)
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_connection_is_used_again_until_it_waited_too_long() {
        let (now, idle) = (Instant::now(), Duration::from_secs(60));
        let (first, _first) = connection();
        let (second, mut second_end) = connection();
        keep(key(1), first, idle, now);
        keep(key(1), second, idle, now);
        assert!(take(&key(2), now).is_none(), "another group has its own");
        let mut last = take(&key(1), now).unwrap();
        last.write_all(b"x").await.unwrap();
        let mut piece = [0; 1];
        tokio::io::AsyncReadExt::read_exact(&mut second_end, &mut piece).await.unwrap();
        assert!(take(&key(1), now + idle).is_none(), "the first one has waited for long enough");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_said_something_or_ended_is_not_used_again() {
        let (now, idle) = (Instant::now(), Duration::from_secs(60));
        let (ended, end) = connection();
        let (loud, mut other) = connection();
        keep(key(3), ended, idle, now);
        keep(key(3), loud, idle, now);
        drop(end);
        other.write_all(b"HTTP/1.1 408").await.unwrap();
        assert!(take(&key(3), now).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_sweep_closes_what_ended_and_ends_itself() {
        let (stream, end) = connection();
        keep(key(4), stream, Duration::from_secs(60), Instant::now());
        drop(end);
        tokio::time::sleep(2 * SWEEP_EVERY).await;
        KEPT.with_borrow(|kept| assert!(kept.idle.is_empty() && !kept.is_swept));
    }
}
