//! A registry that dies, forgets, hangs and comes back under load, and an instance that is taken out of service.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use graygate_testing::registries::servers::{Server, set_enabled};
use graygate_testing::registries::{providers, servers};
use tokio::task::JoinSet;

use super::stage::{Control, nacos};
use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::Upstream;
use crate::harness::wire::Connection;

const CLIENTS: usize = 4;

/// Clients that ask all the time on connections they keep.
pub struct Load {
    ends: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    pub fn on(proxy: &Proxy) -> Load {
        let (ends, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (ends, asked, address) = (ends.clone(), asked.clone(), proxy.address);
            clients.spawn(async move {
                let mut failed = Vec::new();
                let mut connection = Connection::open(address).await;
                while !ends.load(Ordering::Relaxed) {
                    let answer = connection.get("/", &[]).await;
                    if answer.status() != 200 {
                        failed.push(format!("{answer:?}"));
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                failed
            });
        }
        Load { ends, asked, clients }
    }

    /// Waits until each client has asked many times since now.
    pub async fn goes_on(&self) {
        let until_then = self.asked.load(Ordering::Relaxed) + 200;
        until(async || self.asked.load(Ordering::Relaxed) >= until_then).await;
    }

    pub async fn failed(self) -> Vec<String> {
        self.ends.store(true, Ordering::Relaxed);
        self.clients.join_all().await.concat()
    }
}

fn documents(proxy: &Proxy) -> usize {
    std::fs::read_dir(proxy.file("documents/instances/s")).map_or(0, Iterator::count)
}

async fn served(server: &Server) -> (Proxy, Control) {
    let proxy = Proxy::start(
        "",
        &[("routes/all.yaml", "service: s\n"), ("services/s.yaml", "discover: {registry: r, name: a}\n")],
    )
    .await;
    let control = Control::start(&proxy, &format!("{{r: {}}}", nacos(server)));
    (proxy, control)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_the_registry_is_killed_forgets_hangs_and_control_restarts() {
    let mut server = servers::nacos();
    let (proxy, mut control) = served(&server).await;
    let (one, two) = (Upstream::named("release").await, Upstream::named("release").await);
    let first = providers::nacos(&server, "a", &one.address.to_string(), "{}");
    let second = providers::nacos(&server, "a", &two.address.to_string(), "{}");
    until(async || documents(&proxy) == 2).await;
    until(async || proxy.get("/", &[]).await.status() == 200).await;
    let load = Load::on(&proxy);
    load.goes_on().await;

    // A partition: the registry neither answers nor closes.
    server.signal("STOP");
    load.goes_on().await;
    server.signal("CONT");
    load.goes_on().await;
    // Killed, and started again with nothing: no one registers any more. The server goes first, or it would say that an
    // instance left.
    server.kill();
    first.crash();
    second.crash();
    load.goes_on().await;
    let data = server.folder.path().join("data");
    std::fs::remove_dir_all(&data).unwrap();
    server.start();
    load.goes_on().await;
    // Control starts over a registry that has forgotten everything.
    control.kill();
    load.goes_on().await;
    control.start_again();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        load.goes_on().await;
    }
    assert_eq!(documents(&proxy), 2);
    assert_eq!(load.failed().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_set_offline_gets_no_request_after_a_second_and_stays_so() {
    let server = servers::nacos();
    let (proxy, mut control) = served(&server).await;
    let (one, two) = (Upstream::named("release").await, Upstream::named("release").await);
    let _first = providers::nacos(&server, "a", &one.address.to_string(), "{}");
    let _second = providers::nacos(&server, "a", &two.address.to_string(), "{}");
    until(async || documents(&proxy) == 2).await;
    until(async || proxy.get("/", &[]).await.status() == 200).await;
    let load = Load::on(&proxy);
    until(async || !one.asked().is_empty() && !two.asked().is_empty()).await;

    set_enabled(&server, "a", &one.address.to_string(), false);
    let clicked = Instant::now();
    let (mut seen, mut last) = (one.asked().len(), Instant::now());
    while clicked.elapsed() < Duration::from_secs(3) {
        if one.asked().len() != seen {
            (seen, last) = (one.asked().len(), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = last.duration_since(clicked);
    println!("offline -> last request: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    // Control starts again and asks again: an operator's word is not forgotten.
    control.kill();
    control.start_again();
    let until_then = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until_then {
        load.goes_on().await;
    }
    assert_eq!(one.asked().len(), seen);
    set_enabled(&server, "a", &one.address.to_string(), true);
    until(async || one.asked().len() > seen).await;
    assert_eq!(load.failed().await, Vec::<String>::new());
}
