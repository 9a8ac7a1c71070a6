//! Ports for programs under test.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Addresses no one listens on. Below the ports the system gives to connections and to the caller for any port: one of
/// those could be taken again before the program under test is there.
pub fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    const LOWEST: u32 = 10_000;
    const PORTS: u32 = 20_000;
    /// Other test programs run at the same time; they begin elsewhere.
    const STRIDE: u32 = 197;
    static TURN: AtomicU32 = AtomicU32::new(0);
    [(); N].map(|()| {
        loop {
            let turn =
                std::process::id().wrapping_mul(STRIDE).wrapping_add(TURN.fetch_add(1, Ordering::Relaxed));
            let address = SocketAddr::from(([127, 0, 0, 1], (LOWEST + turn % PORTS) as u16));
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        }
    })
}
