//! The access log: one line a request, exact keys, reopened on a signal.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, instances};
use crate::harness::upstream::{Act, Refusing, Upstream};
use crate::harness::wire::{request, with_body};

const KEYS: [&str; 23] = [
    "time",
    "client",
    "method",
    "host",
    "path",
    "status",
    "bytes_in",
    "bytes_out",
    "duration_ms",
    "upstream_ms",
    "route",
    "service",
    "version",
    "reason",
    "rule",
    "bucket",
    "served_by",
    "fallback",
    "tries",
    "error",
    "request_id",
    "user_agent",
    "",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_one_line_with_every_key() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]);
    let documents = [
        ("routes/portal.yaml", "paths: [{prefix: /portal}]\nservice: s"),
        ("routes/gone.yaml", "paths: [{prefix: /gone}]\nservice: gone"),
        ("routes/tls.yaml", "paths: [{prefix: /tls}]\nredirect: {scheme: https}"),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("", &documents).await;
    let mut connection = proxy.connect().await;
    for path in ["/portal", "/nowhere", "/gone", "/tls", "/portal/%zz"] {
        connection.get(path, &[]).await;
    }
    connection.ask(with_body("POST", "/portal", "four")).await;
    let log = proxy.logged(6).await;
    for line in &log {
        let expected: BTreeSet<&str> = KEYS[..22].iter().copied().collect();
        let keys: BTreeSet<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, expected);
        assert!(line["duration_ms"].as_f64().unwrap() > 0.0);
        assert_eq!(line["client"], "127.0.0.1");
        assert!(!line["request_id"].as_str().unwrap().is_empty());
    }
    let short = |line: &Value| {
        (line["status"].clone(), line["reason"].clone(), line["error"].clone(), line["route"].clone())
    };
    assert_eq!(short(&log[0]), (json!(200), json!("default"), Value::Null, json!("portal")));
    assert_eq!(short(&log[1]), (json!(404), json!("no_route"), json!("no_route"), Value::Null));
    assert_eq!(short(&log[2]), (json!(503), json!("no_service"), json!("no_service"), json!("gone")));
    assert_eq!(short(&log[3]), (json!(302), json!("redirect"), Value::Null, json!("tls")));
    assert_eq!(short(&log[4]), (json!(400), json!("bad_request"), json!("bad_request"), Value::Null));
    assert_eq!(short(&log[5]), (json!(200), json!("default"), Value::Null, json!("portal")));
    assert_eq!((&log[5]["bytes_in"], &log[5]["fallback"]), (&json!(4), &Value::Null));
    assert_eq!((&log[1]["served_by"], &log[1]["tries"]), (&Value::Null, &json!(0)));
}

/// A request that has them all: gray refuses, and release breaks off within its answer.
#[tokio::test(flavor = "multi_thread")]
async fn every_key_has_its_value() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ntwelve bytes";
    let upstream = Upstream::scripted(move |_| Act::AnswerAndClose(half.into())).await;
    let refusing = Refusing::new();
    let service = instances(&[("v1", upstream.address), ("gray", refusing.address)])
        + "aliases: {release: v1}\nidentity: [header:x-user]\n";
    let documents = [
        ("routes/portal.yaml", "paths: [{prefix: /portal}]\nservice: s"),
        ("rules/half.yaml", "split: {gray: 2.5}\nsalt: plan-1"),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("trust: [127.0.0.0/8]", &documents).await;
    let mut connection = proxy.connect().await;
    let headers = [
        ("Host", "Med.test:81"),
        ("X-User", "user1"),
        ("X-Request-Id", "id-1"),
        ("User-Agent", "test \"1\""),
        ("X-Forwarded-For", "203.0.113.7"),
        ("Content-Length", "4"),
    ];
    let begun = time::OffsetDateTime::now_utc();
    connection.send([&request("POST", "/portal//x?q=1", &headers)[..], b"four"].concat()).await;
    let line = &proxy.logged(1).await[0];
    let rfc3339 = &time::format_description::well_known::Rfc3339;
    let is_now = |value: &Value| {
        let time = time::OffsetDateTime::parse(value.as_str().unwrap(), rfc3339).unwrap();
        (begun - time::Duration::seconds(1)..=time::OffsetDateTime::now_utc()).contains(&time)
    };
    let took = line["duration_ms"].as_f64().unwrap();
    for key in &KEYS[..22] {
        let value = &line[*key];
        let expected = match *key {
            "time" if is_now(value) => value.clone(),
            "duration_ms" if took > 0.0 && took < 10_000.0 => value.clone(),
            "upstream_ms" if (0.0..took).contains(&value.as_f64().unwrap()) => value.clone(),
            "client" => json!("203.0.113.7"),
            "method" => json!("POST"),
            "host" => json!("Med.test:81"),
            "path" => json!("/portal//x"),
            "status" => json!(200),
            "bytes_in" => json!(4),
            "bytes_out" => json!(12),
            "route" => json!("portal"),
            "service" => json!("s"),
            "version" => json!("gray"),
            "reason" => json!("rule"),
            "rule" => json!("half"),
            "bucket" => json!(247),
            "served_by" => json!({"version": "v1", "address": upstream.address.to_string()}),
            "fallback" => json!("connect_failed"),
            "tries" => json!(2),
            "error" => json!("upstream_error"),
            "request_id" => json!("id-1"),
            "user_agent" => json!("test \"1\""),
            _ => Value::Null,
        };
        assert_eq!(*value, expected, "{key}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_logged_with_their_reason() {
    let refusing = Refusing::new();
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", refusing.address)]) + "retries: 0\n";
    let small = instances(&[("release", upstream.address)]);
    let documents = [
        ALL,
        ("routes/small.yaml", "paths: [{prefix: /small}]\nservice: small\nmax_body: 1B"),
        ("services/s.yaml", &*service),
        ("services/small.yaml", &*small),
    ];
    let proxy = Proxy::start("", &documents).await;
    assert_eq!(proxy.get("/", &[]).await.status(), 502);
    // On a connection of its own, so only waiting keeps the order.
    proxy.logged(1).await;
    assert_eq!(proxy.raw(with_body("POST", "/small", "xx")).await.status(), 413);
    let log = proxy.logged(2).await;
    assert_eq!((&log[0]["error"], &log[0]["tries"]), (&json!("upstream_error"), &json!(1)));
    assert_eq!((&log[1]["error"], &log[1]["tries"]), (&json!("body_too_large"), &json!(0)));
    assert_eq!((&log[1]["service"], &log[1]["version"]), (&json!("small"), &json!("release")));
    let metrics = proxy.metrics().await;
    let labels = [("service", "small"), ("version", "release"), ("status", "4xx")];
    assert_eq!(metrics.get("graygate_requests_total", &labels), Some(1.0), "its service was known");
    assert_eq!(metrics.sum("graygate_unrouted_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_opens_the_log_again() {
    let upstream = Upstream::named("up").await;
    let proxy = crate::harness::sample::in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    connection.ask(request("GET", "/before", &[])).await;
    proxy.logged(1).await;
    let rotated = proxy.file("access.log.1");
    std::fs::rename(proxy.file("access.log"), &rotated).unwrap();
    proxy.signal("-USR1");
    until(async || proxy.file("access.log").exists()).await;
    connection.ask(request("GET", "/after", &[])).await;
    assert_eq!(proxy.logged(1).await[0]["path"], "/after");
    assert_eq!(std::fs::read_to_string(rotated).unwrap().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_without_a_log_outlives_its_rotation() {
    let upstream = Upstream::named("up").await;
    let mut proxy = crate::harness::sample::in_front_of("access_log: off", &upstream).await;
    proxy.signal("-USR1");
    proxy.get("/", &[]).await;
    proxy.signal("-TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_to_standard_output_or_nowhere() {
    let upstream = Upstream::named("up").await;
    let proxy = crate::harness::sample::in_front_of("access_log: {path: stdout}", &upstream).await;
    proxy.get("/", &[]).await;
    let lines = async || std::fs::read_to_string(proxy.file("stdout")).unwrap().lines().count();
    until(async || lines().await == 1).await;
    let text = std::fs::read_to_string(proxy.file("stdout")).unwrap();
    let first: Vec<&str> =
        KEYS[..22].iter().copied().filter(|key| text.contains(&format!("\"{key}\":"))).collect();
    assert_eq!(first.len(), 22, "{text}");
    let places: Vec<usize> = first.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places[..16].is_sorted(), "in the contract's order: {text}");
    let silent =
        crate::harness::sample::in_front_of("access_log: {path: stdout, sample: 0%}", &upstream).await;
    silent.get("/", &[]).await;
    silent
        .metric_becomes(
            "graygate_requests_total",
            &[("service", "s"), ("version", "release"), ("status", "2xx")],
            1.0,
        )
        .await;
    assert_eq!(std::fs::read_to_string(silent.file("stdout")).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_became_a_request_is_one_line_too() {
    let proxy = Proxy::start("", &[]).await;
    let answer = proxy.connect().await.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert_eq!(answer.status(), 400);
    let log = proxy.logged(1).await;
    let line = &log[0];
    assert_eq!(
        [&line["status"], &line["error"], &line["reason"], &line["client"], &line["service"]],
        [&json!(400), &json!("bad_request"), &json!("bad_request"), &json!("127.0.0.1"), &json!(null)]
    );
    assert_eq!(proxy.metrics().await.sum("graygate_unrouted_total"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_log_speaks_json_at_the_level_of_each_room() {
    let upstream = Upstream::named("up").await;
    let proxy =
        crate::harness::sample::in_front_of("log: {format: json, level: \"warn,node=info\"}", &upstream)
            .await;
    let said = proxy.stderr();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty());
    for line in lines {
        assert!(line["target"].as_str().unwrap().starts_with("graygate::node"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_a_trace_context() {
    let upstream = Upstream::named("up").await;
    let proxy = crate::harness::sample::in_front_of("", &upstream).await;
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    proxy.get("/", &[("traceparent", good), ("tracestate", "a=b")]).await;
    let seen = upstream.last();
    assert_eq!((seen.header("traceparent"), seen.header("tracestate")), (Some(good), Some("a=b")));
    proxy.get("/", &[("traceparent", "00-x"), ("tracestate", "a=b")]).await;
    let seen = upstream.last();
    assert_eq!(seen.header("tracestate"), None);
    let parts: Vec<&str> = seen.header("traceparent").unwrap().split('-').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "00"));
}
