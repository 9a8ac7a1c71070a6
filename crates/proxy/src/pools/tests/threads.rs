//! The promises that many threads at once must not break.

use super::*;
use graygate_rules::vocab::{Share, TryOutcome};

const THREADS: usize = 4;

fn on_all_threads(run: impl Fn(usize) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let run = &run;
            scope.spawn(move || run(thread));
        }
    });
}

#[test]
fn turns_stay_exact_and_places_are_given_back() {
    let pools = build(&release_of(&[1, 2, 4]));
    let now = Instant::now();
    let taken = parking_lot::Mutex::new(BTreeMap::<u16, usize>::new());
    on_all_threads(|_| {
        for _ in 0..7_000 {
            *taken.lock().entry(port_for_release(&pools, now)).or_default() += 1;
        }
    });
    let rounds = THREADS * 1_000;
    let expected = [(1, rounds), (2, 2 * rounds), (3, 4 * rounds)];
    assert_eq!(*taken.lock(), expected.into());
    assert_eq!(pools.in_flight(), 0);
}

#[test]
fn the_limit_of_requests_is_never_passed() {
    let mut spec = release_of(&[1, 1, 1]);
    spec.max_connections = Some(3);
    let pools = build(&spec);
    let now = Instant::now();
    let refused = std::sync::atomic::AtomicUsize::new(0);
    on_all_threads(|_| {
        for _ in 0..2_000 {
            let mut walk = Walk::new(Some(0), None, None, 0);
            match pools.pick(&mut walk, now) {
                Ok(_picked) => assert!(pools.in_flight() <= 3),
                Err(error) => {
                    assert_eq!(error, NoInstance::Overloaded);
                    refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
    });
    assert!(refused.into_inner() < THREADS * 2_000, "some got a place");
    assert!(pools.pick(&mut Walk::new(Some(0), None, None, 0), now).is_ok());
}

#[test]
fn ejections_at_once_keep_to_the_limit() {
    for _ in 0..50 {
        let mut spec = release_of(&[1; 8]);
        spec.outlier =
            Some(OutlierSpec { max_ejected: Share::parse("25").unwrap(), ..OutlierSpec::default() });
        let pools = build(&spec);
        let now = Instant::now();
        let all: Vec<_> = by_port(&pools).into_values().collect();
        on_all_threads(|thread| {
            for one in all.iter().skip(thread).step_by(THREADS) {
                let ejected = (0..5).filter(|_| one.report(TryOutcome::Reset, None, now)).count();
                assert!(ejected <= 1);
                port_for_release(&pools, now);
            }
        });
        assert_eq!(pools.ejections(), 2);
    }
}
