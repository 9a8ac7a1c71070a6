//! What binds a browser to the sign-in it began: one secret in its cookie, from which everything else is made.
//!
//! Nothing is kept here until the browser comes back, so that strangers who begin sign-ins fill nothing, and any control
//! process can finish what another one began.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::people::secret;

/// How long a sign-in may take, and so how long a used state is remembered.
pub const LASTS: Duration = Duration::from_secs(600);
/// States that are remembered; beyond them the oldest go. The provider takes a code once as well.
const REMEMBERED: usize = 10_000;

/// The secret of one sign-in.
pub struct Ticket {
    pub secret: String,
}

impl Ticket {
    pub fn random() -> Ticket {
        Ticket { secret: secret() }
    }

    /// What the provider sends back, so that no one is signed in as someone else by a link.
    pub fn state(&self) -> String {
        self.made_for("state")
    }

    /// What the ID token repeats, so that one that was made for another sign-in is none for this.
    pub fn nonce(&self) -> String {
        self.made_for("nonce")
    }

    /// What the code is exchanged with, so that a stolen code is of no use.
    pub fn verifier(&self) -> String {
        self.made_for("verifier")
    }

    pub fn is_state(&self, state: &str) -> bool {
        !self.secret.is_empty() && self.state().as_bytes().ct_eq(state.as_bytes()).into()
    }

    fn made_for(&self, purpose: &str) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{purpose} {}", self.secret)))
    }
}

/// States that came back already.
#[derive(Default)]
pub struct Used(HashMap<String, Instant>);

impl Used {
    /// Whether this state comes back for the first time.
    pub fn is_first(&mut self, state: &str, now: Instant) -> bool {
        self.0.retain(|_, at| now.saturating_duration_since(*at) < LASTS);
        if self.0.len() >= REMEMBERED
            && let Some(oldest) = self.0.iter().min_by_key(|(_, at)| **at).map(|(state, _)| state.clone())
        {
            self.0.remove(&oldest);
        }
        self.0.insert(state.to_owned(), now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_good_for_its_own_browser_and_once() {
        let (ticket, other) = (Ticket::random(), Ticket::random());
        assert!(ticket.is_state(&ticket.state()) && !other.is_state(&ticket.state()));
        assert!(!Ticket { secret: String::new() }.is_state(&Ticket { secret: String::new() }.state()));
        let made = [ticket.state(), ticket.nonce(), ticket.verifier()];
        assert!(made.iter().all(|one| one.len() == 43) && made[0] != made[1] && made[1] != made[2]);
        let (mut used, now) = (Used::default(), Instant::now());
        assert!(used.is_first("a", now) && !used.is_first("a", now + Duration::from_secs(599)));
        assert!(used.is_first("b", now));
    }
}
