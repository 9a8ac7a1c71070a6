//! `replay`: from two directories and a log to who would move.

use serde_json::{Value, json};

use crate::commands::typed::{GOOD, directory, text, typed};

#[test]
fn a_draft_is_held_against_what_is() {
    let before = directory(&GOOD);
    let mut documents = GOOD.to_vec();
    documents.push(("rules/20-share.yaml", "services: [s]\nsplit: {gray: 50}"));
    let draft = directory(&documents);
    let both = ["--documents", text(before.path()), "--draft", text(draft.path())];

    let said = typed(&[&["replay"][..], &both, &["--identities", "1000", "--json"]].concat());
    assert_eq!(said.status, 0, "{said:?}");
    let moves: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(moves["requests"], 1000);
    let moved = moves["moved"].as_u64().unwrap();
    assert!((440..=560).contains(&moved), "{moved}");
    assert_eq!(moves["by"], json!([{"service": "s", "from": "release", "to": "gray", "requests": moved}]));

    let log = before.path().with_extension("log");
    let line = r#"{"method":"GET","host":"a","path":"/portal/x","client":"203.0.113.7","user_agent":null}"#;
    std::fs::write(&log, format!("{line}\nbroken\n{line}")).unwrap();
    let said = typed(&[&["replay"][..], &both, &["--log", text(&log), "--json"]].concat());
    std::fs::remove_file(&log).unwrap();
    let moves: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        [&moves["requests"], &moves["moved"], &moves["undrawn"], &moves["left_out"]],
        [&json!(2), &json!(0), &json!(2), &json!(1)]
    );

    let said = typed(&[&["replay"][..], &both, &["--identities", "100"]].concat());
    assert!(said.out.starts_with("100 requests, ") && said.out.contains("rule 20-share of s"), "{said:?}");
}

#[test]
fn problems_of_either_side_are_said_and_the_rest_answers() {
    let before = directory(&GOOD);
    let mut documents = GOOD.to_vec();
    documents.push(("rules/00-broken.yaml", "verson: gray"));
    let draft = directory(&documents);
    let said = typed(&[
        "replay",
        "--documents",
        text(before.path()),
        "--draft",
        text(draft.path()),
        "--identities",
        "10",
    ]);
    assert_eq!(said.status, 0);
    assert!(said.errors.contains("rules/00-broken"), "{said:?}");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let good = directory(&GOOD);
    let both = ["replay", "--documents", text(good.path()), "--draft", text(good.path())];
    for (more, status) in [
        (vec![], 2),
        (vec!["--identities", "0"], 2),
        (vec!["--identities", "1000001"], 2),
        (vec!["--identities", "5", "--log", "x"], 2),
        (vec!["--log", "/nowhere"], 1),
    ] {
        assert_eq!(typed(&[&both[..], &more].concat()).status, status, "{more:?}");
    }
}
