//! How many connections may be open, together and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// The connections that are open.
#[derive(Default)]
pub struct OpenConnections {
    open: Arc<AtomicUsize>,
    by_address: Mutex<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
}

/// One open connection, also where a defect unwinds.
pub struct Slot {
    open: Arc<AtomicUsize>,
    /// How many there were before it.
    pub before: usize,
}

/// One connection of an address that is counted.
pub struct AddressSlot<'p>(&'p OpenConnections, IpAddr);

impl OpenConnections {
    /// How many are open, for those who wait for the last one.
    pub fn count(&self) -> Arc<AtomicUsize> {
        self.open.clone()
    }

    pub fn take(&self) -> Slot {
        Slot::of(&self.open)
    }

    /// `None` where the address has `limit` connections already.
    pub fn take_for(&self, address: IpAddr, limit: usize) -> Option<AddressSlot<'_>> {
        let address = address.to_canonical();
        let mut counts = self.by_address.lock();
        let count = counts.entry(address).or_default();
        if *count >= limit {
            return None;
        }
        *count += 1;
        Some(AddressSlot(self, address))
    }
}

impl Slot {
    /// One more of those that are counted there.
    pub fn of(open: &Arc<AtomicUsize>) -> Slot {
        Slot { before: open.fetch_add(1, Ordering::Relaxed), open: open.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for AddressSlot<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.by_address.lock();
        let Some(count) = counts.get_mut(&self.1) else { return };
        *count -= 1;
        // Only addresses that are connected take room.
        if *count == 0 {
            counts.remove(&self.1);
        }
    }
}
