//! Guessing is slow: wrong sign-ins are counted by name and address.
//!
//! Owns: the counts, in this process alone. Never: locks a name out, because then any stranger could keep the person out
//! who is needed most.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The time wrong tries are counted over, and the time that nothing is tried after too many.
const WINDOW: Duration = Duration::from_secs(60);
/// Wrong tries of one name from one address.
const BY_NAME: usize = 5;
/// Wrong tries from one address.
const BY_ADDRESS: usize = 20;
/// Between two tries of a name, from wherever, once one was wrong.
const NAME_PACE: Duration = Duration::from_secs(1);
/// Longest wait for a turn of a name: a caller that would wait longer is told to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Names and addresses that are remembered; beyond them the oldest go.
const REMEMBERED: usize = 20_000;

/// What a try has to do first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Throttled {
    /// Wait so long, then try.
    Wait(Duration),
    /// Come back after this.
    Refused(Duration),
}

/// The counts.
#[derive(Default)]
pub struct Throttle {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    by_name: HashMap<(String, IpAddr), Wrong>,
    by_address: HashMap<IpAddr, Wrong>,
    turns: HashMap<String, Instant>,
}

/// Wrong tries of late, and until when there is a rest.
#[derive(Default)]
struct Wrong {
    at: Vec<Instant>,
    rest: Option<Instant>,
}

impl Wrong {
    fn rests(&self, now: Instant) -> Option<Duration> {
        self.rest.map(|end| end.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    fn note(&mut self, now: Instant, most: usize) {
        self.at.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.at.push(now);
        if self.at.len() >= most {
            self.rest = Some(now + WINDOW);
            self.at.clear();
        }
    }

    fn is_old(&self, now: Instant) -> bool {
        self.rests(now).is_none() && self.at.iter().all(|at| now.saturating_duration_since(*at) >= WINDOW)
    }
}

impl Throttle {
    /// What a try of this name from this address has to do first.
    pub fn before(&self, name: &str, address: IpAddr, now: Instant) -> Throttled {
        let mut counts = self.counts.lock();
        counts.forget(now);
        let by_name = counts.by_name.get(&(name.to_owned(), address)).and_then(|wrong| wrong.rests(now));
        let by_address = counts.by_address.get(&address).and_then(|wrong| wrong.rests(now));
        if let Some(left) = by_name.max(by_address) {
            return Throttled::Refused(left);
        }
        let Some(turn) = counts.turns.get_mut(name) else { return Throttled::Wait(Duration::ZERO) };
        let wait = turn.saturating_duration_since(now);
        if wait > LONGEST_WAIT {
            return Throttled::Refused(wait);
        }
        *turn = (*turn).max(now) + NAME_PACE;
        Throttled::Wait(wait)
    }

    pub fn wrong(&self, name: &str, address: IpAddr, now: Instant) {
        let mut counts = self.counts.lock();
        counts.by_name.entry((name.to_owned(), address)).or_default().note(now, BY_NAME);
        counts.by_address.entry(address).or_default().note(now, BY_ADDRESS);
        counts.turns.entry(name.to_owned()).or_insert(now + NAME_PACE);
    }

    pub fn right(&self, name: &str, address: IpAddr) {
        let mut counts = self.counts.lock();
        counts.by_name.remove(&(name.to_owned(), address));
        counts.turns.remove(name);
    }
}

impl Counts {
    fn forget(&mut self, now: Instant) {
        self.turns.retain(|_, turn| now.saturating_duration_since(*turn) < WINDOW);
        if self.by_name.len() + self.by_address.len() < REMEMBERED {
            return;
        }
        self.by_name.retain(|_, wrong| !wrong.is_old(now));
        self.by_address.retain(|_, wrong| !wrong.is_old(now));
        if self.by_name.len() > REMEMBERED {
            self.by_name.clear();
        }
        if self.by_address.len() > REMEMBERED {
            self.by_address.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 7));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    #[test]
    fn five_wrong_tries_from_one_address_rest_for_a_minute() {
        let (throttle, begun) = (Throttle::default(), Instant::now());
        for i in 0..5 {
            let now = begun + Duration::from_secs(2 * i);
            assert!(matches!(throttle.before("li", HERE, now), Throttled::Wait(_)), "try {i}");
            throttle.wrong("li", HERE, now);
        }
        let now = begun + Duration::from_secs(9);
        assert!(matches!(throttle.before("li", HERE, now), Throttled::Refused(_)));
        assert!(matches!(throttle.before("li", ELSEWHERE, now), Throttled::Wait(_)), "the person elsewhere");
        assert!(matches!(throttle.before("wang", HERE, now), Throttled::Wait(_)), "a colleague");
        let later = begun + Duration::from_secs(69);
        assert!(matches!(throttle.before("li", HERE, later), Throttled::Wait(_)));
    }

    #[test]
    fn twenty_wrong_tries_from_one_address_rest_whatever_the_names() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for i in 0..20 {
            throttle.wrong(&format!("user{i}"), HERE, now);
        }
        assert!(matches!(throttle.before("li", HERE, now), Throttled::Refused(_)));
        assert!(matches!(throttle.before("li", ELSEWHERE, now), Throttled::Wait(Duration::ZERO)));
    }

    #[test]
    fn a_name_is_tried_once_a_second_from_wherever() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        throttle.wrong("li", HERE, now);
        let waits: Vec<_> = (0..3).map(|_| throttle.before("li", ELSEWHERE, now)).collect();
        assert_eq!(waits, [1, 2, 3].map(|seconds| Throttled::Wait(Duration::from_secs(seconds))));
        throttle.right("li", ELSEWHERE);
        assert_eq!(throttle.before("li", ELSEWHERE, now), Throttled::Wait(Duration::ZERO));
    }
}
