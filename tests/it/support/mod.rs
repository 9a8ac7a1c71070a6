//! What several tests share: a real etcd, and waiting for a condition.

pub mod etcd;

use std::future::Future;
use std::panic::Location;
use std::time::{Duration, Instant};

/// Between two looks at a condition.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until the condition holds; fails the test, naming the caller, when it does not in time.
#[track_caller]
pub fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < limit, "{caller}: not within {limit:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
