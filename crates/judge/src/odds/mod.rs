//! How much likelier do "worse" versions make what was seen than "as good as" versions do?
//!
//! Owns the two likelihood ratios everything else is made of, their grids, and (in [`mixture`]) what a run of seconds adds up
//! to. Everything is a natural logarithm; nothing here can be NaN for counts and shares that [`crate::blocks`] admitted.
//! Why the first ratio is fair: who fails on which side is hypergeometric when the version does not matter, and `psi^x` is
//! convex, so the binomial normaliser can only be too large (Hoeffding 1963). An expectation of at most 1 is all that
//! Ville's inequality wants. `tests/validity.rs` goes through every small table.

mod mixture;

pub use mixture::{Mixture, log_mean};

/// How many times as bad gray may be for errors, as multiples of what is tolerated.
pub const ERROR_RATIOS: [f64; 9] = [1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 50.0];
/// The same for requests slower than a quantile; quantiles differ by less than error shares do.
pub const LATENCY_RATIOS: [f64; 7] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// The same for a limit: rates above it, as multiples.
pub const RATE_RATIOS: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// Rates that no alternative reaches: a likelihood of 1 for failing would end a run of evidence with one success.
pub const HIGHEST_RATE: f64 = 0.95;
/// What one second may say where it is capped: one stall is one event, so more than one second has to speak.
pub const SECOND_CAP: f64 = std::f64::consts::LN_2;

/// What was seen on the two sides of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub gray: u64,
    pub release: u64,
}

/// `x_g ln(theta(psi) / theta(psi0)) + x_r ln((1 - theta(psi)) / (1 - theta(psi0)))`, with
/// `theta(psi) = rho psi / (1 - rho + rho psi)` and `psi = ratio * psi0`; 0 where `rho` is 0 or 1.
///
/// Both quotients share `(1 - rho + rho psi) / (1 - rho + rho psi0)`, so one logarithm is enough.
pub fn beside_release(events: Events, rho: f64, ratio: f64, psi0: f64) -> f64 {
    let all = events.gray.saturating_add(events.release);
    if all == 0 || !(rho > 0.0 && rho < 1.0) {
        return 0.0;
    }
    let normaliser = (1.0 - rho + rho * ratio * psi0) / (1.0 - rho + rho * psi0);
    events.gray as f64 * ratio.ln() - all as f64 * normaliser.ln()
}

/// `x ln(q / s) + (n - x) ln((1 - q) / (1 - s))`: `x` of `n` beside the limit `s`, `q = ratio * s`.
pub fn above_limit(events: u64, of: u64, ratio: f64, limit: f64) -> f64 {
    let others = of.saturating_sub(events);
    events as f64 * ratio.ln() + others as f64 * ((1.0 - ratio * limit) / (1.0 - limit)).ln()
}

/// The alternatives a limit leaves: those below [`HIGHEST_RATE`].
pub fn rates_above(limit: f64) -> impl Iterator<Item = f64> {
    RATE_RATIOS.into_iter().filter(move |ratio| ratio * limit < HIGHEST_RATE)
}

impl Events {
    pub fn count(&mut self, side: crate::blocks::Side, events: u64) {
        let sum = match side {
            crate::blocks::Side::Gray => &mut self.gray,
            crate::blocks::Side::Release => &mut self.release,
        };
        *sum = sum.saturating_add(events);
    }
}
