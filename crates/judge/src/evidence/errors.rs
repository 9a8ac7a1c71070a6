//! Do gray's people fail more often than release's?
//!
//! Owns the two ways of counting. Drawn: people were drawn, not requests, so each client counts once an hour, with the drawn
//! share as the odds; uneven people, monitors and load tests change nothing. Chosen and inherited: requests are what can be
//! compared, and a client that fails over and over counts only as often as at least two others do, so that no single one
//! decides.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::clients::{Clients, counts};
use super::strata::{BESIDE_PART, CHOSEN_TOLERATE, DRAWN_PART, Second, Strata};
use crate::blocks::{Block, Failing, Seen, Side, Stratum};
use crate::odds::{ERROR_RATIOS, Events, Mixture, SECOND_CAP, beside_release};

/// Seconds of a reckoning of the drawn stratum. People who failed in the last one may count again: a version that breaks
/// late must not find every user counted already.
const RECKONING: u64 = 3600;
/// The first reckoning's part of what drawn has; the rest is for all later ones together, `1 / (j (j - 1))` of it for the j-th.
const FIRST_RECKONING: f64 = 0.9;
/// Different gray clients that must have failed before anyone counts, where people were not drawn.
const FIRST_CLIENTS: usize = 3;
/// Different failing gray clients that are remembered where people were not drawn; with more, half of the clients count.
const MOST_CHOSEN: usize = 1 << 16;

/// Evidence of errors in the three strata.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Errors {
    drawn: DrawnErrors,
    chosen: ChosenErrors,
    inherited: ChosenErrors,
}

impl Errors {
    pub(super) fn second(&mut self, seen: &Seen<'_>, second: Second<'_>) -> bool {
        self.drawn.second(&seen.drawn, second.passed, second.tolerate);
        self.chosen.second(&seen.chosen, second.passed, second.tolerate);
        self.inherited.second(&seen.inherited, second.passed, second.tolerate);
        [&seen.drawn, &seen.chosen, &seen.inherited]
            .into_iter()
            .any(|stratum| stratum.blocks.iter().any(Block::has_both))
    }

    pub(super) fn strata(&self) -> Strata {
        Strata {
            drawn: self.drawn.mixture.log(),
            chosen: self.chosen.mixture.log(),
            inherited: self.inherited.mixture.log(),
        }
    }

    pub(super) fn drawn_part(&self) -> f64 {
        self.drawn.part()
    }
}

/// People whom the hash drew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DrawnErrors {
    seconds: u64,
    mixture: Mixture,
    clients: Clients,
}

impl Default for DrawnErrors {
    fn default() -> Self {
        Self { seconds: 0, mixture: Mixture::new(ERROR_RATIOS.len()), clients: Clients::default() }
    }
}

impl DrawnErrors {
    fn second(&mut self, stratum: &Stratum<'_>, passed: u64, tolerate: f64) {
        self.pass(passed);
        let mut events = vec![Events::default(); stratum.blocks.len()];
        for failing in &stratum.failing {
            let Some(events) = events.get_mut(failing.block) else { continue };
            let new = failing.clients.iter().filter(|client| self.clients.insert(**client)).count() as u64;
            events.count(failing.side(), new);
        }
        self.clients.shrink();
        self.mixture.second(&evidence(stratum, &events, tolerate));
    }

    /// Goes to the next second that has rows; where that is another reckoning's, all begins again.
    fn pass(&mut self, passed: u64) {
        let before = self.reckoning();
        self.seconds = self.seconds.saturating_add(passed);
        if self.reckoning() == before {
            return self.mixture.pass(passed.saturating_sub(1));
        }
        self.mixture = Mixture::new(ERROR_RATIOS.len());
        self.mixture.pass(self.seconds.saturating_sub(1) % RECKONING);
        self.clients.clear();
    }

    /// From 1.
    fn reckoning(&self) -> u64 {
        self.seconds.saturating_sub(1) / RECKONING + 1
    }

    fn part(&self) -> f64 {
        let later = match self.reckoning() {
            1 => return DRAWN_PART * FIRST_RECKONING,
            reckoning => reckoning as f64,
        };
        DRAWN_PART * (1.0 - FIRST_RECKONING) / (later * (later - 1.0))
    }
}

/// People who were chosen, or whose version came along.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChosenErrors {
    mixture: Mixture,
    failed: Failed,
}

impl Default for ChosenErrors {
    fn default() -> Self {
        Self { mixture: Mixture::new(ERROR_RATIOS.len()), failed: Failed::default() }
    }
}

impl ChosenErrors {
    fn second(&mut self, stratum: &Stratum<'_>, passed: u64, tolerate: f64) {
        self.mixture.pass(passed.saturating_sub(1));
        let mut events = vec![Events::default(); stratum.blocks.len()];
        let counting = self.failed.seconds.len() >= FIRST_CLIENTS;
        let mut met = HashSet::new();
        let mut gray = Vec::new();
        for failing in &stratum.failing {
            let Some(events) = events.get_mut(failing.block) else { continue };
            let first: Vec<u64> = self.first_met(failing, &mut met);
            let new = match failing.side() {
                Side::Gray => first.iter().filter(|client| self.failed.not_alone(**client)).count(),
                Side::Release => first.len(),
            };
            if failing.side() == Side::Gray {
                gray.extend(first);
            }
            events.count(failing.side(), if counting { new as u64 } else { 0 });
        }
        self.failed.add(gray);
        let capped = evidence(stratum, &events, tolerate.max(CHOSEN_TOLERATE)).map(|log| log.min(SECOND_CAP));
        self.mixture.second(&capped);
    }

    /// The clients of a row that were in no row before it in this second.
    fn first_met(&self, failing: &Failing<'_>, met: &mut HashSet<u64>) -> Vec<u64> {
        let counts = |client: &&u64| counts(self.failed.bits, **client);
        failing.clients.iter().filter(counts).filter(|client| met.insert(**client)).copied().collect()
    }
}

/// In how many seconds each gray client has failed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Failed {
    bits: u32,
    seconds: HashMap<u64, u32>,
    /// The three clients with the most seconds, most first.
    most: Vec<(u64, u32)>,
}

impl Failed {
    /// Whether two other clients have failed in as many seconds as this one, and in one at least.
    fn not_alone(&self, client: u64) -> bool {
        let own = self.seconds.get(&client).copied().unwrap_or(0).max(1);
        self.most.iter().filter(|(other, seconds)| *other != client && *seconds >= own).count() >= 2
    }

    fn add(&mut self, clients: Vec<u64>) {
        for client in clients {
            let seconds = self.seconds.entry(client).or_insert(0);
            *seconds = seconds.saturating_add(1);
            let now = (client, *seconds);
            self.most.retain(|(other, _)| *other != client);
            self.most.push(now);
            self.most.sort_by_key(|(_, seconds)| std::cmp::Reverse(*seconds));
            self.most.truncate(FIRST_CLIENTS);
        }
        while self.seconds.len() > MOST_CHOSEN {
            self.bits += 1;
            let bits = self.bits;
            self.seconds.retain(|client, _| counts(bits, *client));
            let mut all: Vec<_> = self.seconds.iter().map(|(client, seconds)| (*client, *seconds)).collect();
            all.sort_by_key(|(client, seconds)| (std::cmp::Reverse(*seconds), *client));
            all.truncate(FIRST_CLIENTS);
            self.most = all;
        }
    }
}

/// A stratum's evidence for each alternative: blocks add up.
fn evidence(stratum: &Stratum<'_>, events: &[Events], psi0: f64) -> [f64; ERROR_RATIOS.len()] {
    ERROR_RATIOS.map(|ratio| {
        let logs = stratum.blocks.iter().zip(events);
        logs.map(|(block, events)| beside_release(*events, block.error_part(), ratio, psi0)).sum()
    })
}

/// What all reckonings of the drawn stratum and the two others take together.
const _: () = assert!(DRAWN_PART + 2.0 * BESIDE_PART <= 1.0 + f64::EPSILON);
