//! Two states of documents and a sample in, moves out.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Moves, Sample, replay};
use crate::compile::{Memory, compile};
use crate::decide::Snapshot;
use crate::documents::{DocumentId, DocumentSet, Raw};

const SERVICES: [(&str, &str); 3] = [
    ("services/patient", "identity: [header:x-user, cookie:uid]"),
    ("services/portal", "{}"),
    ("routes/patient", "hosts: [h.test]\npaths: [{prefix: /patient}]\nservice: patient"),
];

fn snapshot(more: &[(&str, &str)]) -> Snapshot {
    let documents: BTreeMap<_, _> = SERVICES
        .iter()
        .chain(more)
        .map(|(name, text)| (DocumentId::parse(name).unwrap(), Arc::new(Raw::yaml(*text))))
        .collect();
    let set = DocumentSet { documents: documents.into(), ..DocumentSet::default() };
    let compiled = compile(&set, &Memory::default(), &|_| Err(std::io::ErrorKind::NotFound.into()));
    assert_eq!(compiled.problems, [], "{more:?}");
    compiled.snapshot
}

fn made_up(before: &[(&str, &str)], after: &[(&str, &str)], count: u32) -> Moves {
    replay(&snapshot(before), &snapshot(after), Sample::<[&str; 0]>::Identities(count), 0)
}

fn logged(before: &[(&str, &str)], after: &[(&str, &str)], log: &[&str]) -> Moves {
    replay(&snapshot(before), &snapshot(after), Sample::Log(log.to_vec()), 0)
}

/// Each move as one line.
fn by(moves: &Moves) -> Vec<String> {
    let word = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    moves
        .by
        .iter()
        .map(|entry| {
            format!("{} {} {} {}", entry.service, word(&entry.from), word(&entry.to), entry.requests)
        })
        .collect()
}

#[test]
fn no_user_moves_where_nothing_changes() {
    let rules = [("rules/10", "services: [patient]\nsplit: {gray: 30}")];
    let moves = made_up(&rules, &rules, 500);
    assert_eq!((moves.requests, moves.moved), (1000, 0));
    assert!(moves.by.is_empty() && moves.rules.is_empty() && moves.examples.is_empty(), "{moves:?}");
}

#[test]
fn a_raised_share_moves_that_share_and_takes_no_user_out() {
    let share = |percent: u32| format!("services: [patient]\nsplit: {{gray: {percent}}}");
    let moves = made_up(&[("rules/10", &share(10))], &[("rules/10", &share(25))], 10_000);
    assert_eq!(moves.requests, 20_000, "ten thousand of each service");
    assert_eq!(by(&moves), [format!("patient release gray {}", moves.moved)]);
    assert!((1_350..=1_650).contains(&moves.moved), "15 % of ten thousand: {}", moves.moved);
    assert_eq!(moves.examples.len(), 5);
    let example = &moves.examples[0];
    assert!(example.identity.as_ref().is_some_and(|who| who.starts_with("user-")), "{example:?}");
    assert_eq!((example.host.as_str(), example.path.as_str()), ("h.test", "/patient/"));
    assert_eq!((example.from_rule.as_deref(), example.to_rule.as_deref()), (Some("10"), Some("10")));
}

#[test]
fn what_a_rule_hashes_instead_is_made_up_too() {
    for by in ["header:x-org", "cookie:org", "query:组 织", "ip"] {
        let rule = format!("services: [patient]\nby: ['{by}']\nsplit: {{gray: 50}}");
        let moves = made_up(&[], &[("rules/10", &rule)], 2_000);
        assert!((900..=1_100).contains(&moves.moved), "{by}: {}", moves.moved);
        assert_eq!(moves.undrawn, 0, "{by}");
    }
}

#[test]
fn rules_that_come_go_and_hide_each_other_are_told() {
    let before = [("rules/20-all", "services: [patient]\nversion: gray")];
    let after = [
        (
            "rules/10-get",
            "services: [patient]\nwhen: {attribute: method, equals: GET}\nversion: beta\npriority: 1",
        ),
        ("rules/20-all", "services: [patient]\nversion: gray"),
    ];
    let get = r#"{"method":"GET","host":"h.test","path":"/patient/a","client":"203.0.113.7"}"#;
    let post = r#"{"method":"POST","host":"h.test:80","path":"//patient","client":"203.0.113.7"}"#;
    let moves = logged(&before, &after, &[get, post, get]);
    assert_eq!((moves.requests, moves.moved), (3, 2));
    assert_eq!(by(&moves), ["patient gray beta 2"]);
    let rules: Vec<_> = moves
        .rules
        .iter()
        .map(|shift| (shift.rule.as_deref().unwrap(), [shift.before, shift.after, shift.gained, shift.lost]))
        .collect();
    assert_eq!(rules, [("10-get", [0, 2, 2, 0]), ("20-all", [3, 1, 0, 2])]);
}

#[test]
fn a_log_tells_method_host_path_client_and_user_agent() {
    let line = |agent: &str, client: &str| {
        format!(
            r#"{{"time":"2026-01-01T00:00:00.000Z","client":"{client}","method":"GET","host":"h.test","path":"/patient","status":200,"user_agent":{agent},"version":"x","reason":"rule"}}"#
        )
    };
    let lines = [line("\"curl/8\"", "203.0.113.7"), line("null", "203.0.113.8"), line("null", "10.1.1.1")];
    let log: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (when, moved) in [
        ("{attribute: header:user-agent, prefix: curl/}", 1),
        ("{attribute: header:user-agent, exists: false}", 2),
        ("{attribute: ip, cidr: [203.0.113.0/24]}", 2),
        ("{attribute: header:host, equals: h.test}", 3),
        ("{attribute: cookie:uid, exists: true}", 0),
    ] {
        let rule = format!("when: {when}\nversion: gray");
        assert_eq!(logged(&[], &[("rules/10", &rule)], &log).moved, moved, "{when}");
    }
}

#[test]
fn what_is_no_request_is_counted_and_not_hidden() {
    let moves = logged(
        &[],
        &[("rules/10", "services: [patient]\nsplit: {gray: 50}")],
        &[
            "",
            "not json",
            r#"{"method":"","path":""}"#,
            r#"{"method":"GET","path":"/patient","host":"h.test","client":"unknown"}"#,
            r#"{"method":"GET","path":"/%zz","host":"h.test"}"#,
            r#"{"method":"GET","path":"/patient","host":"h.test"}"#,
        ],
    );
    assert_eq!((moves.requests, moves.left_out), (2, 4));
    assert_eq!((moves.moved, moves.undrawn), (0, 1), "a log has no identity to draw by");
}

#[test]
fn who_changes_the_service_leaves_one_and_joins_the_other() {
    let moved_route = [("routes/new", "hosts: [h.test]\npaths: [{exact: /patient}]\nservice: portal")];
    let line = r#"{"method":"GET","host":"h.test","path":"/patient","client":"203.0.113.7"}"#;
    let moves = logged(&[], &moved_route, &[line]);
    assert_eq!(moves.moved, 1);
    assert_eq!(by(&moves), ["patient release - 1", "portal - release 1"]);
    let gone = logged(
        &[("routes/x", "hosts: [x.test]\nservice: portal")],
        &[],
        &[r#"{"method":"GET","host":"x.test","path":"/"}"#],
    );
    assert_eq!(by(&gone), ["portal release - 1"]);
}

#[test]
fn the_answer_has_the_words_of_the_contract() {
    let moves = made_up(&[], &[("rules/10", "services: [portal]\nversion: gray")], 1);
    let json = serde_json::to_value(&moves).unwrap();
    assert_eq!(json["requests"], 2);
    assert_eq!(json["moved"], 1);
    assert_eq!(
        json["by"],
        serde_json::json!([{"service": "portal", "from": "release", "to": "gray", "requests": 1}])
    );
    assert_eq!(json["examples"].as_array().unwrap().len(), 1);
}

#[test]
fn examples_are_few_and_of_every_move() {
    let split = "services: [patient]\nsplit: {a: 20, b: 20, c: 20, d: 20, e: 20}";
    let moves = made_up(&[], &[("rules/10", split)], 1_000);
    assert_eq!(moves.by.len(), 5);
    assert_eq!(moves.examples.len(), 20);
}
