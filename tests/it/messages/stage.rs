//! A broker, a gateway in front of it, and clients.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use graygate_testing::messages::{Client, Group, Layout, RocketMq};
use serde_json::Value;

use crate::harness::ports::free_addresses;
use crate::harness::proxy::Proxy;

pub const TOPIC: &str = "orders";
pub const GROUP: &str = "provider";
/// Whose consumers filter, each topic in another way.
pub const FILTERED: &str = "filtered";
/// Whose messages are dead after two attempts.
pub const FAILING: &str = "failing";
/// How long a message may take to where it belongs, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// A gateway with a listener for base and one for the lane `feat1`.
pub struct Stage {
    pub broker: RocketMq,
    pub proxy: Proxy,
    pub base: SocketAddr,
    pub feat1: SocketAddr,
}

fn document(topics: &str, group: &str, lanes: &str) -> String {
    format!("topics: [{topics}]\ngroup: {group}\nservice: provider\nlanes: [{lanes}]\ntakeover: 3s\n")
}

impl Stage {
    pub async fn start() -> Stage {
        let broker = tokio::task::spawn_blocking(|| {
            let topics = [TOPIC, "tagged", "sized", "failing-topic"].map(|topic| (topic, "NORMAL"));
            let retries = |name| Group { name, in_order: false, retries: Some(1) };
            // The group of `feat2` is made as RocketMQ does by itself, with retries of its own.
            RocketMq::start(Layout::One, &topics, &[FAILING, "failing--feat1", "failing--feat3"].map(retries))
        });
        let broker = broker.await.unwrap();
        let [base, feat1] = free_addresses();
        let cache = tempfile::tempdir().unwrap().keep();
        let config = format!(
            "cache: {}\nmessages:\n  listen: [{{address: '{base}'}}, {{address: '{feat1}', version: feat1}}]\n  \
             proxies: ['{}']\n",
            cache.display(),
            broker.address()
        );
        let documents = [
            ("services/provider.yaml", "instances: []\n".to_owned()),
            ("messages/orders.yaml", document(TOPIC, GROUP, "feat1")),
            ("messages/filtered.yaml", document("tagged, sized", FILTERED, "feat1")),
            ("messages/failing.yaml", document("failing-topic", FAILING, "feat1, feat2, feat3")),
        ];
        let documents: Vec<(&str, &str)> =
            documents.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let proxy = Proxy::start(&config, &documents).await;
        Stage { broker, proxy, base, feat1 }
    }

    /// What `/status` says of a lane.
    pub async fn lane(&self, group: &str, lane: &str) -> Option<Value> {
        let status = self.proxy.status().await;
        let lanes = status["messages"].as_array()?;
        lanes.iter().find(|one| one["group"] == group && one["lane"] == lane).cloned()
    }

    pub async fn lane_is(&self, group: &str, lane: &str, state: &str) {
        let until = Instant::now() + SOON;
        while self.lane(group, lane).await.is_none_or(|lane| lane["state"] != state) {
            assert!(
                Instant::now() < until,
                "`{lane}` of `{group}` does not become {state}: {}",
                self.proxy.stderr()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub fn consumer(kind: &str, at: SocketAddr, topics: &str, group: &str) -> Client {
    Client::start(kind, &[&at.to_string(), topics, group])
}

pub fn producer(kind: &str, at: SocketAddr, topics: &str) -> Client {
    Client::start(kind, &[&at.to_string(), topics])
}

pub fn ids(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number}")).collect()
}

/// Waits until a client has acknowledged all of these.
pub fn has_done(client: &Client, ids: &[String]) {
    client.wait(SOON, |told| {
        ids.iter().all(|id| told.iter().any(|told| told.word == "done" && told.id == *id))
    });
}
