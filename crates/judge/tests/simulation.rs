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
    let scenario = Scenario { seconds: 120, ..named("errors 0.1 to 1 %") };
    let outcomes = outcomes(scenario, 41, 1);
    assert_eq!(outcomes.part(|outcome| outcome.regression.is_some()), "100.0 %");
    let needed = outcomes.quantiles(|outcome| Some(outcome.regression?.requests));
    let median = needed.split(' ').next().and_then(|median| median.parse::<u64>().ok());
    assert!(median.is_some_and(|median| median <= 540), "{needed}");
}

/// What the table says of others is only as good as this: their checks come when they are documented to.
#[test]
fn others_examples_act_when_they_are_documented_to() {
    let scenario = Scenario { seconds: 1300, ..named("errors 1 to 50 %") };
    for outcome in outcomes(scenario, 1, 1).0 {
        assert!(outcome.regression.is_some_and(|found| found.seconds <= 3));
        assert_eq!((outcome.flagger.rolled_back, outcome.flagger.promoted), (Some(11 * 60), None));
        assert_eq!(outcome.argo.rolled_back, Some(4 * 300));
        assert!(outcome.peeked.rolled_back.is_some_and(|seconds| seconds <= 3));
    }
    let scenario = Scenario { seconds: 1300, ..PLAIN };
    for outcome in outcomes(scenario, 1, 1).0 {
        assert_eq!((outcome.flagger.rolled_back, outcome.flagger.promoted), (None, Some(6 * 60)));
        assert_eq!(outcome.argo.rolled_back, None);
    }
}

fn named(name: &str) -> Scenario {
    delays().into_iter().find(|scenario| scenario.name == name).unwrap_or(PLAIN)
}
