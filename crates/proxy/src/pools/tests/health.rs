//! Active checks: thresholds, the time before the first answer, the words for states.

use super::*;
use graygate_rules::vocab::InstanceState;

fn checked_release(instances: usize) -> Arc<ServicePools> {
    build(&ServiceSpec { health: Some(tcp_check()), ..release_of(&vec![1; instances]) })
}

#[test]
fn thresholds_count_answers_in_a_row() {
    // `+` and `-` are answers; the state after each: healthy, unhealthy.
    for (answers, states) in [
        ("+", "h"),
        ("-", "u"),
        ("+---", "hhhu"),
        ("+--+--+---", "hhhhhhhhhu"),
        ("-++", "uuh"),
        ("-+-++", "uuuuh"),
        ("+---+-++", "hhhuuuuh"),
    ] {
        let pools = checked_release(1);
        let one = &by_port(&pools)[&1];
        let now = Instant::now();
        assert_eq!(one.state(now), InstanceState::Unhealthy, "it was not checked yet");
        for (answer, state) in answers.chars().zip(states.chars()) {
            one.vitals.checked(&tcp_check(), answer == '+', now);
            let expected = match state {
                'h' => InstanceState::Healthy,
                _ => InstanceState::Unhealthy,
            };
            assert_eq!(one.state(now), expected, "{answers}");
        }
    }
}

#[test]
fn without_a_check_every_instance_is_healthy() {
    let pools = build(&release_of(&[1, 0]));
    let now = Instant::now();
    for one in by_port(&pools).values() {
        assert_eq!(one.state(now), InstanceState::Healthy);
        one.vitals.checked(&tcp_check(), false, now);
        assert_eq!(one.state(now), InstanceState::Healthy, "a stale answer");
    }
}

#[test]
fn answers_change_who_is_picked_at_once() {
    let pools = checked_release(3);
    let now = Instant::now();
    let all = by_port(&pools);
    let picked = || {
        let ports = (0..60).map(|_| port_for_release(&pools, now));
        ports.collect::<std::collections::BTreeSet<u16>>()
    };
    assert_eq!(picked(), [1, 2, 3].into(), "no instance answered: all will do");
    all[&2].vitals.checked(&tcp_check(), false, now);
    assert_eq!(picked(), [1, 3].into());
    all[&1].vitals.checked(&tcp_check(), true, now);
    assert_eq!(picked(), [1].into());
    all[&3].vitals.checked(&tcp_check(), true, now);
    assert_eq!(picked(), [1, 3].into());
    for _ in 0..2 {
        all[&2].vitals.checked(&tcp_check(), true, now);
    }
    assert_eq!(picked(), [1, 2, 3].into());
    for one in all.values() {
        for _ in 0..3 {
            one.vitals.checked(&tcp_check(), false, now);
        }
    }
    assert_eq!(picked(), [1, 2, 3].into(), "all down: all are tried all the same");
}
