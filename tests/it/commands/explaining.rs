//! `explain`, alone and beside a running proxy.

use serde_json::{Value, json};

use crate::commands::typed::{GOOD, Said, directory, text, typed};
use crate::harness::proxy::Proxy;

fn explain(documents: &[(&str, &str)], arguments: &[&str]) -> (Value, Said) {
    let directory = directory(documents);
    let mut all = vec!["explain", "--documents", text(directory.path()), "--json"];
    all.extend(arguments);
    let said = typed(&all);
    assert_eq!(said.status, 0, "{said:?}");
    assert_eq!(said.out.lines().count(), 1, "one object: {said:?}");
    (serde_json::from_str(&said.out).unwrap(), said)
}

#[test]
fn arguments_become_the_request() {
    let url = "http://a.test/portal/list?x=1";
    let (answer, _) = explain(&GOOD, &["-H", "X-User: alice", url]);
    assert_eq!(
        (&answer["version"], &answer["rule"], &answer["path"]),
        (&json!("gray"), &json!("10-pilots"), &json!("/list"))
    );
    let (answer, _) = explain(&GOOD, &["-H", "x-user: bob", url]);
    assert_eq!((&answer["version"], &answer["reason"]), (&json!("release"), &json!("default")));
    let (answer, _) = explain(&GOOD, &["http://a.test/nowhere"]);
    assert_eq!((&answer["status"], &answer["route"]), (&json!(404), &Value::Null));
    let (answer, _) = explain(&GOOD, &["http://a.test/%zz"]);
    assert_eq!((&answer["status"], &answer["route"]), (&json!(400), &Value::Null));
    let (answer, _) = explain(&GOOD, &["-H", "x-gray-version: v9", "--ip", "10.0.0.1", url]);
    assert_eq!((&answer["version"], &answer["ip"]), (&json!("release"), &json!("10.0.0.1")));
    let (answer, _) = explain(&GOOD, &["-H", "x-gray-version: v9", "--ip", "10.0.0.1", "--trusted", url]);
    assert_eq!((&answer["version"], &answer["reason"]), (&json!("v9"), &json!("inherited")));

    let mut empty = GOOD.to_vec();
    empty.push((
        "rules/20-empty.yaml",
        "when: {all: [{attribute: header:x-e, equals: \"\"}, {attribute: method, equals: PUT}]}\nversion: e",
    ));
    let (answer, _) = explain(&empty, &["-X", "PUT", "-H", "x-e:", url]);
    assert_eq!(answer["version"], "e");
}

#[test]
fn problems_go_to_standard_error_and_good_documents_answer() {
    let mut documents = GOOD.to_vec();
    documents.push(("rules/00-broken.yaml", "verson: gray"));
    let (answer, said) = explain(&documents, &["-H", "x-user: alice", "/portal"]);
    assert_eq!(answer["version"], "gray");
    assert!(
        said.errors.contains("rules/00-broken") && said.errors.contains("did you mean `version`"),
        "{said:?}"
    );
    let good = directory(&GOOD);
    let said = typed(&["explain", "--documents", text(good.path()), "-H", "x-user: alice", "/portal"]);
    assert_eq!(said.status, 0);
    for wanted in ["gray", "10-pilots", "alice"] {
        assert!(said.out.contains(wanted), "{said:?}");
    }
    assert_eq!(typed(&["explain", "--documents", text(good.path()), "ftp://x"]).status, 1);
    assert_eq!(typed(&["explain", "--documents", "/nowhere", "/x"]).status, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_and_the_running_proxy_say_the_same() {
    let proxy = Proxy::start("trust: [10.0.0.0/8]", &GOOD).await;
    let file = proxy.file("graygate.yaml");
    for (method, url, headers, ip, trusted) in [
        ("GET", "http://a/portal", vec![], "203.0.113.7", false),
        ("GET", "http://a/portal//x?y=1", vec![("x-user", "alice")], "203.0.113.7", false),
        ("POST", "https://a:1/portal", vec![("X-User", "bob"), ("X-Gray-Version", "v1")], "10.0.0.1", false),
        ("GET", "http://a/portal", vec![("x-gray-version", "gray")], "203.0.113.7", true),
        ("GET", "http://a/portal", vec![("x-forwarded-for", "1.2.3.4")], "10.0.0.1", false),
        ("GET", "http://a/nowhere", vec![], "::1", false),
        ("GET", "http://a/../x", vec![], "::1", false),
        ("GET", "/portal", vec![("host", "b")], "::1", false),
    ] {
        let question =
            json!({"method": method, "url": url, "headers": headers, "ip": ip, "trusted": trusted});
        let running = proxy.explain(&question).await.json();
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let mut arguments = vec!["explain", "--config", text(&file), "--json", "-X", method, "--ip", ip];
        arguments.extend(headers.iter().flat_map(|header| ["-H", header]));
        arguments.extend(trusted.then_some("--trusted"));
        arguments.push(url);
        let said = typed(&arguments);
        assert_eq!(said.status, 0, "{said:?}");
        assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap(), running, "{question}");
    }
}
