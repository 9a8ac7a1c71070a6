//! What one pick costs, its place in flight included: by balance, number of instances, threads.

#[path = "policies/pools.rs"]
mod pools;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use graygate_proxy::pools::{ServicePools, Walk};
use graygate_rules::spec::Balance;
use pools::pools;

fn pick(pools: &ServicePools, key: u64, now: Instant) {
    let mut walk = Walk::new(Some(0), None, Some(key), 1);
    drop(black_box(pools.pick(&mut walk, now)));
}

fn picks(criterion: &mut Criterion) {
    let now = Instant::now();
    for (name, balance, weights) in [
        ("round_robin", Balance::RoundRobin, 1),
        ("least_requests", Balance::LeastRequests, 1),
        ("hash", Balance::Hash, 1),
        ("hash_weighted", Balance::Hash, 5),
    ] {
        for instances in [2, 100, 1_000] {
            let pools = pools(balance, instances, weights);
            let mut key = 0;
            criterion.bench_function(&format!("pick/{name}/{instances}"), |bencher| {
                bencher.iter(|| {
                    key += 1;
                    pick(&pools, key, now);
                });
            });
        }
    }
}

/// Every thread picks from one pool: what the shared cursor and counters cost.
fn contended(criterion: &mut Criterion) {
    let now = Instant::now();
    let pools = pools(Balance::RoundRobin, 100, 1);
    criterion.bench_function("pick/round_robin/100/2_threads", |bencher| {
        bencher.iter_custom(|rounds| {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| (0..rounds).for_each(|key| pick(&pools, key, now)));
                }
            });
            start.elapsed()
        });
    });
}

/// Short samples, as those of decisions.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(150))
        .measurement_time(Duration::from_millis(300))
        .without_plots()
}

criterion_group! {name = benches; config = short(); targets = picks, contended}
criterion_main!(benches);
