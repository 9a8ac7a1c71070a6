//! A decision allocates nothing once its buffers have grown.

use std::collections::BTreeMap;
use std::sync::Arc;

use graygate_rules::compile::{Compiled, Memory, compile};
use graygate_rules::decide::{Decision, Field, Fields, PathBuffer, Request, Scratch};
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::allocations;

/// The rule's documents, with one route for every request.
fn compiled(rules: &[&str]) -> Compiled {
    compiled_after(&Memory::default(), rules)
}

fn compiled_after(memory: &Memory, rules: &[&str]) -> Compiled {
    let mut documents = BTreeMap::new();
    let mut put = |id: &str, raw: Raw| {
        documents.insert(DocumentId::parse(id).unwrap(), Arc::new(raw));
    };
    put(
        "services/s",
        Raw::yaml(
            "identity: [header:x-user, cookie:uid]\nissue_cookie: {name: gg, max_age: 1d}\n\
             pin: {attribute: header:x-dev, tag: dev}",
        ),
    );
    put(
        "routes/a",
        Raw::yaml(
            "hosts: ['*.example.com']\npaths: [{regex: '/never/(?<a>.*)'}, {prefix: /api}]\nmethods: [GET]\n\
             when: {attribute: header:x-user, exists: true}\nservice: s",
        ),
    );
    put("routes/b", Raw::yaml("service: s"));
    put("lists/users", Raw::list("user0\nuser1\n"));
    put("lists/nets", Raw::list("10.0.0.0/8\n2001:db8::/32\n"));
    for (i, rule) in rules.iter().enumerate() {
        put(&format!("rules/{i}"), Raw::yaml(*rule));
    }
    let set = DocumentSet { documents: documents.into(), ..DocumentSet::default() };
    let compiled = compile(&set, memory, &|_| Err(std::io::ErrorKind::NotFound.into()));
    assert_eq!(compiled.problems, []);
    compiled
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-user", "user1"),
        ("x-user", "user2"),
        ("x-name", "ÄRZTIN"),
        ("x-version", "v7.1.2-rc.1"),
        ("x-build", "7.1.2+20261122.abcdef"),
        ("x-long", "v7.1.2-nightly-20261122.10"),
        ("x-age", "123456789012345678901234567890.5"),
        ("cookie", "a=1; uid=user9; b=\"x\""),
        ("cookie", "c=3"),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

#[test]
fn a_decision_allocates_nothing() {
    let all = [
        "when: {attribute: header:x-user, equals: user2}\nversion: gray",
        "when: {attribute: header:x-user, in: [a, b, user2]}\nversion: gray",
        "when: {attribute: header:x-user, in_list: users}\nversion: gray",
        "when: {attribute: header:x-user, regex: 'user[0-9]'}\nversion: gray",
        "when: {attribute: header:x-name, regex: 'ä\\w+', ignore_case: true}\nversion: gray",
        "when: {attribute: header:x-name, equals: ärztin, ignore_case: true}\nversion: gray",
        "when: {attribute: path, prefix: /API, ignore_case: true}\nversion: gray",
        "when: {attribute: path, contains: 用户}\nversion: gray",
        "when: {attribute: host, suffix: .example.com}\nversion: gray",
        "when: {attribute: 'cookie:c', equals: '3'}\nversion: gray",
        "when: {attribute: 'query:full name', equals: 'Li Wei'}\nversion: gray",
        "when: {attribute: ip, in_list: nets}\nversion: gray",
        "when: {attribute: ip, cidr: [10.0.0.0/8, '2001:db8::/32']}\nversion: gray",
        "when: {attribute: ip, prefix: '2001:'}\nversion: gray",
        "when: {attribute: header:x-version, semver: '>=7.1.2-rc.0'}\nversion: gray",
        "when: {attribute: header:x-long, semver: '>=7.1.2-nightly-20261122.9'}\nversion: gray",
        "when: {attribute: header:x-build, semver: '7.1.2'}\nversion: gray",
        "when: {attribute: header:x-age, above: 18.25}\nversion: gray",
        "when: {not: {any: [{attribute: header:x-dev, exists: true}, {attribute: method, equals: PUT}]}}\nversion: gray",
        "split: {gray: 10, feat1: 2.5}",
        "split: {gray: 100}\nby: [cookie:uid]",
        "split: {gray: 99.99}\nby: [query:full name]\nsalt: spring",
        "split: {gray: 50}\nby: [ip]",
    ];
    for rule in all {
        check(&compiled(&[rule]), rule);
    }
    // All of them at once, and none that holds before the last.
    let never = "when: {all: [{attribute: header:x-user, in_list: users}, {attribute: scheme, equals: none}]}\nversion: gray";
    check(&compiled(&[never, never, "enabled: false\nversion: gray", all[3]]), "several rules");
    check(&compiled(&[]), "no rule");
    check_index();
}

/// Every kind of key at once, in rules whose keys are all hit and that still do not match; the last one does.
fn check_index() {
    let keys = [
        "{attribute: header:x-user, equals: user2}",
        "{attribute: header:x-user, in_list: users}",
        "{attribute: header:x-user, in: [user1, user2]}",
        "{attribute: header:x-user, regex: 'user[0-9]'}",
        "{attribute: header:x-name, equals: ärztin, ignore_case: true}",
        "{attribute: path, prefix: /API, ignore_case: true}",
        "{attribute: host, suffix: .example.com}",
        "{attribute: 'query:full name', equals: 'Li Wei'}",
        "{attribute: cookie:uid, prefix: user}",
        "{attribute: path, contains: 用户}",
        "{attribute: header:x-name, contains: RZT, ignore_case: true}",
        "{attribute: ip, in_list: nets}",
        "{any: [{attribute: scheme, equals: https}, {attribute: method, equals: GET}]}",
        "{attribute: header:x-age, above: 1}",
        "{not: {attribute: header:x-age, above: 1}}",
    ];
    let mut rules = Vec::new();
    for (i, key) in (0..30).flat_map(|i| keys.map(|key| (i, key))) {
        let regex = format!("{{attribute: header:x-user, regex: 'user{i}|.*-{i}'}}");
        rules.push(format!(
            "when: {{all: [{key}, {{attribute: header:x-build, equals: '{i}'}}]}}\nversion: gray"
        ));
        rules.push(format!("when: {{all: [{key}, {{not: {key}}}]}}\nversion: gray"));
        rules.push(format!("when: {{all: [{regex}, {{attribute: scheme, contains: none}}]}}\nversion: gray"));
    }
    rules.push("priority: -1\nversion: gray".into());
    let whole = compiled(&rules.iter().map(String::as_str).collect::<Vec<_>>());
    check(&whole, "an index");
    // Some of every kind beside it.
    for rule in rules.iter_mut().step_by(31) {
        *rule = rule.replace("{all: [", "{all: [{attribute: header:x-name, exists: true}, ");
    }
    let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
    let changed = compiled_after(&whole.memory, &rules);
    assert!(changed.snapshot.services[0].index.drift() > 40);
    check(&changed, "an index with changes");
}

fn check(compiled: &Compiled, what: &str) {
    let (mut buffer, mut scratch) = (PathBuffer::default(), Scratch::default());
    let path = buffer.normalise("/api//%61/用户/x".as_bytes()).unwrap();
    let headers = headers();
    let request = Request {
        method: "GET",
        scheme: "https",
        host: "www.example.com",
        port: None,
        path,
        query: Some(b"x=1&full+name=Li%20Wei&y=%zz"),
        fields: (&headers).into(),
        client: "2001:db8::1".parse().unwrap(),
        pins_trusted: false,
        inherited: None,
        now: 0,
        tester: None,
        places: None,
        fresh_identity: Some("fresh"),
    };
    let line =
        |(name, value)| Field { name: AsRef::<[u8]>::as_ref(name), value: HeaderValue::as_bytes(value) };
    let lines: Vec<Field<'_>> = headers.iter().map(line).collect();
    let of_lines = Request { fields: Fields::Lines(&lines), ..request };
    let unknown = Request { fields: Fields::Lines(&[]), ..request };
    let inherited = Request { inherited: Some("gray"), ..request };
    let lost = Request { host: "elsewhere", method: "POST", ..request };
    for (name, request) in [
        ("known", request),
        ("in lines", of_lines),
        ("without identity", unknown),
        ("inherited", inherited),
        ("elsewhere", lost),
    ] {
        let mut decided = 0;
        let mut decide = || {
            if let Decision::Version(_, choice) = compiled.snapshot.decide(&request, &mut scratch) {
                decided += 1 + usize::from(choice.issue_cookie);
            }
        };
        decide();
        let counted = allocations(|| (0..10).for_each(|_| decide()));
        assert_eq!(counted, 0, "{what}, {name}");
        assert!(decided >= 11, "{what}, {name}");
    }
}

/// A pattern whose automaton is small is built whole when it is compiled. Of a larger one each thread builds the states
/// that its values lead through, each once: that is where a decision may still allocate.
#[test]
fn a_state_of_a_pattern_is_built_once() {
    for (pattern, whole) in [("[a-z]+-[0-9]+", true), ("\\w+-\\d{1,9}(x|\\pL)", false)] {
        let rule = format!("when: {{attribute: header:x-user, regex: '{pattern}'}}\nversion: gray");
        let compiled = compiled(&[&rule]);
        let mut scratch = Scratch::default();
        let mut decide = |user: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-user", HeaderValue::from_str(user).unwrap());
            let path = graygate_rules::decide::Path { view: "/", upstream: "/" };
            let request = Request {
                method: "GET",
                scheme: "https",
                host: "www.example.com",
                port: None,
                path,
                query: None,
                fields: (&headers).into(),
                client: "10.0.0.1".parse().unwrap(),
                pins_trusted: false,
                inherited: None,
                now: 0,
                tester: None,
                places: None,
                fresh_identity: None,
            };
            allocations(|| {
                std::hint::black_box(compiled.snapshot.decide(&request, &mut scratch));
            })
        };
        decide("a-1");
        let users = ["b-27", "zz-1a", "hospital-12345678x", "-", "x-", "7-7-7", "Q-5"];
        let first: usize = users.iter().map(|user| decide(user)).sum();
        assert_eq!(first == 0, whole, "{pattern}: {first}");
        assert_eq!(users.iter().map(|user| decide(user)).sum::<usize>(), 0, "{pattern}");
    }
}

#[test]
fn normalising_a_path_allocates_nothing() {
    let mut buffer = PathBuffer::default();
    let paths = ["/", "/a/b", "//a/%2e%2e/用户/%E7%94%A8?", "/a%2Fb/./c\\d/", "/%zz", "/../x", "/a%252fb"];
    let long = format!("/{}", "%61/".repeat(1000));
    let mut all = || {
        for path in paths.iter().copied().chain([long.as_str()]) {
            std::hint::black_box(buffer.normalise(path.as_bytes()).is_ok());
        }
    };
    all();
    assert_eq!(allocations(all), 0);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}
