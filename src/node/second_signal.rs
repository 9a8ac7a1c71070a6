//! The second signal to end, which cuts what the first lets finish.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::signal::unix::Signal;

/// SIGTERM and SIGINT, from the task that heard the first of them to the one that waits for a second. Listening again would miss one
/// that comes before that.
#[derive(Clone, Default)]
pub struct SecondSignal(Arc<Mutex<Option<(Signal, Signal)>>>);

impl SecondSignal {
    /// From now on these two are listened to for it.
    pub fn hear(&self, terminate: Signal, interrupt: Signal) {
        *self.0.lock() = Some((terminate, interrupt));
    }

    /// Returns when SIGTERM or SIGINT comes once more; to be asked once, after the first.
    pub async fn comes(&self) {
        let heard = self.0.lock().take();
        let Some((mut terminate, mut interrupt)) = heard else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
