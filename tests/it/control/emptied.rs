//! A source that lost everything at once takes nothing away, and says so.

use serde_json::json;

use crate::control::stage::{documents_from, filled, service};
use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::Upstream;
use crate::support::etcd::Etcd;

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_takes_nothing_away_until_it_is_filled_again() {
    let mut etcd = Etcd::start().await;
    let (release, gray) = filled(&etcd).await;
    let kept = tempfile::tempdir().unwrap();
    let config = documents_from(&etcd) + &format!("cache: {}\n", kept.path().display());
    // A store that has lived for a while, so that the new one stays behind it.
    let mut revision = 0;
    for _ in 0..50 {
        revision = etcd.put("rules/all", "version: release\n").await;
    }
    let proxy = Proxy::start(&config, &[]).await;
    until(async || kept.path().join("documents.cache").exists()).await;
    etcd.wipe().await;
    until(async || proxy.status().await["problems"][0]["document"] == "etcd").await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    let status = proxy.status().await;
    assert_eq!(status["problems"].as_array().map(Vec::len), Some(1));
    assert_eq!(status["revision"]["running"], revision);
    assert!(status["revision"]["offered"].as_u64() < Some(revision), "{status}");
    // Also after a restart, which finds the same in the cache: nothing was kept that did not run.
    let proxy = proxy.restart(&config).await;
    until(async || proxy.status().await["problems"][0]["document"] == "etcd").await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    // Filled again in the order of a push, services first: half of it is nothing to serve with.
    etcd.put("services/s", service(&release, &gray)).await;
    etcd.put("rules/all", "version: gray\n").await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    etcd.put("routes/all", "service: s\n").await;
    until(async || proxy.status().await["problems"] == json!([])).await;
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    let log = proxy.stderr();
    // The log goes on behind what the process before wrote.
    let told = log.matches("all at once").count();
    assert_eq!(
        told, 3,
        "once when each of both processes began to see it, and once when it was over:\n{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_directory_takes_nothing_away_and_a_deleted_route_does() {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let (route, service) = ("service: s\n", service(&release, &gray));
    let documents = [("routes/all.yaml", route), ("services/s.yaml", service.as_str())];
    let proxy = Proxy::start("", &documents).await;
    proxy.remove("routes/all.yaml");
    until(async || proxy.get("/", &[]).await.status() == 404).await;
    proxy.write("routes/all.yaml", route);
    until(async || proxy.get("/", &[]).await.status() == 200).await;
    std::fs::remove_dir_all(proxy.file("documents/services")).unwrap();
    std::fs::remove_dir_all(proxy.file("documents/routes")).unwrap();
    until(async || proxy.status().await["problems"][0]["document"] == "directory").await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    proxy.write("services/s.yaml", &service);
    proxy.write("routes/all.yaml", route);
    until(async || proxy.status().await["problems"] == json!([])).await;
}
