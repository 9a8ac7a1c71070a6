//! Documents in a real etcd: changes, faults, the cache, leases.

use std::process::Command;

use etcd_client::PutOptions;
use serde_json::json;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::instances;
use crate::harness::upstream::Upstream;
use crate::support::etcd::{Etcd, key};

fn documents_from(etcd: &Etcd) -> String {
    format!("documents: {{etcd: {{endpoints: [\"{}\"]}}}}\n", etcd.endpoint())
}

/// Everything routed to `s`, which has a release and a gray instance.
async fn filled(etcd: &Etcd) -> (Upstream, Upstream) {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let service = instances(&[("release", release.address), ("gray", gray.address)]);
    etcd.put("routes/all", "service: s").await;
    etcd.put("services/s", service).await;
    (release, gray)
}

fn etcdctl(etcd: &Etcd, arguments: &[&str]) {
    let endpoint = etcd.endpoint();
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", &endpoint]).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_put_with_etcdctl_decides_the_next_request() {
    let etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    etcdctl(&etcd, &["put", "/graygate/rules/all", "version: gray"]);
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    etcdctl(&etcd, &["put", "/graygate/rules/all", r#"{"version": "gray", "verson": 1}"#]);
    until(async || proxy.status().await["problems"][0]["field"] == "verson").await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray");
    let status = proxy.status().await;
    assert_eq!(status["problems"][0]["document"], "rules/all");
    assert_eq!(status["revision"]["offered"], status["revision"]["running"]);
    assert_eq!(
        status["source"],
        json!({"kind": "etcd", "up": true, "stale_seconds": 0, "from_cache": false})
    );
    etcdctl(&etcd, &["del", "/graygate/rules/all"]);
    until(async || proxy.served_by("/", &[]).await == "release").await;
    until(async || proxy.status().await["problems"] == json!([])).await;
    let revision = etcd.put("lists/unused/one", "a\nb").await as f64;
    until(async || {
        let metrics = proxy.metrics().await;
        let at = |kind| metrics.get("graygate_revision", &[("kind", kind)]);
        (at("offered"), at("running")) == (Some(revision), Some(revision))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_away_changes_nothing_and_catches_up() {
    let mut etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    proxy.metric_becomes("graygate_source_up", &[], 1.0).await;
    etcd.kill();
    proxy.metric_becomes("graygate_source_up", &[], 0.0).await;
    until(async || proxy.status().await["source"]["stale_seconds"].as_u64() >= Some(1)).await;
    assert_eq!(proxy.status().await["source"]["up"], false);
    assert_eq!(proxy.ask_admin("/readyz").await.status(), 200);
    for _ in 0..20 {
        assert_eq!(proxy.served_by("/", &[]).await, "release");
    }
    etcd.restart().await;
    etcd.put("rules/all", "version: gray").await;
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    proxy.metric_becomes("graygate_source_up", &[], 1.0).await;
    proxy.metric_becomes("graygate_source_stale_seconds", &[], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_etcd_serves_from_the_cache() {
    let mut etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    etcd.put("rules/all", "version: gray").await;
    let kept = tempfile::tempdir().unwrap();
    let config = documents_from(&etcd) + &format!("cache: {}\n", kept.path().display());
    let proxy = Proxy::start(&config, &[]).await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray");
    // What was broken last is held back to its good version, also over a restart without etcd.
    etcd.put("rules/all", "version: [").await;
    until(async || proxy.status().await["problems"][0]["document"] == "rules/all").await;
    // What is being written stands under another name.
    until(async || kept.path().join("documents.cache").exists()).await;
    etcd.kill();
    let proxy = proxy.restart(&config).await;
    proxy.ready().await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray");
    let source = proxy.status().await["source"].clone();
    assert_eq!((&source["up"], &source["from_cache"]), (&false.into(), &true.into()));
    etcd.restart().await;
    until(async || proxy.status().await["source"]["up"] == true).await;
    until(async || proxy.status().await["source"]["from_cache"] == false).await;
    etcd.put("rules/all", "version: release").await;
    until(async || proxy.served_by("/", &[]).await == "release").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_cache_is_put_aside_and_never_believed() {
    let mut etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let kept = tempfile::tempdir().unwrap();
    let config = documents_from(&etcd) + &format!("cache: {}\n", kept.path().display());
    let proxy = Proxy::start(&config, &[]).await;
    // What is being written stands under another name.
    until(async || kept.path().join("documents.cache").exists()).await;
    etcd.kill();
    let torn = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        let mut bytes = bytes[..bytes.len() - 5].to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let before: Vec<_> = std::fs::read_dir(kept.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    before.iter().filter(|path| path.is_file()).cloned().for_each(torn);
    let proxy = proxy.restart(&config).await;
    until(async || proxy.stderr().contains("waiting")).await;
    let answer = proxy.ask_admin("/readyz").await;
    assert_eq!(answer.status(), 503);
    let after: Vec<_> = std::fs::read_dir(kept.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_ne!(before, after, "put aside");
    etcd.restart().await;
    proxy.ready().await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_the_proxy_waits_and_says_so() {
    let mut etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    etcd.kill();
    let proxy = Proxy::start_unready(&documents_from(&etcd), &[]).await;
    assert_eq!(proxy.ask_admin("/readyz").await.status(), 503);
    assert_eq!(proxy.ask_admin("/healthz").await.status(), 200);
    assert_eq!(proxy.explain(&json!({"url": "http://a/"})).await.status(), 503);
    let answer = proxy.get("/", &[]).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (503, Some("no_service")));
    until(async || proxy.stderr().contains("waiting")).await;
    let status = proxy.status().await;
    assert_eq!(status["revision"], json!({"offered": 0, "running": 0, "since": null}));
    etcd.restart().await;
    proxy.ready().await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_lives_as_long_as_its_lease() {
    let etcd = Etcd::start().await;
    let (_release, gray) = filled(&etcd).await;
    etcd.put("services/t", "{}").await;
    etcd.put("routes/t", "paths: [{prefix: /t}]\nservice: t").await;
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    assert_eq!(proxy.get("/t", &[]).await.header("x-graygate-error"), Some("no_instance"));
    let mut client = etcd.client().await;
    let lease = client.lease_grant(60, None).await.unwrap().id();
    let instance = format!("{{address: \"{}\", version: v1, tags: {{zone: a}}}}", gray.address);
    client.put(key("instances/t/one"), instance, Some(PutOptions::new().with_lease(lease))).await.unwrap();
    // Its label is a version that no rule decided, so it takes no request of the release.
    until(async || proxy.status().await["services"]["t"]["versions"]["v1"].is_object()).await;
    etcd.put("rules/t", "services: [t]\nversion: v1").await;
    until(async || proxy.served_by("/t", &[]).await == "gray").await;
    let expected = json!([{"address": gray.address.to_string(), "state": "healthy", "weight": 1, "tags": {"zone": "a"}}]);
    assert_eq!(proxy.status().await["services"]["t"]["versions"]["v1"]["instances"], expected);
    client.lease_revoke(lease).await.unwrap();
    until(async || proxy.get("/t", &[]).await.status() == 503).await;
    assert!(proxy.status().await["services"]["t"]["versions"]["v1"].is_null());
}
