//! A service of many like instances, for what picks cost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use graygate_proxy::pools::{Registry, ServicePools};
use graygate_rules::spec::{Balance, InstanceSpec, ServiceSpec, VersionSpec};
use graygate_rules::vocab::Name;

/// All of them `release`, with weights from 1 to `weights`.
pub fn pools(balance: Balance, instances: u16, weights: u32) -> Arc<ServicePools> {
    let instance = |port: u16| InstanceSpec {
        address: SocketAddr::from(([10, 0, 0, 1], port)),
        version: Name::release(),
        weight: u32::from(port) % weights + 1,
        tags: BTreeMap::new(),
        draining: false,
    };
    let spec = ServiceSpec {
        name: Name::release(),
        versions: vec![VersionSpec { word: Name::release(), label: Name::release(), chain: vec![0] }],
        instances: (1..=instances).map(instance).collect(),
        balance,
        health: None,
        outlier: None,
        max_connections: Some(10_000),
        closed: Vec::new(),
        pin_tag: None,
    };
    Registry::new(7).build(&[spec]).remove(0)
}
