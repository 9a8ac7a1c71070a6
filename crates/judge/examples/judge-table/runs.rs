//! The runs that are measured, and what became of them.

use graygate_judge::{Guards, Judge, Run, Tick, Verdict};

use super::others::{Fate, Others};
use super::traffic::{Fault, HEALTHY, PLAIN, Scenario, Traffic};

/// What became of one run.
#[derive(Clone, Copy)]
pub struct Outcome {
    pub regression: Option<Regression>,
    pub flagger: Fate,
    pub argo: Fate,
    pub peeked: Fate,
}

/// Counted from when something was wrong.
#[derive(Clone, Copy)]
pub struct Regression {
    pub requests: u64,
    pub seconds: u64,
}

pub struct Outcomes(pub Vec<Outcome>);

/// A healthy version, in traffic that makes it look ill.
pub fn healthy() -> Vec<Scenario> {
    let people = Scenario { people: 5000, ..PLAIN };
    let uneven = Scenario { uneven: true, ..people };
    vec![
        PLAIN,
        Scenario { name: "the same, 1 % errors", errors: 0.01, ..PLAIN },
        Scenario { name: "uneven people", ..uneven },
        Scenario { name: "one heavy client without errors: 30 % of all requests", heavy: 0.3, ..uneven },
        Scenario { name: "stalls of an instance", stalls: true, ..people },
        Scenario { name: "pilots three times as bad", pilots: 3.0, ..people },
        Scenario {
            name: "a ramp from 1 to 50 % and a shared outage, waves",
            people: 25_000,
            ramp: true,
            outage: true,
            waves: true,
            ..PLAIN
        },
        Scenario { name: "two services that see the same errors", services: 2, ..people },
        Scenario {
            name: "all of it at once",
            people: 25_000,
            heavy: 0.3,
            ramp: true,
            outage: true,
            waves: true,
            stalls: true,
            pilots: 3.0,
            services: 2,
            ..uneven
        },
        Scenario { name: "a week at 5 requests a second", seconds: 7 * 86_400, rate: 5.0, ..uneven },
    ]
}

/// A version with something wrong.
pub fn delays() -> Vec<Scenario> {
    let errors = |name, errors, times| {
        let fault = Fault { errors: times, ..HEALTHY };
        Scenario { name, errors, fault, ..PLAIN }
    };
    let slow = |name, slower, delayed| {
        let fault = Fault { slower, delayed, ..HEALTHY };
        Scenario { name, fault, ..PLAIN }
    };
    let later = Fault { from: 3600, errors: 10.0, ..HEALTHY };
    let people = Scenario { people: 5000, ..PLAIN };
    vec![
        errors("errors 0.1 to 1 %", 0.001, 10.0),
        errors("errors 0.1 to 0.5 %", 0.001, 5.0),
        errors("errors 1 to 2 %", 0.01, 2.0),
        errors("errors 1 to 5 %", 0.01, 5.0),
        errors("errors 1 to 50 %", 0.01, 50.0),
        Scenario { name: "errors 0.1 to 1 %, after a healthy hour", seconds: 7200, fault: later, ..PLAIN },
        Scenario {
            name: "errors 0.1 to 1 %, of 250 gray people",
            fault: Fault { errors: 10.0, ..HEALTHY },
            ..people
        },
        Scenario {
            name: "errors 0.3 to 5 %, 300 pilots besides",
            pilots: 3.0,
            fault: Fault { errors: 17.0, ..HEALTHY },
            ..people
        },
        slow("half as slow again", 1.5, 0.0),
        slow("twice as slow", 2.0, 0.0),
        slow("three times as slow", 3.0, 0.0),
        slow("2 % of requests a second longer", 1.0, 0.02),
        slow("5 % of requests a second longer", 1.0, 0.05),
    ]
}

/// So many runs of a scenario, each with a seed of its own.
pub fn outcomes(scenario: Scenario, runs: u64, seed: u64) -> Outcomes {
    Outcomes((0..runs).map(|run| outcome(scenario, seed + run)).collect())
}

fn outcome(scenario: Scenario, seed: u64) -> Outcome {
    let mut traffic = Traffic::new(scenario, seed);
    let mut judge = Judge::new(Run {
        plan: "p".into(),
        version: "gray".into(),
        services: ["patient", "orders"].into_iter().take(scenario.services).map(String::from).collect(),
        guards: Guards::default(),
        start: None,
    });
    let mut others = Others::default();
    let (mut regression, mut requests) = (None, 0);
    let is_healthy =
        scenario.fault.errors == 1.0 && scenario.fault.slower == 1.0 && scenario.fault.delayed == 0.0;
    for t in 0..scenario.seconds {
        let second = traffic.second(t);
        others.second(t, &second);
        if t >= scenario.fault.from {
            requests += second.gray.requests;
        }
        if regression.is_none() {
            judge.advance(Tick { passed: 1, now: None, rows: second.rows });
            if judge.verdict() == Verdict::Regression {
                regression =
                    Some(Regression { requests, seconds: (t + 1).saturating_sub(scenario.fault.from) });
            }
        }
        // Others have their say for ten minutes more, as their example would have ended by then.
        if regression.is_some() && !is_healthy && t > scenario.fault.from + 1200 {
            break;
        }
    }
    Outcome { regression, flagger: others.flagger, argo: others.argo, peeked: others.peeked }
}

impl Outcomes {
    /// The part of the runs of which something holds, in percent.
    pub fn part(&self, holds: impl Fn(&Outcome) -> bool) -> String {
        let count = self.0.iter().filter(|outcome| holds(outcome)).count();
        format!("{:.1} %", count as f64 * 100.0 / self.0.len() as f64)
    }

    /// Of those that have the figure: its median, and what nine in ten stay below.
    pub fn quantiles(&self, figure: impl Fn(&Outcome) -> Option<u64>) -> String {
        let mut figures: Vec<u64> = self.0.iter().filter_map(figure).collect();
        figures.sort_unstable();
        let at = |part: f64| figures.get((figures.len() as f64 * part) as usize).copied();
        match (at(0.5), at(0.9)) {
            (Some(median), Some(most)) => format!("{median} ({most})"),
            _ => "-".into(),
        }
    }
}
