//! False alarms and delays on made-up traffic: the short form of `make judge-table`, with the same people.

#[path = "../examples/judge-table/others.rs"]
mod others;
#[path = "../examples/judge-table/runs.rs"]
mod runs;
#[path = "../examples/judge-table/traffic.rs"]
mod traffic;

use runs::{delays, healthy, outcomes};
use traffic::{PLAIN, Scenario};

/// Twelve minutes instead of an hour, and a night instead of a week: what makes traffic look ill happens in those as well.
fn shorter(scenario: Scenario) -> Scenario {
    Scenario { seconds: if scenario.seconds > 7200 { 8 * 3600 } else { 720 }, ..scenario }
}

#[test]
fn a_healthy_version_is_not_rolled_back() {
    for scenario in healthy().into_iter().map(shorter) {
        let outcomes = outcomes(scenario, 2, 40);
        assert_eq!(outcomes.part(|outcome| outcome.regression.is_some()), "0.0 %", "{}", scenario.name);
    }
}

#[test]
fn every_fault_of_the_table_is_found() {
    for scenario in delays() {
        let outcomes = outcomes(Scenario { seconds: scenario.fault.from + 600, ..scenario }, 1, 7);
        let found = outcomes.part(|outcome| outcome.regression.is_some());
        assert_eq!(found, "100.0 %", "{}", scenario.name);
    }
}

#[test]
fn ten_times_the_errors_are_found_within_540_gray_requests() {
    let ten_times = delays().into_iter().find(|scenario| scenario.name == "errors 0.1 to 1 %");
    let scenario = Scenario { seconds: 120, ..ten_times.unwrap_or(PLAIN) };
    let mut needed: Vec<u64> = outcomes(scenario, 41, 1)
        .0
        .iter()
        .map(|run| run.regression.map_or(u64::MAX, |found| found.requests))
        .collect();
    needed.sort_unstable();
    assert!(needed.get(20).is_some_and(|median| *median <= 540), "{needed:?}");
}
