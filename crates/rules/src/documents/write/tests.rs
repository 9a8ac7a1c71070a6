//! What is written is read as the same document: by hand for every field, and for random documents of every kind.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::{DocumentId, Raw, parse};
use super::*;

/// Both in full, since patterns do not compare.
fn show(id: &str, text: &str) -> Result<String, String> {
    let id = DocumentId::parse(id).unwrap();
    let raw = if id.to_string().starts_with("lists/") { Raw::list(text) } else { Raw::yaml(text) };
    let document = parse(&id, &raw).map_err(|problems| format!("{problems:?}\n{text}"))?;
    Ok(format!("{document:?}"))
}

fn written(id: &str, text: &str) -> String {
    let id = DocumentId::parse(id).unwrap();
    let raw = if id.to_string().starts_with("lists/") { Raw::list(text) } else { Raw::yaml(text) };
    write(&parse(&id, &raw).unwrap()).unwrap()
}

#[test]
fn every_field_is_written() {
    for (id, text) in [
        ("lists/l", "# some\na\n\n b \r\n"),
        (
            "instances/s/i",
            "{address: '[::1]:80', version: '7', weight: 0, draining: true, by: nacos-1, tags: {'true': 'no', a: ''}}",
        ),
        ("rules/r", "{version: gray, services: [a, '1.0'], priority: -3, enabled: false, salt: ' x: #'}"),
        (
            "rules/r",
            "{split: {a: 0.01, '9': 12.5}, by: ['header:x-a', 'query:a b'], starts: 2026-11-22T08:00:00+08:00, \
             ends: 2027-01-01T00:00:00.5Z}",
        ),
        (
            "rules/r",
            "{version: a, when: {all: [{any: [{attribute: ip, cidr: [10.0.0.0/8, '::1']}, {attribute: path, \
             regex: '/a\\d+', ignore_case: true}]}, {not: {attribute: host, in: []}}, {attribute: 'cookie:c', \
             exists: false}, {attribute: 'query:q', semver: '>=7.1, <8, v7.*'}, {attribute: method, above: -1.50}, \
             {attribute: scheme, in_list: l}, {attribute: path, prefix: \"\\u2028\\n\\t\\\"\\\\\\x01\"}]}}",
        ),
        ("routes/r", "{redirect: {scheme: https}, limit: {rate: 1/h}}"),
        (
            "routes/r",
            "{service: s, limit: {rate: 100/s, burst: 200, by: ['header:a', ip]}, \
             mirror: {service: t, version: v2, share: 2.5%, body: 1MiB, max: 1}}",
        ),
        ("rules/r", "{version: gray, mirror: {service: t}}"),
        (
            "services/s",
            "{limit: {rate: 600/m, burst: 1}, assets: {paths: [{prefix: /}, {regex: '.*[.]js'}], on: [404]}}",
        ),
        ("services/s", "{assets: {paths: [{exact: /a}], on: [404, 410]}}"),
        (
            "routes/r",
            "{hosts: ['*.a.test', b.test, '[::1]'], paths: [{prefix: /}, {prefix: /a/}, {exact: /b}, \
             {regex: '/(?<org>[^/]+)/x'}], methods: [GET], priority: 2, service: s, rewrite: {regex: '/a(.*)', \
             replace: '/$$${org}', host: x.test}, request_headers: {remove: [x-a], set: {X-B: '${org}', x-b: two}, \
             add: {x-c: \"true\"}}, response_headers: {set_if_absent: {x-d: ''}}, timeouts: {connect: 250ms}, \
             max_body: 10MiB}",
        ),
        (
            "routes/r",
            "{paths: [{prefix: /a}], redirect: {status: 308, host: b.test, port: 8443, prefix: /b}}",
        ),
        ("closures/s.v7.1", "{service: s, version: v7.1, because: '5xx: too many # now'}"),
        ("closures/s.gray", "{service: s, version: gray}"),
        ("services/s", "{}"),
        (
            "services/s",
            "{identity: ['header:a', ip], issue_cookie: {name: id, max_age: 30d}, aliases: {gray: v2}, \
             fallback: {a: none, b: [], c: [d]}, pin: {attribute: 'header:x-dev', tag: dev}, \
             instances: [{address: 10.0.0.1:80, version: v1}], balance: hash, health: {http: {path: /h, host: h, \
             status: [200, 204], headers: {A: b, a: c}}, interval: 10s}, outlier: off, retries: 0, protocol: h2, \
             tls: {certificate: /c, key: /k, ca: '/a b', server_name: s, verify: false}, max_connections: 5, \
             version_headers: {v2: {x-a: b, X-A: c}}, timeouts: {idle: 1m, request: 2h, read: 1s}, \
             errors: {status: [503, 4xx], grpc: [], header: {x-result: ['500'], X-Result: ['501']}}, warm_up: 5s}",
        ),
        ("services/s", "{health: {tcp: {}}, outlier: {max_ejected: 12.5%}, balance: least_requests}"),
        ("services/s", "{health: {grpc: {service: a.B}}, tls: {}, protocol: h2}"),
        (
            "services/s",
            "{discover: [{registry: n, name: 'a@@b:c'}, {registry: d, name: x, version_from: v, weight: false, \
             tags: [zone, ' y'], port: 80}]}",
        ),
    ] {
        let expected = show(id, text);
        let again = written(id, text);
        assert!(expected.is_ok(), "{expected:?}");
        assert_eq!(show(id, &again), expected, "{again}");
    }
}

#[test]
fn a_text_says_what_is_particular() {
    for (id, text, expected) in [
        ("services/s", "{retries: 1, balance: round_robin}", "{}\n"),
        ("services/s", "{errors: {status: [5xx], grpc: [2, 4, 13, 14, 15]}, warm_up: 30s}", "{}\n"),
        ("services/s", "{errors: {status: []}}", "errors: {status: []}\n"),
        ("rules/r", "{version: gray, enabled: true}", "version: gray\n"),
        (
            "rules/r",
            "{split: {gray: 10}, when: {attribute: 'header:x-a', equals: yes}}",
            "when: {attribute: header:x-a, equals: yes}\nsplit: {gray: 10}\n",
        ),
    ] {
        assert_eq!(written(id, text), expected);
    }
}

/// Texts that a reader might take for something else.
fn odd_text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec![
            "", "true", "~", "null", "1", "-1.5", "0x1f", "a: b", "a #b", "- a", "? a", "&a", "*a", "!a",
            "|", ">", "%a", "@a", "`a", "a:", ":a", "{a}", "[a]", "a,b", "'", "\"", "\\", " a ", "a\nb",
            "\u{85}", "\u{feff}", "用户", "=", "<<", "---", "...", "1_000", "12:30", ".inf",
        ])
        .prop_map(String::from),
        ".{0,12}",
        "[ -~]{0,200}",
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        select(vec!["gray", "v7.0.1", "7", "true", "-", "0.5", "null"]).prop_map(String::from),
        "[A-Za-z0-9._-]{1,9}"
    ]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn condition() -> impl Strategy<Value = String> {
    let attribute = select(vec!["header:x-a", "cookie:c", "query:a b", "path", "host"]);
    let operator = prop_oneof![
        (select(vec!["equals", "prefix", "suffix", "contains"]), odd_text())
            .prop_map(|(operator, text)| format!("{}: {}", quoted(operator), quoted(&text))),
        prop::collection::vec(odd_text(), 0..4).prop_map(|texts| {
            format!("\"in\": [{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        }),
        any::<bool>().prop_map(|wanted| format!("\"exists\": {wanted}")),
        (-99..99).prop_map(|number| format!("\"at_least\": {number}.50")),
    ];
    let leaf = (attribute, operator)
        .prop_map(|(attribute, operator)| format!("{{\"attribute\": {}, {operator}}}", quoted(attribute)));
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|all| format!("{{\"all\": [{}]}}", all.join(", "))),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|any| format!("{{\"any\": [{}]}}", any.join(", "))),
            inner.prop_map(|inner| format!("{{\"not\": {inner}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_are_read_as_written(
        condition in condition(),
        version in name(),
        salt in odd_text(),
        priority in any::<i32>(),
        share in 0..=10_000_u32,
    ) {
        let share = f64::from(share) / 100.0;
        let text = format!(
            "{{\"split\": {{{}: {share}}}, \"when\": {condition}, \"salt\": {}, \"priority\": {priority}}}",
            quoted(&version), quoted(&salt),
        );
        let again = written("rules/r", &text);
        prop_assert_eq!(show("rules/r", &again), show("rules/r", &text), "{}", again);
    }

    #[test]
    fn instances_and_services_are_read_as_written(
        tags in prop::collection::btree_map(odd_text(), odd_text(), 0..4),
        names in prop::collection::btree_map(name(), name(), 0..4),
        weight in 0..1_000_000,
    ) {
        let map = |entries: Vec<String>| format!("{{{}}}", entries.join(", "));
        let tags = map(tags.iter().map(|(tag, value)| format!("{}: {}", quoted(tag), quoted(value))).collect());
        let instance = format!(
            "{{\"address\": \"10.0.0.1:80\", \"version\": \"v1\", \"weight\": {weight}, \"tags\": {tags}}}"
        );
        let again = written("instances/s/i", &instance);
        prop_assert_eq!(show("instances/s/i", &again), show("instances/s/i", &instance), "{}", again);
        let aliases = map(names.iter().map(|(from, to)| format!("{}: {}", quoted(from), quoted(to))).collect());
        let lists = map(names.iter().map(|(from, to)| format!("{}: [{}]", quoted(from), quoted(to))).collect());
        let service = format!("{{\"aliases\": {aliases}, \"fallback\": {lists}, \"instances\": [{instance}]}}");
        let again = written("services/s", &service);
        prop_assert_eq!(show("services/s", &again), show("services/s", &service), "{}", again);
    }

    #[test]
    fn routes_are_read_as_written(
        condition in condition(),
        header in odd_text(),
        path in "/[a-z]{0,5}",
        service in name(),
    ) {
        let header: String = header.replace('$', "$$").chars().filter(|c| !c.is_control()).collect();
        let text = format!(
            "{{\"paths\": [{{\"prefix\": {}}}], \"when\": {condition}, \"service\": {}, \
             \"request_headers\": {{\"set\": {{\"x-a\": {}, \"X-a\": \"two\"}}}}}}",
            quoted(&path), quoted(&service), quoted(&header),
        );
        let again = written("routes/r", &text);
        prop_assert_eq!(show("routes/r", &again), show("routes/r", &text), "{}", again);
    }
}
