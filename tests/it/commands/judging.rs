//! `judge`: rows in, verdicts out, and the guards they are held to.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::commands::typed::Said;
use crate::harness::proxy::BINARY;

const START: u64 = 1_764_125_000;

fn row(second: u64, version: &str, errors: u64) -> String {
    let clients: Vec<_> = (0..errors).map(|client| format!("{:016x}", second * 100 + client)).collect();
    json!({
        "second": START + second, "proxy": "edge-1", "service": "patient", "route": "portal",
        "rule": "plan.patient-8.share", "share": 5, "version": version, "requests": 100, "timed": 100,
        "errors": errors, "error_clients": clients, "slower": [100, 60, 5],
    })
    .to_string()
}

/// Types `judge` for the plan `patient-8`, with that input.
fn judge(arguments: &[&str], input: &str) -> Said {
    let mut child = Command::new(BINARY)
        .args(["judge", "--plan", "patient-8", "--version", "gray"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that found problems does not read what it is sent.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

fn lines(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_verdict_can_be_checked_by_anyone() {
    let rows = (0..4).flat_map(|second| [row(second, "gray", 2), row(second, "release", 1)]);
    let said = judge(&[], &rows.collect::<Vec<_>>().join("\n"));
    assert_eq!((said.status, said.errors.as_str()), (0, ""));
    let lines = lines(&said);
    let verdicts: Vec<_> = lines.iter().map(|line| &line["verdict"]).collect();
    assert_eq!(verdicts, ["none", "regression", "regression", "regression"]);
    assert_eq!(lines[3]["second"], START + 3);
    assert_eq!(lines[3]["requests"], json!({"gray": 400, "release": 400}));
    assert_eq!(lines[3]["guards"]["errors"]["verdict"], "regression");
    assert_eq!(lines[3]["left_out"], 0);
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    let said = judge(&[], &format!("{}\nbroken\n", row(0, "gray", 0)));
    assert_eq!(said.status, 1);
    assert!(said.errors.starts_with("line 2: "), "{said:?}");
    assert_eq!(lines(&said).len(), 1);
}

#[test]
fn guards_are_those_of_the_plan() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guards.yaml");
    let file = file.to_str().unwrap();
    let input = row(0, "gray", 1);
    let names = |guards: &str| {
        std::fs::write(file, guards).unwrap();
        let said = judge(&["--guards", file, "--services", "patient,orders"], &input);
        assert_eq!(said.status, 0, "{said:?}");
        let guards = &lines(&said)[0]["guards"];
        let names: BTreeSet<String> = guards.as_object().unwrap().keys().cloned().collect();
        names.into_iter().collect::<Vec<_>>().join(" ")
    };
    let cases = [
        ("{}", "errors fallback latency"),
        ("guards:\n  errors: off", "fallback latency"),
        ("latency: off\nfallback: off\nerror_rate: off", "errors"),
        ("errors: {tolerate: 1.5}\nfallback: {above: 0.5%}", "errors fallback latency"),
        (
            "error_rate: {above: 5%, alpha: 0.01}\nlatency_p99: {above: 800ms}",
            "error_rate errors fallback latency latency_p99",
        ),
        ("metrics: [{name: orders, from: main, query: up, above: 10}]", "errors fallback latency"),
    ];
    for (guards, expected) in cases {
        assert_eq!(names(guards), expected, "{guards}");
    }
}

#[test]
fn guards_with_problems_judge_no_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("guards.yaml");
    let file = file.to_str().unwrap();
    let cases = [
        ("error: off", "unknown field `error`; did you mean `errors`?"),
        ("errors: {tolerates: 2}", "unknown field `tolerates`"),
        ("errors: {tolerate: 0.5}", "`0.5` is not from 1 to 100"),
        ("errors: {alpha: 0}", "`0` is not above 0 and at most 0.5"),
        ("errors: on", "expected a map of fields, found the text `on`"),
        ("fallback: {above: 70%}", "`above` is more than 0 % and at most 63 %, `70 %` is not"),
        ("fallback: {}", "the field `above` is missing"),
        ("error_rate: {above: 5}", "a percentage like `50%`"),
        ("latency_p99: {above: 5%}", "a duration like"),
        ("guards: {}\nsteps: []", "unknown field `steps`"),
    ];
    for (guards, expected) in cases {
        std::fs::write(file, guards).unwrap();
        let said = judge(&["--guards", file], &row(0, "gray", 1));
        assert_eq!((said.status, said.out.as_str()), (1, ""), "{guards}");
        assert!(said.errors.contains(expected), "{guards}: {said:?}");
    }
    assert_eq!(judge(&["--guards", "no such file"], "").status, 1);
}
