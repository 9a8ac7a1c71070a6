//! Refusals, bounded: a script that is turned away a thousand times a second must not fill the account.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time refusals are counted over.
const WINDOW: Duration = Duration::from_secs(60);
/// Records of refusals of one principal within it.
const RECORDED: u32 = 10;
/// Principals that are counted at one time.
const PRINCIPALS: usize = 10_000;

/// What becomes of a refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    Record,
    /// It stands in the count alone.
    Counted,
}

/// The counts.
#[derive(Default)]
pub struct Refusals {
    counts: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Refusals {
    pub fn count(&self, principal: &str, now: Instant) -> Counted {
        let mut counts = self.counts.lock();
        if counts.len() >= PRINCIPALS && !counts.contains_key(principal) {
            return Counted::Counted;
        }
        let (since, count) = counts.entry(principal.to_owned()).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= WINDOW && *count <= RECORDED {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        if *count <= RECORDED { Counted::Record } else { Counted::Counted }
    }

    /// Whose minute is over with more refusals than were recorded, and how many those are.
    pub fn ended(&self, now: Instant) -> Vec<(String, u32)> {
        let mut counts = self.counts.lock();
        let is_over = |since: &Instant| now.saturating_duration_since(*since) >= WINDOW;
        let over = counts.iter().filter(|(_, (since, count))| is_over(since) && *count > RECORDED);
        let told: Vec<_> = over.map(|(who, (_, count))| (who.clone(), count - RECORDED)).collect();
        counts.retain(|_, (since, _)| !is_over(since));
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_minute_are_recorded_and_the_rest_counted() {
        let (refusals, begun) = (Refusals::default(), Instant::now());
        let recorded = (0..25).filter(|_| refusals.count("li", begun) == Counted::Record).count();
        assert_eq!(recorded, 10);
        assert_eq!(refusals.count("wang", begun), Counted::Record, "others have counts of their own");
        assert_eq!(refusals.ended(begun + Duration::from_secs(59)), []);
        let later = begun + Duration::from_secs(60);
        assert_eq!(refusals.ended(later), [("li".to_owned(), 15)]);
        assert_eq!(refusals.ended(later), []);
        assert_eq!(refusals.count("li", later), Counted::Record);
    }
}
