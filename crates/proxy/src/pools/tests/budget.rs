//! Extra tries: how many a service makes in an outage, and that a healthy release is never kept from its users.

use super::*;
use graygate_rules::vocab::TryOutcome;

/// Sends requests that fail wherever `fails` says so; every second has `rate` of them.
struct Outage {
    pools: Arc<ServicePools>,
    decided: &'static str,
    rate: u32,
    fails: fn(u16) -> bool,
}

/// What became of the requests.
#[derive(Default, PartialEq, Debug)]
struct Outcome {
    failed: u32,
    extra_tries: u32,
}

impl Outage {
    fn run(&self, seconds: u32) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome::default();
        for request in 0..seconds * self.rate {
            let now = start + Duration::from_secs(1) * request / self.rate;
            let mut walk = Walk::new(self.pools.version(self.decided), None, None, 3);
            let mut is_served = false;
            while !is_served {
                let picked = self.pools.pick(&mut walk, now).unwrap();
                is_served = !(self.fails)(picked.instance.address().port());
                let outcome = match is_served {
                    true => TryOutcome::Response,
                    false => TryOutcome::ConnectFailed,
                };
                picked.instance.report(outcome, None, now);
                if !is_served && self.pools.may_retry(&mut walk, now) != Retry::Granted {
                    break;
                }
            }
            outcome.failed += u32::from(!is_served);
            outcome.extra_tries += walk.tries() - 1;
        }
        outcome
    }
}

/// Ports 1 to 9 are `gray`, 11 to 13 `release`.
fn both(outlier: Option<OutlierSpec>) -> Arc<ServicePools> {
    let gray = (1..10).map(|port| instance("gray", port));
    let release = (11..14).map(|port| instance("release", port));
    let mut spec = service(&[&["release"], &["gray", "release"]], gray.chain(release).collect());
    spec.outlier = outlier;
    build(&spec)
}

#[test]
fn an_outage_of_everything_is_not_multiplied() {
    for decided in ["release", "gray"] {
        let outage = Outage { pools: both(None), decided, rate: 100, fails: |_| true };
        let outcome = outage.run(20);
        assert_eq!(outcome.failed, 2_000);
        // A fifth and the floor of two windows; a decided gray version's users may also try release once.
        let most = match decided {
            "release" => 2_000 / 5 + 3 * 20,
            _ => 2_000 + 3 * 20,
        };
        assert!((1..=most).contains(&outcome.extra_tries), "{decided}: {outcome:?}");
    }
}

#[test]
fn a_dead_gray_version_fails_no_request_whatever_the_budget() {
    // Half of the dead pool is never ejected, or none at all: the budget is spent for good.
    for outlier in [None, Some(OutlierSpec::default())] {
        let outage = Outage { pools: both(outlier), decided: "gray", rate: 200, fails: |port| port < 10 };
        assert_eq!(outage.run(30).failed, 0);
    }
}

#[test]
fn a_spent_budget_ends_retries_where_no_instance_is_available() {
    let health = tcp_check();
    let mut spec = service(
        &[&["release"], &["gray", "release"]],
        vec![instance("gray", 1), instance("gray", 2), instance("release", 11)],
    );
    spec.health = Some(health.clone());
    let pools = build(&spec);
    let now = Instant::now();
    for (port, one) in by_port(&pools) {
        one.vitals.checked(&health, port < 10, now);
    }
    let asked = (0..100).map(|_| {
        let mut walk = Walk::new(pools.version("gray"), None, None, 1);
        drop(pools.pick(&mut walk, now).unwrap());
        pools.may_retry(&mut walk, now)
    });
    // The floor of a window, and a fifth of a hundred requests.
    assert_eq!(asked.filter(|answer| *answer == Retry::Suppressed).count(), 100 - 30 - 20);
}

#[test]
fn who_asked_for_no_retries_takes_nothing_from_the_budget() {
    let pools = both(None);
    let now = Instant::now();
    let mut walk = Walk::new(pools.version("gray"), None, None, 0);
    drop(pools.pick(&mut walk, now).unwrap());
    assert_eq!(pools.may_retry(&mut walk, now), Retry::Exhausted);
}
