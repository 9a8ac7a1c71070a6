//! The admin address: exact shapes of `/status`, `/metrics` and `/explain`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED, in_front_of, instances};
use crate::harness::upstream::{Refusing, Upstream};
use crate::harness::wire::{Connection, request, with_body};

#[track_caller]
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    // Whether an object keeps the order it was written in depends on what else is built.
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_wrong_questions() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    for (target, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/status", 200),
        ("/", 404),
        ("/explain", 405),
    ] {
        assert_eq!(proxy.ask_admin(target).await.status(), status, "{target}");
    }
    assert!(proxy.ask_admin("/status").await.header("content-type").unwrap().starts_with("application/json"));
    assert!(proxy.ask_admin("/metrics").await.header("content-type").unwrap().starts_with("text/plain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_the_contract_s_shape() {
    let upstream = Upstream::named("up").await;
    let service =
        format!("instances: [{{address: \"{}\", version: v1, weight: 2, tags: {{a: b}}}}]", upstream.address);
    let documents = [
        ALL,
        WANTED,
        ("services/s.yaml", &*service),
        ("lists/l.txt", "a\nb\n"),
        ("lists/m/one.txt", "a\n"),
        ("lists/m/two.txt", "b\n"),
        ("rules/broken.yaml", "version: gray\nprioritty: 1"),
        ("rules/zz-all.yaml", "version: gray"),
        ("rules/zz-hidden.yaml", "version: gray"),
    ];
    let proxy = Proxy::start("", &documents).await;
    let status = proxy.status().await;
    assert_eq!(
        keys(&status),
        sorted(["version", "started", "source", "revision", "problems", "notes", "services", "documents"])
    );
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(keys(&status["source"]), sorted(["kind", "up", "stale_seconds", "from_cache"]));
    assert_eq!(status["source"]["kind"], "directory");
    assert_eq!(keys(&status["revision"]), sorted(["offered", "running", "since"]));
    assert_eq!(
        keys(&status["problems"][0]),
        sorted(["document", "line", "field", "message", "held_back_since"])
    );
    assert_eq!(status["problems"][0]["field"], "prioritty");
    assert!(status["problems"][0]["line"].is_u64());
    let expected = json!({"versions": {"v1": {"instances": [
        {"address": upstream.address.to_string(), "state": "healthy", "weight": 2, "tags": {"a": "b"}}]}}});
    assert_eq!(keys(&status["services"]), ["s"]);
    assert_eq!(status["services"]["s"]["versions"], expected["versions"]);
    let decision = &status["services"]["s"]["decision"];
    assert_eq!(keys(decision), sorted(["rules", "asked_one_by_one", "cost"]));
    assert_eq!(decision["asked_one_by_one"], 0);
    let note = &status["notes"][0];
    assert_eq!(note["document"], "rules/zz-hidden");
    assert!(note["message"].as_str().unwrap().contains("takes every request before it"), "{note}");
    let documents =
        json!({"routes": 1, "services": 1, "rules": 1, "lists": 2, "list_members": 4, "instances": 0});
    assert_eq!(keys(&status["documents"]), keys(&documents));
    assert_eq!(status["documents"]["lists"], 2);
    assert_eq!(status["documents"]["list_members"], 4);
    for time in [&status["started"], &status["revision"]["since"]] {
        let text = time.as_str().unwrap();
        assert!(time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok());
    }
}

fn sorted<const N: usize>(mut names: [&str; N]) -> [&str; N] {
    names.sort_unstable();
    names
}

/// Every family of the contract's section 9, with its labels.
const FAMILIES: [(&str, &[&str]); 19] = [
    ("graygate_requests_total", &["service", "version", "status"]),
    ("graygate_request_duration_seconds_bucket", &["service", "version", "le"]),
    ("graygate_request_duration_seconds_count", &["service", "version"]),
    ("graygate_requests_in_flight", &["service", "version"]),
    ("graygate_decisions_total", &["service", "version", "reason", "rule"]),
    ("graygate_fallbacks_total", &["service", "from", "to", "reason"]),
    ("graygate_upstream_tries_total", &["service", "version", "outcome"]),
    ("graygate_upstream_duration_seconds_bucket", &["service", "version", "le"]),
    ("graygate_upstream_duration_seconds_count", &["service", "version"]),
    ("graygate_instances", &["service", "version", "state"]),
    ("graygate_unrouted_total", &["reason"]),
    ("graygate_revision", &["kind"]),
    ("graygate_apply_seconds_bucket", &["le"]),
    ("graygate_apply_seconds_count", &[]),
    ("graygate_problems", &["kind"]),
    ("graygate_source_up", &[]),
    ("graygate_source_stale_seconds", &[]),
    ("graygate_list_members", &["list"]),
    ("graygate_connections", &["listener"]),
];

/// What the README names beside them.
const FURTHER: [&str; 5] = [
    "graygate_connections_refused_total",
    "graygate_ejections_total",
    "graygate_retries_suppressed_total",
    "graygate_access_log_dropped_total",
    "graygate_source_mismatches_total",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_there_with_exactly_its_labels() {
    let upstream = Upstream::named("up").await;
    let refusing = Refusing::new();
    let service = instances(&[("release", upstream.address), ("gray", refusing.address)]);
    let hosts = ("routes/all.yaml", "hosts: [app.test]\nservice: s\n");
    let documents = [hosts, WANTED, ("services/s.yaml", &*service), ("lists/pilots.txt", "a\nb")];
    let proxy = Proxy::start("", &documents).await;
    proxy.get("/", &[]).await;
    proxy.get("/secret-path", &[("x-want", "gray"), ("user-agent", "secret-agent")]).await;
    proxy.get("/", &[("Host", "secret.host")]).await;
    until(async || proxy.metrics().await.sum("graygate_fallbacks_total") == 1.0).await;
    let metrics = proxy.metrics().await;
    for (name, labels) in FAMILIES {
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        let mut found = metrics.0.iter().filter(|sample| sample.name == name).peekable();
        assert!(found.peek().is_some(), "{name} is missing");
        for sample in found {
            assert_eq!(sample.labels.keys().map(String::as_str).collect::<BTreeSet<_>>(), labels, "{name}");
        }
    }
    assert!(metrics.0.iter().any(|sample| sample.name == "process_cpu_seconds_total"));
    let known = FAMILIES.map(|(name, _)| name);
    for sample in &metrics.0 {
        let ours = known.contains(&sample.name.as_str()) || sample.name.ends_with("_sum");
        let further = FURTHER.contains(&&*sample.name);
        assert!(
            ours || further || sample.name.starts_with("process_"),
            "{} is new: document it",
            sample.name
        );
        let from_request = sample.labels.values().any(|value| value.contains("secret"));
        assert!(!from_request, "{sample:?}");
    }
    assert_eq!(metrics.get("graygate_list_members", &[("list", "pilots")]), Some(2.0));
    assert_eq!(metrics.get("graygate_unrouted_total", &[("reason", "no_route")]), Some(1.0));
    let connections = metrics.0.iter().find(|sample| sample.name == "graygate_connections").unwrap();
    assert_eq!(connections.labels["listener"], proxy.address.to_string());
    histogram(&metrics, "graygate_request_duration_seconds");
    histogram(&metrics, "graygate_upstream_duration_seconds");
    histogram(&metrics, "graygate_apply_seconds");
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

/// Buckets that only grow, and end in the count.
#[track_caller]
fn histogram(metrics: &crate::harness::proxy::Samples, name: &str) {
    let mut series: BTreeMap<Labels<'_>, Vec<(f64, f64)>> = BTreeMap::new();
    for sample in metrics.0.iter().filter(|sample| sample.name == format!("{name}_bucket")) {
        let others = sample.labels.iter().filter(|(key, _)| *key != "le");
        let others = others.map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let bound = sample.labels["le"].replace("+Inf", "inf").parse().unwrap();
        series.entry(others).or_default().push((bound, sample.value));
    }
    assert!(!series.is_empty(), "{name}");
    for (labels, buckets) in series {
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name} {labels:?} {buckets:?}");
        assert_eq!(buckets.last().unwrap().0, f64::INFINITY);
        assert_eq!(metrics.get(&format!("{name}_count"), &labels), Some(buckets.last().unwrap().1), "{name}");
        assert!(metrics.get(&format!("{name}_sum"), &labels).is_some());
    }
}

const ANSWER_KEYS: [&str; 13] = [
    "status", "route", "service", "version", "reason", "rule", "bucket", "path", "chain", "ip", "identity",
    "pin", "trace",
];

async fn explained() -> (Proxy, Upstream) {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)])
        + "identity: [header:x-user]\npin: {attribute: header:developer, tag: developer}\nfallback: {gray: [beta], strict: none}\naliases: {beta: b1}\n";
    let documents = [
        ("routes/portal.yaml", "paths: [{prefix: /portal}]\nservice: s\nrewrite: {prefix: /}"),
        ("routes/gone.yaml", "paths: [{prefix: /gone}]\nservice: gone"),
        ("routes/bare.yaml", "paths: [{prefix: /bare}]\nservice: bare"),
        ("routes/tls.yaml", "paths: [{prefix: /tls}]\nredirect: {scheme: https, status: 308}"),
        (
            "rules/10-staff.yaml",
            "priority: 30\nservices: [s]\nwhen: {attribute: header:x-staff, exists: true}\nversion: strict",
        ),
        (
            "rules/20-half.yaml",
            "priority: 20\nservices: [s]\nwhen: {attribute: header:x-user, exists: true}\nsplit: {gray: 2.5}\nsalt: plan-1",
        ),
        ("services/s.yaml", &service),
        ("services/bare.yaml", "{}"),
    ];
    (Proxy::start("trust: [10.0.0.0/8]\nversion_from: [10.1.0.0/16]", &documents).await, upstream)
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_answers_in_the_contract_s_words() {
    let (proxy, _upstream) = explained().await;
    let ask = async |question: Value| {
        let answer = proxy.explain(&question).await;
        assert_eq!(answer.status(), 200, "{question}: {}", answer.text());
        answer.json()
    };
    let user = json!([["X-User", "user1"]]);
    let answer =
        ask(json!({"url": "http://a.test/portal//list?x=1", "headers": user, "ip": "203.0.113.7"})).await;
    let mut expected = ANSWER_KEYS.to_vec();
    expected.sort_unstable();
    assert_eq!(keys(&answer), expected);
    let trace = answer["trace"].clone();
    let whole = json!({"status": 200, "route": "portal", "service": "s", "version": "gray", "reason": "rule", "rule": "20-half",
        "bucket": 247, "path": "/list", "chain": ["gray", "beta", "release"], "ip": "203.0.113.7", "identity": "user1",
        "pin": null, "trace": trace});
    assert_eq!(answer, whole);
    assert_eq!(
        trace[0],
        json!({"rule": "10-staff", "matched": false, "because": "header:x-staff is absent"})
    );
    assert_eq!((&trace[1]["rule"], &trace[1]["matched"]), (&json!("20-half"), &json!(true)));
    assert_eq!(trace.as_array().unwrap().len(), 2);

    let staff = ask(json!({"url": "http://a.test/portal", "headers": [["x-staff", ""]]})).await;
    assert_eq!((&staff["version"], &staff["chain"]), (&json!("strict"), &json!(["strict"])));
    assert_eq!(
        (&staff["bucket"], &staff["path"], &staff["status"]),
        (&Value::Null, &Value::Null, &json!(503))
    );
    let plain = ask(json!({"url": "/portal"})).await;
    assert_eq!(
        (&plain["version"], &plain["reason"], &plain["rule"]),
        (&json!("release"), &json!("default"), &Value::Null)
    );
    assert_eq!(plain["chain"], json!(["release"]));
    assert_eq!(plain["identity"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_refusals_redirects_and_trust() {
    let (proxy, _upstream) = explained().await;
    let ask = async |question: Value| proxy.explain(&question).await.json();
    for (url, status, route) in [
        ("http://a/nowhere", 404, Value::Null),
        ("http://a/%zz", 400, Value::Null),
        ("http://a/../x", 400, Value::Null),
        ("http://a/gone/x", 503, json!("gone")),
        ("http://a/bare", 503, json!("bare")),
    ] {
        let answer = ask(json!({"url": url})).await;
        assert_eq!((&answer["status"], &answer["route"]), (&json!(status), &route), "{url}");
        assert_eq!(answer["path"], Value::Null, "{url}: nothing goes upstream");
        assert_eq!(proxy.get(url.strip_prefix("http://a").unwrap(), &[]).await.status(), status, "{url}");
    }
    let redirect = ask(json!({"url": "http://a.test:81/tls?x"})).await;
    assert_eq!((&redirect["status"], &redirect["location"]), (&json!(308), &json!("https://a.test/tls?x")));
    assert_eq!((&redirect["route"], &redirect["path"]), (&json!("tls"), &Value::Null));

    let headers =
        json!([["x-gray-version", "gray"], ["x-forwarded-for", "203.0.113.9"], ["developer", "li"]]);
    for (ip, trusted, version, client, pin) in [
        ("203.0.113.7", false, "release", "203.0.113.7", Value::Null),
        ("10.0.0.1", false, "release", "203.0.113.9", Value::Null),
        ("10.1.0.1", false, "gray", "203.0.113.9", json!("li")),
        ("203.0.113.7", true, "gray", "203.0.113.9", json!("li")),
    ] {
        let answer =
            ask(json!({"url": "http://a/portal", "headers": headers, "ip": ip, "trusted": trusted})).await;
        assert_eq!(
            (&answer["version"], &answer["ip"], &answer["pin"]),
            (&json!(version), &json!(client), &pin),
            "{ip}"
        );
    }
    for question in [
        "",
        "{}",
        "[]",
        r#"{"url": "ftp:"}"#,
        r#"{"url": "/", "ip": "x"}"#,
        r#"{"url": "/", "x": 1}"#,
        r#"{"url": "/", "method": "G T"}"#,
        r#"{"url": "/", "headers": [["a b", "c"]]}"#,
    ] {
        let answer = crate::harness::wire::Connection::open(proxy.admin)
            .await
            .ask(with_body("POST", "/explain", question))
            .await;
        assert_eq!(answer.status(), 400, "{question}");
    }
    let get =
        crate::harness::wire::Connection::open(proxy.admin).await.ask(request("GET", "/explain", &[])).await;
    assert_eq!(get.status(), 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_and_the_proxy_agree() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]) + "identity: [header:x-user]\n";
    let documents = [
        ALL,
        (
            "rules/10-path.yaml",
            "priority: 10\nwhen: {any: [{attribute: path, regex: \"/p/[0-9]+\"}, {attribute: query:q, at_least: 5}]}\nversion: byPath",
        ),
        (
            "rules/20-cookie.yaml",
            "priority: 5\nwhen: {attribute: cookie:c, semver: \">=7.0.0, <8\"}\nversion: byCookie",
        ),
        ("rules/30-split.yaml", "split: {a: 30, b: 30}"),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("respond_version: always", &documents).await;
    for n in 0..60_u32 {
        let user = format!("user{n}");
        let (target, cookie) = (
            ["/", "/p/12", "/p/x", "/?q=05.0"][n as usize % 4],
            ["c=v7.1", "c=8", "d=7.1.0"][n as usize % 3],
        );
        let headers = [("x-user", &*user), ("cookie", cookie)];
        let answer = proxy.get(target, &headers).await;
        let question =
            json!({"url": format!("http://app.test{target}"), "headers": headers, "ip": "127.0.0.1"});
        let told = proxy.explain(&question).await.json();
        assert_eq!(answer.header("x-gray-version"), told["version"].as_str(), "{question}");
        assert_eq!(answer.header("x-gray-reason"), told["reason"].as_str(), "{question}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_everywhere_but_at_health_and_readiness() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("", &upstream).await;
    let token = proxy.file("token");
    std::fs::write(&token, "secret\n").unwrap();
    let config = std::fs::read_to_string(proxy.file("graygate.yaml")).unwrap();
    let plain = format!("admin: {{address: \"{}\"", proxy.admin);
    assert!(config.contains(&plain), "{config}");
    let config = config.replace(&plain, &format!("{plain}, token_file: {}", token.display()));
    std::fs::write(proxy.file("graygate.yaml"), config).unwrap();
    proxy.signal("-TERM");
    proxy.ended().await;
    let proxy = proxy.again();
    until(async || tokio::net::TcpStream::connect(proxy.admin).await.is_ok()).await;
    proxy.ready().await;
    let ask = async |target: &str, headers: &[(&str, &str)]| {
        Connection::open(proxy.admin).await.get(target, headers).await
    };
    for target in ["/healthz", "/readyz"] {
        assert_eq!(ask(target, &[]).await.status(), 200, "{target}");
    }
    for target in ["/metrics", "/status", "/explain", "/"] {
        let refused = ask(target, &[("Authorization", "Bearer secre")]).await;
        assert_eq!((refused.status(), refused.header("www-authenticate")), (401, Some("Bearer")), "{target}");
    }
    for target in ["/metrics", "/status"] {
        assert_eq!(ask(target, &[("Authorization", "Bearer secret")]).await.status(), 200, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_answered_and_http_1_0_gets_its_end() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    for (bytes, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET /healthz?<b> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("GET http://other/healthz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ] {
        let answer = Connection::open(proxy.admin).await.ask(bytes).await;
        assert_eq!(answer.status(), status, "{bytes:?}");
    }
    let mut old = Connection::open(proxy.admin).await;
    assert_eq!(old.ask("GET /healthz HTTP/1.0\r\n\r\n").await.status(), 200);
    assert!(old.ended().await, "a client of HTTP/1.0 waits for the end");
}
