//! Passive ejection: when, for how long, how many, and back.

use super::*;
use graygate_rules::vocab::{InstanceState, Share, StatusClass, TryOutcome};

const BASE: Duration = Duration::from_secs(30);

fn pools_of(weights: &[u32], max_ejected: &str) -> Arc<ServicePools> {
    let mut spec = release_of(weights);
    spec.outlier = Some(OutlierSpec {
        max_ejected: Share::parse_percent(max_ejected).unwrap(),
        ..OutlierSpec::default()
    });
    build(&spec)
}

fn fail(instance: &Instance, times: u32, now: Instant) {
    for _ in 0..times {
        instance.report(TryOutcome::ConnectFailed, None, now);
    }
}

fn ejected(pools: &ServicePools, now: Instant) -> Vec<u16> {
    let all = by_port(pools);
    let out = all.iter().filter(|(_, one)| one.state(now) == InstanceState::Ejected);
    out.map(|(port, _)| *port).collect()
}

#[test]
fn only_errors_in_a_row_count() {
    let error = |outcome| (outcome, None);
    let status = |class| (TryOutcome::Response, Some(class));
    for (report, breaks_the_row, is_error) in [
        (status(StatusClass::ServerError), false, true),
        (error(TryOutcome::ConnectFailed), false, true),
        (error(TryOutcome::Reset), false, true),
        (error(TryOutcome::Timeout), false, true),
        (error(TryOutcome::Invalid), false, true),
        (status(StatusClass::Success), true, false),
        (status(StatusClass::Redirection), true, false),
        (status(StatusClass::ClientError), true, false),
        (error(TryOutcome::ClientGone), false, false),
    ] {
        let now = Instant::now();
        let pools = pools_of(&[1, 1], "50%");
        let one = &by_port(&pools)[&1];
        fail(one, 4, now);
        one.report(report.0, report.1, now);
        assert_eq!(ejected(&pools, now).is_empty(), !is_error, "{report:?}");
        fail(one, 1, now);
        assert_eq!(ejected(&pools, now).is_empty(), breaks_the_row, "{report:?}");
    }
}

#[test]
fn an_ejected_instance_gets_nothing_until_its_time_is_over() {
    let start = Instant::now();
    let pools = pools_of(&[1, 1], "50%");
    fail(&by_port(&pools)[&1], 5, start);
    assert_eq!(pools.ejections(), 1);
    for after in [0, 1, 29] {
        let now = start + Duration::from_secs(after);
        assert!((0..10).all(|_| port_for_release(&pools, now) == 2), "{after}s");
    }
    let back = start + BASE;
    assert!(ejected(&pools, back).is_empty());
    assert!((0..40).any(|_| port_for_release(&pools, back) == 1));
}

#[test]
fn ejections_grow_up_to_a_limit_and_are_forgiven() {
    let pools = pools_of(&[1, 1], "50%");
    let one = &by_port(&pools)[&1];
    let length_at = |now: Instant| {
        fail(one, 5, now);
        let mut seconds =
            (0u64..).find(|after| one.state(now + Duration::from_secs(*after)) != InstanceState::Ejected);
        Duration::from_secs(seconds.take().unwrap())
    };
    let mut now = Instant::now();
    for times in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10] {
        let length = length_at(now);
        assert_eq!(length, BASE * times);
        assert!(length <= EJECTION_LIMIT);
        now += length;
    }
    // Twelve times so far; each quiet `eject_for` forgives one.
    now += BASE * 9;
    assert_eq!(length_at(now), BASE * 4);
    now += BASE * 100;
    assert_eq!(length_at(now), BASE);
}

#[test]
fn never_more_than_the_limit_is_out() {
    for (count, max_ejected, expected) in [
        (10, "50%", 5),
        (10, "10%", 1),
        (10, "100%", 10),
        (10, "0%", 0),
        (3, "50%", 1),
        (3, "10%", 1),
        (2, "50%", 1),
        // Nothing stands behind release, so a sole instance of it stays.
        (1, "50%", 0),
        (1, "100%", 0),
    ] {
        let now = Instant::now();
        let pools = pools_of(&vec![1; count], max_ejected);
        for one in by_port(&pools).values() {
            fail(one, 20, now);
        }
        assert_eq!(ejected(&pools, now).len(), expected, "{count} {max_ejected}");
        assert_eq!(pools.ejections(), expected as u64);
    }
}

#[test]
fn one_held_back_by_the_limit_goes_when_another_returns() {
    let start = Instant::now();
    let pools = pools_of(&[1, 1], "50%");
    let all = by_port(&pools);
    fail(&all[&1], 5, start);
    fail(&all[&2], 5, start);
    assert_eq!(ejected(&pools, start), [1]);
    fail(&all[&2], 1, start + BASE);
    assert_eq!(ejected(&pools, start + BASE), [2]);
}

#[test]
fn the_newest_failure_takes_the_place_of_the_oldest_ejection() {
    let start = Instant::now();
    let pools = pools_of(&[1, 1, 1, 1], "50%");
    let all = by_port(&pools);
    let later = start + EJECTION_STANDS / 2;
    fail(&all[&1], 5, start);
    fail(&all[&2], 5, later);
    // Out since a moment ago only: the third has to wait.
    fail(&all[&3], 5, later);
    assert_eq!(ejected(&pools, later), [1, 2]);
    let now = start + EJECTION_STANDS;
    fail(&all[&3], 1, now);
    assert_eq!(ejected(&pools, now), [2, 3]);
    // It comes back with a tenth of its weight, and less than a row of errors changes nothing.
    let picks: Vec<_> = (0..1_100).map(|_| port_for_release(&pools, now)).collect();
    assert_eq!(picks.iter().filter(|port| **port == 1).count(), 100);
    fail(&all[&1], 4, now);
    assert_eq!(ejected(&pools, now), [2, 3]);
    // Errors of requests that were under way when it went bring no instance back.
    fail(&all[&3], 20, now + EJECTION_STANDS * 2);
    assert_eq!(ejected(&pools, now + EJECTION_STANDS * 2), [2, 3]);
}

#[test]
fn a_sole_gray_instance_that_only_fails_is_left_for_release() {
    let now = Instant::now();
    let mut spec =
        service(&[&["release"], &["gray", "release"]], vec![instance("release", 1), instance("gray", 2)]);
    spec.outlier = Some(OutlierSpec::default());
    let pools = build(&spec);
    for one in by_port(&pools).values() {
        fail(one, 5, now);
    }
    assert_eq!(ejected(&pools, now), [2]);
    let mut walk = Walk::new(pools.version("gray"), None, None, 0);
    assert_eq!(pools.pick(&mut walk, now).unwrap().instance.address(), address(1));
}

#[test]
fn those_without_requests_neither_count_nor_go() {
    let now = Instant::now();
    let mut spec = release_of(&[1, 1, 0, 1]);
    spec.instances[3].draining = true;
    spec.outlier = Some(OutlierSpec::default());
    let pools = build(&spec);
    for one in by_port(&pools).values() {
        fail(one, 5, now);
    }
    assert_eq!(ejected(&pools, now), [1]);
    assert_eq!(by_port(&pools)[&4].state(now), InstanceState::Draining);
}

#[test]
fn off_is_off() {
    let now = Instant::now();
    let pools = build(&release_of(&[1, 1]));
    fail(&by_port(&pools)[&1], 100, now);
    assert!(ejected(&pools, now).is_empty());
}

#[test]
fn a_good_check_brings_an_instance_back_early() {
    let now = Instant::now();
    let mut spec = release_of(&[1, 1]);
    spec.health = Some(tcp_check());
    spec.outlier = Some(OutlierSpec::default());
    let pools = build(&spec);
    let all = by_port(&pools);
    for one in all.values() {
        one.vitals.checked(&tcp_check(), true, now);
    }
    fail(&all[&1], 5, now);
    assert_eq!(ejected(&pools, now), [1]);
    all[&1].vitals.checked(&tcp_check(), false, now);
    assert_eq!(ejected(&pools, now), [1]);
    all[&1].vitals.checked(&tcp_check(), true, now);
    assert!(ejected(&pools, now).is_empty());
    assert!((0..40).any(|_| port_for_release(&pools, now) == 1));
}

#[test]
fn an_instance_that_returns_takes_up_its_share_step_by_step() {
    let start = Instant::now();
    let pools = pools_of(&[1, 1], "50%");
    fail(&by_port(&pools)[&1], 5, start);
    let back = start + BASE;
    let share = |after: Duration| {
        let picks = (0..1_100).map(|_| port_for_release(&pools, back + after));
        picks.filter(|port| *port == 1).count()
    };
    let shares: Vec<_> = (0..=10).map(|second| share(Duration::from_secs(second))).collect();
    assert_eq!(shares[0], 100, "a tenth of the other's");
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!(shares[10], 550);
    assert_eq!(share(RECOVERY * 5), 550);
}
