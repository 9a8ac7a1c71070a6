//! Tests of the room, from outside its files: what a request gets from pools in a given state.

mod balance;
mod budget;
mod chains;
mod ejection;
mod health;
mod model;
mod probes;
mod registry;
mod threads;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use graygate_rules::spec::*;
use graygate_rules::vocab::Name;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn instance(version: &str, port: u16) -> InstanceSpec {
    InstanceSpec {
        address: address(port),
        version: name(version),
        weight: 1,
        tags: BTreeMap::new(),
        draining: false,
    }
}

/// A service whose words are `chains`' first elements; labels are the words.
fn service(chains: &[&[&str]], instances: Vec<InstanceSpec>) -> ServiceSpec {
    let index = |word: &str| chains.iter().position(|chain| chain[0] == word).unwrap();
    ServiceSpec {
        name: name("patient"),
        versions: chains
            .iter()
            .map(|chain| VersionSpec {
                word: name(chain[0]),
                label: name(chain[0]),
                chain: chain.iter().map(|word| index(word)).collect(),
            })
            .collect(),
        instances,
        balance: Balance::RoundRobin,
        health: None,
        outlier: None,
        max_connections: None,
        closed: Vec::new(),
        pin_tag: None,
    }
}

/// One version, `release`, with instances of these weights on ports from 1.
fn release_of(weights: &[u32]) -> ServiceSpec {
    let instances = (1..)
        .zip(weights)
        .map(|(port, weight)| InstanceSpec { weight: *weight, ..instance("release", port) });
    service(&[&["release"]], instances.collect())
}

fn tcp_check() -> HealthSpec {
    HealthSpec {
        check: Check::Tcp,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(1),
        healthy_after: 2,
        unhealthy_after: 3,
        transport: Transport::default(),
    }
}

fn build(spec: &ServiceSpec) -> Arc<ServicePools> {
    Registry::new(0).build(std::slice::from_ref(spec)).remove(0)
}

/// Every instance by its port.
fn by_port(pools: &ServicePools) -> BTreeMap<u16, Arc<Instance>> {
    let all = pools.labels().flat_map(|(_, instances)| instances);
    all.map(|one| (one.address().port(), one.clone())).collect()
}

/// The port a new request for `release` without pin or key is sent to.
fn port_for_release(pools: &ServicePools, now: Instant) -> u16 {
    let mut walk = Walk::new(pools.version("release"), None, None, 0);
    pools.pick(&mut walk, now).unwrap().instance.address().port()
}
