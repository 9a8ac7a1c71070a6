//! The pick beside a slow and obvious second one, on random services.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use graygate_rules::vocab::FallbackReason;

const CHAINS: &[&[&str]] = &[&["release"], &["gray", "beta", "release"], &["beta", "release"], &["strict"]];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Healthy,
    Unknown,
    Unhealthy,
    Ejected,
}

#[derive(Clone, Debug)]
struct Member {
    word: &'static str,
    weight: u32,
    pin: Option<&'static str>,
    draining: bool,
    condition: Condition,
}

fn members() -> impl Strategy<Value = Vec<Member>> {
    let word = prop::sample::select(vec!["release", "gray", "beta", "strict"]);
    let pin = prop::sample::select(vec![None, None, None, Some("li"), Some("wang")]);
    let condition = prop::sample::select(vec![
        Condition::Healthy,
        Condition::Healthy,
        Condition::Unknown,
        Condition::Unhealthy,
        Condition::Ejected,
    ]);
    let member = (word, 0..4u32, pin, prop::bool::weighted(0.1), condition);
    let member = member.prop_map(|(word, weight, pin, draining, condition)| Member {
        word,
        weight,
        pin,
        draining,
        condition,
    });
    prop::collection::vec(member, 0..10)
}

fn real(members: &[Member], balance: Balance, now: Instant) -> Arc<ServicePools> {
    let instances = (1..).zip(members).map(|(port, member)| InstanceSpec {
        weight: member.weight,
        draining: member.draining,
        tags: member.pin.iter().map(|pin| ("who".into(), (*pin).into())).collect(),
        ..instance(member.word, port)
    });
    let pools = build(&ServiceSpec {
        balance,
        health: Some(tcp_check()),
        outlier: Some(OutlierSpec::default()),
        pin_tag: Some("who".into()),
        ..service(CHAINS, instances.collect())
    });
    for (port, one) in by_port(&pools) {
        match members[usize::from(port) - 1].condition {
            Condition::Healthy => drop(one.vitals.checked(&tcp_check(), true, now)),
            Condition::Unknown => {}
            Condition::Unhealthy => drop(one.vitals.checked(&tcp_check(), false, now)),
            Condition::Ejected => {
                one.vitals.checked(&tcp_check(), true, now);
                one.vitals.eject(&OutlierSpec::default(), now);
            }
        }
    }
    pools
}

/// Who may take requests of a version, with a pin or without.
fn eligible<'m>(members: &'m [Member], way: (&str, Option<&str>)) -> Vec<(u16, &'m Member)> {
    let all = (1u16..).zip(members);
    all.filter(|(_, one)| (one.word, one.pin) == way && one.weight > 0 && !one.draining).collect()
}

/// Which instances the first pick may choose, the word that serves, and why it is not the decided one.
fn expected(
    members: &[Member],
    decided: &str,
    pin: Option<&str>,
) -> Option<(BTreeSet<u16>, &'static str, Option<FallbackReason>)> {
    let chain = CHAINS.iter().find(|chain| chain[0] == decided).unwrap();
    let mut ways: Vec<(&'static str, Option<&str>)> = Vec::new();
    if pin.is_some() {
        ways.extend(chain.iter().map(|word| (*word, pin)));
    }
    ways.extend(chain.iter().map(|word| (*word, None)));
    let in_condition = |way, condition| -> BTreeSet<u16> {
        let all = eligible(members, way).into_iter();
        let fit = all.filter(|(_, member)| member.condition == condition);
        fit.map(|(port, _)| port).collect()
    };
    let any = |way| eligible(members, way).into_iter().map(|(port, _)| port);
    let last = ways.iter().rposition(|way| any(*way).count() > 0)?;
    let mut why = None;
    for (place, way) in ways.into_iter().enumerate() {
        let mut able = in_condition(way, Condition::Healthy);
        if able.is_empty() {
            able = in_condition(way, Condition::Unknown);
        }
        if able.is_empty() && place == last {
            able = any(way).collect();
        }
        if !able.is_empty() {
            return Some((able, way.0, why.filter(|_| way.0 != decided)));
        }
        why = Some(match any(way).count() {
            0 => FallbackReason::NoInstances,
            _ => FallbackReason::Unhealthy,
        });
    }
    None
}

proptest! {
    #[test]
    fn the_pick_agrees_with_the_obvious_one(
        members in members(),
        decided in prop::sample::select(vec!["release", "gray", "beta", "strict"]),
        pin in prop::sample::select(vec![None, Some("li"), Some("wang"), Some("missing")]),
        balance in prop::sample::select(vec![Balance::RoundRobin, Balance::LeastRequests, Balance::Hash]),
        key in any::<u64>(),
    ) {
        let now = Instant::now();
        let pools = real(&members, balance, now);
        let mut walk = Walk::new(pools.version(decided), pin.map(Into::into), Some(key), 3);
        let picked = pools.pick(&mut walk, now);
        match (picked, expected(&members, decided, pin)) {
            (Err(error), None) => prop_assert_eq!(error, NoInstance::None),
            (Ok(picked), Some((able, word, why))) => {
                prop_assert!(able.contains(&picked.instance.address().port()), "{:?}", able);
                prop_assert_eq!(pools.word(picked.version), Some(&name(word)));
                prop_assert_eq!(picked.fallback, why);
            }
            (picked, expected) => prop_assert!(false, "{picked:?} instead of {expected:?}"),
        }
    }

    /// However tries fail, none goes where one failed while an untried instance is left in the walk,
    /// and with retries at all the last pool is reached.
    #[test]
    fn failing_tries_spread_and_reach_the_end(
        members in members(),
        decided in prop::sample::select(vec!["release", "gray", "beta", "strict"]),
        retries in 0..=RETRIES_LIMIT,
    ) {
        let now = Instant::now();
        let pools = real(&members, Balance::RoundRobin, now);
        let mut walk = Walk::new(pools.version(decided), None, None, retries);
        let mut tried = Vec::new();
        while walk.tries() == 0 || walk.has_tries() {
            let Ok(picked) = pools.pick(&mut walk, now) else { break };
            tried.push((picked.instance.address().port(), picked.version));
        }
        prop_assert_eq!(tried.len(), walk.tries() as usize);
        let chain = CHAINS.iter().find(|chain| chain[0] == decided).unwrap();
        let last = chain.iter().rfind(|word| !eligible(&members, (word, None)).is_empty());
        let Some(last) = last else {
            prop_assert!(tried.is_empty());
            return Ok(());
        };
        prop_assert!(tried.len() <= retries as usize + 2);
        let served_last = tried.last().map(|(_, version)| pools.word(*version).unwrap().as_str());
        if retries > 0 {
            prop_assert_eq!(served_last, Some(*last));
            prop_assert!(tried.len() > retries as usize);
        }
        let different: BTreeSet<_> = tried.iter().map(|(port, _)| port).collect();
        if different.len() < tried.len() {
            let in_last = eligible(&members, (last, None));
            prop_assert!(in_last.iter().all(|(port, _)| different.contains(port)));
        }
    }
}
