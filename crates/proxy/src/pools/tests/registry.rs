//! What survives a change of documents, and what does not.

use super::*;
use graygate_rules::vocab::InstanceState;

fn checked(instances: Vec<InstanceSpec>) -> ServiceSpec {
    ServiceSpec {
        health: Some(tcp_check()),
        outlier: Some(OutlierSpec::default()),
        ..service(&[&["release"], &["gray", "release"]], instances)
    }
}

fn rebuild(registry: &Registry, spec: &ServiceSpec) -> Arc<ServicePools> {
    registry.build(std::slice::from_ref(spec)).remove(0)
}

#[test]
fn state_stays_with_service_version_and_address() {
    let base = checked(vec![instance("release", 1), instance("release", 2)]);
    let changed = |change: fn(&mut ServiceSpec)| {
        let mut spec = base.clone();
        change(&mut spec);
        spec
    };
    for (what, spec, survives) in [
        ("nothing", changed(|_| ()), true),
        ("weight", changed(|spec| spec.instances[0].weight = 7), true),
        ("tags", changed(|spec| drop(spec.instances[0].tags.insert("zone".into(), "a".into()))), true),
        ("another instance", changed(|spec| spec.instances.truncate(1)), true),
        ("balance", changed(|spec| spec.balance = Balance::Hash), true),
        ("interval", changed(|spec| spec.health.as_mut().unwrap().interval *= 2), true),
        ("version", changed(|spec| spec.instances[0].version = name("gray")), false),
        ("port", changed(|spec| spec.instances[0].address = address(3)), false),
        ("service", changed(|spec| spec.name = name("portal")), false),
    ] {
        let now = Instant::now();
        let registry = Registry::new(0);
        let before = rebuild(&registry, &base);
        let old = by_port(&before)[&1].clone();
        let held = InFlight::take(&old, None).unwrap();
        old.vitals.checked(&tcp_check(), true, now);
        let after = rebuild(&registry, &spec);
        let all = by_port(&after);
        let one = all.values().find(|one| one.address() != address(2)).unwrap();
        assert_eq!(one.in_flight(), usize::from(survives), "{what}");
        assert_eq!(one.state(now) == InstanceState::Healthy, survives, "{what}");
        drop(held);
        assert_eq!(one.in_flight(), 0, "{what}");
    }
}

#[test]
fn draining_keeps_requests_and_takes_no_new_ones() {
    let now = Instant::now();
    let registry = Registry::new(0);
    let mut spec = checked(vec![instance("release", 1), instance("release", 2)]);
    let before = rebuild(&registry, &spec);
    let held = InFlight::take(&by_port(&before)[&1], None).unwrap();
    spec.instances[0].draining = true;
    let after = rebuild(&registry, &spec);
    assert!((0..10).all(|_| port_for_release(&after, now) == 2));
    let one = &by_port(&after)[&1];
    assert_eq!((one.in_flight(), one.state(now)), (1, InstanceState::Draining));
    drop(held);
    assert_eq!(one.in_flight(), 0);
}

#[test]
fn another_check_knows_nothing_yet_but_requests_go_on_counting() {
    let now = Instant::now();
    let registry = Registry::new(0);
    let mut spec = checked(vec![instance("release", 1)]);
    let before = rebuild(&registry, &spec);
    let held = InFlight::take(&by_port(&before)[&1], None).unwrap();
    by_port(&before)[&1].vitals.checked(&tcp_check(), true, now);
    spec.health.as_mut().unwrap().check = Check::Grpc { service: String::new() };
    let after = rebuild(&registry, &spec);
    let one = &by_port(&after)[&1];
    assert_eq!((one.in_flight(), one.state(now)), (1, InstanceState::Unhealthy));
    one.vitals.checked(&tcp_check(), true, now);
    assert_eq!(one.state(now), InstanceState::Unhealthy, "the old check's answer comes late");
    spec.health = None;
    rebuild(&registry, &spec);
    assert_eq!(one.state(now), InstanceState::Healthy);
    drop(held);
}

#[test]
fn what_did_not_change_is_not_made_again() {
    let registry = Registry::new(0);
    let mut spec = checked(vec![instance("release", 1), instance("release", 2), instance("gray", 3)]);
    let first = rebuild(&registry, &spec);
    assert!(Arc::ptr_eq(&first, &rebuild(&registry, &spec)));
    spec.instances[2].weight = 9;
    let second = rebuild(&registry, &spec);
    let pool = |pools: &ServicePools, label: &str| pools.groups[&name(label)].open.clone();
    assert!(Arc::ptr_eq(&pool(&first, "release"), &pool(&second, "release")));
    assert!(!Arc::ptr_eq(&pool(&first, "gray"), &pool(&second, "gray")));
}

#[test]
fn turns_go_on_across_generations() {
    let now = Instant::now();
    let registry = Registry::new(0);
    let mut spec = release_of(&[1, 1]);
    let mut last = port_for_release(&rebuild(&registry, &spec), now);
    for generation in 1..20 {
        // A tag changes with every generation: the pool is another, the turn is not.
        let tag = generation.to_string().as_str().into();
        spec.instances[0].tags.insert("build".into(), tag);
        let port = port_for_release(&rebuild(&registry, &spec), now);
        assert_ne!(port, last, "generation {generation}");
        last = port;
    }
}

#[test]
fn what_nothing_references_is_dropped() {
    let registry = Registry::new(0);
    let both = [
        checked(vec![instance("release", 1), instance("gray", 2)]),
        ServiceSpec { name: name("portal"), ..checked(vec![instance("release", 1)]) },
    ];
    let old = registry.build(&both);
    assert_eq!(registry.sizes(), (2, 3));
    let request = InFlight::take(&by_port(&old[0])[&2], None).unwrap();
    drop(old);
    let gone = [checked(vec![instance("release", 1)])];
    registry.build(&gone);
    assert_eq!(registry.sizes(), (1, 2), "a running request keeps its instance");
    drop(request);
    registry.build(&gone);
    assert_eq!(registry.sizes(), (1, 1));
    registry.build(&[]);
    assert_eq!(registry.sizes(), (0, 0));
}

#[test]
fn one_address_twice_is_one_instance() {
    let mut spec = release_of(&[1, 5]);
    spec.instances[1].address = address(1);
    let pools = build(&spec);
    let listed: Vec<_> = pools.labels().flat_map(|(_, all)| all).map(|one| one.weight()).collect();
    assert_eq!(listed, [1]);
}
