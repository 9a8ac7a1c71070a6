//! Pools and tries: who is asked when the decided version cannot answer, and what is counted.

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED, instances};
use crate::harness::upstream::{Act, Refusing, Upstream, answer, ok};
use crate::harness::wire::{request, with_body};

const GRAY: [(&str, &str); 1] = [("x-want", "gray")];

#[tokio::test(flavor = "multi_thread")]
async fn without_instances_the_chain_is_followed_and_counted() {
    let (release, beta) = (Upstream::named("release").await, Upstream::named("beta").await);
    let pools = instances(&[("release", release.address), ("beta", beta.address)]);
    for (fallback, server, to) in [
        ("", "release", "release"),
        ("fallback: {gray: [beta]}\n", "beta", "beta"),
        ("fallback: {gray: [nowhere, beta]}\n", "beta", "beta"),
    ] {
        let service = pools.clone() + fallback;
        let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
        for _ in 0..3 {
            assert_eq!(proxy.served_by("/", &GRAY).await, server);
        }
        let labels = [("service", "s"), ("from", "gray"), ("to", to), ("reason", "no_instances")];
        until(async || proxy.metrics().await.get("graygate_fallbacks_total", &labels) == Some(3.0)).await;
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.sum("graygate_fallbacks_total"), 3.0);
        let decided = [("service", "s"), ("version", "gray"), ("status", "2xx")];
        assert_eq!(metrics.get("graygate_requests_total", &decided), Some(3.0), "by decided version");
        let tried = [("service", "s"), ("version", to), ("outcome", "response")];
        assert_eq!(
            metrics.get("graygate_upstream_tries_total", &tried),
            Some(3.0),
            "by version that was tried"
        );
        assert_eq!(proxy.logged(3).await[0]["fallback"], "no_instances");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_fallback_means_none() {
    let release = Upstream::named("release").await;
    let service = instances(&[("release", release.address)]) + "fallback: {gray: none}\n";
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let answer = proxy.get("/", &GRAY).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (503, Some("no_instance")));
    assert!(release.asked().is_empty());
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    proxy
        .metric_becomes(
            "graygate_requests_total",
            &[("service", "s"), ("version", "gray"), ("status", "5xx")],
            1.0,
        )
        .await;
}

/// Healthy or not, as its flag says.
fn checked(
    name: &'static str,
    healthy: &std::sync::Arc<std::sync::atomic::AtomicBool>,
) -> impl Future<Output = Upstream> + use<> {
    let healthy = healthy.clone();
    Upstream::scripted(move |message| match message.target() {
        "/healthz" if !healthy.load(std::sync::atomic::Ordering::SeqCst) => {
            Act::Answer(answer("500 Internal Server Error", &[], ""))
        }
        _ => Act::Answer(ok(name)),
    })
}

const CHECKS: &str = "health: {http: {path: /healthz, status: [200]}, interval: 20ms, timeout: 1s, healthy_after: 1, unhealthy_after: 2}\n";

fn state(status: &serde_json::Value, version: &str) -> String {
    let instance = &status["services"]["s"]["versions"][version]["instances"][0];
    instance["state"].as_str().unwrap_or_default().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_pool_is_left_and_taken_again_and_the_last_one_fails_open() {
    use std::sync::atomic::Ordering::SeqCst;
    let (gray_up, release_up) = (std::sync::Arc::new(true.into()), std::sync::Arc::new(true.into()));
    let gray = checked("gray", &gray_up).await;
    let release = checked("release", &release_up).await;
    let service = instances(&[("release", release.address), ("gray", gray.address)]) + CHECKS;
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    until(async || state(&proxy.status().await, "gray") == "healthy").await;
    assert_eq!(proxy.served_by("/", &GRAY).await, "gray");
    gray_up.store(false, SeqCst);
    until(async || state(&proxy.status().await, "gray") == "unhealthy").await;
    assert_eq!(proxy.served_by("/", &GRAY).await, "release");
    proxy
        .metric_becomes(
            "graygate_fallbacks_total",
            &[("service", "s"), ("from", "gray"), ("to", "release"), ("reason", "unhealthy")],
            1.0,
        )
        .await;
    proxy
        .metric_becomes(
            "graygate_instances",
            &[("service", "s"), ("version", "gray"), ("state", "unhealthy")],
            1.0,
        )
        .await;
    release_up.store(false, SeqCst);
    until(async || state(&proxy.status().await, "release") == "unhealthy").await;
    assert_eq!(proxy.served_by("/", &[]).await, "release", "a wrong check must not take the site down");
    assert_eq!(proxy.served_by("/", &GRAY).await, "release");
    gray_up.store(true, SeqCst);
    until(async || state(&proxy.status().await, "gray") == "healthy").await;
    assert_eq!(proxy.served_by("/", &GRAY).await, "gray");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_is_retried_for_any_method_and_then_falls_back() {
    let refusing = Refusing::new();
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let off = "outlier: off\n";
    let same_pool =
        instances(&[("release", release.address), ("gray", refusing.address), ("gray", gray.address)]) + off;
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &same_pool)]).await;
    let mut posted = with_body("POST", "/", "x");
    let head = "POST / HTTP/1.1\r\nx-want: gray\r\n";
    posted.splice(..17, head.bytes());
    for _ in 0..4 {
        assert_eq!(proxy.raw(&posted).await.text(), "gray", "another instance of the same pool");
    }
    assert_eq!(proxy.metrics().await.sum("graygate_fallbacks_total"), 0.0);

    let next_pool = instances(&[("release", release.address), ("gray", refusing.address)]) + off;
    let proxy =
        Proxy::start("respond_version: always", &[ALL, WANTED, ("services/s.yaml", &next_pool)]).await;
    let answer = proxy.raw(&posted).await;
    assert_eq!(answer.text(), "release");
    assert_eq!(answer.header("x-gray-version"), Some("gray"), "a retry never changes the decision");
    assert_eq!(release.last().header("x-gray-version"), Some("gray"));
    assert_eq!(release.last().text(), "x");
    proxy
        .metric_becomes(
            "graygate_fallbacks_total",
            &[("service", "s"), ("from", "gray"), ("to", "release"), ("reason", "connect_failed")],
            1.0,
        )
        .await;
    let metrics = proxy.metrics().await;
    let tries = |version, outcome| [("service", "s"), ("version", version), ("outcome", outcome)];
    let name = "graygate_upstream_tries_total";
    assert_eq!(metrics.get(name, &tries("gray", "connect_failed")), Some(1.0));
    assert_eq!(metrics.get(name, &tries("release", "response")), Some(1.0));
    let counted = [("service", "s"), ("version", "gray"), ("status", "2xx")];
    assert_eq!(metrics.get("graygate_requests_total", &counted), Some(1.0), "the request is counted once");
    let log = proxy.logged(1).await;
    assert_eq!((&log[0]["tries"], &log[0]["fallback"]), (&2.into(), &"connect_failed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_are_bounded_by_retries() {
    let refusing = [(); 4].map(|()| Refusing::new());
    let pool: Vec<_> = refusing.iter().map(|refusing| ("release", refusing.address)).collect();
    for (retries, tries) in [("retries: 0\n", 1.0), ("", 2.0), ("retries: 2\n", 3.0)] {
        let service = instances(&pool) + "outlier: off\n" + retries;
        let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
        assert_eq!(proxy.get("/", &[]).await.status(), 502);
        let labels = [("service", "s"), ("version", "release"), ("outcome", "connect_failed")];
        until(async || proxy.metrics().await.get("graygate_upstream_tries_total", &labels) == Some(tries))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_bytes_were_sent_only_what_may_be_repeated_is() {
    let broken = Upstream::scripted(|_| Act::Close).await;
    let service = instances(&[("release", broken.address), ("release", broken.address)]);
    let service = service + "outlier: off\n";
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    assert_eq!(proxy.raw(with_body("POST", "/", "x")).await.status(), 502);
    assert_eq!(broken.asked().len(), 1, "a POST may have been done");
    let good = Upstream::named("good").await;
    let service = instances(&[("release", broken.address), ("release", good.address)]) + "outlier: off\n";
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    for _ in 0..4 {
        assert_eq!(proxy.raw(with_body("PUT", "/", "body")).await.text(), "good");
        assert_eq!(good.last().text(), "body");
        assert_eq!(proxy.served_by("/", &[]).await, "good");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_and_weightless_instances_get_no_new_requests() {
    let held = Upstream::scripted(|_| Act::Hold(ok("held"))).await;
    let (other, idle) = (Upstream::named("other").await, Upstream::named("idle").await);
    let line = |address, more: &str| format!("{{address: \"{address}\", version: release{more}}}");
    let documents = [ALL, ("services/s.yaml", "{}"), ("instances/s/held.yaml", &line(held.address, ""))];
    let proxy = Proxy::start("", &documents).await;
    let mut running = proxy.connect().await;
    running.send(request("GET", "/", &[])).await;
    until(async || held.asked().len() == 1).await;
    proxy.write("instances/s/other.yaml", &line(other.address, ""));
    proxy.write("instances/s/idle.yaml", &line(idle.address, ", weight: 0"));
    proxy.write("instances/s/held.yaml", &line(held.address, ", draining: true"));
    until(async || proxy.status().await.to_string().contains("\"draining\"")).await;
    until(async || proxy.status().await["documents"]["instances"] == 3).await;
    for _ in 0..6 {
        assert_eq!(proxy.served_by("/", &[]).await, "other");
    }
    held.release();
    assert_eq!(running.answer().await.text(), "held", "running ones finish");
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_and_aliases_choose_instances() {
    let (one, three) = (Upstream::named("one").await, Upstream::named("three").await);
    let service = format!(
        "aliases: {{release: v7.0.0, gray: v7.0.1}}\ninstances:\n\
         - {{address: \"{}\", version: v7.0.0}}\n- {{address: \"{}\", version: v7.0.0, weight: 3}}\n",
        one.address, three.address
    );
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    for _ in 0..40 {
        proxy.get("/", &GRAY).await;
    }
    assert_eq!((one.asked().len(), three.asked().len()), (10, 30));
    assert_eq!(
        one.last().header("x-gray-version"),
        Some("gray"),
        "the rule's word, not the instance's label"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_seen_and_comes_back_to_nothing() {
    let held = Upstream::scripted(|_| Act::Hold(ok("held"))).await;
    let service = instances(&[("release", held.address)]);
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let mut connections = Vec::new();
    for _ in 0..5 {
        let mut connection = proxy.connect().await;
        connection.send(request("GET", "/", &[])).await;
        connections.push(connection);
    }
    let labels = &[("service", "s"), ("version", "release")];
    proxy.metric_becomes("graygate_requests_in_flight", labels, 5.0).await;
    drop(connections.split_off(2));
    proxy.metric_becomes("graygate_requests_in_flight", labels, 2.0).await;
    // Permits may go to those that were given up: there is one for each.
    (0..5).for_each(|_| held.release());
    for connection in &mut connections {
        assert_eq!(connection.answer().await.text(), "held");
    }
    proxy.metric_becomes("graygate_requests_in_flight", labels, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_is_put_aside() {
    let (bad, good) = (
        Upstream::scripted(|_| Act::Answer(answer("500 Internal Server Error", &[], "bad"))).await,
        Upstream::named("good").await,
    );
    let service = instances(&[("release", bad.address), ("release", good.address)])
        + "outlier: {consecutive_errors: 2, eject_for: 30s, max_ejected: 50%}\n";
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    until(async || {
        proxy.get("/", &[]).await;
        proxy.status().await.to_string().contains("\"ejected\"")
    })
    .await;
    for _ in 0..6 {
        assert_eq!(proxy.served_by("/", &[]).await, "good");
    }
    assert_eq!(bad.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_connections_are_kept_and_one_that_died_costs_nothing() {
    let mut upstream = Upstream::named("up").await;
    let closing = Upstream::scripted(|_| Act::AnswerAndClose(ok("bye"))).await;
    let documents = [
        ALL,
        ("routes/t.yaml", "paths: [{prefix: /t}]\nservice: t"),
        ("services/s.yaml", &*instances(&[("release", upstream.address)])),
        ("services/t.yaml", &*instances(&[("release", closing.address)])),
    ];
    let proxy = Proxy::start("", &documents).await;
    let mut connection = proxy.connect().await;
    for _ in 0..20 {
        assert_eq!(connection.get("/", &[]).await.text(), "up");
        // It says keep-alive and closes all the same.
        assert_eq!(connection.get("/t", &[]).await.text(), "bye");
        assert_eq!(connection.ask(with_body("POST", "/", "x")).await.text(), "up");
    }
    // Of 40 requests; one that comes before the connection was put back takes another.
    assert!(upstream.connections() <= 8, "{}", upstream.connections());
    assert_eq!(closing.asked().len(), 20);
    upstream.stop().await;
    assert_eq!(connection.get("/", &[]).await.header("x-graygate-error"), Some("upstream_error"));
}
