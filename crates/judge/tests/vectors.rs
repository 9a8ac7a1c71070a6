//! Rows whose e-values were worked out elsewhere, with another program and no logarithms of sums.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use graygate_judge::guards::{Limit, SlowLimit, Switch};
use graygate_judge::{Guards, offline};
use serde_json::Value;

/// A guard's name, its `log10_e`, its strata in their order, and its verdict, after the last row.
type Expected = &'static [(&'static str, f64, &'static [f64], &'static str)];

#[test]
fn one_error_of_the_drawn() {
    check(
        include_str!("vectors/one-error-of-the-drawn.ndjson"),
        &[
            ("errors", 0.628185329, &[0.71970031, 0.0, 0.0], "none"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -1.122773710, &[-1.12277371], "none"),
        ],
    );
}

#[test]
fn both_sides_and_silence_between() {
    check(
        include_str!("vectors/both-sides-and-silence-between.ndjson"),
        &[
            ("errors", 3.557735647, &[3.649250628, 0.0, 0.0], "regression"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -1.301305618, &[-1.301305618], "none"),
        ],
    );
}

#[test]
fn a_client_counts_once_an_hour_on_any_proxy_and_either_side() {
    check(
        include_str!("vectors/a-client-counts-once-an-hour.ndjson"),
        &[
            ("errors", -1.009029614, &[0.814879127, 0.0, 0.0], "none"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -2.181473404, &[-2.181473404], "none"),
        ],
    );
}

#[test]
fn chosen_people_count_once_three_have_failed_and_none_counts_alone() {
    check(
        include_str!("vectors/chosen-people-count-once-three-have-failed.ndjson"),
        &[
            ("errors", -0.091514981, &[0.0, 0.799345166, 0.0], "none"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -1.243427209, &[-1.243427209], "none"),
        ],
    );
}

#[test]
fn inherited_gray_stands_beside_inherited_release() {
    check(
        include_str!("vectors/inherited-beside-inherited.ndjson"),
        &[
            ("errors", 0.111349134, &[0.0, 0.0, 1.412379129], "none"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -1.243613789, &[-1.243613789], "none"),
        ],
    );
}

#[test]
fn slower_than_release_was_in_earlier_seconds() {
    check(
        include_str!("vectors/slower-than-release-was.ndjson"),
        &[
            ("errors", -0.091514981, &[0.0, 0.0, 0.0], "none"),
            ("latency", 0.997669692, &[1.043427183, 0.0, 0.0], "none"),
            ("fallback", -1.243671412, &[-1.243671412], "none"),
        ],
    );
}

#[test]
fn two_services_share_a_guards_alpha() {
    check(
        include_str!("vectors/two-services.ndjson"),
        &[
            ("errors", 0.943865168, &[1.336410145, 0.0, 0.0], "none"),
            ("latency", -0.346787486, &[0.0, 0.0, 0.0], "none"),
            ("fallback", -1.073216168, &[-0.772186172], "none"),
        ],
    );
}

#[test]
fn limits_have_no_other_side() {
    let guards = Guards {
        error_rate: Switch::On(Limit::new(0.05, 0.005).unwrap()),
        latency_p99: Switch::On(SlowLimit::new(800.0, 0.005).unwrap()),
        ..Guards::default()
    };
    check_with(
        include_str!("vectors/limits.ndjson"),
        guards,
        &[
            ("errors", 17.500562544, &[17.592077525, 0.0, 0.0], "regression"),
            ("latency", -0.045757491, &[0.0, 0.0, 0.0], "none"),
            ("error_rate", 0.816562255, &[0.816562255], "none"),
            ("latency_p99", 1.119927653, &[1.119927653], "none"),
            ("fallback", 0.701310975, &[0.701310975], "none"),
        ],
    );
}

fn check(rows: &str, expected: Expected) {
    check_with(rows, Guards::default(), expected);
}

fn check_with(rows: &str, guards: Guards, expected: Expected) {
    let options = offline::Options { plan: "p".into(), version: "gray".into(), services: vec![], guards };
    let (mut output, mut problems) = (Vec::new(), Vec::new());
    let unreadable = offline::run(rows.as_bytes(), &mut output, &mut problems, options).unwrap();
    assert_eq!((unreadable, problems.len()), (0, 0));
    let last = output.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap();
    let last: Value = serde_json::from_slice(last).unwrap();
    let guards = last["guards"].as_object().unwrap();
    let mut names: Vec<_> = guards.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut sorted: Vec<_> = expected.iter().map(|(name, ..)| *name).collect();
    sorted.sort_unstable();
    assert_eq!(names, sorted);
    for (name, log, strata, verdict) in expected {
        let guard = &guards[*name];
        near(&guard["log10_e"], *log, name);
        let told = &guard["strata"];
        let told: Vec<&Value> = match strata.len() {
            3 => ["drawn", "chosen", "inherited"].iter().map(|stratum| &told[stratum]).collect(),
            _ => vec![&told["gray"]],
        };
        told.iter().zip(*strata).for_each(|(told, log)| near(told, *log, name));
        assert_eq!(guard["verdict"], *verdict, "{name}");
    }
}

fn near(told: &Value, expected: f64, name: &str) {
    let told = told.as_f64().unwrap();
    assert!((told - expected).abs() < 2e-9, "{name}: {told} instead of {expected}");
}
