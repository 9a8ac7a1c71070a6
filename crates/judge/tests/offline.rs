//! Lines in, lines out: which rows enter, and what is said of the others.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use graygate_judge::{Guards, offline};
use serde_json::{Value, json};

const START: u64 = 1_764_125_000;

/// What came of a run.
struct Outcome {
    unreadable: u64,
    lines: Vec<Value>,
    problems: String,
}

fn judged(lines: &str, services: &[&str]) -> Outcome {
    let options = offline::Options {
        plan: "p".into(),
        version: "gray".into(),
        services: services.iter().map(ToString::to_string).collect(),
        guards: Guards::default(),
    };
    let (mut output, mut problems) = (Vec::new(), Vec::new());
    let unreadable = offline::run(lines.as_bytes(), &mut output, &mut problems, options).unwrap();
    let lines = String::from_utf8(output).unwrap();
    Outcome {
        unreadable,
        lines: lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        problems: String::from_utf8(problems).unwrap(),
    }
}

fn row(second: u64, version: &str, requests: u64) -> Value {
    json!({
        "second": START + second, "proxy": "edge-1", "boot": "b", "service": "patient", "route": "portal",
        "rule": "plan.p.share", "share": 5, "version": version, "requests": requests, "timed": requests,
        "undrawn": 0, "errors": 0, "error_clients": [], "sampled": 0, "fallbacks": 0, "slower": [],
    })
}

fn with(mut row: Value, field: &str, value: Value) -> Value {
    row[field] = value;
    row
}

fn text(rows: &[Value]) -> String {
    rows.iter().fold(String::new(), |mut text, row| {
        writeln!(text, "{row}").unwrap();
        text
    })
}

#[test]
fn a_line_is_what_was_promised() {
    let outcome = judged(&text(&[row(0, "gray", 50), row(0, "release", 950)]), &[]);
    let strata = json!({"drawn": 0.0, "chosen": 0.0, "inherited": 0.0});
    let guards = json!({
        "errors": {"log10_e": -0.091514981121, "strata": strata, "verdict": "none"},
        "latency": {"log10_e": -0.045757490561, "strata": strata, "verdict": "none"},
        "fallback": outcome.lines[0]["guards"]["fallback"],
    });
    let expected = json!({
        "second": START, "requests": {"gray": 50, "release": 950}, "guards": guards, "left_out": 0, "verdict": "none",
    });
    assert_eq!(outcome.lines, [expected]);
    assert_eq!((outcome.unreadable, outcome.problems.as_str()), (0, ""));
}

/// Rows beside one good row of 50 gray requests: how many are left out, and how many gray requests count at the end.
#[test]
fn rows_are_left_out_and_counted() {
    let good = row(0, "gray", 50);
    let changed =
        |field: &str, value: Value| with(with(good.clone(), "proxy", json!("edge-2")), field, value);
    let cases: Vec<(&str, Value, u64, u64)> = vec![
        ("again", good.clone(), 1, 50),
        ("another boot", with(good.clone(), "boot", json!("c")), 0, 100),
        ("another share", with(good.clone(), "share", json!(10)), 0, 100),
        ("another version", with(good.clone(), "version", json!("beta")), 0, 50),
        ("another proxy", changed("requests", json!(50)), 0, 100),
        ("a whole number with a point", changed("requests", json!(50.0)), 0, 100),
        ("no share", changed("share", Value::Null), 0, 100),
        ("negative", changed("requests", json!(-1)), 1, 50),
        ("a fraction", changed("requests", json!(50.5)), 1, 50),
        ("no number", changed("requests", json!("50")), 1, 50),
        ("nothing", changed("requests", Value::Null), 1, 50),
        ("beyond any count", changed("requests", json!(1e300)), 1, 50),
        ("a negative second", changed("second", json!(-1)), 1, 50),
        ("a negative share", changed("share", json!(-1)), 1, 50),
        ("a share above all", changed("share", json!(101)), 1, 50),
        ("more errors than requests", changed("errors", json!(51)), 1, 50),
        ("more timed than requests", changed("timed", json!(51)), 1, 50),
        ("more slower than timed", changed("slower", json!([51])), 1, 50),
        ("rising", changed("slower", json!([3, 4])), 1, 50),
        ("a fraction of slower", changed("slower", json!([3, 0.5])), 1, 50),
        ("as many slower as edges", changed("slower", json!(vec![1; 61])), 0, 100),
        ("too many slower", changed("slower", json!(vec![1; 62])), 1, 50),
        ("slower is no list", changed("slower", json!({"0": 1})), 1, 50),
        (
            "the usual edges",
            changed("edges_ms", json!((0..61).map(|k| 1.2f64.powi(k)).collect::<Vec<_>>())),
            0,
            100,
        ),
        ("other edges", changed("edges_ms", json!([1, 2, 4])), 1, 50),
        ("clients that are no texts", changed("error_clients", json!([1])), 1, 50),
        ("another service", changed("service", json!("orders")), 1, 50),
    ];
    for (name, row, left_out, gray) in cases {
        let outcome = judged(&text(&[good.clone(), row]), &["patient"]);
        let last = outcome.lines.last().unwrap();
        let seen = (last["left_out"].as_u64().unwrap(), last["requests"]["gray"].as_u64().unwrap());
        assert_eq!(seen, (left_out, gray), "{name}");
        assert_eq!(outcome.unreadable, 0, "{name}");
    }
}

#[test]
fn a_second_of_a_proxy_is_compared_once_and_as_a_whole() {
    // Release of second 0 comes when its gray was compared already; edge-2 has told nothing of second 0 yet.
    let late = with(row(0, "release", 900), "proxy", json!("edge-2"));
    let rows = [row(0, "gray", 50), row(1, "gray", 50), row(0, "release", 900), late.clone(), late];
    let outcome = judged(&text(&rows), &[]);
    assert_eq!(outcome.lines.len(), 2);
    assert_eq!(outcome.lines[1]["requests"], json!({"gray": 100, "release": 900}));
    assert_eq!(outcome.lines[1]["left_out"], 2);
}

#[test]
fn rows_are_too_old_after_two_minutes() {
    let late = |second| with(row(second, "gray", 7), "proxy", json!("edge-2"));
    let rows = [row(0, "gray", 1), row(10, "gray", 1), row(131, "gray", 1), late(10), late(11), late(12)];
    let last = judged(&text(&rows), &[]).lines.pop().unwrap();
    assert_eq!((&last["left_out"], &last["requests"]["gray"]), (&json!(1), &json!(17)));
}

#[test]
fn what_is_from_before_the_run_does_not_enter() {
    let before = with(row(0, "gray", 7), "second", json!(START - 1));
    let last = judged(&text(&[row(0, "gray", 1), before]), &[]).lines.pop().unwrap();
    assert_eq!((&last["left_out"], &last["requests"]["gray"]), (&json!(0), &json!(1)));
}

#[test]
fn services_are_those_of_the_first_second() {
    let of = |service: &str, second| with(row(second, "gray", 10), "service", json!(service));
    let rows = text(&[of("patient", 0), of("orders", 0), of("drugs", 1)]);
    let last = judged(&rows, &[]).lines.pop().unwrap();
    assert_eq!((&last["left_out"], &last["requests"]["gray"]), (&json!(1), &json!(20)));
    assert_eq!(last["guards"]["latency"]["log10_e"], json!(-0.346787486225));
    let last = judged(&rows, &["drugs"]).lines.pop().unwrap();
    assert_eq!((&last["left_out"], &last["requests"]["gray"]), (&json!(2), &json!(10)));
}

#[test]
fn a_line_that_cannot_be_read_is_named_and_costs_nothing_else() {
    let long = format!("{{\"proxy\": \"{}\"}}", "x".repeat(1 << 20));
    let no_proxy = r#"{"second": 1, "service": "patient"}"#;
    let lines = format!(
        "{}\n{{\n\nnonsense\n{no_proxy}\n{long}\n[]\n{}\n{}",
        row(0, "gray", 1),
        "\u{0}",
        row(1, "gray", 1)
    );
    let outcome = judged(&lines, &[]);
    assert_eq!(outcome.unreadable, 6);
    let named: Vec<_> = outcome.problems.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(named, ["line 2", "line 4", "line 5", "line 6", "line 7", "line 8"], "{}", outcome.problems);
    assert!(outcome.problems.contains("line 5: missing field `"), "{}", outcome.problems);
    let last = &outcome.lines[1];
    assert_eq!((&last["left_out"], &last["requests"]["gray"]), (&json!(0), &json!(2)));
    assert_eq!(judged("", &[]).lines, [] as [Value; 0]);
}

#[test]
fn a_second_far_ahead_is_believed_and_costs_no_time() {
    let far = with(row(0, "gray", 1), "second", json!(9_007_199_254_740_992u64));
    let begun = Instant::now();
    let outcome = judged(&text(&[row(0, "gray", 1), far]), &[]);
    assert!(begun.elapsed() < Duration::from_secs(1));
    for guard in outcome.lines[1]["guards"].as_object().unwrap().values() {
        assert!(guard["log10_e"].as_f64().unwrap().is_finite());
    }
}

#[test]
fn figures_at_their_largest_make_no_nan() {
    let most = 1u64 << 53;
    let rows = (0..5).flat_map(|second| {
        let full = |version: &str, errors: u64| {
            let row = with(row(second, version, most), "errors", json!(errors));
            let row = with(row, "slower", json!(vec![errors; 61]));
            with(with(row, "fallbacks", json!(most)), "error_clients", json!([format!("{second:016x}")]))
        };
        [full("gray", most), full("release", 0)]
    });
    let outcome = judged(&text(&rows.collect::<Vec<_>>()), &[]);
    for line in outcome.lines {
        for guard in line["guards"].as_object().unwrap().values() {
            assert!(
                guard["log10_e"].is_number()
                    && guard["strata"].as_object().unwrap().values().all(Value::is_number)
            );
        }
    }
}

/// Ten thousand lines in what twenty seconds for a million leave to them, many times over for a build that was not optimised.
#[test]
fn a_line_costs_microseconds() {
    let slower: Vec<u64> = (0..30).map(|edge| 30 - edge).collect();
    let rows = (0..2500).flat_map(|second| {
        ["gray", "release"]
            .into_iter()
            .flat_map(move |version| [(second, version, "edge-1"), (second, version, "edge-2")])
    });
    let rows: Vec<_> = rows
        .map(|(second, version, proxy)| {
            let row = with(with(row(second, version, 40), "proxy", json!(proxy)), "errors", json!(1));
            with(with(row, "error_clients", json!([format!("{second:015x}1")])), "slower", json!(slower))
        })
        .collect();
    let lines = text(&rows);
    let begun = Instant::now();
    assert_eq!(judged(&lines, &[]).lines.len(), 2500);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
