//! Who gets how many requests, and in which order.

use std::collections::HashMap;

use super::*;
use crate::pools::candidate::scatter;

fn ports(pools: &ServicePools, picks: usize) -> Vec<u16> {
    let now = Instant::now();
    (0..picks).map(|_| port_for_release(pools, now)).collect()
}

fn counts(ports: &[u16]) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    for port in ports {
        *counts.entry(*port).or_default() += 1;
    }
    counts
}

/// Pearson's statistic of observed requests against shares by weight.
fn chi_square(counts: &BTreeMap<u16, usize>, weights: &[u32]) -> f64 {
    let total: usize = counts.values().sum();
    let sum: u32 = weights.iter().sum();
    (1..)
        .zip(weights)
        .map(|(port, weight)| {
            let expected = total as f64 * f64::from(*weight) / f64::from(sum);
            let seen = counts.get(&port).copied().unwrap_or(0) as f64;
            (seen - expected).powi(2) / expected
        })
        .sum()
}

#[test]
fn equal_weights_strictly_alternate() {
    for count in [2, 3, 7, 100] {
        let pools = build(&release_of(&vec![1; count]));
        let ports = ports(&pools, 5 * count);
        for (earlier, later) in ports.iter().zip(&ports[count..]) {
            assert_eq!(earlier, later, "{count} instances");
        }
        assert_eq!(counts(&ports[..count]).len(), count);
    }
}

#[test]
fn round_robin_is_fair_in_every_window() {
    let mut many_light = vec![1; 100];
    many_light.push(100);
    let rising: Vec<u32> = (1..=20).collect();
    for weights in
        [vec![5, 1, 1], vec![1, 2], vec![2, 3, 5], vec![100, 1], vec![7, 7, 7, 1], many_light, rising]
    {
        let pools = build(&release_of(&weights));
        let sum: u32 = weights.iter().sum();
        let picks = ports(&pools, 20 * sum as usize);
        for (port, weight) in (1..).zip(&weights) {
            // How far an instance's count may stray from its share, in any window of any length:
            // the spread of "count so far minus due so far" over all places.
            let due = f64::from(*weight) / f64::from(sum);
            let mut ahead = 0.0f64;
            let (mut least, mut most) = (0.0f64, 0.0f64);
            for pick in &picks {
                ahead += f64::from(u8::from(*pick == port)) - due;
                least = least.min(ahead);
                most = most.max(ahead);
            }
            assert!(most - least < 3.0, "{weights:?}: {port} strays by {}", most - least);
            assert!(ahead.abs() < 1e-6, "{weights:?}: whole rounds are exact");
        }
    }
}

#[test]
fn no_instance_waits_for_long() {
    for weights in [vec![5, 1, 1], vec![1, 2, 3, 4], vec![10, 10, 1]] {
        let pools = build(&release_of(&weights));
        let sum: u32 = weights.iter().sum();
        let picks = ports(&pools, 10_000);
        for (port, weight) in (1..).zip(&weights) {
            let places = picks.iter().enumerate().filter(|(_, pick)| **pick == port);
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            let gap = places.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
            let due = sum.div_ceil(*weight) as usize;
            assert!(gap <= 2 * due, "{weights:?}: {port} waits {gap}, {due} would be even");
        }
    }
}

#[test]
fn one_hundred_thousand_picks_follow_the_weights() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::Hash] {
        let weights = [1, 2, 3, 4, 10];
        let pools = build(&ServiceSpec { balance, ..release_of(&weights) });
        let now = Instant::now();
        let mut seen = Vec::new();
        for key in 0..100_000 {
            let mut walk = Walk::new(Some(0), None, Some(scatter(key)), 0);
            seen.push(pools.pick(&mut walk, now).unwrap().instance.address().port());
        }
        // 4 degrees of freedom: 18.5 is passed by chance once in a thousand.
        let statistic = chi_square(&counts(&seen), &weights);
        assert!(statistic < 18.5, "{balance:?}: {statistic}");
    }
}

#[test]
fn weights_beyond_the_turns_limit_are_close() {
    let weights = [1_000_003, 999_983, 17, u32::MAX];
    let pools = build(&release_of(&weights));
    let counts = counts(&ports(&pools, 100_000));
    let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    for (port, weight) in (1..).zip(weights) {
        let share = counts.get(&port).copied().unwrap_or(0) as f64 / 100_000.0;
        let due = f64::from(weight) / sum;
        assert!((share - due).abs() < 0.001, "{port}: {share} instead of {due}");
        assert!(share > 0.0, "{port} is not forgotten");
    }
}

#[test]
fn least_requests_avoids_the_busy() {
    let pools = build(&ServiceSpec { balance: Balance::LeastRequests, ..release_of(&[1, 1, 2]) });
    let now = Instant::now();
    let mut held = Vec::new();
    for _ in 0..400 {
        let mut walk = Walk::new(Some(0), None, None, 0);
        held.push(pools.pick(&mut walk, now).unwrap().in_flight);
    }
    // All requests hang: they spread by weight, within what two choices leave open.
    for (port, one) in by_port(&pools) {
        let due = 100 * one.weight() as usize;
        assert!(one.in_flight().abs_diff(due) <= 10, "{port}: {}", one.in_flight());
    }
    // One instance answers nothing, the others everything: it soon gets no more.
    let stuck = by_port(&pools)[&1].clone();
    held.retain(|one| one.instance().address() == stuck.address());
    let before = stuck.in_flight();
    for _ in 0..300 {
        let mut walk = Walk::new(Some(0), None, None, 0);
        let picked = pools.pick(&mut walk, now).unwrap();
        assert_ne!(picked.instance.address(), stuck.address());
    }
    assert_eq!(stuck.in_flight(), before);
}

fn owners(pools: &ServicePools, keys: u64) -> HashMap<u64, u16> {
    let now = Instant::now();
    let owner = |key| {
        let mut walk = Walk::new(Some(0), None, Some(scatter(key)), 0);
        (key, pools.pick(&mut walk, now).unwrap().instance.address().port())
    };
    (0..keys).map(owner).collect()
}

#[test]
fn when_one_of_many_leaves_little_more_than_its_own_keys_move() {
    for (weights, others) in [(vec![1; 10], 0.1), ((1..=10).collect(), 0.1), (vec![1; 100], 1.0)] {
        let whole = ServiceSpec { balance: Balance::Hash, ..release_of(&weights) };
        let mut without = whole.clone();
        without.instances.remove(4);
        let keys = 100_000;
        let before = owners(&build(&whole), keys);
        let after = owners(&build(&without), keys);
        let its_own = before.values().filter(|port| **port == 5).count() as f64;
        let due = keys as f64 * f64::from(weights[4]) / f64::from(weights.iter().sum::<u32>());
        assert!((its_own - due).abs() < 4.0 * due.sqrt(), "{its_own} instead of {due}");
        let moved = before.iter().filter(|(key, port)| after[key] != **port).count() as f64;
        assert!(moved <= its_own * (1.0 + others), "{moved} of {keys} moved, {its_own} had to");
        assert_eq!(before, owners(&build(&whole), keys), "another process agrees");
    }
}

#[test]
fn the_owner_of_a_key_does_not_depend_on_the_order_of_the_documents() {
    let spec = ServiceSpec { balance: Balance::Hash, ..release_of(&[1, 2, 3, 1]) };
    let mut reversed = spec.clone();
    reversed.instances.reverse();
    assert_eq!(owners(&build(&spec), 1_000), owners(&build(&reversed), 1_000));
}

#[test]
fn the_keys_of_an_instance_that_fails_spread_over_the_others() {
    let pools = build(&ServiceSpec { balance: Balance::Hash, ..release_of(&[1; 5]) });
    let now = Instant::now();
    let mut next = BTreeMap::new();
    for key in 0..10_000 {
        let mut walk = Walk::new(Some(0), None, Some(scatter(key)), 1);
        let mut port = || pools.pick(&mut walk, now).unwrap().instance.address().port();
        if port() == 3 {
            *next.entry(port()).or_insert(0) += 1;
        }
    }
    assert_eq!(next.keys().copied().collect::<Vec<_>>(), [1, 2, 4, 5]);
    assert!(next.values().all(|count| (400..600).contains(count)), "{next:?}");
}

#[test]
fn a_retry_of_a_hashed_request_goes_elsewhere() {
    let pools = build(&ServiceSpec { balance: Balance::Hash, ..release_of(&[1, 1, 1]) });
    let now = Instant::now();
    for key in 0..100 {
        let mut walk = Walk::new(Some(0), None, Some(key), 2);
        let mut seen: Vec<u16> =
            (0..3).map(|_| pools.pick(&mut walk, now).unwrap().instance.address().port()).collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 2, 3], "{key}");
    }
}

#[test]
fn processes_begin_their_turns_at_different_places() {
    let spec = release_of(&[1; 10]);
    let first = |seed| {
        let pools = Registry::new(seed).build(std::slice::from_ref(&spec)).remove(0);
        port_for_release(&pools, Instant::now())
    };
    let firsts: std::collections::HashSet<u16> = (0..50).map(first).collect();
    assert!(firsts.len() > 5, "{firsts:?}");
}
