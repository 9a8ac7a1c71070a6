//! What do the seconds of a run add up to, whenever the regression began?
//!
//! Owns the mixture over starts and alternatives: a start with the run, a start in each later second with a hazard of one in
//! 3,600, and a start in each later second with weights that last for weeks. A start that has not come yet keeps its weight,
//! so seconds without evidence change nothing, and skipping a week of them costs as much as skipping one.
//! Never: NaN, and never a product that leaves the range of a number: all sums are logarithms.

use serde::{Deserialize, Serialize};

/// Weight of evidence from the run's first second on, and of each of the two late mixtures.
const START: f64 = 0.9;
const LATE: f64 = 0.05;
/// The chance that a regression begins in the next second, in the first late mixture.
const HAZARD: f64 = 1.0 / 3600.0;
/// Stands for the logarithm of nothing in what is kept: infinities are no JSON.
const NOTHING: f64 = -1.0e15;

/// An e-process: at least 0, and 1 on average, at any time one chooses to look, while the version is as good as it should be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mixture {
    /// Seconds that are in the sums, and seconds without evidence since.
    seconds: u64,
    idle: u64,
    starts: Vec<Start>,
    log: f64,
}

/// One alternative: sums of evidence from the start, and over late starts with either weight.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Start {
    first: f64,
    hazard: f64,
    slow: f64,
}

impl Mixture {
    /// Over that many alternatives, before the first second.
    pub fn new(alternatives: usize) -> Self {
        let start = Start { first: 0.0, hazard: NOTHING, slow: NOTHING };
        Self { seconds: 0, idle: 0, starts: vec![start; alternatives], log: 0.0 }
    }

    /// Seconds without evidence. Nothing is won or lost by them.
    pub fn pass(&mut self, seconds: u64) {
        self.idle = self.idle.saturating_add(seconds);
    }

    /// One second's evidence, a logarithm for each alternative in the order of the grid.
    pub fn second(&mut self, evidence: &[f64]) {
        if evidence.iter().all(|&log| log == 0.0) {
            return self.pass(1);
        }
        self.catch_up();
        let t = self.seconds as f64;
        let hazard = HAZARD.ln() + t * (-HAZARD).ln_1p();
        let slow = -((t + 1.0).ln() + (t + 2.0).ln());
        for (start, &log) in self.starts.iter_mut().zip(evidence) {
            start.first += log;
            start.hazard = log_add(start.hazard, hazard) + log;
            start.slow = log_add(start.slow, slow) + log;
        }
        self.seconds = self.seconds.saturating_add(1);
        self.log = self.weigh();
    }

    /// Natural logarithm of the e-value.
    pub fn log(&self) -> f64 {
        self.log
    }

    /// Gives late starts in the idle seconds their weight, all at once.
    fn catch_up(&mut self) {
        if self.idle == 0 {
            return;
        }
        let (t, idle) = (self.seconds as f64, self.idle as f64);
        let stay = (-HAZARD).ln_1p();
        let hazard = t * stay + (-(idle * stay).exp_m1()).ln();
        let slow = idle.ln() - (t + 1.0).ln() - (t + idle + 1.0).ln();
        for start in &mut self.starts {
            start.hazard = log_add(start.hazard, hazard);
            start.slow = log_add(start.slow, slow);
        }
        self.seconds = self.seconds.saturating_add(self.idle);
        self.idle = 0;
    }

    fn weigh(&self) -> f64 {
        let t = self.seconds as f64;
        let first = log_mean(self.starts.iter().map(|start| start.first));
        let hazard = log_add(t * (-HAZARD).ln_1p(), log_mean(self.starts.iter().map(|start| start.hazard)));
        let slow = log_add(-(t + 1.0).ln(), log_mean(self.starts.iter().map(|start| start.slow)));
        log_add(START.ln() + first, LATE.ln() + log_add(hazard, slow))
    }
}

/// `ln(e^a + e^b)`.
fn log_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    // Below that, the smaller one is no longer a digit of the larger.
    if high - low > 40.0 {
        return high;
    }
    high + (low - high).exp().ln_1p()
}

/// The logarithm of the mean of numbers given as logarithms; of none, the logarithm of 1.
pub fn log_mean(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let Some(highest) = logs.clone().reduce(f64::max) else { return 0.0 };
    let (sum, count) = logs.fold((0.0, 0.0), |(sum, count), log| (sum + (log - highest).exp(), count + 1.0));
    highest + (sum / count).ln()
}
