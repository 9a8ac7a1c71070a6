//! What the service manager is told, where there is one.
//!
//! Owns: the states and the watchdog's food. Never: decides when the process is ready or ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use sd_notify::NotifyState;

/// The watchdog's period where systemd does not say it: shorter than any that is set.
const UNTOLD_WATCHDOG: Duration = Duration::from_secs(1);

/// Tells the service manager, where there is one.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = send(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn send(states: &[NotifyState<'_>]) -> io::Result<()> {
    let socket = std::env::var_os("NOTIFY_SOCKET");
    match socket.as_deref().and_then(|path| path.as_bytes().strip_prefix(b"@")) {
        // Without a file: the crate would take the name for a path.
        Some(name) => send_to(&SocketAddr::from_abstract_name(name)?, states),
        None => sd_notify::notify(states),
    }
}

fn send_to(manager: &SocketAddr, states: &[NotifyState<'_>]) -> io::Result<()> {
    let lines: String = states.iter().map(|state| format!("{state}\n")).collect();
    UnixDatagram::unbound()?.send_to_addr(lines.as_bytes(), manager).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abstract_socket_is_told_as_well() {
        let name = format!("graygate-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send_to(&address, &[NotifyState::MainPid(7), NotifyState::Ready]).unwrap();
        let mut heard = [0; 64];
        let count = manager.recv(&mut heard).unwrap();
        assert_eq!(&heard[..count], b"MAINPID=7\nREADY=1\n");
    }
}
