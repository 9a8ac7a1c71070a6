//! Changes under load: no request fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, instances};
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Connection, request};

const CONNECTIONS: usize = 8;
const REQUESTS: usize = 20_000;
const CHANGES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn fifty_changes_fail_no_request() {
    let (one, two, gray) =
        (Upstream::named("release").await, Upstream::named("release").await, Upstream::named("gray").await);
    let service = |extra: bool| {
        let mut pool = vec![("release", one.address), ("gray", gray.address)];
        pool.extend(extra.then_some(("release", two.address)));
        instances(&pool) + "identity: [header:x-user]\n"
    };
    let documents = [ALL, ("rules/share.yaml", "split: {gray: 0}"), ("services/s.yaml", &*service(true))];
    let proxy = Proxy::start("", &documents).await;
    let (done, finished) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|n| tokio::spawn(client(proxy.address, n, done.clone(), finished.clone())))
        .collect();
    for change in 1..=CHANGES {
        proxy.write("rules/share.yaml", &format!("split: {{gray: {}}}\n", change * 2));
        proxy.write("services/s.yaml", &service(change % 2 == 0));
        // Each change meets requests of its own.
        let before = done.load(Ordering::Relaxed);
        until(async || done.load(Ordering::Relaxed) >= before + REQUESTS / CHANGES / 2).await;
    }
    until(async || proxy.served_by("/", &[("x-user", "anyone")]).await == "gray").await;
    until(async || done.load(Ordering::Relaxed) >= REQUESTS).await;
    finished.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    let total = done.load(Ordering::Relaxed) as f64 + 1.0;
    until(async || {
        let metrics = proxy.metrics().await;
        let good: f64 = ["release", "gray"]
            .iter()
            .filter_map(|version| {
                metrics.get(
                    "graygate_requests_total",
                    &[("service", "s"), ("version", version), ("status", "2xx")],
                )
            })
            .sum();
        // The look for the last change may have taken several requests.
        good >= total && good == metrics.sum("graygate_requests_total")
    })
    .await;
    // A request gives its place back a moment after it is counted.
    until(async || proxy.metrics().await.sum("graygate_requests_in_flight") == 0.0).await;
}

async fn client(
    address: std::net::SocketAddr,
    number: usize,
    done: Arc<AtomicUsize>,
    finished: Arc<AtomicBool>,
) {
    let mut connection = Connection::open(address).await;
    let mut turn = 0_usize;
    while !finished.load(Ordering::Relaxed) {
        let user = format!("user{number}-{turn}");
        let answer = connection.ask(request("GET", "/x?y=1", &[("x-user", &user)])).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(matches!(answer.text().as_str(), "release" | "gray"));
        done.fetch_add(1, Ordering::Relaxed);
        turn += 1;
    }
}
