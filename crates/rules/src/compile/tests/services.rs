//! Versions, fallback chains, instances, and rules for every service.

use super::*;
use crate::spec::ServiceSpec;

fn spec(service: &str) -> ServiceSpec {
    good(&[("services/s", service)]).services[0].spec.clone()
}

/// The chain of a version, in the rules' words.
fn chain(service: &str, version: &str) -> String {
    let spec = spec(service);
    let of = spec.versions.iter().find(|one| one.word.as_str() == version).expect(version);
    let words: Vec<&str> = of.chain.iter().map(|id| spec.versions[*id].word.as_str()).collect();
    words.join(" ")
}

#[test]
fn fallback_chains() {
    for (fallback, version, expected) in [
        ("{}", "release", "release"),
        ("{gray: []}", "gray", "gray release"),
        ("{gray: [beta]}", "gray", "gray beta release"),
        ("{gray: [beta]}", "beta", "beta release"),
        // Only the decided version's own list counts.
        ("{gray: [beta], beta: [alpha], alpha: none}", "gray", "gray beta release"),
        ("{gray: [beta], beta: none}", "gray", "gray beta release"),
        ("{gray: [beta], beta: none}", "beta", "beta"),
        // `release` may be written, and is there once, at the end.
        ("{gray: [beta, release]}", "gray", "gray beta release"),
        ("{gray: [release, beta]}", "gray", "gray beta release"),
        ("{gray: [release]}", "gray", "gray release"),
        ("{gray: [gray, beta, gray, beta]}", "gray", "gray beta release"),
        ("{gray: none}", "gray", "gray"),
        ("{gray: none}", "release", "release"),
        ("{gray: [none]}", "gray", "gray none release"),
        ("{release: none}", "release", "release"),
        ("{release: [beta]}", "release", "release beta"),
    ] {
        assert_eq!(chain(&format!("fallback: {fallback}"), version), expected, "{fallback} {version}");
    }
}

#[test]
fn chains_are_in_words_and_aliases_are_resolved_once() {
    let service = "aliases: {release: v1, gray: beta, beta: v3}\nfallback: {gray: [beta], v1: none}";
    assert_eq!(chain(service, "gray"), "gray beta release");
    let spec = spec(service);
    let label = |word: &str| {
        let found = spec.versions.iter().find(|one| one.word.as_str() == word);
        found.unwrap_or_else(|| panic!("no version {word}")).label.to_string()
    };
    for (word, expected) in [("release", "v1"), ("gray", "beta"), ("beta", "v3"), ("v1", "v1"), ("v3", "v3")]
    {
        assert_eq!(label(word), expected, "{word}");
    }
    // On the left of `fallback` stands the decided word, not what it is an alias of.
    assert_eq!(chain(service, "release"), "release");
    assert_eq!(chain(service, "v1"), "v1");
    assert_eq!(chain("aliases: {gray: v2}\nfallback: {v2: none}", "gray"), "gray release");
}

#[test]
fn every_version_that_is_named_is_collected() {
    let compiled = good(&[
        (
            "services/s",
            "aliases: {by-alias: carried}\nfallback: {left: [right], alone: none}\n\
             version_headers: {headed: {x: y}}\ninstances: [{address: '10.0.0.1:80', version: inline}]",
        ),
        ("services/t", "{}"),
        ("instances/s/i", "address: 10.0.0.2:80\nversion: registered"),
        ("rules/a", "services: [s]\nversion: picked"),
        ("rules/b", "split: {shared: 1, release: 2}"),
        ("rules/c", "services: [s]\nenabled: false\nversion: disabled"),
        ("rules/d", "services: [t]\nversion: elsewhere"),
    ]);
    let words = |service: usize| -> Vec<String> {
        let versions = compiled.snapshot.services[service].versions.iter();
        versions.map(|version| version.word.to_string()).collect()
    };
    assert_eq!(
        words(0),
        [
            "release",
            "alone",
            "by-alias",
            "carried",
            "disabled",
            "headed",
            "inline",
            "left",
            "picked",
            "registered",
            "right",
            "shared",
        ]
    );
    assert_eq!(words(1), ["release", "elsewhere", "shared"]);
    // The two halves of a service have the same versions in the same order.
    for (plan, service) in compiled.snapshot.services.iter().zip(compiled.services.iter()) {
        let plan: Vec<_> = plan.versions.iter().map(|one| (one.word.clone(), one.chain.to_vec())).collect();
        let spec: Vec<_> =
            service.spec.versions.iter().map(|one| (one.word.clone(), one.chain.clone())).collect();
        assert_eq!(plan, spec);
    }
    let headed = compiled.snapshot.services[0].versions.iter().find(|one| one.word.as_str() == "headed");
    assert_eq!(headed.unwrap().request_headers.len(), 1);
}

#[test]
fn instances_are_gathered_and_counted_once() {
    let compiled = compiled(&[
        (
            "services/s",
            "instances:\n- {address: '10.0.0.1:80', version: v1}\n- {address: '10.0.0.1:80', version: v2}\n\
             - {address: '10.0.0.1:80', version: v1, weight: 9}",
        ),
        ("services/t", "{}"),
        ("instances/s/a", "address: 10.0.0.1:80\nversion: v1"),
        ("instances/s/b", "address: 10.0.0.3:80\nversion: v1\nweight: 0\ntags: {zone: a}\ndraining: true"),
        ("instances/t/a", "address: 10.0.0.1:80\nversion: v1"),
    ]);
    let instances = |at: usize| -> Vec<String> {
        let instances = compiled.services[at].spec.instances.iter();
        instances.map(|one| format!("{} {} {}", one.address, one.version, one.weight)).collect()
    };
    assert_eq!(instances(0), ["10.0.0.1:80 v1 1", "10.0.0.1:80 v2 1", "10.0.0.3:80 v1 0"]);
    assert_eq!(instances(1), ["10.0.0.1:80 v1 1"]);
    assert_eq!(
        show(&compiled.problems),
        [
            "instances/s/a: address: `10.0.0.1:80` is there twice for the version `v1`",
            "services/s: instances[2].address: `10.0.0.1:80` is there twice for the version `v1`",
        ]
    );
}

#[test]
fn rules_without_services_apply_to_every_service() {
    let compiled = good(&[
        ("services/s", "{}"),
        ("services/t", "{}"),
        ("routes/s", "service: s"),
        ("routes/t", "paths: [{prefix: /t}]\nservice: t"),
        ("rules/all", "version: gray"),
        ("rules/only", "services: [t]\npriority: 1\nversion: beta"),
    ]);
    assert_eq!(get("h/").verdict(&compiled), "s s gray rule:all");
    assert_eq!(get("h/t").verdict(&compiled), "t t beta rule:only");
}

#[test]
fn an_inherited_version_goes_before_rules() {
    let compiled = good(&[
        ("services/s", "{}"),
        ("routes/r", "service: s"),
        ("rules/a", "version: gray"),
        ("rules/b", "enabled: false\nversion: feat1"),
    ]);
    for (word, expected) in [
        ("gray", "r s gray inherited"),
        ("feat1", "r s feat1 inherited"),
        ("release", "r s release inherited"),
        ("unknown", "r s ? inherited"),
    ] {
        assert_eq!(Ask { inherited: Some(word), ..get("h/") }.verdict(&compiled), expected);
    }
}

#[test]
fn a_route_may_overrule_its_service_s_timeouts() {
    use std::time::Duration;
    let compiled = good(&[
        ("services/s", "timeouts: {request: 9s, read: 5s}"),
        ("routes/r", "service: s\ntimeouts: {request: 60s, connect: 2s}\nmax_body: 1KiB"),
    ]);
    let route = &compiled.snapshot.routes.routes[0];
    let seconds = |duration: Duration| duration.as_secs();
    let timeouts = route.timeouts;
    assert_eq!(
        [timeouts.connect, timeouts.read, timeouts.request, timeouts.idle].map(seconds),
        [2, 5, 60, 50]
    );
    assert_eq!(route.max_body, Some(1024));
    assert_eq!(seconds(compiled.snapshot.services[0].timeouts.request), 9);
}

#[test]
fn documents_in_force_are_counted() {
    use crate::documents::Kind;
    let compiled = compiled(&[
        ("services/s", "{}"),
        ("routes/r", "service: s"),
        ("rules/a", "version: ["),
        ("rules/b", "version: gray"),
        ("lists/l/a", "1\n2"),
        ("lists/l/b", "2\n3"),
        ("instances/gone/i", "address: 10.0.0.1:80\nversion: v"),
    ]);
    let count = |kind| compiled.counts.documents[&kind];
    assert_eq!(Kind::ALL.map(count), [1, 1, 1, 1, 1, 0, 0, 0]);
    assert_eq!(compiled.counts.list_members[0].1, 3);
}

/// Static instances, those of documents and those of registries are united; the same address twice is one instance,
/// the hand's first, then registries in the order in which the service names them.
#[test]
fn instances_of_registries_come_after_those_of_hands() {
    let service = "discover: [{registry: z, name: s}, {registry: a, name: s}]\n\
        instances: [{address: '10.0.0.1:80', version: inline}]";
    let found = |port: u8, version: &str, by: &str| {
        format!("{{address: '10.0.0.{port}:80', version: {version}, by: {by}}}")
    };
    let documents = [
        ("services/s", service.to_owned()),
        ("instances/s/a.1", found(1, "of-a", "a")),
        ("instances/s/a.2", found(2, "of-a", "a")),
        ("instances/s/a.3", found(3, "of-a", "a")),
        ("instances/s/a.4", found(4, "of-a", "a")),
        ("instances/s/gone.4", found(4, "of-none", "gone")),
        ("instances/s/hand", "{address: '10.0.0.2:80', version: by-hand}".to_owned()),
        ("instances/s/z.2", found(2, "of-z", "z")),
        ("instances/s/z.3", found(3, "of-z", "z")),
    ];
    let documents: Vec<(&str, &str)> = documents.iter().map(|(id, body)| (*id, body.as_str())).collect();
    let spec = good(&documents).services[0].spec.clone();
    let mut there: Vec<(String, &str)> =
        spec.instances.iter().map(|one| (one.address.to_string(), one.version.as_str())).collect();
    there.sort();
    let expected = [("1", "inline"), ("2", "by-hand"), ("3", "of-z"), ("4", "of-a")];
    let expected: Vec<(String, &str)> =
        expected.iter().map(|(host, version)| (format!("10.0.0.{host}:80"), *version)).collect();
    assert_eq!(there, expected);
}

#[test]
fn closures_close_what_leads_to_a_version_and_never_release() {
    let closed = |service: &str, version: &str| {
        let closure = format!("service: s\nversion: {version}");
        let compiled = good(&[
            ("services/s", service),
            ("routes/r", "service: s"),
            ("rules/a", "version: gray"),
            (&format!("closures/s.{version}"), &closure),
        ]);
        let spec = &compiled.services[0].spec;
        let words = spec.closed.iter().map(|id| spec.versions[*id].word.to_string()).collect::<Vec<_>>();
        (words, get("h/").verdict(&compiled))
    };
    let decided = "r s gray rule:a".to_owned();
    assert_eq!(closed("{}", "gray"), (vec!["gray".into()], decided.clone()), "the decision does not change");
    let aliases = "aliases: {gray: v2, release: v1}";
    assert_eq!(closed(aliases, "gray"), (vec!["gray".into(), "v2".into()], decided.clone()));
    assert_eq!(closed(aliases, "v2"), (vec!["gray".into(), "v2".into()], decided.clone()));
    let promoted = "aliases: {gray: v2, release: v2}";
    assert_eq!(closed(promoted, "gray"), (vec!["gray".into(), "v2".into()], decided.clone()));
    assert_eq!(closed("{}", "other"), (Vec::new(), decided));
    let dangling = compiled(&[("services/s", "{}"), ("closures/t.gray", "service: t\nversion: gray")]);
    assert_eq!(show(&dangling.problems), ["closures/t.gray: service: the service `t` does not exist"]);
}

#[test]
fn plans_are_checked_and_decide_nothing() {
    let plan = "services: [s]\nversion: gray\nsteps: [{who: {attribute: ip, in_list: pilots}}, {share: 50}]";
    let service = "instances: [{address: '10.0.0.1:80', version: gray}]";
    let documents = [("services/s", service), ("routes/r", "service: s"), ("lists/pilots", "10.0.0.1")];
    let whole = good(&[&documents[..], &[("plans/p", plan)]].concat());
    assert_eq!(get("h/").verdict(&whole), "r s release default");
    assert_eq!(whole.counts.documents[&crate::documents::Kind::Plan], 1);
    let wrong = compiled(&[("services/s", "{}"), ("plans/p", &plan.replace("[s]", "[s, gone]"))]);
    assert_eq!(
        show(&wrong.problems),
        [
            "plans/p: services[1]: the service `gone` does not exist",
            "plans/p: steps[0].who.in_list: the list `pilots` does not exist",
            "plans/p: version: no instance of `s` has the version `gray`",
        ]
    );
}
