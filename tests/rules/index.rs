//! The indexes against the linear search, on thousands of random rules and hundreds of random routes that meet the
//! same few values again and again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use graygate_rules::compile::{Compiled, Memory, compile};
use graygate_rules::decide::{Path, Request, Scratch};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use proptest::sample::select;

const ATTRIBUTES: [&str; 9] =
    ["header:x-a", "header:x-b", "header:x-dev", "cookie:c", "query:q", "path", "host", "method", "ip"];
/// Enough of them that most rules fail, few enough that some hold.
const TEXTS: usize = 300;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => (0..TEXTS).prop_map(|i| format!("t{i}")),
        1 => (0..TEXTS).prop_map(|i| format!("T{i}")),
        1 => (0..20).prop_map(|i| format!("{i}.5")),
        1 => (0..9, 0..3).prop_map(|(i, patch)| format!("v7.{i}.{patch}")),
        1 => (0..9).prop_map(|i| format!("7.{i}.0-rc.{i}")),
        1 => select(vec!["", "t", "/a", "/a/b", "a.test", "GET", "10.0.0.1", "ÄÖ", "äö"]).prop_map(String::from),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn operator() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => text().prop_map(|text| format!("equals: {}", quoted(&text))),
        3 => prop::collection::vec(text(), 0..4).prop_map(|texts| {
            format!("in: [{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
        }),
        2 => text().prop_map(|text| format!("prefix: {}", quoted(&text))),
        2 => text().prop_map(|text| format!("suffix: {}", quoted(&text))),
        1 => text().prop_map(|text| format!("contains: {}", quoted(&text))),
        2 => (0..TEXTS).prop_map(|i| format!("regex: 't{i}|x-[a-z]+'")),
        1 => text().prop_map(|text| format!("equals: {}, ignore_case: true", quoted(&text))),
        1 => text().prop_map(|text| format!("prefix: {}, ignore_case: true", quoted(&text))),
        1 => (0..TEXTS).prop_map(|i| format!("regex: 'T{i}', ignore_case: true")),
        2 => (0..6).prop_map(|i| format!("in_list: l{i}")),
        1 => any::<bool>().prop_map(|wanted| format!("exists: {wanted}")),
        2 => (0..20, select(vec!["above", "at_least", "at_most", "below"]))
            .prop_map(|(number, how)| format!("{how}: {number}.5")),
        2 => (0..9, 0..9).prop_map(|(low, more)| format!("semver: '>=7.{low}, <7.{}'", low + more)),
        1 => (0..9).prop_map(|i| format!("semver: '>7.{i}.0-rc.{i}'")),
        3 => (0..TEXTS, 0..7).prop_map(|(i, shape)| {
            let pattern = match shape {
                0 => format!("t{i}"),
                1 => format!(".*t{i}.*"),
                2 => format!("(t|x)[0-9]*{i}"),
                3 => format!("t({i}|{})?", i + 1),
                4 => format!("(?i)T{i}[A-Z]*"),
                5 => format!("[a-z]+{i}"),
                _ => format!(".*(T|t){{1}}{i}.?"),
            };
            format!("regex: '{pattern}', ignore_case: {}", i % 3 == 0)
        }),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let leaf = (select(ATTRIBUTES.to_vec()), operator()).prop_map(|(attribute, operator)| {
        match (attribute, operator.starts_with("in_list")) {
            // The lists hold texts, not addresses.
            ("ip", true) => "{attribute: ip, cidr: [10.0.0.0/24, '::1']}".to_string(),
            _ => format!("{{attribute: {}, {operator}}}", quoted(attribute)),
        }
    });
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 1..4).prop_map(|c| format!("{{all: [{}]}}", c.join(", "))),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(|c| format!("{{any: [{}]}}", c.join(", "))),
            1 => inner.prop_map(|c| format!("{{not: {c}}}")),
        ]
    })
}

/// A condition that few requests fulfil, so that a match stands deep among the rules.
fn selective() -> impl Strategy<Value = String> {
    let attribute = select(vec!["header:x-a", "header:x-b", "cookie:c", "'query:q'"]);
    let number = 0..TEXTS;
    (attribute, number, 0..7, condition()).prop_map(|(attribute, i, kind, condition)| {
        let operator = match kind {
            0 | 1 => format!("equals: t{i}"),
            2 => format!("in: [t{i}, t{}]", i + 7),
            3 => format!("regex: 't{i}[ab]?'"),
            4 => format!("prefix: T{i}, ignore_case: true"),
            5 => format!("suffix: '{i}'"),
            _ => format!("contains: 't{i}'"),
        };
        format!("{{all: [{condition}, {{attribute: {attribute}, {operator}}}]}}")
    })
}

/// One rule in many has no condition, a window, or is switched off.
fn rule() -> impl Strategy<Value = String> {
    (selective(), condition(), 0..4_000, -3..3).prop_map(|(selective, condition, kind, priority)| {
        let mut text = format!("version: gray\npriority: {priority}\n");
        let _ = match kind {
            0 => Ok(()),
            1..4 => writeln!(text, "when: {condition}"),
            4..200 => writeln!(text, "when: {condition}\nstarts: 2026-01-01T00:00:00Z"),
            200..400 => writeln!(text, "when: {selective}\nends: 2026-01-01T00:00:00Z"),
            400..600 => writeln!(text, "when: {condition}\nenabled: false"),
            600..800 => writeln!(text, "ends: 1960-01-01T00:00:00Z"),
            _ => writeln!(text, "when: {selective}"),
        };
        text
    })
}

fn route() -> impl Strategy<Value = String> {
    let hosts = prop_oneof![
        Just(String::new()),
        select(vec!["a.test", "b.a.test", "'*.a.test'", "'*.test'"])
            .prop_map(|host| format!("hosts: [{host}]\n")),
        (0..40).prop_map(|i| format!("hosts: [h{i}.a.test, '*.h{i}.a.test']\n")),
    ];
    let paths = prop_oneof![
        1 => Just(String::new()),
        2 => (0..20).prop_map(|i| format!("paths: [{{exact: /t{i}}}, {{prefix: /p{i}}}]\n")),
        2 => (0..20, 0..3).prop_map(|(i, j)| format!("paths: [{{prefix: /t{i}/t{j}}}]\n")),
        2 => (0..20).prop_map(|i| format!("paths: [{{regex: '/t{i}/.*'}}, {{regex: '/t[0-9]+/t{i}'}}]\n")),
        2 => (0..20, 0..20, 0..9).prop_map(|(i, j, shape)| {
            let pattern = match shape {
                0 => format!("(/t{i}|/p{j})/.*"),
                1 => format!("/[a-z]+{i}/(t|p){j}"),
                2 => format!(".*/(t{i}|p{j}).*"),
                3 => format!("/t{i}/p{j}"),
                4 => format!("(?i)/T{i}/[A-Z0-9]+"),
                5 => format!("/p{i}(/.*)?"),
                6 => "/[a-z]+[0-9]+/[tp]+[0-9]+".to_string(),
                7 => format!("(/[tp][0-9]+)*/t{i}(/[tp]{j})*"),
                _ => format!("/t{i}|/[tp][0-9]+/t{j}|/[tp].*$"),
            };
            format!("paths: [{{regex: '{pattern}'}}]\n")
        }),
    ];
    let method = prop_oneof![Just(""), Just("methods: [GET]\n"), Just("methods: [POST, PUT]\n")];
    let when = prop_oneof![2 => Just(String::new()), 1 => condition().prop_map(|c| format!("when: {c}\n"))];
    (hosts, paths, method, when, -1..2).prop_map(|(hosts, paths, method, when, priority)| {
        format!("{hosts}{paths}{method}{when}priority: {priority}\nservice: s\n")
    })
}

fn compiled(rules: &[String], routes: &[String]) -> Compiled {
    let mut documents = BTreeMap::new();
    let mut put = |id: &str, raw: Raw| documents.insert(DocumentId::parse(id).unwrap(), Arc::new(raw));
    put("services/s", Raw::yaml("pin: {attribute: header:x-dev, tag: dev}"));
    for list in 0..6 {
        let members: String =
            (0..TEXTS).filter(|i| i % 7 == list && list != 5).map(|i| format!("t{i}\n")).collect();
        put(&format!("lists/l{list}"), Raw::list(&*format!("# some\n{members}")));
    }
    for (i, rule) in rules.iter().enumerate() {
        put(&format!("rules/r{i}"), Raw::yaml(rule.as_str()));
    }
    for (i, route) in routes.iter().enumerate() {
        put(&format!("routes/r{i}"), Raw::yaml(route.as_str()));
    }
    let set = DocumentSet { documents: documents.into(), ..DocumentSet::default() };
    let compiled = compile(&set, &Memory::default(), &|_| Err(std::io::ErrorKind::NotFound.into()));
    let wrong: Vec<_> = compiled.problems.iter().take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    compiled
}

#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    host: String,
    path: String,
    query: Vec<String>,
    headers: Vec<(&'static str, String)>,
    client: &'static str,
    trusted: bool,
    now: i128,
}

fn ask() -> impl Strategy<Value = Ask> {
    let host = prop_oneof![
        select(vec!["", "a.test", "b.a.test", "c.b.a.test", "elsewhere"]).prop_map(String::from),
        (0..40, any::<bool>()).prop_map(|(i, deep)| format!("{}h{i}.a.test", if deep { "x." } else { "" })),
    ];
    let segment = prop_oneof![(0..20).prop_map(|i| format!("t{i}")), (0..20).prop_map(|i| format!("p{i}"))];
    let path = prop::collection::vec(segment, 0..4).prop_map(|segments| format!("/{}", segments.join("/")));
    let name = select(vec!["x-a", "x-a", "x-a", "x-b", "x-b", "x-dev"]);
    let headers = prop::collection::vec((name, text()), 0..6);
    let cookies = prop::collection::vec(text(), 0..3);
    let query = prop::collection::vec(text(), 0..12);
    let rest = (
        select(vec!["GET", "POST", "PUT"]),
        select(vec!["10.0.0.1", "10.0.1.1", "::1"]),
        any::<bool>(),
        select(vec![0, i128::MAX]),
    );
    (host, path, headers, cookies, query, rest).prop_map(
        |(host, path, mut headers, cookies, query, (method, client, trusted, now))| {
            headers.extend(cookies.into_iter().map(|cookie| ("cookie", format!("c={cookie}"))));
            let query =
                query.into_iter().filter(|text| text.is_ascii()).map(|text| format!("q={text}")).collect();
            Ask { method, host, path, query, headers, client, trusted, now }
        },
    )
}

/// The route and rule that decided, in both ways.
fn both(compiled: &Compiled, ask: &Ask, scratch: &mut Scratch) -> [String; 2] {
    let mut headers = HeaderMap::new();
    for (name, value) in &ask.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let query = ask.query.join("&");
    let request = Request {
        method: ask.method,
        scheme: "https",
        host: &ask.host,
        port: None,
        path: Path { view: &ask.path, upstream: &ask.path },
        query: Some(query.as_bytes()),
        fields: (&headers).into(),
        client: ask.client.parse().unwrap(),
        pins_trusted: ask.trusted,
        inherited: None,
        now: ask.now,
        tester: None,
        places: None,
        fresh_identity: None,
    };
    let indexed = told(compiled.snapshot.decide(&request, scratch));
    [indexed, told(compiled.snapshot.decide_linear(&request, scratch))]
}

fn told(decision: graygate_rules::decide::Decision<'_>) -> String {
    use graygate_rules::decide::Decision;
    match decision {
        Decision::NoRoute => "no route".into(),
        Decision::Version(routed, choice) => format!("{} {:?} {choice:?}", routed.route.name, routed.path),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn thousands_of_rules_decide_in_their_order(
        rules in prop::collection::vec(rule(), 1..3_000),
        asks in prop::collection::vec(ask(), 40),
    ) {
        let compiled = compiled(&rules, &["service: s".into()]);
        let mut scratch = Scratch::default();
        for ask in &asks {
            let [indexed, linear] = both(&compiled, ask, &mut scratch);
            prop_assert_eq!(indexed, linear, "{:?}", ask);
        }
    }

    #[test]
    fn hundreds_of_routes_are_found_in_their_order(
        routes in prop::collection::vec(route(), 1..600),
        asks in prop::collection::vec(ask(), 300),
    ) {
        let compiled = compiled(&[], &routes);
        let mut scratch = Scratch::default();
        for ask in &asks {
            let [indexed, linear] = both(&compiled, ask, &mut scratch);
            prop_assert_eq!(indexed, linear, "{:?}", ask);
        }
    }
}
