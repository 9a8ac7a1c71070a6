//! Limits, mirrors and files of pages, compiled.

use super::*;

const ROUTE: (&str, &str) = ("routes/r", "service: s");

#[test]
fn a_missing_shadow_changes_nothing_but_copies() {
    let documents = [
        ("routes/r", "service: s\nmirror: {service: gone}"),
        ("services/s", "{}"),
        ("rules/a", "version: gray\nmirror: {service: lost, version: v1}"),
    ];
    let first = compiled(&documents);
    assert_eq!(get("h/").verdict(&first), "r s gray rule:a");
    let expected = [
        "routes/r: mirror.service: the service `gone` does not exist",
        "rules/a: mirror.service: the service `lost` does not exist",
    ];
    assert_eq!(show(&first.problems), expected);
    assert!(first.problems.iter().all(|problem| problem.help == "nothing is copied until then"));
    let again = then(&first, &documents);
    assert_eq!(show(&again.problems), expected, "unchanged rules are looked at again");
    let mut whole = documents.to_vec();
    whole.extend([("services/gone", "{}"), ("services/lost", "{}")]);
    assert_eq!(then(&again, &whole).problems, []);
}

#[test]
fn a_changed_mirror_of_a_rule_is_taken_up() {
    let shadow = |compiled: &Compiled| {
        let rule = &compiled.snapshot.services[0].rules.get(0).unwrap();
        rule.mirror.as_ref().map(|mirror| mirror.service.to_string())
    };
    let services = [ROUTE, ("services/s", "{}"), ("services/t", "{}")];
    let with = |rule| [&services[..], &[("rules/a", rule)]].concat();
    let first = good(&with("version: gray"));
    let second = then(&first, &with("version: gray\nmirror: {service: t}"));
    let third = then(&second, &with("version: gray\nmirror: {service: s}"));
    let found = [shadow(&first), shadow(&second), shadow(&third)];
    assert_eq!(found, [None, Some("t".into()), Some("s".into())]);
}

/// The words in the order they are asked for a file that `decided` does not have.
fn others(service: &str, decided: &str) -> Vec<String> {
    let compiled = good(&[ROUTE, ("services/s", service)]);
    let plan = compiled.snapshot.service(0).unwrap();
    let found = plan.assets.as_ref().unwrap().others(plan.find_version(decided));
    found.map(|id| plan.version(id).unwrap().word.to_string()).collect()
}

#[test]
fn files_are_asked_of_the_newest_alias_first_and_then_of_the_rest() {
    const PATHS: &str = "assets: {paths: [{prefix: /assets}]}\n";
    for (service, decided, expected) in [
        ("aliases: {release: v7.0.0, gray: v7.0.1}", "release", vec!["gray"]),
        ("aliases: {release: v7.0.0, gray: v7.0.1}", "gray", vec!["release"]),
        ("aliases: {release: v7.0.0, gray: v7.0.1}", "v7.0.1", vec!["release"]),
        ("aliases: {a: v9.0.0, b: v10.0.0, c: v10.0.0-rc.1}", "release", vec!["b", "c", "a"]),
        ("aliases: {a: one, b: two, c: v1}", "release", vec!["c", "b", "a"]),
        ("aliases: {a: v1, b: v1}", "release", vec!["b"]),
        // Never more than three.
        ("aliases: {a: v1, b: v2, c: v3, d: v4, e: v5}", "release", vec!["e", "d", "c"]),
        ("fallback: {x: [y], w: [z]}", "release", vec!["w", "x", "y"]),
        ("fallback: {x: [y], w: [z]}\naliases: {y: v1}", "x", vec!["y", "release", "w"]),
        ("retries: 1", "release", vec![]),
        ("retries: 1", "unheard-of", vec!["release"]),
    ] {
        assert_eq!(others(&format!("{PATHS}{service}"), decided), expected, "{service} {decided}");
    }
}

#[test]
fn files_are_those_below_the_paths() {
    let service = "assets: {paths: [{prefix: /assets}, {exact: /app.js}, {regex: '/x/.*[.]css'}], on: [403]}";
    let compiled = good(&[ROUTE, ("services/s", service)]);
    let assets = compiled.snapshot.service(0).unwrap().assets.as_ref().unwrap();
    for (method, target, expected) in [
        ("GET", "h/assets/app-1a2b.js", true),
        ("HEAD", "h/assets/app-1a2b.js", true),
        ("GET", "h//a/../assets/%61pp.js?v=1", true),
        ("POST", "h/assets/app-1a2b.js", false),
        ("GET", "h/assets2/app.js", false),
        ("GET", "h/app.js", true),
        ("GET", "h/x/site.css", true),
        ("GET", "h/x/site.css/", false),
    ] {
        let ask = Ask { method, ..get(target) };
        assert_eq!(ask.with(&compiled, |request, _| assets.covers(request)), expected, "{method} {target}");
    }
    assert!(assets.is_missing(403) && !assets.is_missing(404));
}
