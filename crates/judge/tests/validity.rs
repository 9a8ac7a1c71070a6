//! That evidence is worth at most 1 on average while a version is as good as it should be, by going through every small table.
//!
//! Ville's inequality makes the rest of it: a process like that passes `1/alpha` at any time with a chance of at most alpha.

use graygate_judge::blocks::{Counts, Key, Naming, Row, Series, Teller};
use graygate_judge::odds::{
    ERROR_RATIOS, Events, LATENCY_RATIOS, Mixture, SECOND_CAP, above_limit, beside_release, rates_above,
};
use graygate_judge::{GuardName, Guards, Judge, Run, Tick};

/// What a sum of rounded products may be off by.
const ROUNDING: f64 = 1e-9;

fn choose(n: u64, k: u64) -> f64 {
    if k > n {
        return 0.0;
    }
    (0..k).fold(1.0, |product, i| product * (n - i) as f64 / (i + 1) as f64)
}

/// Fisher's distribution of the gray ones among `events` of `gray + release`, with an odds ratio of `odds`.
fn tables(gray: u64, release: u64, events: u64, odds: f64) -> Vec<(u64, f64)> {
    let weight = |x: u64| choose(gray, x) * choose(release, events - x) * odds.powi(x as i32);
    let all: f64 = (0..=events).map(weight).sum();
    (0..=events).map(|x| (x, weight(x) / all)).collect()
}

#[test]
fn every_table_of_two_sides_is_worth_at_most_one() {
    let mut highest = 0.0f64;
    for all in 2..=24u64 {
        for gray in 1..all {
            let rho = gray as f64 / all as f64;
            for events in 1..=all {
                for psi0 in [1.0, 1.2, 1.5, 2.0, 3.0] {
                    // Better than tolerated is in the null as well.
                    for odds in [1.0, psi0] {
                        let tables = tables(gray, all - gray, events, odds);
                        for ratio in ERROR_RATIOS.into_iter().chain(LATENCY_RATIOS) {
                            let worth: f64 = tables
                                .iter()
                                .map(|&(x, chance)| {
                                    let events = Events { gray: x, release: events - x };
                                    chance * beside_release(events, rho, ratio, psi0).exp()
                                })
                                .sum();
                            highest = highest.max(worth);
                        }
                    }
                }
            }
        }
    }
    assert!((1.0 - 1e-3..=1.0 + ROUNDING).contains(&highest), "{highest}");
}

#[test]
fn drawn_clients_are_worth_one_at_what_is_tolerated_and_less_below() {
    for share in [0.001, 0.01, 0.05, 0.5, 0.99] {
        for psi0 in [1.0, 1.5, 3.0] {
            for (odds, highest) in [(psi0, 1.0 + ROUNDING), (1.0, 1.0 + ROUNDING), (0.3, 1.0)] {
                let theta: f64 = share * odds / (1.0 - share + share * odds);
                for clients in 1..=12u64 {
                    for ratio in ERROR_RATIOS {
                        let worth: f64 = (0..=clients)
                            .map(|x| {
                                let chance = choose(clients, x)
                                    * theta.powi(x as i32)
                                    * (1.0 - theta).powi((clients - x) as i32);
                                let events = Events { gray: x, release: clients - x };
                                chance * beside_release(events, share, ratio, psi0).exp()
                            })
                            .sum();
                        assert!(worth <= highest, "share {share} tolerate {psi0} odds {odds}: {worth}");
                        assert!(odds < psi0 || (worth - 1.0).abs() < ROUNDING);
                    }
                }
            }
        }
    }
}

#[test]
fn a_rate_at_or_below_its_limit_is_worth_at_most_one() {
    for limit in [0.001, 0.01, 0.05, 0.2, 0.6] {
        for part in [1.0, 0.5, 0.0] {
            let rate: f64 = limit * part;
            for of in 1..=30u64 {
                for ratio in rates_above(limit) {
                    let worth: f64 = (0..=of)
                        .map(|x| {
                            let chance =
                                choose(of, x) * rate.powi(x as i32) * (1.0 - rate).powi((of - x) as i32);
                            chance * above_limit(x, of, ratio, limit).exp()
                        })
                        .sum();
                    assert!(worth <= 1.0 + ROUNDING, "limit {limit} rate {rate}: {worth}");
                }
            }
        }
    }
}

/// The most that anyone makes of a process who may stop it at any time, in the light of all he has seen.
fn best_stop<S: Clone>(
    state: &S,
    left: u32,
    worth: &impl Fn(&S) -> f64,
    next: &impl Fn(&S, u32) -> Vec<(f64, S)>,
) -> f64 {
    let now = worth(state);
    if left == 0 {
        return now;
    }
    let on: f64 = next(state, left)
        .iter()
        .map(|(chance, state)| chance * best_stop(state, left - 1, worth, next))
        .sum();
    now.max(on)
}

#[test]
fn no_time_to_stop_makes_the_mixture_worth_more_than_one() {
    const THETA: f64 = 0.2;
    for (cap, exact) in [(f64::INFINITY, true), (SECOND_CAP, false)] {
        let second = |mixture: &Mixture, left: u32| {
            let outcome = |events: Events| {
                let mut mixture = mixture.clone();
                // Silence in between changes nothing.
                mixture.pass(u64::from(left % 3) * 100);
                mixture.second(&ERROR_RATIOS.map(|ratio| beside_release(events, THETA, ratio, 1.0).min(cap)));
                mixture
            };
            vec![
                (THETA, outcome(Events { gray: 1, release: 0 })),
                (1.0 - THETA, outcome(Events { gray: 0, release: 1 })),
            ]
        };
        let best = best_stop(&Mixture::new(ERROR_RATIOS.len()), 12, &|mixture| mixture.log().exp(), &second);
        assert!(best <= 1.0 + ROUNDING, "{best}");
        assert_eq!((best - 1.0).abs() < ROUNDING, exact || best >= 1.0 - ROUNDING, "{best}");
    }
}

fn judge() -> Judge {
    Judge::new(Run {
        plan: "p".into(),
        version: "gray".into(),
        services: vec!["patient".into()],
        guards: Guards::default(),
        start: Some(0),
    })
}

struct Told<'a> {
    second: u64,
    rule: Option<&'a str>,
    version: &'a str,
    requests: u64,
    clients: Vec<u64>,
}

fn row(told: Told<'_>) -> Row {
    let (rule, version) = (told.rule, told.version);
    let naming = Naming { service: "patient", route: "portal", rule, share: 20.0, version };
    let key = Key::new(told.second, Teller::new("edge-1", "b"), Series::new(naming));
    let errors = told.clients.len() as u64;
    let counts =
        Counts { requests: told.requests, errors, error_clients: told.clients.into(), ..Counts::default() };
    Row { key, counts, edges: None }
}

fn errors_e(judge: &Judge) -> f64 {
    let errors = judge.guards().iter().find(|guard| guard.name() == GuardName::Errors);
    10f64.powf(errors.map_or(f64::NAN, |errors| errors.log10_e()))
}

#[test]
fn no_time_to_stop_makes_the_guard_of_drawn_errors_worth_more_than_one() {
    let second = |judge: &Judge, left: u32| {
        let outcome = |version: &str| {
            let mut judge = judge.clone();
            let second = u64::from(12 - left);
            let clients = vec![u64::from(left)];
            let told = Told { second, rule: Some("plan.p.share"), version, requests: 1, clients };
            judge.advance(Tick { passed: 1, now: None, rows: vec![row(told)] });
            judge
        };
        vec![(0.2, outcome("gray")), (0.8, outcome("release"))]
    };
    let best = best_stop(&judge(), 9, &errors_e, &second);
    // Drawn has 0.81 of alpha in the first hour, and nothing else happens here.
    assert!((0.81 - ROUNDING..=1.0 + ROUNDING).contains(&best), "{best}");
}

/// Three gray people beside three others; in each second one of the six fails, no matter which.
#[test]
fn no_time_to_stop_makes_the_guard_of_chosen_errors_worth_more_than_one() {
    let second = |judge: &Judge, left: u32| {
        let outcome = |failed: u64| {
            let mut judge = judge.clone();
            let second = u64::from(6 - left);
            let of = |people: std::ops::Range<u64>, rule, version| {
                let clients = people.filter(|client| *client == failed).collect();
                row(Told { second, rule, version, requests: 3, clients })
            };
            let rows = vec![of(0..3, Some("plan.p.who-1"), "gray"), of(3..6, None, "release")];
            judge.advance(Tick { passed: 1, now: None, rows });
            (1.0 / 6.0, judge)
        };
        (0..6).map(outcome).collect()
    };
    let chosen = |judge: &Judge| {
        let errors = judge.guards().iter().find(|guard| guard.name() == GuardName::Errors).unwrap();
        10f64.powf(errors.log10_strata().unwrap().chosen)
    };
    let best = best_stop(&judge(), 5, &chosen, &second);
    assert!((1.0 - ROUNDING..=1.0 + ROUNDING).contains(&best), "{best}");
}

#[test]
fn a_run_that_was_written_down_goes_on_as_if_nothing_had_happened() {
    let mut whole = judge();
    let mut broken = judge();
    for second in 0..400u64 {
        let hash = |seed: u64| (second + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (seed << 40);
        let of = |rule, version, requests, failing: u64| {
            let clients = (0..failing).map(|client| hash(client) % 97).collect();
            row(Told { second: second * 11, rule, version, requests, clients })
        };
        let rows = || {
            vec![
                of(Some("plan.p.share"), "gray", 20, u64::from(second % 9 == 0)),
                of(Some("plan.p.share"), "release", 80, u64::from(second % 2 == 0)),
                of(Some("plan.p.who-1"), "gray", 20, 1),
                of(Some("inherited"), "gray", 20, u64::from(second % 3 == 0)),
                of(Some("inherited"), "release", 20, u64::from(second % 4 == 0)),
            ]
        };
        for judge in [&mut whole, &mut broken] {
            judge.advance(Tick { passed: 11, now: None, rows: rows() });
            judge.told("edge-1", &second.to_string());
        }
        if second % 7 == 0 {
            let written = serde_json::to_string(&broken).unwrap();
            broken = serde_json::from_str(&written).unwrap();
        }
        for (one, other) in whole.guards().iter().zip(broken.guards()) {
            assert!((one.log10_e() - other.log10_e()).abs() < 1e-9, "{:?} in second {second}", one.name());
            assert_eq!(one.verdict(), other.verdict());
        }
    }
    assert_eq!(whole.requests(), broken.requests());
    assert_eq!(broken.cursors()["edge-1"], "399");
}
