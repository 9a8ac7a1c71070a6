//! A broker, gateways in front of it, and clients.

use std::net::SocketAddr;
use std::time::Duration;

use graygate_testing::messages::{Client, RocketMq};
use serde_json::Value;

use crate::harness::ports::free_addresses;
use crate::harness::proxy::{Proxy, until};

pub const TOPIC: &str = "orders";
pub const GROUP: &str = "provider";
/// How long a message may take to where it belongs, on a busy machine.
pub const SOON: Duration = Duration::from_secs(60);

/// A gateway with a listener for base and one for the lane `feat1`.
pub struct Stage {
    _broker: RocketMq,
    pub proxy: Proxy,
    pub base: SocketAddr,
    pub feat1: SocketAddr,
}

pub fn document(lanes: &str) -> String {
    format!("topics: [{TOPIC}]\ngroup: {GROUP}\nservice: provider\nlanes: [{lanes}]\ntakeover: 3s\n")
}

impl Stage {
    pub async fn start(lanes: &str) -> Stage {
        let broker = tokio::task::spawn_blocking(|| {
            let broker = RocketMq::start();
            broker.create_topic(TOPIC, &[]);
            broker
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
            ("messages/orders.yaml", document(lanes)),
        ];
        let documents: Vec<(&str, &str)> =
            documents.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let proxy = Proxy::start(&config, &documents).await;
        Stage { _broker: broker, proxy, base, feat1 }
    }

    /// What `/status` says of a lane.
    pub async fn lane(&self, lane: &str) -> Option<Value> {
        let status = self.proxy.status().await;
        status["messages"].as_array()?.iter().find(|one| one["lane"] == lane).cloned()
    }

    pub async fn lane_is(&self, lane: &str, state: &str) {
        until(async || self.lane(lane).await.is_some_and(|lane| lane["state"] == state)).await;
    }

    pub fn consumer(&self, kind: &str, at: SocketAddr) -> Client {
        Client::start(kind, &[&at.to_string(), TOPIC, GROUP])
    }

    pub fn producer(&self, at: SocketAddr) -> Client {
        Client::start("producer", &[&at.to_string(), TOPIC])
    }
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
