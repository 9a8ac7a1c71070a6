//! Which route wins, and which rule decides first.

use super::*;

/// Both routes fit the request; the first of the pair wins, whatever their names.
fn wins(winner: &str, loser: &str, ask: &Ask) {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let route = |text: &str| format!("{text}\nservice: s");
        let (winner_id, loser_id) = (format!("routes/{first}"), format!("routes/{second}"));
        let compiled =
            good(&[("services/s", "{}"), (&winner_id, &route(winner)), (&loser_id, &route(loser))]);
        assert_eq!(ask.route(&compiled), first, "{winner} before {loser}");
        let alone = good(&[("services/s", "{}"), (&loser_id, &route(loser))]);
        assert_eq!(ask.route(&alone), second, "{loser} does not fit by itself");
    }
}

#[test]
fn routes_win_in_the_contract_s_order() {
    let ask = get("b.a.test/x/y").header("t", "1");
    let when = "when: {attribute: header:t, exists: true}";
    let full = format!("hosts: [b.a.test]\npaths: [{{exact: /x/y}}]\nmethods: [GET]\n{when}");
    for (winner, loser) in [
        // Priority overrules everything behind it.
        ("priority: 1", full.as_str()),
        ("priority: 2147483647", "priority: 1"),
        (full.as_str(), "priority: -1"),
        // Hosts: exact, then the longest wildcard, then any; and before paths.
        ("hosts: [b.a.test]", "hosts: ['*.a.test']\npaths: [{exact: /x/y}]\nmethods: [GET]"),
        ("hosts: ['*.a.test']", "hosts: ['*.test']\npaths: [{exact: /x/y}]"),
        ("hosts: ['*.test']", "paths: [{exact: /x/y}]\nmethods: [GET]"),
        ("hosts: [other, B.A.Test.]", "hosts: ['*.a.test']"),
        // Paths: exact, then the longest prefix, then regex, then any; and before methods.
        ("paths: [{exact: /x/y}]", "paths: [{prefix: /x/y}]\nmethods: [GET]"),
        ("paths: [{prefix: /x/y}]", "paths: [{prefix: /x}]\nmethods: [GET]"),
        ("paths: [{prefix: /x/y/}]", "paths: [{prefix: /x}]"),
        ("paths: [{prefix: /x}]", "paths: [{prefix: /}]\nmethods: [GET]"),
        ("paths: [{prefix: /}]", "paths: [{regex: /x/y}]\nmethods: [GET]"),
        ("paths: [{regex: '.*'}]", "methods: [GET]"),
        ("paths: [{prefix: /nothing}, {exact: /x/y}]", "paths: [{prefix: /x/y}]"),
        // A method match, and before conditions.
        ("methods: [GET, POST]", when),
        // The number of attribute conditions, those under `any` and `not` too.
        (when, "{}"),
        ("when: {any: [{attribute: header:t, exists: true}, {not: {attribute: path, equals: /}}]}", when),
        (
            "when: {not: {all: [{attribute: header:q, exists: true}, {attribute: ip, exists: true}]}}",
            "when: {not: {attribute: header:q, exists: true}}",
        ),
    ] {
        let loser = if loser == "{}" { "priority: 0" } else { loser };
        wins(winner, loser, &ask);
    }
}

#[test]
fn the_name_in_byte_order_is_the_last_word() {
    for (first, second) in [("a", "b"), ("B", "a"), ("10", "9"), ("a", "a-"), ("a.", "a_")] {
        let (one, two) = (format!("routes/{first}"), format!("routes/{second}"));
        let compiled = good(&[("services/s", "{}"), (&one, "service: s"), (&two, "service: s")]);
        assert_eq!(get("h/").route(&compiled), first);
    }
}

#[test]
fn a_route_is_reached_by_its_best_host_and_path() {
    // The route with a prefix wins by its exact path, where it has one.
    let compiled = good(&[
        ("services/s", "{}"),
        ("routes/a", "paths: [{prefix: /x}, {exact: /x/y}]\nservice: s"),
        ("routes/b", "paths: [{prefix: /x/y}]\nservice: s"),
    ]);
    assert_eq!(get("h/x/y").route(&compiled), "a");
    assert_eq!(get("h/x/y/z").route(&compiled), "b");
    assert_eq!(get("h/x/z").route(&compiled), "a");
}

#[test]
fn hosts_match_by_label() {
    let route = |hosts: &str| format!("hosts: {hosts}\nservice: s");
    for (hosts, host, fits) in [
        ("[a.test]", "a.test", true),
        ("[a.test]", "A.TEST:8080", true),
        ("[a.test]", "a.test.", true),
        ("[A.Test.]", "a.test", true),
        ("[a.test]", "b.a.test", false),
        ("['*.a.test']", "b.a.test", true),
        ("['*.a.test']", "c.b.a.test:1", true),
        ("['*.a.test']", "a.test", false),
        ("['*.a.test']", "ba.test", false),
        ("['*.a.test']", ".a.test", false),
        ("['[0:0::1]']", "[::1]:8080", true),
        ("[a.test]", "", false),
    ] {
        let compiled = good(&[("services/s", "{}"), ("routes/r", &route(hosts))]);
        assert_eq!(get(&format!("{host}/")).route(&compiled) == "r", fits, "{hosts} {host}");
    }
}

#[test]
fn paths_match_by_element_and_in_one_spelling() {
    for (path, target, fits) in [
        ("{prefix: /portal}", "/portal", true),
        ("{prefix: /portal}", "/portal/", true),
        ("{prefix: /portal}", "/portal/x", true),
        ("{prefix: /portal}", "/portals", false),
        ("{prefix: /portal/}", "/portal", true),
        ("{prefix: /}", "/", true),
        ("{prefix: /portal}", "//portal//x", true),
        ("{prefix: /portal}", "/x/../portal/%2e/", true),
        ("{prefix: /portal}", "/%70ortal", true),
        ("{prefix: /portal}", "/portal%2Fx", false),
        ("{prefix: /portal}", "/portal;x", false),
        ("{prefix: /portal}", "/Portal", false),
        ("{exact: /healthz}", "/healthz", true),
        ("{exact: /healthz}", "/healthz/", false),
        ("{exact: /healthz}", "/healthz/x/..", false),
        ("{exact: /用户}", "/%E7%94%A8%E6%88%B7", true),
        ("{exact: /用户}", "/用户", true),
        ("{exact: /a b}", "/a%20b", true),
        ("{exact: /a+b}", "/a+b", true),
        ("{exact: '/a%2Fb'}", "/a%2fb", true),
        ("{exact: '/a%5Cb'}", "/a\\b", true),
        ("{exact: '/a%b'}", "/a%25b", true),
        ("{exact: '/a%252Fb'}", "/a%252Fb", true),
        ("{regex: '/(a|ab)'}", "/ab", true),
        ("{regex: /a}", "/ab", false),
        ("{regex: /a}", "/b/a", false),
        ("{regex: '/x/.'}", "/x/用", true),
    ] {
        let route = format!("paths: [{path}]\nservice: s");
        let compiled = good(&[("services/s", "{}"), ("routes/r", &route)]);
        assert_eq!(get(&format!("h{target}")).route(&compiled) == "r", fits, "{path} {target}");
    }
}

#[test]
fn methods_and_conditions_decide_too() {
    let compiled = good(&[
        ("services/s", "pin: {attribute: header:dev, tag: dev}"),
        ("routes/m", "methods: [POST]\nservice: s"),
        ("routes/w", "when: {attribute: header:dev, exists: true}\nservice: s"),
        ("routes/z", "service: s"),
    ]);
    assert_eq!(get("h/").route(&compiled), "z");
    assert_eq!(Ask { method: "POST", ..get("h/") }.route(&compiled), "m");
    assert_eq!(Ask { method: "post", ..get("h/") }.route(&compiled), "z");
    // The pin's attribute is not there for an untrusted request, in routes as in rules.
    assert_eq!(get("h/").header("dev", "li").route(&compiled), "z");
    assert_eq!(get("h/").header("dev", "li").trusted().route(&compiled), "w");
}

#[test]
fn rules_are_asked_by_priority_and_name() {
    let compiled = good(&[
        ("services/s", "{}"),
        ("services/t", "{}"),
        ("routes/s", "service: s"),
        ("routes/t", "paths: [{prefix: /t}]\nservice: t"),
        ("rules/b", "version: b"),
        ("rules/a", "version: a"),
        ("rules/B", "version: B"),
        ("rules/low", "priority: -2147483648\nversion: low"),
        ("rules/z", "priority: 2147483647\nwhen: {attribute: header:z, exists: true}\nversion: z"),
        ("rules/10", "services: [t]\nversion: t10"),
        (
            "rules/9",
            "services: [t, s]\npriority: 1\nwhen: {attribute: header:nine, exists: true}\nsplit: {nine: 0}",
        ),
    ]);
    let order = |service: usize| -> Vec<String> {
        compiled.snapshot.services[service].rules.iter().map(|rule| rule.name.to_string()).collect()
    };
    assert_eq!(order(0), ["z", "9", "B", "a", "b", "low"]);
    assert_eq!(order(1), ["z", "9", "10", "B", "a", "b", "low"]);
    assert_eq!(get("h/").version(&compiled), "B");
    assert_eq!(get("h/t").version(&compiled), "t10");
    assert_eq!(get("h/t").header("z", "").version(&compiled), "z");
    // The first rule that matches decides, whatever its split says.
    assert!(get("h/t").header("nine", "").verdict(&compiled).starts_with("t t release rule:9@"));
}

#[test]
fn disabled_rules_and_windows() {
    let second = 1_000_000_000;
    let documents =
        |rule: &'static str| good(&[("services/s", "{}"), ("routes/r", "service: s"), ("rules/a", rule)]);
    assert_eq!(get("h/").version(&documents("enabled: false\nversion: gray")), "release");
    for (rule, now, expected) in [
        ("starts: 1970-01-01T08:00:10+08:00", 10 * second - 1, "release"),
        ("starts: 1970-01-01T08:00:10+08:00", 10 * second, "gray"),
        ("ends: 1970-01-01T00:00:10Z", 10 * second - 1, "gray"),
        ("ends: 1970-01-01T00:00:10Z", 10 * second, "release"),
        ("starts: 1969-12-31T23:59:59.5Z\nends: 1970-01-01T00:00:00.5Z", 0, "gray"),
        ("starts: 1969-12-31T23:59:59.5Z\nends: 1970-01-01T00:00:00.5Z", second / 2, "release"),
    ] {
        let text: &'static str = Box::leak(format!("{rule}\nversion: gray").into_boxed_str());
        assert_eq!(Ask { now, ..get("h/") }.version(&documents(text)), expected, "{rule} {now}");
    }
}

/// An index is a matter of conditions and their order: what else changes about rules leaves it alone.
#[test]
fn an_index_is_kept_as_long_as_the_conditions_are_the_same() {
    let when = "when: {all: [{attribute: header:a, equals: x}, {attribute: ip, cidr: [10.0.0.0/8]}]}";
    let (other, listed) = (when.replace("equals: x", "equals: y"), when.replace("equals: x", "in_list: l"));
    let documents = |first: &str, list: &str| -> DocumentSet {
        set(&[
            ("services/s", "{}"),
            ("services/t", "{}"),
            ("lists/l", list),
            ("rules/1", first),
            ("rules/2", &format!("version: gray\n{listed}")),
        ])
    };
    let before = format!("version: gray\n{when}");
    let start = compile(&documents(&before, "x"), &Memory::default(), &no_file);
    assert!(Arc::ptr_eq(&start.snapshot.services[0].index, &start.snapshot.services[1].index));
    for (what, first, list, kept) in [
        ("nothing", before.clone(), "x", true),
        ("the share", format!("split: {{beta: 5}}\n{when}"), "x", true),
        ("the window", format!("version: gray\nends: 2026-01-01T00:00:00Z\n{when}"), "x", true),
        ("a priority that moves nothing", format!("version: gray\npriority: 1\n{when}"), "x", true),
        ("a priority", format!("version: gray\npriority: -1\n{when}"), "x", false),
        ("the condition", format!("version: gray\n{other}"), "x", false),
        ("no condition", "version: gray".into(), "x", false),
        ("a rule is off", format!("version: gray\nenabled: false\n{when}"), "x", false),
        ("the list", before.clone(), "y", false),
    ] {
        let next = compile(&documents(&first, list), &start.memory, &no_file);
        let same = Arc::ptr_eq(&start.snapshot.services[0].index, &next.snapshot.services[0].index);
        assert_eq!(same, kept, "{what}");
    }
}

/// Of many operands the words of a condition say no more than their number.
#[test]
fn a_condition_of_many_operands_is_another_one_when_one_of_them_changes() {
    let rule =
        |last: &str| format!("version: gray\nwhen: {{attribute: header:a, in: [a, b, c, d, e, f, {last}]}}");
    let before = good(&[("services/s", "{}"), ("routes/r", "service: s"), ("rules/1", &rule("g"))]);
    let after = then(&before, &[("services/s", "{}"), ("routes/r", "service: s"), ("rules/1", &rule("h"))]);
    let asked = |compiled: &Compiled, value: &str| get("a.test/").header("a", value).version(compiled);
    for (value, first, second) in [("a", true, true), ("g", true, false), ("h", false, true)] {
        let gray = |compiled| asked(compiled, value) == "gray";
        assert_eq!((gray(&before), gray(&after)), (first, second), "{value}");
    }
}
