//! Who is in the fleet, as the store has it and as the command prints it.

use std::process::{Command, Output};

use serde_json::Value;

use crate::control::stage::{documents_from, filled};
use crate::harness::proxy::{BINARY, Proxy, until};
use crate::support::etcd::{Etcd, key};
use etcd_client::GetOptions;

async fn fleet(etcd: &Etcd, options: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(["fleet", "--etcd", &etcd.endpoint()]).args(options);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn proxies(etcd: &Etcd) -> Vec<Value> {
    let output = fleet(etcd, &["--json"]).await;
    assert!(output.status.success(), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    found["proxies"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_proxy_is_shown_with_what_it_runs() {
    let etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    assert!(proxies(&etcd).await.is_empty());
    let one = Proxy::start(&documents_from(&etcd), &[]).await;
    until(async || proxies(&etcd).await.len() == 1).await;
    // The second one begins at a later revision of the store, because the first has written itself there.
    let two = Proxy::start(&documents_from(&etcd), &[]).await;
    until(async || proxies(&etcd).await.len() == 2).await;
    let both = proxies(&etcd).await;
    let mut addresses: Vec<_> = both.iter().map(|proxy| proxy["address"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    let mut expected = [one.address.to_string(), two.address.to_string()];
    expected.sort_unstable();
    assert_eq!(addresses, expected);
    assert!(both.iter().all(|proxy| proxy["lags"] == false && proxy["problems"] == 0), "{both:?}");
    assert_eq!(both[0]["version"], env!("CARGO_PKG_VERSION"));

    let revision = etcd.put("rules/typo", "verson: gray\n").await;
    until(async || {
        let all = proxies(&etcd).await;
        all.iter().all(|proxy| {
            proxy["problems"] == 1 && proxy["lags"] == false && proxy["running"].as_u64() == Some(revision)
        })
    })
    .await;
    let printed = fleet(&etcd, &[]).await;
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(text.contains("2 proxies, 0 behind, 2 with problems"), "{text}");
    assert!(text.contains("up to date, with problems"), "{text}");

    // One that stands still lags; its lease is still good for a while.
    two.signal("-STOP");
    etcd.delete("rules/typo").await;
    until(async || {
        let all = proxies(&etcd).await;
        let lags = |proxy: &Proxy| {
            all.iter().find(|one| one["address"] == proxy.address.to_string()).map(|one| one["lags"] == true)
        };
        lags(&one) == Some(false) && lags(&two) == Some(true)
    })
    .await;
    two.signal("-CONT");
    until(async || proxies(&etcd).await.iter().all(|proxy| proxy["lags"] == false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_leaves_the_fleet_and_a_lost_key_comes_back() {
    let mut etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    for _ in 0..50 {
        etcd.put("rules/all", "version: release\n").await;
    }
    let mut proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    until(async || proxies(&etcd).await.len() == 1).await;
    let mut client = etcd.client().await;
    let under_lease = client.get(key("fleet/"), Some(GetOptions::new().with_prefix())).await.unwrap();
    assert_ne!(under_lease.kvs()[0].lease(), 0);
    // The lease is gone with the data, and so is what was routed; the proxy goes on and registers again.
    etcd.wipe().await;
    until(async || proxies(&etcd).await.len() == 1).await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    assert_eq!(proxies(&etcd).await[0]["documents"], Value::Null);
    let text = String::from_utf8(fleet(&etcd, &[]).await.stdout).unwrap();
    assert!(text.contains("held back"), "{text}");
    proxy.signal("-TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert!(proxies(&etcd).await.is_empty(), "gone with a clean end, and not with the lease");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_cannot_be_read_is_an_error() {
    let mut etcd = Etcd::start().await;
    etcd.put("fleet/strange", "{}").await;
    let text = String::from_utf8(fleet(&etcd, &[]).await.stdout).unwrap();
    assert_eq!(
        text,
        "0 proxies, 0 behind, 0 with problems; the store is at revision 2\n`/graygate/fleet/strange` is no proxy\n"
    );
    assert!(fleet(&etcd, &["--prefix", "/elsewhere"]).await.status.success());
    etcd.kill();
    assert_eq!(fleet(&etcd, &[]).await.status.code(), Some(1));
}
