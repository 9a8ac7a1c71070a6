//! Work that gives way to requests.
//!
//! Answers: where does what takes milliseconds run, so that no request waits for it? Never: what that is.

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::task::{JoinHandle, spawn_blocking};

/// How far behind requests it stands, as `nice` counts: where both want one processor, requests get nine tenths of it.
const NICENESS: i32 = 10;

/// Computes on a thread that waits for no sockets, and that gives way to those which do where processors are short: a
/// change may take a few milliseconds more, a request may not.
pub fn behind_requests<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    spawn_blocking(|| {
        // On Linux the priority is the thread's own. Where it stays as it was, so does everything.
        let _ = setpriority_process(Some(gettid()), NICENESS);
        work()
    })
}
