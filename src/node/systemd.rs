//! What the service manager is told, where there is one.
//!
//! Owns: the states and the watchdog's food. Never: decides when the process is ready or ends.

use std::time::Duration;

use sd_notify::NotifyState;

/// The watchdog's period where nobody tells it: shorter than anybody sets it.
const UNTOLD_WATCHDOG: Duration = Duration::from_secs(1);

/// Tells the service manager, where there is one.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Feeds the service manager's watchdog, where it has one. How often is told to the process the manager started; a
/// successor is told nothing, and feeds it often enough for any.
pub async fn watch_over(is_successor: bool) {
    let told = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
    let told = told.filter(|microseconds| *microseconds > 0).map(Duration::from_micros);
    let managed = std::env::var_os("NOTIFY_SOCKET").is_some();
    let Some(period) = told.or((is_successor && managed).then_some(UNTOLD_WATCHDOG)) else { return };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(period / 2).await;
    }
}
