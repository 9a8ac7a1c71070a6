//! A pick allocates nothing: not in the steady state, not when instances are ejected, come back
//! and take up their share again, and not while it walks a chain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_proxy::pools::{Registry, Retry, ServicePools, Walk};
use graygate_rules::spec::{Balance, InstanceSpec, OutlierSpec, ServiceSpec, VersionSpec};
use graygate_rules::vocab::{Name, TryOutcome};

use crate::allocations;

/// Each of them ejects an instance or brings one back.
const REQUESTS: u32 = 200;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn pools(balance: Balance) -> Arc<ServicePools> {
    let instance = |port: u16| InstanceSpec {
        address: SocketAddr::from(([10, 0, 0, 1], port)),
        version: name(if port < 20 { "gray" } else { "release" }),
        weight: u32::from(port % 5 + 1) * 1_000 + u32::from(port),
        tags: match port % 7 {
            0 => [("developer".into(), "li".into())].into(),
            _ => BTreeMap::new(),
        },
        draining: false,
    };
    let version = |word: &str, chain: &[usize]| VersionSpec {
        word: name(word),
        label: name(word),
        chain: chain.into(),
    };
    let spec = ServiceSpec {
        name: name("patient"),
        versions: vec![version("release", &[0]), version("gray", &[1, 0])],
        instances: (1..100).map(instance).collect(),
        balance,
        health: None,
        outlier: Some(OutlierSpec::default()),
        max_connections: Some(1_000),
        closed: Vec::new(),
        pin_tag: Some("developer".into()),
    };
    Registry::new(7).build(&[spec]).remove(0)
}

/// Sends a request along the whole chain, failing every try.
fn walk(pools: &ServicePools, mut walk: Walk, now: Instant) -> u32 {
    while walk.tries() == 0 || pools.may_retry(&mut walk, now) == Retry::Granted {
        let Ok(picked) = pools.pick(&mut walk, now) else {
            break;
        };
        let instance = picked.instance;
        instance.report(TryOutcome::ConnectFailed, None, now);
        drop(picked.in_flight);
    }
    walk.tries()
}

#[test]
fn a_pick_allocates_nothing() {
    assert_ne!(allocations(|| drop(Box::new(1))), 0, "the counter counts");
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::Hash] {
        let pools = pools(balance);
        let pin = Some("li".into());
        let start = Instant::now();
        let mut tries = 0;
        let counted = allocations(|| {
            for request in 0..REQUESTS {
                // Two minutes pass, so that ejections begin, end, and shares recover.
                let now = start + Duration::from_secs(120) * request / REQUESTS;
                let pin = pin.clone().filter(|_| request % 3 == 0);
                let version = Some((request % 2) as usize);
                tries += walk(&pools, Walk::new(version, pin, Some(u64::from(request)), 3), now);
            }
        });
        assert_eq!(counted, 0, "{balance:?}");
        // Where everything fails, a fifth of the requests and the floor are tried again.
        assert!(tries >= REQUESTS + REQUESTS / 5, "{tries}");
        assert!(pools.ejections() > 20, "{}", pools.ejections());
    }
}
