//! Limits from outside: who is refused, what they read, what is counted, and what a change of documents does to it.

use serde_json::json;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Message;

fn refused(answer: &Message) -> bool {
    match answer.status() {
        200 => false,
        429 => {
            assert_eq!(answer.header("x-graygate-error"), Some("rate_limited"), "{answer:?}");
            let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1..=3600).contains(&wait), "{wait}");
            true
        }
        _ => panic!("{answer:?}"),
    }
}

async fn site(route: &str, service: &str) -> (Proxy, Upstream) {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]) + service;
    let route = format!("service: s\n{route}");
    let documents = [("routes/all.yaml", &*route), ("services/s.yaml", &*service)];
    (Proxy::start("", &documents).await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_passes_and_what_comes_beyond_is_429_on_the_same_connection() {
    let (proxy, upstream) = site("limit: {rate: 2/m, burst: 3}\n", "").await;
    let mut connection = proxy.connect().await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(refused(&connection.get("/", &[]).await));
    }
    assert_eq!(answers, [false, false, false, true, true]);
    assert_eq!(upstream.asked().len(), 3, "what is refused goes nowhere");
    proxy.metric_becomes("graygate_limited_total", &[("route", "all"), ("service", "s")], 2.0).await;
    let metrics = proxy.metrics().await;
    let requests = |status| {
        metrics
            .get("graygate_requests_total", &[("service", "s"), ("status", status), ("version", "release")])
    };
    assert_eq!((requests("2xx"), requests("4xx")), (Some(3.0), Some(2.0)), "each is counted once");
    let log = proxy.logged(5).await;
    let last = log.last().unwrap();
    assert_eq!(
        (&last["status"], &last["error"], &last["tries"]),
        (&json!(429), &json!("rate_limited"), &json!(0))
    );
    assert_eq!((&last["version"], &last["reason"]), (&json!("release"), &json!("default")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_a_limit_of_its_own_and_a_request_without_one_has_none() {
    let (proxy, _upstream) = site("", "limit: {rate: 1/m, by: [header:x-user, cookie:uid]}\n").await;
    for (name, value, expected) in [
        ("x-user", "li", [false, true]),
        ("x-user", "wang", [false, true]),
        ("cookie", "uid=li", [true, true]),
        ("cookie", "uid=zhao", [false, true]),
        ("x-user", "", [false, false]),
        ("x-other", "li", [false, false]),
    ] {
        for expected in expected {
            let answer = proxy.get("/", &[(name, value)]).await;
            assert_eq!(refused(&answer), expected, "{name}: {value}");
        }
    }
    assert_eq!(proxy.status().await["limits"], json!({"keys": 3, "most_keys": 999_424}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_and_its_service_limit_both_and_a_redirect_is_limited_too() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]) + "limit: {rate: 3/m}\n";
    let documents = [
        ("routes/a.yaml", "paths: [{prefix: /a}]\nservice: s\nlimit: {rate: 2/m}"),
        ("routes/b.yaml", "paths: [{prefix: /b}]\nservice: s"),
        ("routes/c.yaml", "paths: [{prefix: /c}]\nredirect: {path: /d}\nlimit: {rate: 1/m}"),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("", &documents).await;
    for (target, expected) in [
        ("/a", 200),
        ("/a", 200),
        ("/a", 429),
        ("/b", 200),
        ("/b", 429),
        ("/c", 302),
        ("/c", 429),
        ("/none", 404),
    ] {
        assert_eq!(proxy.get(target, &[]).await.status(), expected, "{target}");
    }
    let metrics = proxy.metrics().await;
    let limited =
        |service, route| metrics.get("graygate_limited_total", &[("service", service), ("route", route)]);
    assert_eq!((limited("s", "a"), limited("s", "b"), limited("", "c")), (Some(1.0), Some(1.0), Some(1.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_other_documents_gives_no_one_more() {
    let (proxy, _upstream) = site("limit: {rate: 1/h}\n", "").await;
    assert!(!refused(&proxy.get("/", &[]).await));
    proxy.write("rules/x.yaml", "enabled: false\nversion: gray");
    until(async || proxy.status().await["documents"]["rules"] == json!(1)).await;
    assert!(refused(&proxy.get("/", &[]).await));
    proxy.write("routes/all.yaml", "service: s\n");
    until(async || proxy.get("/", &[]).await.status() == 200).await;
    assert_eq!(proxy.status().await["limits"], json!(null), "nothing is limited any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_client_is_told_by_its_own_status() {
    // The framing of gRPC is spoken over HTTP/2 alone; over HTTP/1.1 the answer is the plain one.
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    proxy.write(ALL.0, "service: s\nlimit: {rate: 1/h}\n");
    until(async || proxy.get("/", &[("content-type", "application/grpc")]).await.status() == 429).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_what_a_request_has_to_pass() {
    let (proxy, _upstream) =
        site("limit: {rate: 100/s, burst: 200}\n", "limit: {rate: 600/m, by: [header:x-user]}\n").await;
    let question = json!({"url": "http://a.test/", "headers": [["x-user", "li"]]});
    assert_eq!(
        proxy.explain(&question).await.json()["limits"],
        json!([
            {"of": "routes/all", "rate": "100/s", "burst": 200, "key": null},
            {"of": "services/s", "rate": "600/m", "burst": 600, "key": "li"},
        ])
    );
}
