//! Documents read through etcd's `grpc-proxy`, which answers no requests for progress.

use crate::sources::following::{Following, SOON};
use crate::support::etcd::{Etcd, GrpcProxy};
use crate::support::eventually;
use std::time::{Duration, Instant};

/// Longer than a watch may be silent.
const LONG: Duration = Duration::from_secs(7);

async fn through(etcd: &Etcd, proxy: &GrpcProxy) -> Following {
    let mut settings = etcd.settings();
    settings.endpoints = vec![proxy.endpoint.clone()];
    let following = Following::etcd(settings);
    etcd.put("rules/a", "1").await;
    following.says("rules/a", "1").await;
    following
}

#[tokio::test]
async fn silence_is_not_taken_for_an_end() {
    let etcd = Etcd::start().await;
    let proxy = etcd.grpc_proxy().await;
    let following = through(&etcd, &proxy).await;
    let mut updates = following.updates.clone();
    updates.mark_unchanged();
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        assert!(following.status.up(), "down after {:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!updates.has_changed().unwrap(), "listed again");
    etcd.put("rules/a", "2").await;
    following.says("rules/a", "2").await;
    etcd.put("Rules/a", "").await;
    eventually(SOON, || !following.updates.borrow().as_ref().unwrap().set.strays.is_empty()).await;
    following.stop().await;
}

#[tokio::test]
async fn an_end_is_noticed_of_the_proxy_and_of_the_store_behind_it() {
    let mut etcd = Etcd::start().await;
    let proxy = etcd.grpc_proxy().await;
    let following = through(&etcd, &proxy).await;
    for is_proxy in [true, false] {
        let begun = Instant::now();
        if is_proxy {
            proxy.pause()
        } else {
            etcd.pause()
        }
        following.is_up(false).await;
        assert!(begun.elapsed() < Duration::from_secs(8), "noticed after {:?}", begun.elapsed());
        if is_proxy {
            proxy.resume()
        } else {
            etcd.resume()
        }
        let text = format!("after the proxy: {is_proxy}");
        etcd.put("rules/b", text.clone()).await;
        following.says("rules/b", &text).await;
        following.is_up(true).await;
    }
    // A store whose data is gone begins at revision 1 again; the proxy would wait for the one it knew.
    etcd.wipe().await;
    etcd.put("rules/c", "new").await;
    following.says("rules/c", "new").await;
    following.lacks("rules/a").await;
}
