//! The page, read strictly.

use std::collections::{HashMap, HashSet};

use super::*;

/// Reads one line of labels and returns what is left behind the closing brace.
fn labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        let (name, after) = rest.split_once("=\"").expect("a label's name");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let (mut value, mut characters) = (String::new(), after.chars());
        loop {
            match characters.next().expect("a closing quote") {
                '"' => break,
                '\\' => match characters.next() {
                    Some('n') => value.push('\n'),
                    Some(escaped @ ('"' | '\\')) => value.push(escaped),
                    other => panic!("unknown escape {other:?}"),
                },
                plain => value.push(plain),
            }
        }
        labels.push((name.to_owned(), value));
        match characters.next() {
            Some(',') => rest = characters.as_str(),
            Some('}') => return (labels, characters.as_str()),
            other => panic!("{other:?} behind a label"),
        }
    }
}

/// Samples by their text without the value; checks every line of the page on the way.
fn parse(page: &str) -> HashMap<String, f64> {
    let (mut types, mut samples) = (HashMap::new(), HashMap::new());
    let mut helped = HashSet::new();
    assert!(page.ends_with('\n'));
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').expect("a help text");
            assert!(!text.is_empty() && helped.insert(name), "{line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name, kind).is_none(), "{line}");
            continue;
        }
        let end = line.find(['{', ' ']).expect("a sample's name");
        let (name, rest) = line.split_at(end);
        let (found, value) = match rest.strip_prefix('{') {
            Some(inside) => labels(inside),
            None => (Vec::new(), rest),
        };
        let value: f64 = value.strip_prefix(' ').unwrap().parse().unwrap();
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .filter_map(|part| name.strip_suffix(part))
            .find(|family| types.get(family) == Some(&"histogram"))
            .unwrap_or(name);
        assert!(types.contains_key(family), "{line} has no type");
        let mut key = name.to_owned();
        for (name, value) in found {
            key.push_str(&format!(" {name}={value}"));
        }
        assert!(samples.insert(key, value).is_none(), "{line} stands twice");
    }
    assert_eq!(types.len(), helped.len());
    samples
}

fn check(metrics: &Metrics, expected: &[(&str, Option<f64>)]) {
    let samples = parse(&metrics.render());
    for (sample, value) in expected {
        assert_eq!(samples.get(*sample).copied(), *value, "{sample}");
    }
}

#[test]
fn a_fresh_page_has_every_family_without_labels() {
    check(
        &Metrics::default(),
        &[
            ("graygate_revision kind=offered", Some(0.0)),
            ("graygate_apply_seconds_count", Some(0.0)),
            ("graygate_apply_seconds_bucket le=+Inf", Some(0.0)),
            ("graygate_access_log_dropped_total", Some(0.0)),
        ],
    );
    let registry = Registry::default();
    registry.process();
    let page = registry.render();
    for name in ["process_open_fds", "process_cpu_seconds_total"] {
        assert!(page.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[test]
fn a_version_counts_under_its_own_labels() {
    let metrics = Metrics::default();
    let eleven = metrics.version("svc", "11");
    let one = metrics.version("svc1", "1");
    let _flight = eleven.begin();
    eleven.finished(StatusClass::Success, Duration::from_millis(3));
    eleven.finished(StatusClass::ServerError, Duration::from_secs(70));
    eleven.tried(TryOutcome::ConnectFailed);
    eleven.upstream_answered(Duration::from_millis(1));
    one.finished(StatusClass::Success, Duration::ZERO);
    let duration = "graygate_request_duration_seconds";
    let bucket = |le: &str| format!("{duration}_bucket service=svc version=11 le={le}");
    check(
        &metrics,
        &[
            ("graygate_requests_total service=svc version=11 status=2xx", Some(1.0)),
            ("graygate_requests_total service=svc version=11 status=5xx", Some(1.0)),
            ("graygate_requests_total service=svc1 version=1 status=2xx", Some(1.0)),
            ("graygate_requests_total service=svc1 version=1 status=5xx", Some(0.0)),
            ("graygate_requests_in_flight service=svc version=11", Some(1.0)),
            ("graygate_upstream_tries_total service=svc version=11 outcome=connect_failed", Some(1.0)),
            ("graygate_upstream_duration_seconds_count service=svc version=11", Some(1.0)),
            (&bucket("0.0025"), Some(0.0)),
            (&bucket("0.005"), Some(1.0)),
            (&bucket("60"), Some(1.0)),
            (&bucket("+Inf"), Some(2.0)),
            (&format!("{duration}_count service=svc version=11"), Some(2.0)),
            (&format!("{duration}_sum service=svc version=11"), Some(70.003)),
        ],
    );
}

#[test]
fn buckets_are_cumulative() {
    let metrics = Metrics::default();
    let version = metrics.version("s", "v");
    for millis in [0, 1, 2, 4, 9, 30, 80, 400, 900, 3_000, 20_000, 100_000] {
        version.finished(StatusClass::Success, Duration::from_millis(millis));
    }
    let page = metrics.render();
    let counts: Vec<u64> = page
        .lines()
        .filter(|line| line.starts_with("graygate_request_duration_seconds_bucket"))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 12]);
}

#[test]
fn decisions_and_fallbacks_show_only_what_happened() {
    let metrics = Metrics::default();
    let rule = metrics.decision("s", "gray", Reason::Rule, "10-\"staff\"");
    let default = metrics.decision("s", "release", Reason::Default, "");
    metrics.decision("s", "gray", Reason::Rule, "20-never");
    metrics.fallback("s", "gray", "release", FallbackReason::Unhealthy).increment();
    metrics.fallback("s", "gray", "release", FallbackReason::NoInstances);
    metrics.unrouted("no_route").add(3);
    rule.increment();
    default.add(2);
    check(
        &metrics,
        &[
            ("graygate_decisions_total service=s version=gray reason=rule rule=10-\"staff\"", Some(1.0)),
            ("graygate_decisions_total service=s version=release reason=default rule=", Some(2.0)),
            ("graygate_decisions_total service=s version=gray reason=rule rule=20-never", None),
            ("graygate_fallbacks_total service=s from=gray to=release reason=unhealthy", Some(1.0)),
            ("graygate_fallbacks_total service=s from=gray to=release reason=no_instances", None),
            ("graygate_unrouted_total reason=no_route", Some(3.0)),
        ],
    );
}

#[test]
fn what_is_set_replaces_what_was() {
    let metrics = Metrics::default();
    metrics.set_instances(vec![("s".into(), "old".into(), [9, 0, 0, 0])]);
    metrics.set_instances(vec![("s".into(), "v1".into(), [2, 1, 0, 3])]);
    metrics.set_list_members(&[("staff".into(), 1_200_345)]);
    metrics.set_offered(812);
    metrics.set_running(811);
    metrics.applied(Duration::from_millis(12));
    metrics.ejections("s", "v1").increment();
    metrics.retries_suppressed("s").add(7);
    metrics.access_log_dropped().add(4);
    let connection = metrics.connections("0.0.0.0:8080").occupy();
    metrics.set_problems([("rule", 2), ("route", 0), (OTHER_PROBLEMS, 1)]);
    check(
        &metrics,
        &[
            ("graygate_instances service=s version=v1 state=healthy", Some(2.0)),
            ("graygate_instances service=s version=v1 state=draining", Some(3.0)),
            ("graygate_instances service=s version=old state=healthy", None),
            ("graygate_list_members list=staff", Some(1_200_345.0)),
            ("graygate_revision kind=offered", Some(812.0)),
            ("graygate_revision kind=running", Some(811.0)),
            ("graygate_apply_seconds_count", Some(1.0)),
            ("graygate_apply_seconds_sum", Some(0.012)),
            ("graygate_ejections_total service=s version=v1", Some(1.0)),
            ("graygate_retries_suppressed_total service=s", Some(7.0)),
            ("graygate_access_log_dropped_total", Some(4.0)),
            ("graygate_connections listener=0.0.0.0:8080", Some(1.0)),
            ("graygate_problems kind=rule", Some(2.0)),
            ("graygate_problems kind=other", Some(1.0)),
            ("graygate_problems kind=route", Some(0.0)),
        ],
    );
    drop(connection);
    let gone = ("graygate_connections listener=0.0.0.0:8080", Some(0.0));
    check(&metrics, &[gone]);
}

#[test]
fn a_version_in_no_generation_is_forgotten_in_time() {
    let metrics = Metrics::default();
    let start = Instant::now();
    let held = metrics.version("s", "held");
    let flight = metrics.version("s", "late").begin();
    metrics.version("s", "gone");
    let hour = Duration::from_secs(3_600);
    let sample = |version: &str| format!("graygate_requests_in_flight service=s version={version}");
    metrics.sweep(start);
    // Too soon after the last time to do anything.
    metrics.sweep(start + Duration::from_secs(1));
    check(&metrics, &[(&sample("gone"), Some(0.0))]);
    metrics.sweep(start + hour);
    let expected: [(&str, Option<f64>); 3] =
        [(&sample("held"), Some(0.0)), (&sample("late"), Some(1.0)), (&sample("gone"), None)];
    check(&metrics, &expected);
    drop(flight);
    metrics.sweep(start + 2 * hour);
    metrics.sweep(start + 3 * hour);
    check(&metrics, &[(&sample("late"), None)]);
    assert_eq!(held.in_flight(), 0);
}
