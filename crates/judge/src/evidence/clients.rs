//! Which clients have failed already?
//!
//! Owns a set of clients' hashes that stays below a size: once full, only those whose lowest bits are 0 count any more, on
//! both sides alike, so that what is left is still a fair draw. Kept in the order of their coming, in pages: a page that is
//! full does not change, so the process that keeps a run writes it once.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Different failing clients of a service in one hour: 70 a second, and more are halved. Some 8 MiB, and 4 MiB in writing.
pub const MOST_CLIENTS: usize = 1 << 18;
/// Hashes of a page: 64 KiB in writing, below what one value of a store may have.
const PAGE: usize = 4096;
/// Hex digits of a hash.
const DIGITS: usize = 16;

/// Clients, each once.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Pages", into = "Pages")]
pub struct Clients {
    bits: u32,
    order: Vec<u64>,
    known: HashSet<u64>,
}

impl Clients {
    /// Whether a client counts at all, by the lowest bits of its hash.
    pub fn counts(&self, client: u64) -> bool {
        counts(self.bits, client)
    }

    /// Whether it counts and was not there yet. It is from now on.
    pub fn insert(&mut self, client: u64) -> bool {
        let new = self.counts(client) && self.known.insert(client);
        if new {
            self.order.push(client);
        }
        new
    }

    /// Between two seconds, never within one: its sides would be counted by different rules.
    pub fn shrink(&mut self) {
        while self.order.len() > MOST_CLIENTS {
            self.bits += 1;
            let bits = self.bits;
            self.order.retain(|&client| counts(bits, client));
            self.known.retain(|&client| counts(bits, client));
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Whether the lowest `bits` of a hash are 0.
pub(super) fn counts(bits: u32, client: u64) -> bool {
    client.trailing_zeros() >= bits
}

/// [`Clients`] in writing.
#[derive(Clone, Serialize, Deserialize)]
struct Pages {
    bits: u32,
    pages: Vec<String>,
}

impl From<Clients> for Pages {
    fn from(clients: Clients) -> Self {
        let page = |hashes: &[u64]| hashes.iter().map(|hash| format!("{hash:016x}")).collect();
        Self { bits: clients.bits, pages: clients.order.chunks(PAGE).map(page).collect() }
    }
}

impl TryFrom<Pages> for Clients {
    type Error = &'static str;

    fn try_from(pages: Pages) -> Result<Self, Self::Error> {
        let mut clients = Self { bits: pages.bits, ..Self::default() };
        for page in pages.pages {
            for digits in page.as_bytes().chunks(DIGITS) {
                let hash = std::str::from_utf8(digits).ok().filter(|digits| digits.len() == DIGITS);
                let hash = hash.and_then(|digits| u64::from_str_radix(digits, 16).ok());
                clients.insert(hash.ok_or("a page of clients is sixteen hex digits for each")?);
            }
        }
        Ok(clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_goes_on_with_half_of_the_clients() {
        let mut clients = Clients::default();
        for client in 0..=MOST_CLIENTS as u64 {
            assert!(clients.insert(client));
            clients.shrink();
        }
        assert_eq!((clients.bits, clients.order.len(), clients.known.len()), (1, 131_073, 131_073));
        assert!(!clients.insert(MOST_CLIENTS as u64 + 1), "an odd one no longer counts");
        assert!(clients.insert(MOST_CLIENTS as u64 + 2));
    }

    #[test]
    fn what_was_kept_is_what_was_known_and_full_pages_do_not_change() {
        let mut clients = Clients::default();
        (0..5000)
            .for_each(|client| assert!(clients.insert(u64::wrapping_mul(client, 0x9e37_79b9_7f4a_7c15))));
        let first = Pages::from(clients.clone()).pages;
        clients.insert(1);
        let written = serde_json::to_string(&clients).unwrap();
        let mut kept: Clients = serde_json::from_str(&written).unwrap();
        assert_eq!(kept.order, clients.order);
        assert_eq!(Pages::from(kept.clone()).pages[0], first[0]);
        assert!(!kept.insert(1) && kept.insert(2));
        assert!(serde_json::from_str::<Clients>(r#"{"bits": 0, "pages": ["abc"]}"#).is_err());
    }
}
