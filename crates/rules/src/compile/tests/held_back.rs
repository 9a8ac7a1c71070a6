//! What is wrong stays alone: last good versions, dangling references, lists.

use super::*;

const ROUTE: (&str, &str) = ("routes/r", "service: s");
const SERVICE: (&str, &str) = ("services/s", "{}");

#[test]
fn a_broken_document_leaves_its_last_good_version_in_force() {
    let first = good(&[ROUTE, SERVICE, ("rules/a", "version: gray")]);
    for broken in ["version: [", "verion: gray", "version: gray\nwhen:", "\u{1}"] {
        let second = then(&first, &[ROUTE, SERVICE, ("rules/a", broken)]);
        assert_eq!(get("h/").verdict(&second), "r s gray rule:a", "{broken:?}");
        assert!(!second.problems.is_empty() && second.problems.iter().all(|p| p.document() == "rules/a"));
        // It stays so, compile after compile, and everything else moves on.
        let third = then(&second, &[ROUTE, SERVICE, ("rules/a", broken), ("rules/0", "version: beta")]);
        assert_eq!(get("h/").verdict(&third), "r s beta rule:0");
        assert_eq!(third.problems, second.problems);
        // The text in force is the good one, and what a cache would hold brings it back.
        let texts = third.memory.good_texts();
        assert_eq!(&*texts.get(&id("rules/a")).unwrap().body, b"version: gray");
        let restarted = compile(
            &set(&[ROUTE, SERVICE, ("rules/a", broken)]),
            &Memory::from_good(texts.clone().into_iter().filter(|(id, _)| *id != super::id("rules/0"))),
            &no_file,
        );
        assert_eq!(get("h/").verdict(&restarted), "r s gray rule:a");
        assert_eq!(restarted.problems, second.problems);
        // Mended, it counts again; deleted, it is gone.
        let mended = then(&third, &[ROUTE, SERVICE, ("rules/a", "version: feat1")]);
        assert_eq!(get("h/").verdict(&mended), "r s feat1 rule:a");
        assert_eq!(mended.problems, []);
        let deleted = then(&third, &[ROUTE, SERVICE]);
        assert_eq!(get("h/").verdict(&deleted), "r s release default");
        assert_eq!(deleted.problems, []);
        // What was deleted in between has no last good version any more.
        let again = then(&deleted, &[ROUTE, SERVICE, ("rules/a", broken)]);
        assert_eq!(get("h/").verdict(&again), "r s release default");
        assert_eq!(again.problems, second.problems);
    }
}

#[test]
fn a_document_that_was_never_good_is_left_out() {
    let compiled = compiled(&[ROUTE, SERVICE, ("rules/a", "version: 1"), ("routes/x", "service:")]);
    assert_eq!(get("h/").verdict(&compiled), "r s release default");
    assert_eq!(
        show(&compiled.problems),
        [
            "routes/x: service: nothing stands behind this key",
            "rules/a: version: expected a name, found the number `1`"
        ]
    );
}

#[test]
fn a_broken_document_of_every_kind_keeps_its_last_good_version() {
    let documents = [
        ROUTE,
        ("services/s", "fallback: {gray: [beta]}"),
        ("rules/a", "when: {attribute: header:u, in_list: users}\nversion: gray"),
        ("lists/users", "u1"),
        ("instances/s/i", "address: 10.0.0.1:80\nversion: v9"),
    ];
    let first = good(&documents);
    for at in 0..documents.len() {
        let mut broken = set(&documents);
        let raw = Raw { body: (&b"\xff"[..]).into(), ..Raw::yaml("") };
        broken.documents.insert(id(documents[at].0), Arc::new(raw));
        let second = compile(&broken, &first.memory, &no_file);
        assert_eq!(second.problems.len(), 1, "{:?}", second.problems);
        assert_eq!(second.problems[0].document(), documents[at].0);
        assert_eq!(get("h/").header("u", "u1").verdict(&second), "r s gray rule:a");
        assert_eq!(first.services[0].spec, second.services[0].spec);
    }
}

#[test]
fn an_ambiguous_document_leaves_its_last_good_version_in_force() {
    let first = good(&[ROUTE, SERVICE, ("rules/a", "version: gray")]);
    let mut doubled = set(&[ROUTE, SERVICE]);
    let problem = Problem::at(&id("rules/a"), "", "`rules/a.yaml` and `rules/a.json` are one", "");
    doubled.ambiguous.insert(id("rules/a"), problem);
    let second = compile(&doubled, &first.memory, &no_file);
    assert_eq!(get("h/").verdict(&second), "r s gray rule:a");
    assert_eq!(show(&second.problems), ["rules/a: : `rules/a.yaml` and `rules/a.json` are one"]);
    assert!(second.problems[0].help.contains("last good"));
    let mended = then(&second, &[ROUTE, SERVICE, ("rules/a", "version: gray")]);
    assert_eq!(mended.problems, []);
    let never_good = compile(&doubled, &Memory::default(), &no_file);
    assert_eq!(get("h/").verdict(&never_good), "r s release default");
    assert_eq!(never_good.problems.len(), 1);
}

#[test]
fn a_rule_that_names_something_missing_is_inert_as_a_whole() {
    let gone = "{attribute: header:x, in_list: gone}";
    let list = "the list `gone` does not exist";
    for (rule, expected) in [
        (format!("when: {gone}"), vec![("when.in_list", list)]),
        (format!("when: {{not: {gone}}}"), vec![("when.not.in_list", list)]),
        (
            format!("when: {{any: [{{attribute: path, prefix: /}}, {{not: {{all: [{gone}]}}}}]}}"),
            vec![("when.any[1].not.all[0].in_list", list)],
        ),
        (format!("when: {{not: {{not: {gone}}}}}"), vec![("when.not.not.in_list", list)]),
        (
            format!("when: {{all: [{gone}, {gone}]}}"),
            vec![("when.all[0].in_list", list), ("when.all[1].in_list", list)],
        ),
        ("when: {not: {attribute: ip, in_list: gone}}".into(), vec![("when.not.in_list", list)]),
        ("services: [s, gone]".into(), vec![("services[1]", "the service `gone` does not exist")]),
        (
            format!("services: [gone]\nwhen: {gone}"),
            vec![("services[0]", "the service `gone` does not exist"), ("when.in_list", list)],
        ),
        (format!("enabled: false\nwhen: {gone}"), vec![("when.in_list", list)]),
    ] {
        let text = format!("{rule}\nversion: gray");
        let before = compiled(&[ROUTE, SERVICE, ("rules/a", &text), ("rules/b", "version: beta")]);
        assert_eq!(get("h/").verdict(&before), "r s beta rule:b", "{rule}");
        let expected: Vec<String> =
            expected.iter().map(|(field, message)| format!("rules/a: {field}: {message}")).collect();
        assert_eq!(show(&before.problems), expected, "{rule}");
        // What was missing arrives, and the rule is in force.
        let documents =
            [ROUTE, SERVICE, ("rules/a", text.as_str()), ("services/gone", "{}"), ("lists/gone", "10.0.0.1")];
        assert_eq!(then(&before, &documents).problems, [], "{rule}");
    }
}

#[test]
fn a_route_with_a_missing_list_is_inert() {
    for when in
        ["{attribute: header:x, in_list: gone}", "{not: {any: [{attribute: header:x, in_list: gone}]}}"]
    {
        let text = format!("when: {when}\npriority: 9\nservice: s");
        let compiled = compiled(&[ROUTE, SERVICE, ("routes/x", &text)]);
        assert_eq!(get("h/").header("x", "1").route(&compiled), "r", "{when}");
        assert_eq!(compiled.problems.len(), 1);
        assert!(compiled.problems[0].field.ends_with("in_list"));
        let alone = super::compiled(&[SERVICE, ("routes/x", &text)]);
        assert_eq!(get("h/").verdict(&alone), "no route");
    }
}

#[test]
fn every_dangling_reference_of_a_route_is_named() {
    let text = "when: {attribute: header:x, in_list: gone}\nservice: gone";
    let compiled = compiled(&[("routes/x", text)]);
    assert_eq!(
        show(&compiled.problems),
        [
            "routes/x: service: the service `gone` does not exist",
            "routes/x: when.in_list: the list `gone` does not exist"
        ]
    );
    assert_eq!(get("h/").verdict(&compiled), "no route");
}

#[test]
fn a_route_to_a_missing_service_answers_for_its_own_requests() {
    let compiled = compiled(&[ROUTE, SERVICE, ("routes/x", "paths: [{prefix: /x}]\nservice: gone")]);
    assert_eq!(get("h/x/y").verdict(&compiled), "x no service gone");
    assert_eq!(get("h/y").verdict(&compiled), "r s release default");
    assert_eq!(show(&compiled.problems), ["routes/x: service: the service `gone` does not exist"]);
    // A service that was never good does not exist either.
    let broken = super::compiled(&[ROUTE, ("services/s", "retries: x")]);
    assert_eq!(get("h/").verdict(&broken), "r no service s");
    assert_eq!(broken.problems.len(), 2);
}

#[test]
fn an_instance_of_a_missing_service_is_a_problem() {
    let compiled = compiled(&[("instances/gone/i", "address: 10.0.0.1:80\nversion: v1")]);
    assert_eq!(show(&compiled.problems), ["instances/gone/i: : the service `gone` does not exist"]);
}

#[test]
fn lists_are_united_over_their_parts() {
    let documents = [
        ROUTE,
        SERVICE,
        ("rules/a", "when: {attribute: header:u, in_list: users}\nversion: gray"),
        ("lists/users", "\u{feff}# comment\r\n u1 \r\n\r\n"),
        ("lists/users/one", "u2\nu1"),
        ("lists/users/two", "\tu3\t\nU4"),
        ("lists/users2", "u5"),
        ("lists/empty", "# no member\n"),
    ];
    let first = good(&documents);
    for (user, expected) in [
        ("u1", "gray"),
        ("u2", "gray"),
        ("u3", "gray"),
        ("U4", "gray"),
        ("u4", "release"),
        ("u5", "release"),
        ("# comment", "release"),
        ("", "release"),
        ("\u{feff}u1", "release"),
    ] {
        assert_eq!(get("h/").header("u", user).version(&first), expected, "{user}");
    }
    let sizes: Vec<_> = first.counts.list_members.iter().map(|(name, size)| (&**name, *size)).collect();
    assert_eq!(sizes, [("empty", 0), ("users", 4), ("users2", 1)]);
    // One part less, one part more.
    let second = then(&first, &[ROUTE, SERVICE, documents[2], documents[3], ("lists/users/three", "u6")]);
    assert_eq!(second.problems, []);
    for (user, expected) in [("u1", "gray"), ("u2", "release"), ("u6", "gray")] {
        assert_eq!(get("h/").header("u", user).version(&second), expected, "{user}");
    }
}

#[test]
fn an_empty_list_is_a_list() {
    let compiled = good(&[
        ROUTE,
        SERVICE,
        ("lists/none", ""),
        ("rules/a", "when: {attribute: header:u, in_list: none}\nversion: gray"),
        ("rules/b", "when: {not: {attribute: ip, in_list: none}}\nversion: beta"),
    ]);
    assert_eq!(get("h/").header("u", "").version(&compiled), "beta");
}

#[test]
fn a_list_for_addresses_has_addresses_only() {
    let rule = ("rules/a", "when: {not: {attribute: ip, in_list: nets}}\nversion: gray");
    for (list, problem) in [
        ("10.0.0.0/8\nhost\n", Some("`host` in line 2 of lists/nets ")),
        ("# c\n\n10.0.0.0/33", Some("`10.0.0.0/33` in line 3 of lists/nets ")),
        ("10.0.0.1:80", Some("`10.0.0.1:80` in line 1 of lists/nets ")),
        ("10.1.2.3/8\r\n ::1 \n", None),
    ] {
        let compiled = compiled(&[ROUTE, SERVICE, rule, ("lists/nets", list)]);
        match problem {
            None => assert_eq!(compiled.problems, []),
            Some(part) => {
                assert_eq!(compiled.problems.len(), 1, "{list}");
                let found = &compiled.problems[0];
                assert_eq!((&*found.document(), found.field.as_str()), ("rules/a", "when.not.in_list"));
                assert!(found.message.contains(part), "{}", found.message);
            }
        }
        assert_eq!(get("h/").version(&compiled), if problem.is_some() { "release" } else { "gray" });
    }
    // The same list is good where it is compared as text.
    good(&[
        SERVICE,
        ("lists/nets", "host"),
        ("rules/a", "when: {attribute: host, in_list: nets}\nversion: gray"),
    ]);
    // Of several parts, the one with the mistake is named.
    let parts = compiled(&[SERVICE, rule, ("lists/nets/a", "10.0.0.1"), ("lists/nets/b", "::1\nhost")]);
    assert!(
        parts.problems[0].message.contains("`host` in line 2 of lists/nets/b "),
        "{}",
        parts.problems[0].message
    );
}

#[test]
fn problems_are_sorted_and_the_same_in_any_order() {
    let documents = [
        ("rules/z", "version: 1"),
        ("rules/b", "services: [gone]\nversion: gray"),
        ("routes/r", "service: gone"),
        ("services/s", "retries: x\nbalance: y"),
        ("instances/x/i", "address: 10.0.0.1:80\nversion: v"),
    ];
    let first = show(&compiled(&documents).problems);
    let mut sorted = first.clone();
    sorted.sort();
    assert_eq!(first, sorted);
    assert_eq!(first.len(), 6);
    let mut reversed = documents;
    reversed.reverse();
    assert_eq!(show(&compiled(&reversed).problems), first);
}

#[test]
fn the_order_of_arrival_changes_nothing() {
    let documents = [
        ("services/s", "{}"),
        ("services/t", "aliases: {gray: v2}"),
        ("routes/r", "service: s"),
        ("routes/q", "paths: [{prefix: /t}]\nservice: t"),
        ("lists/u", "u1"),
        ("lists/u/b", "u2"),
        ("rules/a", "when: {attribute: header:u, in_list: u}\nversion: gray"),
        ("rules/b", "split: {beta: 50}\nby: [header:u]"),
        ("instances/t/i", "address: 10.0.0.1:80\nversion: v2"),
        ("rules/c", "services: [t]\npriority: 1\nversion: ["),
        ("instances/t/j", "address: 10.0.0.2:80\nversion: v3"),
    ];
    let whole = compiled(&documents);
    let asks: Vec<Ask> = (0..40)
        .map(|i| get(if i % 2 == 0 { "h/t" } else { "h/" }).header("u", format!("u{}", i / 2)))
        .collect();
    let answers =
        |compiled: &Compiled| -> Vec<String> { asks.iter().map(|ask| ask.verdict(compiled)).collect() };
    for turn in 0..documents.len() {
        // One document after the other, beginning somewhere else each time.
        let mut order = documents.to_vec();
        order.rotate_left(turn);
        let mut arrived = compiled(&[]);
        for count in 1..=order.len() {
            arrived = then(&arrived, &order[..count]);
        }
        assert_eq!(answers(&arrived), answers(&whole));
        assert_eq!(arrived.problems, whole.problems);
        let specs = |one: &Compiled| one.services.iter().map(|found| found.spec.clone()).collect::<Vec<_>>();
        assert_eq!(specs(&arrived), specs(&whole));
    }
}

#[test]
fn a_rule_waits_while_a_service_it_names_is_gone() {
    let rule = ("rules/r", "services: [s, t]\nversion: gray");
    let (with, without) = ([("services/s", "{}"), ("services/t", "{}"), rule], [("services/s", "{}"), rule]);
    let there = compiled(&with);
    let gone = then(&there, &without);
    let back = then(&gone, &with);
    for (compiled, expected) in [(&there, true), (&gone, false), (&back, true), (&then(&back, &with), true)] {
        assert_eq!(
            compiled.snapshot.services[0].rules.get(0).unwrap().is_active(),
            expected,
            "{:?}",
            compiled.problems
        );
    }
}
