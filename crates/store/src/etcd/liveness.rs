//! Whether the other side of a watch lives.
//!
//! Answers: what has to be asked now, and when is the watch to be taken for dead? etcd answers requests for progress on the
//! watch itself. Its `grpc-proxy` takes them and never answers; there small reads are the proof, and that the watch brings
//! everything is left to the periodic comparison. Never: talks to etcd, or reads a clock.

use std::time::{Duration, Instant};

/// A watch without any answer for this long is dead, whatever the connection looks like.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// After so much silence on a watch that never answered it, the store is read instead.
const READ_AFTER: Duration = Duration::from_secs(2);

/// What shows that the other side lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Proof {
    /// Nothing has yet.
    Unknown,
    /// It answers on the watch, and from then on nothing else counts: a connection may live longer than its watch.
    Watch,
    /// Only reads are answered.
    Reads,
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Ask for progress on the watch.
    Ask,
    /// Read something.
    Read,
    Rest,
    GiveUp,
}

pub(super) struct Liveness {
    proof: Proof,
    heard: Instant,
}

impl Liveness {
    pub fn new(now: Instant) -> Liveness {
        Liveness { proof: Proof::Unknown, heard: now }
    }

    /// A message came on the watch.
    pub fn heard(&mut self, now: Instant, answers: bool) {
        self.heard = now;
        if answers {
            self.proof = Proof::Watch;
        }
    }

    /// A read was answered. True when from now on reads are the proof.
    pub fn read(&mut self, now: Instant) -> bool {
        match self.proof {
            Proof::Watch => false,
            was => {
                (self.proof, self.heard) = (Proof::Reads, now);
                was == Proof::Unknown
            }
        }
    }

    /// To be asked once in a while.
    pub fn step(&self, now: Instant) -> Step {
        let silence = now.saturating_duration_since(self.heard);
        match self.proof {
            _ if silence > SILENCE_LIMIT => Step::GiveUp,
            Proof::Unknown | Proof::Reads if silence >= READ_AFTER => Step::Read,
            // Asked for in vain again and again, it would be one more line in the log of the other side each time.
            Proof::Reads => Step::Rest,
            Proof::Unknown | Proof::Watch => Step::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_the_proof_only_where_the_watch_never_answered() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut etcd = Liveness::new(start);
        assert_eq!(etcd.step(at(1)), Step::Ask);
        etcd.heard(at(1), true);
        assert_eq!([3, 5, 6].map(|now| etcd.step(at(now))), [Step::Ask, Step::Ask, Step::GiveUp]);
        assert!(!etcd.read(at(6)), "its watch answered before");
        assert_eq!(etcd.step(at(6)), Step::GiveUp);

        let mut proxy = Liveness::new(start);
        assert_eq!(
            [1, 2, 4, 5].map(|now| proxy.step(at(now))),
            [Step::Ask, Step::Read, Step::Read, Step::GiveUp]
        );
        assert!(proxy.read(at(2)));
        assert_eq!(
            [3, 4, 6, 7].map(|now| proxy.step(at(now))),
            [Step::Rest, Step::Read, Step::Read, Step::GiveUp]
        );
        proxy.heard(at(5), false);
        assert_eq!(proxy.step(at(6)), Step::Rest);
        assert!(!proxy.read(at(7)), "told once");

        let mut slow = Liveness::new(start);
        assert!(slow.read(at(2)));
        slow.heard(at(3), true);
        assert_eq!(slow.step(at(6)), Step::Ask, "the answer came after all");
        assert_eq!(slow.step(at(8)), Step::GiveUp);
    }
}
