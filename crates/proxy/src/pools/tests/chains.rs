//! Where a request goes while every try fails: chains, pins, weights, draining, retries.

use super::*;
use graygate_rules::vocab::FallbackReason;

/// `release` is the end of everything but `strict`.
const CHAINS: &[&[&str]] =
    &[&["release"], &["gray", "beta", "release"], &["beta", "release"], &["plain", "release"], &["strict"]];

/// Reads `g1=gray down pin:li, r1=release`: an instance's name, label and state.
fn state_of(text: &str) -> (Arc<ServicePools>, BTreeMap<u16, String>, Instant) {
    let start = Instant::now();
    let mut spec = service(CHAINS, Vec::new());
    spec.health = Some(tcp_check());
    spec.outlier = Some(OutlierSpec::default());
    spec.pin_tag = Some("developer".into());
    let mut names = BTreeMap::new();
    let mut states = BTreeMap::new();
    for (port, one) in (1u16..).zip(text.split(", ").filter(|one| !one.is_empty())) {
        if let Some(word) = one.strip_prefix("closed:") {
            spec.closed.extend(CHAINS.iter().position(|chain| chain[0] == word));
            continue;
        }
        let (called, rest) = one.split_once('=').unwrap();
        let mut words = rest.split(' ');
        let mut made = instance(words.next().unwrap(), port);
        for word in words {
            match word.split_once(':') {
                Some(("pin", value)) => drop(made.tags.insert("developer".into(), value.into())),
                Some(("weight", value)) => made.weight = value.parse().unwrap(),
                None if word == "draining" => made.draining = true,
                _ => drop(states.insert(port, word)),
            }
        }
        names.insert(port, called.to_owned());
        spec.instances.push(made);
    }
    let pools = build(&spec);
    let health = tcp_check();
    for (port, one) in by_port(&pools) {
        match states.get(&port).copied() {
            None => drop(one.vitals.checked(&health, true, start)),
            Some("down") => drop(one.vitals.checked(&health, false, start)),
            Some("unknown") => {}
            Some("out") => {
                one.vitals.checked(&health, true, start);
                one.vitals.eject(&OutlierSpec::default(), start);
            }
            Some(other) => panic!("{other}"),
        }
    }
    (pools, names, start)
}

/// Sends one request on its way and fails every try. `g` is some instance called `g...`, `g!` one
/// that was tried before; a fallback's reason follows the slash.
fn way(text: &str, decided: &str, pin: Option<&str>, retries: u32) -> String {
    let (pools, names, now) = state_of(text);
    let mut walk = Walk::new(pools.version(decided), pin.map(Into::into), None, retries);
    let mut seen = Vec::new();
    let mut steps = Vec::new();
    loop {
        let Ok(picked) = pools.pick(&mut walk, now) else {
            steps.push("503".to_owned());
            break;
        };
        let called = &names[&picked.instance.address().port()];
        let again = if seen.contains(called) { "!" } else { "" };
        let why = picked.fallback.map(|why| format!("/{why}")).unwrap_or_default();
        steps.push(format!("{}{again}{why}", &called[..1]));
        seen.push(called.clone());
        assert!(steps.len() <= RETRIES_LIMIT as usize + 2, "a walk has an end");
        if !walk.has_tries() {
            break;
        }
    }
    steps.join(" ")
}

#[test]
fn a_request_walks_its_chain() {
    for (state, decided, retries, expected) in [
        // The decided version serves, whatever the others do.
        ("g1=gray, r1=release", "gray", 0, "g"),
        ("g1=gray, r1=release down", "gray", 0, "g"),
        ("r1=release", "release", 0, "r"),
        // No instance that may take the request.
        ("r1=release", "gray", 0, "r/no_instances"),
        ("g1=gray weight:0, r1=release", "gray", 0, "r/no_instances"),
        ("g1=gray draining, r1=release", "gray", 0, "r/no_instances"),
        ("b1=beta, r1=release", "gray", 0, "b/no_instances"),
        ("g1=gray, b1=beta, r1=release", "gray", 0, "g"),
        // All unhealthy or ejected; the reason is that of the latest step.
        ("p1=plain down, r1=release", "plain", 0, "r/unhealthy"),
        ("p1=plain out, r1=release", "plain", 0, "r/unhealthy"),
        ("g1=gray down, r1=release", "gray", 0, "r/no_instances"),
        ("g1=gray down, b1=beta, r1=release", "gray", 0, "b/unhealthy"),
        ("g1=gray out, b1=beta, r1=release", "gray", 0, "b/unhealthy"),
        ("g1=gray down, g2=gray out, b1=beta down, r1=release", "gray", 0, "r/unhealthy"),
        ("g1=gray down, g2=gray, r1=release", "gray", 0, "g"),
        // The last pool fails open; with no instance of its own, the one before it is the last.
        ("r1=release down", "release", 0, "r"),
        ("r1=release out", "release", 0, "r"),
        ("g1=gray down, r1=release down", "gray", 0, "r/no_instances"),
        ("g1=gray down, b1=beta down, r1=release down", "gray", 0, "r/unhealthy"),
        ("g1=gray down", "gray", 0, "g"),
        ("g1=gray down, b1=beta down", "gray", 0, "b/unhealthy"),
        ("s1=strict down, r1=release", "strict", 0, "s"),
        // An instance that was not checked yet: better it than a detour, but not better than a healthy one.
        ("g1=gray unknown, r1=release", "gray", 0, "g"),
        ("u1=plain unknown, p1=plain, r1=release", "plain", 1, "p r/connect_failed"),
        ("u1=gray unknown, g1=gray down", "gray", 0, "u"),
        // No instance at all.
        ("", "gray", 3, "503"),
        ("r1=release", "strict", 1, "503"),
        ("g1=gray draining, r1=release weight:0", "gray", 1, "503"),
        // An unknown version goes straight to release.
        ("g1=gray, r1=release", "v9", 0, "r/no_instances"),
        ("g1=gray", "v9", 0, "503"),
    ] {
        assert_eq!(way(state, decided, None, retries), expected, "{state} | {decided}");
    }
}

#[test]
fn a_failed_try_goes_to_another_instance_then_to_the_next_pool() {
    for (state, decided, retries, expected) in [
        ("g1=gray, g2=gray, r1=release", "gray", 0, "g"),
        ("g1=gray, g2=gray, r1=release", "gray", 1, "g g r/connect_failed"),
        ("g1=gray, g2=gray, r1=release", "gray", 2, "g g r/no_instances"),
        ("g1=gray, b1=beta, r1=release", "gray", 1, "g b/connect_failed r/connect_failed"),
        ("g1=gray, b1=beta, r1=release", "gray", 2, "g b/connect_failed r/connect_failed"),
        ("g1=gray, g2=gray, g3=gray, r1=release", "gray", 1, "g g r/connect_failed"),
        ("g1=gray, g2=gray, g3=gray, r1=release", "gray", 3, "g g g r/no_instances"),
        // The last pool was reached: no extra try.
        ("r1=release, r2=release", "release", 1, "r r"),
        ("r1=release, r2=release", "release", 0, "r"),
        ("g1=gray down, r1=release, r2=release", "gray", 1, "r/no_instances r/no_instances"),
        // Those that are down come before those that just failed; then the healthy again.
        ("r1=release, d1=release down", "release", 1, "r d"),
        ("r1=release, d1=release down", "release", 3, "r d r! r!"),
        ("r1=release", "release", 2, "r r! r!"),
        ("r1=release, r2=release", "release", 3, "r r r! r!"),
        ("s1=strict, r1=release", "strict", 1, "s s!"),
        // More retries than are allowed.
        ("r1=release", "release", 100, "r r! r! r! r! r! r! r! r!"),
    ] {
        assert_eq!(way(state, decided, None, retries), expected, "{state} | {retries}");
    }
}

#[test]
fn pins_keep_to_their_instances() {
    for (state, decided, pin, retries, expected) in [
        ("p1=gray pin:li, g1=gray, r1=release", "gray", Some("li"), 0, "p"),
        ("p1=gray pin:li, g1=gray, r1=release", "gray", None, 0, "g"),
        ("p1=gray pin:li, g1=gray, r1=release", "gray", Some("wang"), 0, "g"),
        ("p1=gray pin:li, r1=release", "gray", None, 0, "r/no_instances"),
        // The whole chain pinned, before any other instance.
        ("g1=gray, p1=release pin:li, r1=release", "gray", Some("li"), 0, "p/no_instances"),
        ("p1=gray pin:li down, q1=release pin:li, g1=gray", "gray", Some("li"), 0, "q/no_instances"),
        // Then as if there were no pin; back in the decided version is no fallback.
        ("p1=gray pin:li down, g1=gray, r1=release", "gray", Some("li"), 0, "g"),
        ("p1=gray pin:li, g1=gray, r1=release", "gray", Some("li"), 2, "p g r/no_instances"),
        ("p1=gray pin:li, g1=gray, r1=release", "gray", Some("li"), 1, "p g r/connect_failed"),
        ("p1=release pin:li, r1=release", "release", Some("li"), 1, "p r"),
        // Pinned instances alone: they fail open for their pin, and for no other request.
        ("p1=release pin:li down", "release", Some("li"), 0, "p"),
        ("p1=release pin:li", "release", Some("wang"), 0, "503"),
        ("p1=release pin:li", "release", None, 0, "503"),
    ] {
        assert_eq!(way(state, decided, pin, retries), expected, "{state} | {pin:?}");
    }
}

#[test]
fn without_a_pin_tag_no_instance_is_reserved() {
    let mut tagged = instance("release", 1);
    tagged.tags.insert("developer".into(), "li".into());
    let pools = build(&service(CHAINS, vec![tagged]));
    for pin in [None, Some("li"), Some("wang")] {
        let mut walk = Walk::new(pools.version("release"), pin.map(Into::into), None, 0);
        assert!(pools.pick(&mut walk, Instant::now()).is_ok(), "{pin:?}");
    }
}

#[test]
fn aliased_words_share_a_pool() {
    let mut spec = service(CHAINS, vec![instance("v7", 1)]);
    spec.versions[0].label = name("v7");
    spec.versions[1].label = name("v7");
    let pools = build(&spec);
    let mut walk = Walk::new(pools.version("gray"), None, None, 0);
    let picked = pools.pick(&mut walk, Instant::now()).unwrap();
    assert_eq!(pools.word(picked.version), Some(&name("gray")));
    assert_eq!(picked.fallback, None);
    assert!(pools.has_instances(pools.version("gray").unwrap()));
    assert!(!pools.has_instances(pools.version("strict").unwrap()));
}

#[test]
fn instances_count_wherever_the_chain_leads_and_whatever_they_do() {
    let (pools, ..) = state_of("r1=release draining");
    for (word, expected) in [("gray", true), ("beta", true), ("release", true), ("strict", false)] {
        assert_eq!(pools.has_instances(pools.version(word).unwrap()), expected, "{word}");
    }
}

#[test]
fn a_picked_walk_asked_beyond_its_budget_gets_nothing() {
    let (pools, _, now) = state_of("r1=release");
    let mut walk = Walk::new(pools.version("release"), None, None, 0);
    assert!(pools.pick(&mut walk, now).is_ok());
    assert_eq!(pools.pick(&mut walk, now).err(), Some(NoInstance::None));
    assert_eq!(walk.tries(), 1);
}

#[test]
fn max_connections_counts_requests_in_flight_of_the_whole_service() {
    let mut spec = service(CHAINS, vec![instance("gray", 1), instance("release", 2)]);
    spec.max_connections = Some(2);
    let pools = build(&spec);
    let now = Instant::now();
    let pick = |word: &str| {
        let mut walk = Walk::new(pools.version(word), None, None, 1);
        pools.pick(&mut walk, now).map(|picked| picked.in_flight)
    };
    let first = pick("gray").unwrap();
    let second = pick("release").unwrap();
    assert_eq!(first.instance().in_flight(), 1);
    assert_eq!(pick("release").err(), Some(NoInstance::Overloaded));
    assert_eq!(pools.in_flight(), 2);
    drop(first);
    assert!(pick("release").is_ok());
    drop(second);
    assert_eq!(pools.in_flight(), 0);
    assert!(by_port(&pools).values().all(|one| one.in_flight() == 0));
}

#[test]
fn the_reason_is_the_latest_one() {
    let (pools, _, now) = state_of("g1=gray, b1=beta down, r1=release");
    let mut walk = Walk::new(pools.version("gray"), None, None, 2);
    let fallbacks: Vec<_> =
        std::iter::from_fn(|| Some(pools.pick(&mut walk, now).ok()?.fallback)).take(2).collect();
    assert_eq!(fallbacks, [None, Some(FallbackReason::Unhealthy)]);
}

#[test]
fn a_closed_version_takes_pinned_requests_alone() {
    for (text, decided, pin, expected) in [
        ("g=gray, b=beta, r=release, closed:gray", "gray", None, "r/closed"),
        ("g=gray, b=beta, r=release, closed:beta", "gray", None, "g"),
        ("g=gray down, b=beta, r=release, closed:beta", "gray", None, "r/closed"),
        ("s=strict, r=release, closed:strict", "strict", None, "r/closed"),
        ("g=gray pin:li, r=release, closed:gray", "gray", Some("li"), "g"),
        ("g=gray pin:li, r=release, closed:gray", "gray", None, "r/closed"),
        ("g=gray, closed:gray", "gray", None, "503"),
        ("g=gray, r=release", "gray", None, "g"),
    ] {
        assert_eq!(way(text, decided, pin, 0).split(' ').next(), Some(expected), "{text}");
    }
}

#[test]
fn a_closed_version_takes_the_requests_of_testers() {
    let (pools, names, now) = state_of("g=gray, r=release, closed:gray");
    for (enters, expected) in [(true, "g"), (false, "r")] {
        let mut walk = Walk::new(pools.version("gray"), None, None, 0).into_closed(enters);
        let picked = pools.pick(&mut walk, now).unwrap();
        assert_eq!(names[&picked.instance.address().port()], expected);
    }
}
