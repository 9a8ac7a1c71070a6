//! How long to wait before the next attempt.
//!
//! Owns: the growing, bounded, scattered delay. Never: sleeps, or asks for chance by itself.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
/// Short enough that a proxy follows a store that came back within seconds, long enough that a hundred proxies
/// do not keep it from coming back.
const LONGEST: Duration = Duration::from_secs(3);

/// Doubling delays between attempts.
#[derive(Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The delay before the next attempt; `chance` from 0 to 1 scatters it over its upper half, so that proxies
    /// that lost the same store do not return in step.
    pub fn next(&mut self, chance: f64) -> Duration {
        let full = FIRST.saturating_mul(2_u32.saturating_pow(self.attempts)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let millis: Vec<_> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 3000, 3000]);
        assert_eq!(backoff.next(0.0).as_millis(), 1500);
        backoff.reset();
        assert_eq!(backoff.next(0.0).as_millis(), 50);
        let mut tired = Backoff { attempts: u32::MAX };
        assert_eq!(tired.next(1.0), LONGEST);
    }
}
