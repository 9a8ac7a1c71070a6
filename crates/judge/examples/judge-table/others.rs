//! What others' documented settings make of the same traffic.
//!
//! Flagger's example: every minute 99 % of the canary's requests must succeed and its 99th percentile be below 500 ms; ten
//! failed checks roll back, at the check after the tenth; six good ones promote (10 to 50 %, and the promotion). Argo's
//! example: every five minutes 95 % must succeed; the fourth failed one aborts (the code wants more than its limit of three).
//! And the test that textbooks have, looked at each second: two proportions at 1 %.

use super::traffic::{Answers, Second};

/// What became of a version, and when.
#[derive(Clone, Copy, Default)]
pub struct Fate {
    pub rolled_back: Option<u64>,
    pub promoted: Option<u64>,
}

impl Fate {
    fn is_open(&self) -> bool {
        self.rolled_back.is_none() && self.promoted.is_none()
    }
}

/// `1.2^35` ms is the first edge at or above 500 ms.
const EDGE_OF_500_MS: usize = 35;

#[derive(Default)]
pub struct Others {
    pub flagger: Fate,
    pub argo: Fate,
    pub peeked: Fate,
    minute: Answers,
    five_minutes: Answers,
    checks: Checks,
    all: [(f64, f64); 2],
}

#[derive(Default)]
struct Checks {
    good: u32,
    failed: u32,
    failed_in_argo: u32,
}

impl Others {
    /// The second `t` of the run, from 0.
    pub fn second(&mut self, t: u64, second: &Second) {
        let add = |sum: &mut Answers| *sum = std::mem::take(sum).and(&second.gray);
        add(&mut self.minute);
        add(&mut self.five_minutes);
        if (t + 1).is_multiple_of(60) {
            self.check_as_flagger(t + 1);
        }
        if (t + 1).is_multiple_of(300) {
            self.check_as_argo(t + 1);
        }
        self.peek(t + 1, second);
    }

    fn check_as_flagger(&mut self, now: u64) {
        let minute = std::mem::take(&mut self.minute);
        if !self.flagger.is_open() {
            return;
        }
        if self.checks.failed >= 10 {
            self.flagger.rolled_back = Some(now);
            return;
        }
        let slow = minute.slower.get(EDGE_OF_500_MS).copied().unwrap_or(0);
        let good =
            minute.requests > 0 && minute.errors * 100 <= minute.requests && slow * 100 <= minute.timed;
        *(if good { &mut self.checks.good } else { &mut self.checks.failed }) += 1;
        if self.checks.good >= 6 {
            self.flagger.promoted = Some(now);
        }
    }

    fn check_as_argo(&mut self, now: u64) {
        let asked = std::mem::take(&mut self.five_minutes);
        if asked.requests > 0 && asked.errors * 20 > asked.requests {
            self.checks.failed_in_argo += 1;
        }
        if self.argo.is_open() && self.checks.failed_in_argo > 3 {
            self.argo.rolled_back = Some(now);
        }
    }

    fn peek(&mut self, now: u64, second: &Second) {
        for (sum, answers) in self.all.iter_mut().zip([&second.gray, &second.release]) {
            sum.0 += answers.requests as f64;
            sum.1 += answers.errors as f64;
        }
        let [(gray, failed), (release, failed_there)] = self.all;
        let pooled = (failed + failed_there) / (gray + release);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / gray + 1.0 / release)).sqrt();
        // Ten failures are what a normal needs to be one.
        let enough = failed >= 5.0 && failed_there >= 5.0;
        if self.peeked.is_open() && enough && (failed / gray - failed_there / release) / deviation > 2.326 {
            self.peeked.rolled_back = Some(now);
        }
    }
}
