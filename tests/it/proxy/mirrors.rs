//! Copies of requests from outside: what the shadow gets, what is counted, and that no one waits for it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::proxy::{Proxy, Samples, until};
use crate::harness::sample::instances;
use crate::harness::upstream::{Act, Refusing, Upstream, answer, ok};
use crate::harness::wire::{request, with_body};

struct Site {
    proxy: Proxy,
    real: Upstream,
    shadow: Upstream,
}

impl Site {
    /// `mirror` stands in the route; the shadow answers with its own name.
    async fn start(mirror: &str) -> Site {
        Site::with(mirror, Upstream::named("shadow").await).await
    }

    async fn with(mirror: &str, shadow: Upstream) -> Site {
        let real = Upstream::named("real").await;
        let service = instances(&[("release", real.address)]);
        let pool = instances(&[("v2", shadow.address)]) + "outlier: off\n";
        let route = format!("service: s\nrewrite: {{path: /new}}\nmirror: {mirror}\n");
        let documents =
            [("routes/all.yaml", &*route), ("services/s.yaml", &*service), ("services/shadow.yaml", &*pool)];
        let proxy = Proxy::start("trust: [127.0.0.1]\nversion_from: [127.0.0.2]", &documents).await;
        Site { proxy, real, shadow }
    }

    async fn outcome(&self, outcome: &str) -> f64 {
        count(&self.proxy.metrics().await, outcome)
    }

    #[track_caller]
    fn becomes(&self, outcome: &'static str, value: f64) -> impl Future<Output = ()> {
        until(async move || self.outcome(outcome).await == value)
    }
}

fn count(metrics: &Samples, outcome: &str) -> f64 {
    let labels = [("service", "s"), ("to", "shadow"), ("outcome", outcome)];
    metrics.get("graygate_mirrored_total", &labels).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_what_the_instance_got_and_its_answer_is_dropped() {
    let site = Site::start("{service: shadow, version: v2}").await;
    let sent = with_body("POST", "/old?a=b", "some body");
    assert_eq!(site.proxy.raw(&sent).await.text(), "real");
    site.becomes("answered", 1.0).await;
    let (real, copy) = (site.real.last(), site.shadow.last());
    assert_eq!((real.target(), copy.target()), ("/new?a=b", "/new?a=b"));
    assert_eq!(copy.start, "POST /new?a=b HTTP/1.1");
    assert_eq!(copy.text(), "some body");
    assert_eq!(copy.header("x-graygate-mirror"), Some("1"));
    assert_eq!(real.header("x-graygate-mirror"), None);
    assert_eq!((real.header("x-gray-version"), copy.header("x-gray-version")), (Some("release"), Some("v2")));
    for name in ["host", "x-request-id", "x-forwarded-for", "via", "content-length"] {
        assert_eq!(copy.header(name), real.header(name), "{name}");
        assert!(copy.header(name).is_some(), "{name}");
    }
    // A request without a body is one too, and chunks are counted.
    assert_eq!(site.proxy.served_by("/", &[]).await, "real");
    let chunked = request("POST", "/", &[("transfer-encoding", "chunked")]);
    let chunked = [&chunked[..], b"3\r\nabc\r\n0\r\n\r\n"].concat();
    assert_eq!(site.proxy.raw(chunked).await.text(), "real");
    site.becomes("answered", 3.0).await;
    assert_eq!(
        (site.shadow.last().text(), site.shadow.last().header("content-length")),
        ("abc".into(), Some("3"))
    );
    let metrics = site.proxy.metrics().await;
    let took =
        metrics.get("graygate_mirror_duration_seconds_count", &[("service", "shadow"), ("version", "v2")]);
    assert_eq!(took, Some(3.0));
    assert_eq!(site.proxy.logged(3).await.len(), 3, "copies are no requests of their own");
    assert_eq!(metrics.sum("graygate_requests_total"), 3.0);
    assert_eq!(site.proxy.status().await["mirrors"][0]["of"], json!("routes/all"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_status_than_the_real_one_differs() {
    let shadow = Upstream::scripted(|message| match message.header("x-fail") {
        Some(_) => Act::Answer(answer("500 Oops", &[], "no")),
        None => Act::Answer(ok("shadow")),
    })
    .await;
    let site = Site::with("{service: shadow, version: v2}", shadow).await;
    for (headers, outcome) in [(&[][..], "answered"), (&[("x-fail", "1")][..], "differs")] {
        assert_eq!(site.proxy.get("/", headers).await.status(), 200);
        site.becomes(outcome, 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_that_never_answers_costs_no_one_anything() {
    let shadow = Upstream::scripted(|_| Act::Hang).await;
    let site = Site::with("{service: shadow, version: v2, max: 3}", shadow).await;
    let mut connection = site.proxy.connect().await;
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(connection.get("/", &[]).await.text(), "real");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(site.outcome("over_budget").await, 17.0);
    assert_eq!(site.shadow.connections(), 3);
    assert_eq!(site.proxy.status().await["mirrors"][0]["under_way"], json!(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shadow_is_counted_and_nothing_else() {
    let (real, refusing) = (Upstream::named("real").await, Refusing::new());
    let service = instances(&[("release", real.address)]);
    let shadow = instances(&[("v2", refusing.address), ("release", real.address)]);
    let documents = [
        ("routes/all.yaml", "service: s\nmirror: {service: shadow, version: v2}"),
        ("routes/none.yaml", "paths: [{prefix: /none}]\nservice: s\nmirror: {service: shadow, version: v3}"),
        ("services/s.yaml", &*service),
        ("services/shadow.yaml", &*shadow),
    ];
    let proxy = Proxy::start("", &documents).await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/", &[]).await.status(), 200);
    }
    until(async || count(&proxy.metrics().await, "failed") == 10.0).await;
    assert_eq!(proxy.get("/none", &[]).await.status(), 200);
    until(async || count(&proxy.metrics().await, "no_instance") == 1.0).await;
    assert_eq!(real.asked().len(), 11, "a copy never goes to another version");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.sum("graygate_ejections_total"), 0.0, "a copy says nothing of an instance's users");
    assert_eq!(metrics.sum("graygate_fallbacks_total"), 0.0);
    // It is asked again soon after it listens.
    let _shadow = refusing.becomes("shadow");
    until(async || {
        proxy.get("/", &[]).await;
        count(&proxy.metrics().await, "answered") > 0.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_bodies_and_a_share_are_left_out() {
    let site = Site::start("{service: shadow, version: v2, body: 1KiB}").await;
    assert_eq!(site.proxy.raw(with_body("PUT", "/", &"x".repeat(1025))).await.text(), "real");
    site.becomes("too_large", 1.0).await;
    assert_eq!(site.proxy.raw(with_body("PUT", "/", &"x".repeat(1024))).await.text(), "real");
    site.becomes("answered", 1.0).await;
    assert_eq!(site.shadow.asked().len(), 1);
    site.proxy.write("routes/all.yaml", "service: s\nmirror: {service: shadow, version: v2, share: 0%}");
    until(async || {
        let explained = site.proxy.explain(&json!({"url": "http://a/"})).await.json();
        explained["mirror"]
            == json!({"of": "routes/all", "service": "shadow", "version": "v2", "share": "0%"})
    })
    .await;
    assert_eq!(site.proxy.served_by("/", &[]).await, "real");
    assert_eq!(site.shadow.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_s_own_mirror_goes_before_the_route_s() {
    let site = Site::start("{service: shadow, version: v2}").await;
    let other = Upstream::named("other").await;
    site.proxy.write("services/other.yaml", &instances(&[("release", other.address)]));
    site.proxy.write(
        "rules/a.yaml",
        "when: {attribute: header:x-a, exists: true}\nversion: gray\nmirror: {service: other}\n",
    );
    until(async || site.proxy.status().await["mirrors"].as_array().is_some_and(|all| all.len() == 4)).await;
    assert_eq!(site.proxy.served_by("/", &[("x-a", "1")]).await, "real");
    until(async || other.asked().len() == 1).await;
    assert_eq!(site.shadow.asked().len(), 0);
    assert_eq!(site.proxy.served_by("/", &[]).await, "real");
    site.becomes("answered", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_untrusted_says_that_a_request_is_a_copy() {
    let site = Site::start("{service: shadow, version: v2}").await;
    // 127.0.0.1 may not set versions here, so it may not say this either.
    assert_eq!(site.proxy.served_by("/", &[("x-graygate-mirror", "1")]).await, "real");
    site.becomes("answered", 1.0).await;
    assert_eq!(site.real.last().header("x-graygate-mirror"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_copied_again() {
    let (real, shadow) = (Upstream::named("real").await, Upstream::named("shadow").await);
    let documents = [
        ("routes/all.yaml", "service: s\nmirror: {service: shadow}"),
        ("services/s.yaml", &*instances(&[("release", real.address)])),
        ("services/shadow.yaml", &*instances(&[("release", shadow.address)])),
    ];
    let proxy = Proxy::start("trust: [127.0.0.1]", &documents).await;
    assert_eq!(proxy.served_by("/", &[("x-graygate-mirror", "1")]).await, "real");
    assert_eq!(real.last().header("x-graygate-mirror"), Some("1"), "the services behind are told");
    assert_eq!(proxy.served_by("/", &[]).await, "real");
    until(async || shadow.asked().len() == 1).await;
}
