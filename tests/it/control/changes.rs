//! Changes without end while requests run: none fails, every good document is in force, and memory stays flat.
//!
//! `GRAYGATE_MUTATIONS=500 GRAYGATE_CHANGES=10000` runs the numbers of a release.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use etcd_client::{Txn, TxnOp};

use crate::control::stage::{documents_from, filled, taken};
use crate::harness::proxy::{Proxy, until};
use crate::harness::wire::Connection;
use crate::support::etcd::{Etcd, key};

/// What `make test` takes time for.
const MUTATIONS: usize = 120;
const CHANGES: usize = 600;
/// Rules beside the ones that change, so that a generation has a size and its index is kept while they change.
const RULES: usize = 300;
/// Growth that is the allocator's and the kernel's business. A leak of one generation a change would be far above it.
const SLACK_KIB: u64 = 24 << 10;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Requests without pause on two connections, until told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn on(proxy: &Proxy) -> Load {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let task = || {
            let (stop, answered, address) = (stop.clone(), answered.clone(), proxy.address);
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                while !stop.load(Ordering::Relaxed) {
                    let answer = connection.get("/", &[("x-user", "stranger")]).await;
                    assert_eq!((answer.status(), answer.text().as_str()), (200, "release"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = vec![task(), task()];
        Load { stop, answered, tasks }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.answered.load(Ordering::Relaxed)
    }
}

fn rule(user: usize, version: &str) -> String {
    format!("services: [s]\nwhen: {{attribute: header:x-user, equals: u{user}}}\nversion: {version}\n")
}

async fn put(client: &etcd_client::Client, key: &str, text: &str) {
    taken(async || client.clone().put(key, text, None).await).await;
}

/// The text with one thing wrong or different; whether it is still a document is for `check` to say.
fn mutated(text: &str, number: usize) -> String {
    let at = (number * 7) % text.len();
    match number % 6 {
        0 => text[..at].to_owned(),
        1 => text.replacen(':', ";", 1 + number % 3),
        2 => text.replace("equals", "equal"),
        3 => format!("{text}unknown: {number}\n"),
        4 => text.replace("gray", "\"gray"),
        _ => text.replace("[s]", "[]"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mutated_documents_fail_no_request_and_hold_no_good_one_back() {
    let etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let client = etcd.client().await;
    let names: Vec<_> = (0..20).map(|name| key(&format!("rules/r{name:02}"))).collect();
    for (user, name) in names.iter().enumerate() {
        put(&client, name, &rule(user, "gray")).await;
    }
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    let load = Load::on(&proxy);
    for change in 0..number("GRAYGATE_MUTATIONS", MUTATIONS) {
        let user = change % names.len();
        put(&client, &names[user], &mutated(&rule(user, "gray"), change)).await;
        // A good document behind the broken one, and what it says is in force although its neighbours are broken.
        let good = rule(1_000 + change, "gray");
        put(&client, &key("rules/good"), &good).await;
        let named = format!("u{}", 1_000 + change);
        until(async || proxy.served_by("/", &[("x-user", &named)]).await == "gray").await;
    }
    // Broken rules are held back: their last good version was this one, or an edit that is one as well.
    assert!(!proxy.status().await["problems"].as_array().unwrap().is_empty());
    for (user, name) in names.iter().enumerate() {
        put(&client, name, &rule(user, "gray")).await;
    }
    until(async || proxy.status().await["problems"].as_array().unwrap().is_empty()).await;
    for user in 0..names.len() {
        assert_eq!(proxy.served_by("/", &[("x-user", &format!("u{user}"))]).await, "gray");
    }
    assert!(load.stop().await > 0);
    let log = proxy.stderr();
    let said = log.matches("held back or inert").count();
    assert!(said <= 4 * number("GRAYGATE_MUTATIONS", MUTATIONS), "{said} lines about problems");
    assert!(proxy.log().iter().all(|line| line["error"].is_null()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_many_changes_made_stale_is_built_again_beside_them() {
    let etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let client = etcd.client().await;
    let name = |user: usize| key(&format!("rules/r{user:04}"));
    for user in 0..RULES {
        put(&client, &name(user), &rule(user, "gray")).await;
    }
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    let cost = async || proxy.status().await["services"]["s"]["decision"]["cost"].as_u64().unwrap();
    let whole = cost().await;
    // At once, so that none of them comes behind what is built again.
    let puts = (0..100).map(|user| TxnOp::put(name(user), rule(1_000 + user, "gray"), None));
    let changes = Txn::new().and_then(puts.collect::<Vec<_>>());
    taken(async || client.clone().txn(changes.clone()).await).await;
    until(async || proxy.served_by("/", &[("x-user", "u1099")]).await == "gray").await;
    let beside = cost().await;
    assert!(beside > whole, "{beside} lookups, {whole} before the change");
    // Another version leaves every condition as it is, so what is left beside the index is what it was not built with.
    let versions = AtomicUsize::new(0);
    until(async || {
        let version = ["release", "gray"][versions.fetch_add(1, Ordering::Relaxed) % 2];
        put(&client, &name(RULES - 1), &rule(RULES - 1, version)).await;
        cost().await == whole
    })
    .await;
    for (user, version) in [(1_000, "gray"), (1_099, "gray"), (0, "release"), (150, "gray")] {
        assert_eq!(proxy.served_by("/", &[("x-user", &format!("u{user}"))]).await, version);
    }
}

async fn resident_kib(proxy: &Proxy) -> u64 {
    proxy.metrics().await.get("process_resident_memory_bytes", &[]).unwrap() as u64 >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_over_many_changes() {
    let etcd = Etcd::start().await;
    let (_release, _gray) = filled(&etcd).await;
    let client = etcd.client().await;
    for user in 0..RULES {
        put(&client, &key(&format!("rules/r{user:04}")), &rule(user, "gray")).await;
    }
    let kept = tempfile::tempdir().unwrap();
    let config = documents_from(&etcd) + &format!("cache: {}\n", kept.path().display());
    let proxy = Proxy::start(&config, &[]).await;
    let changes = number("GRAYGATE_CHANGES", CHANGES);
    let load = Load::on(&proxy);
    let mut after_warming = 0;
    for change in 0..changes {
        // Names that never come back are the ones that could pile up.
        let name = key(&format!("rules/passing-{change}"));
        put(&client, &name, &rule(change, "gray")).await;
        let deleted = taken(async || client.clone().delete(name.as_str(), None).await).await;
        let revision = deleted.header().unwrap().revision();
        if change % 50 == 0 {
            until(async || proxy.status().await["revision"]["running"].as_i64() >= Some(revision)).await;
        }
        if change == changes / 3 {
            after_warming = resident_kib(&proxy).await;
        }
    }
    assert!(load.stop().await > 0);
    let now = resident_kib(&proxy).await;
    println!("{changes} changes: {after_warming} KiB after a third of them, {now} KiB at the end");
    assert!(now < after_warming + SLACK_KIB, "{after_warming} KiB became {now} KiB");
}
