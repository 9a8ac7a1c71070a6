//! Every field, operator and mistake of the contract, as operators write them.

mod beyond;

use std::time::Duration;

use super::*;
use crate::vocab::Name;

fn parse_text(id: &str, text: &str) -> Result<Document, Vec<Problem>> {
    let id = DocumentId::parse(id).unwrap();
    parse(&id, &Raw { body: text.into(), format: Format::Yaml })
}

fn good(id: &str, text: &str) {
    if let Err(problems) = parse_text(id, text) {
        panic!("{text}\n{problems:#?}");
    }
}

/// The document has exactly these mistakes, each named by a field and a part of the message and help.
fn bad(id: &str, text: &str, expected: &[(&str, &str)]) {
    let Err(problems) = parse_text(id, text) else { panic!("accepted: {text}") };
    let found: Vec<_> = problems.iter().map(|p| (p.field.as_str(), p.sentence())).collect();
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for ((field, sentence), (expected_field, part)) in found.iter().zip(expected) {
        assert_eq!(field, expected_field, "{text}\n{found:#?}");
        assert!(sentence.contains(part), "{text}: {sentence} lacks {part}");
    }
    assert!(problems.iter().all(|p| p.document() == id));
}

#[test]
fn every_mistake_of_a_tree_says_its_line() {
    for (text, expected) in [
        ("version: gray\nwhen:\n  all:\n    - {attribute: path, prefx: /a}\n", vec![4]),
        ("{\n\"version\": 1,\n\"enabled\":\n\n7}", vec![2, 3]),
        ("version: gray\nwhen: {}", vec![2]),
        ("enabled: true\n", vec![1]),
        ("version: gray\nby: [\n", vec![3]),
    ] {
        let problems = parse_text("rules/x", text).unwrap_err();
        let mut lines: Vec<_> = problems.iter().filter_map(|problem| problem.line).collect();
        lines.sort();
        assert_eq!(lines, expected, "{text}\n{problems:#?}");
        assert_eq!(lines.len(), problems.len(), "{problems:#?}");
    }
    let problem = parse_text("rules/x", "version: gray\nwhn: {}").unwrap_err().remove(0);
    assert_eq!(problem.to_string(), "rules/x:2: whn: unknown field `whn`; did you mean `when`?");
}

#[test]
fn plans_are_read_with_every_field_and_default() {
    let text = r#"
title: Patient 8.0 for pilot hospitals first
services: [patient]
version: gray
when: {attribute: path, prefix: /patient}
by: [header:application-cust-id]
salt: patient-8
priority: -500
steps:
  - {name: pilots, who: {attribute: header:application-hospital-source-code, in_list: pilot-hospitals}, hold: 30m}
  - {share: 5, hold: 10m, min_requests: 500}
  - {share: 25, hold: 30m, approval: true}
  - {share: 100, hold: 1h}
guards:
  errors: {tolerate: 1.0, alpha: 0.008}
  latency: {tolerate: 1.2, alpha: 0.002}
  error_rate: {above: 5%}
  latency_p99: {above: 800ms}
  fallback: {above: 20%}
  metrics:
    - {name: orders, from: main, query: "up", above: 10, every: 30s}
on_regression: rollback
on_unknown: hold
watch: 1h
promote: manual
windows: ["Mon-Fri 09:00-17:00 Asia/Shanghai"]
channels: [ops-chat]
"#;
    good("plans/patient-8", text);
    let Ok(Document::Plan(plan)) = parse_text("plans/p", "services: [a]\nversion: gray\nsteps: [{share: 5}]")
    else {
        panic!("no plan");
    };
    assert_eq!((plan.priority, plan.watch), (-1000, Duration::from_secs(3600)));
    assert_eq!((plan.on_regression, plan.on_unknown), (plan::OnRegression::Rollback, plan::OnUnknown::Hold));
    assert_eq!((plan.promote, plan.guards), (plan::Promotion::Manual, plan::Guards::default()));
    good(
        "plans/pool-size",
        r#"
config: {app: user-service, environment: prod, group: database, values: {database.maxPoolSize: "50"}}
steps: [{who: {attribute: ip, cidr: [192.168.1.100, 192.168.1.101]}, hold: 10m}, {share: 100, hold: 10m}]
"#,
    );
}

#[test]
fn mistakes_of_plans_are_named() {
    let plan = |more: &str, expected: &[(&str, &str)]| {
        bad("plans/p", &format!("services: [a]\nversion: gray\n{more}"), expected);
    };
    plan("steps: []", &[("steps", "an empty list")]);
    plan("steps: [{share: 5}, {share: 5}]", &[("steps[1].share", "must grow")]);
    plan("steps: [{share: 50}, {hold: 5m}]", &[("steps[1]", "adds no user")]);
    plan("steps: [{share: 0}]", &[("steps[0].share", "adds no user")]);
    plan(
        "steps: [{share: 1}]\nguards: {errors: off, latency: off, fallback: off}",
        &[("", "every guard is off")],
    );
    plan(
        "steps: [{share: 1}]\nguards: {errors: {tolerate: 0.5}}",
        &[("guards.errors.tolerate", "from 1 to")],
    );
    plan("steps: [{share: 1}]\nguards: {eror_rate: off}", &[("guards.eror_rate", "did you mean")]);
    plan("steps: [{share: 1}]\nwindows: [\"Mon-Fry 09:00-17:00 UTC\"]", &[("windows[0]", "a window like")]);
    plan("steps: [{share: 1}]\nconfig: {app: a}", &[("", "exclude each other")]);
    bad("plans/p", "services: [a]\nversion: release\nsteps: [{share: 1}]", &[("version", "already")]);
    bad("plans/p", "services: [a]\nsteps: [{share: 1}]", &[("", "`version` is missing")]);
    bad(
        &format!("plans/{}", "x".repeat(101)),
        "services: [a]\nversion: g\nsteps: [{share: 1}]",
        &[("", "at most 100")],
    );
}

#[test]
fn a_closure_is_named_for_what_it_closes() {
    good("closures/patient.v7.0.1", "{service: patient, version: v7.0.1, because: errors}");
    good("closures/patient.gray", "service: patient\nversion: gray");
    bad("closures/other.gray", "service: patient\nversion: gray", &[("", "closures/patient.gray")]);
    bad("closures/patient.release", "service: patient\nversion: release", &[("version", "cannot be closed")]);
    bad("closures/patient.gray", "service: patient", &[("", "`version` is missing")]);
}

#[test]
fn the_contract_s_documents_are_accepted() {
    good(
        "routes/portal",
        r#"
hosts: [medical.example.com, "*.hospital.example"]
paths:
  - {prefix: /portal}
  - {exact: /healthz}
  - {regex: "/(?<org>[^/]+)/api/inter-hos/.*"}
methods: [GET, POST]
when: {attribute: header:x-tenant, exists: true}
priority: 0
service: portal
rewrite: {prefix: /}
request_headers:
  set: {x-edge: graygate}
  set_if_absent: {orgcode: "${org}"}
  add: {}
  remove: [x-debug]
timeouts: {request: 60s}
max_body: 10MiB
"#,
    );
    good("routes/r", "redirect: {scheme: https, status: 301}");
    good(
        "services/patient",
        r#"
identity: [header:application-cust-id, cookie:uid]
issue_cookie: {name: gg_id, max_age: 30d}
aliases: {release: v7.0.0, gray: v7.0.1}
fallback: {gray: [beta], strict1: none}
pin: {attribute: header:developer, tag: developer}
instances:
  - {address: "10.0.0.1:8080", version: v7.0.0, weight: 2}
  - {address: "10.0.0.9:8080", version: v7.0.1, tags: {developer: li}}
balance: round_robin
health:
  http: {path: /healthz, status: [200]}
  interval: 5s
  timeout: 1s
  healthy_after: 2
  unhealthy_after: 3
outlier: {consecutive_errors: 5, eject_for: 30s, max_ejected: 50%}
timeouts: {connect: 1s, read: 30s, request: 60s, idle: 50s}
retries: 1
protocol: h2
tls: {server_name: patient.internal, ca: /etc/graygate/ca.pem, verify: true}
max_connections: 10000
errors: {status: [5xx], grpc: [2, 4, 13, 14, 15], header: {x-result: ["500"]}}
warm_up: 30s
version_headers:
  gray: {application_role: "2"}
  release: {application_role: "1"}
"#,
    );
    good(
        "rules/20-pilot-hospitals",
        r#"
services: [patient, portal]
priority: 20
enabled: true
starts: 2026-11-22T08:00:00+08:00
ends: 2026-12-01T00:00:00+08:00
when:
  all:
    - {attribute: header:application-hospital-source-code, in_list: pilot-hospitals}
    - {not: {attribute: path, prefix: /patient/payment}}
split: {gray: 10, feat1: 2.5}
by: [header:application-cust-id]
salt: spring-trial
"#,
    );
    good(
        "instances/patient/patient-7f9c",
        "{\"address\": \"10.0.0.12:8080\", \"version\": \"v7.0.1\", \"weight\": 1, \"tags\": {\"zone\": \"a\"}, \"draining\": false}",
    );
    good("services/empty", "{}");
    good("services/x", "health: {tcp: {}}\noutlier: off\nbalance: hash");
    good("services/x", "health: {grpc: {service: a.b}}\nprotocol: h2c\nfallback: {gray: []}");
}

#[test]
fn every_operator_is_read() {
    for condition in [
        "{attribute: header:domain-sign, suffix: CUST}",
        "{attribute: 'cookie:a', equals: ''}",
        "{attribute: query:x, in: []}",
        "{attribute: ip, in_list: offices}",
        "{attribute: path, prefix: /a}",
        "{attribute: host, contains: b, ignore_case: true}",
        "{attribute: method, regex: 'G.T', ignore_case: false}",
        "{attribute: ip, cidr: [10.0.0.0/8, '::1']}",
        "{attribute: scheme, exists: false}",
        "{attribute: header:v, semver: '>=v7.0.0, <8'}",
        "{attribute: query:age, at_least: 18}",
        "{attribute: query:age, above: -1.5}",
        "{attribute: query:age, at_most: 99999999999999999999999}",
        "{attribute: query:age, below: 0}",
        "{any: [{not: {all: [{attribute: path, equals: /}]}}]}",
    ] {
        good("rules/x", &format!("version: gray\nwhen: {condition}"));
    }
}

#[test]
fn mistakes_are_named_with_their_place() {
    let rule =
        |text: &str, expected: &[(&str, &str)]| bad("rules/x", &format!("version: gray\n{text}"), expected);
    rule(
        "when: {all: [{atribute: header:x, equals: a}]}",
        &[("when.all[0].atribute", "did you mean `attribute`?")],
    );
    rule("when: {attribute: header:x, equls: a}", &[("when.equls", "did you mean `equals`?")]);
    rule("when:", &[("when", "nothing stands behind")]);
    rule("when: {}", &[("when", "a condition is one of")]);
    rule("when: {all: []}", &[("when.all", "an empty list")]);
    rule("when: {any: []}", &[("when.any", "an empty list")]);
    rule("when: {all: [], any: []}", &[("when", "exclude each other")]);
    rule("when: {attribute: heder:x, equals: a}", &[("when.attribute", "did you mean `header`?")]);
    rule("when: {attribute: header:x}", &[("when", "an operator is missing")]);
    rule("when: {attribute: header:x, equals: a, prefix: b}", &[("when", "two operators")]);
    rule("when: {attribute: header:x, equals: 2}", &[("when.equals", "put it in quotes")]);
    rule("when: {attribute: header:x, in: a}", &[("when.in", "expected a list")]);
    rule("when: {attribute: header:x, regex: '['}", &[("when.regex", "the pattern is wrong")]);
    rule("when: {attribute: header:x, regex: 'a)|(b'}", &[("when.regex", "the pattern is wrong")]);
    let many = "{attribute: header:x, regex: '[a-z]+'}, ".repeat(65);
    rule(&format!("when: {{any: [{many}]}}"), &[("when", "65 patterns in one `when`, and 64 are the most")]);
    rule("when: {attribute: header:x, cidr: [10.0.0.0/8]}", &[("when", "for the attribute `ip`")]);
    rule("when: {attribute: ip, cidr: [10.0.0.0/64]}", &[("when.cidr[0]", "is not an address")]);
    rule("when: {attribute: header:x, exists: 'yes'}", &[("when.exists", "expected true or false")]);
    rule(
        "when: {attribute: header:x, exists: true, ignore_case: true}",
        &[("when", "cannot stand beside `exists`")],
    );
    rule("when: {attribute: header:x, semver: abc}", &[("when.semver", "is not a version range")]);
    rule("when: {attribute: header:x, at_least: 1e3}", &[("when.at_least", "not a plain number")]);
    rule("when: {attribute: header:x, at_least: '3'}", &[("when.at_least", "expected a number")]);
    rule("when: {not: {equals: a}}", &[("when.not", "a condition is one of")]);
    rule("when: {any: [{attribute: path, equals: /}], equals: a}", &[("when", "needs an `attribute`")]);
    rule("services: []", &[("services", "an empty list")]);
    rule("services: [a b]", &[("services[0]", "is not a name")]);
    rule("by: []", &[("by", "an empty list")]);
    rule("priority: 2147483648", &[("priority", "whole number")]);
    rule("priority: 1.5", &[("priority", "whole number")]);
    rule("enabled: on", &[("enabled", "expected true or false")]);
    rule("starts: 2026-11-22", &[("starts", "a time with a zone")]);
    rule("starts: 2026-11-22T08:00:00", &[("starts", "a time with a zone")]);
    rule(
        "starts: 2026-11-22T08:00:00Z\nends: 2026-11-22T16:00:00+08:00",
        &[("", "`ends` is not after `starts`")],
    );
    rule("split: {gray: 10}", &[("", "exclude each other")]);
    rule(
        "verion: a\nenabled: 1",
        &[("enabled", "expected true or false"), ("verion", "did you mean `version`?")],
    );
    bad("rules/x", "verson: gray", &[("verson", "did you mean `version`?")]);
    bad("routes/x", "servce: a", &[("servce", "did you mean `service`?")]);
    bad("instances/s/x", "{adress: 'x', version: a}", &[("adress", "did you mean `address`?")]);
    bad("rules/x", "priority: 1", &[("", "one of `version`, `split` is missing")]);
    bad("rules/x", "split: {}", &[("split", "an empty split")]);
    bad("rules/x", "split: {a: 60, b: 40.01}", &[("split", "add up to 100.01")]);
    bad("rules/x", "split: {a: 10%}", &[("split.a", "without `%`")]);
    bad("rules/x", "split: {a: 0.001}", &[("split.a", "two decimals")]);
    bad("rules/x", "split: {'a b': 1}", &[("split.a b", "not a version's name")]);
    bad("rules/x", "version: 7.0", &[("version", "put it in quotes")]);
    bad("rules/x", "[]", &[("", "expected a map")]);
    bad("rules/x", "version: [", &[("", "did not find expected node content")]);
    bad(
        "routes/x",
        "service: a\nhosts: []\npaths: []\nmethods: []",
        &[("hosts", "an empty list"), ("paths", "an empty list"), ("methods", "an empty list")],
    );
    let route =
        |text: &str, expected: &[(&str, &str)]| bad("routes/x", &format!("service: a\n{text}"), expected);
    route(&format!("when: {{any: [{many}]}}"), &[("when", "65 patterns")]);
    route("methods: [get]", &[("methods[0]", "upper case")]);
    route("hosts: ['*']", &[("hosts[0]", "leave `hosts` out")]);
    route("hosts: ['a.com:80']", &[("hosts[0]", "without a port")]);
    route("paths: [/a]", &[("paths[0]", "expected a map")]);
    route("paths: [{prefix: a}]", &[("paths[0].prefix", "begin with `/`")]);
    let many = "{regex: '/[a-z]+'}, ".repeat(65);
    route(&format!("paths: [{many}]"), &[("paths", "65 patterns in one `paths`, and 64 are the most")]);
    route("paths: [{exact: /a//b}]", &[("paths[0].exact", "can never match")]);
    route("paths: [{exact: /a, prefix: /b}]", &[("paths[0]", "exclude each other")]);
    route("rewrite: {prefix: /}", &[("rewrite.prefix", "no prefix to replace")]);
    route("rewrite: {path: '/${org}'}", &[("rewrite.path", "no path of this route has a group `org`")]);
    route("rewrite: {replace: /}", &[("rewrite", "needs a `regex`")]);
    route("rewrite: {regex: '/(?<r>.*)'}", &[("rewrite", "`replace` is missing")]);
    route("request_headers: {set: {x: '$5'}}", &[("request_headers.set.x", "write `$$`")]);
    route(
        "request_headers: {set: {content-length: '5'}}",
        &[("request_headers.set.content-length", "belongs to")],
    );
    route("request_headers: {set: {x: \"a\\nb\"}}", &[("request_headers.set.x", "no line breaks")]);
    route("redirect: {scheme: https}", &[("", "exclude each other")]);
    route("timeouts: {request: 60}", &[("timeouts.request", "expected a duration")]);
    route("max_body: 10MB", &[("max_body", "is not a size")]);
    bad("routes/x", "redirect: {}", &[("redirect", "never ends")]);
    bad("routes/x", "redirect: {status: 304, path: /a}", &[("redirect.status", "is no redirect")]);
    bad("routes/x", "redirect: {scheme: ftp}", &[("redirect.scheme", "is not one of")]);
    let service = |text: &str, expected: &[(&str, &str)]| bad("services/x", text, expected);
    service("identity: []", &[("identity", "an empty list")]);
    service("pin: {attribute: ip, tag: a}", &[("pin.attribute", "cannot be a pin")]);
    service("outlier: on", &[("outlier", "expected a map")]);
    service("balance: roundrobin", &[("balance", "did you mean `round_robin`?")]);
    service("protocol: h2", &[("protocol", "over TLS")]);
    service("fallback: {a: b}", &[("fallback.a", "a list of versions or `none`")]);
    service("health: {interval: 5s}", &[("health", "one of `http`, `tcp`, `grpc` is missing")]);
    service(
        "health: {http: {path: /, statuses: [200]}}",
        &[("health.http.statuses", "did you mean `status`?")],
    );
    service(
        "instances: [{address: host, version: a}]",
        &[("instances[0].address", "an address with a port")],
    );
    service("instances: [{address: '1.2.3.4:80'}]", &[("instances[0]", "`version` is missing")]);
    service(
        "instances: [{address: '1.2.3.4:80', version: a, weight: -1}]",
        &[("instances[0].weight", "whole number")],
    );
    service("issue_cookie: {name: a, max_age: 500ms}", &[("issue_cookie.max_age", "whole seconds")]);
    service("retries: -1", &[("retries", "whole number")]);
    service("errors: {status: [6xx, 503]}", &[("errors.status[0]", "a status like `503`")]);
    service("errors: {grpc: [0]}", &[("errors.grpc[0]", "whole number")]);
    service("errors: {grpc: [17]}", &[("errors.grpc[0]", "whole number")]);
    service("errors: {header: {x-result: []}}", &[("errors.header.x-result", "")]);
    service("errors: {header: {a b: [x]}}", &[("errors.header.a b", "not a header's name")]);
    service("errors: {statuses: [500]}", &[("errors.statuses", "did you mean `status`?")]);
    service("errors: [5xx]", &[("errors", "")]);
    service("warm_up: 30", &[("warm_up", "")]);
    service("timeouts: {read: 0s}", &[("timeouts.read", "longer than zero")]);
    service("version_headers: {gray: {a b: c}}", &[("version_headers.gray.a b", "not a header's name")]);
}

#[test]
fn other_encodings_are_refused() {
    let id = DocumentId::parse("rules/x").unwrap();
    let raw = Raw { body: Body::from(&b"version: \xff"[..]), format: Format::Yaml };
    assert!(parse(&id, &raw).unwrap_err()[0].message.contains("UTF-8"));
    let raw = Raw { body: "version: gray".into(), format: Format::Json };
    assert!(parse(&id, &raw).is_err());
}

#[test]
fn discover_names_a_registry_or_several() {
    let read = |text: &str| match parse_text("services/s", text) {
        Ok(Document::Service(service)) => service.discover,
        other => panic!("{text}: {other:?}"),
    };
    let whole = read(
        "discover: {registry: r, name: patient-server, version_from: v, weight: false, tags: [zone], port: 80}",
    );
    let expected = Discover {
        registry: Name::parse("r").unwrap(),
        name: "patient-server".into(),
        version_from: "v".into(),
        weight: Weighing::Equal,
        tags: vec!["zone".into()],
        port: Some(80),
    };
    assert_eq!(whole, [expected]);
    let short = read("discover: {registry: r, name: 用户服务}");
    assert_eq!((&*short[0].version_from, short[0].weight), ("version", Weighing::Registry));
    let several = read("discover: [{registry: r, name: a}, {registry: q, name: a}]");
    assert_eq!(several.iter().map(|one| one.registry.as_str()).collect::<Vec<_>>(), ["r", "q"]);
    assert!(read("{}").is_empty());

    let name = "is not a service's name in a registry";
    for (text, field, part) in [
        ("discover: {name: a}", "discover", "`registry` is missing"),
        ("discover: {registry: r}", "discover", "`name` is missing"),
        ("discover: {registry: r, name: ''}", "discover.name", name),
        ("discover: {registry: r, name: a/b}", "discover.name", name),
        ("discover: {registry: r, name: ..}", "discover.name", name),
        ("discover: {registry: r, name: 'a b'}", "discover.name", name),
        ("discover: {registry: r, name: a, port: 0}", "discover.port", "1 to 65535"),
        ("discover: {registry: r, name: a, weight: 2}", "discover.weight", "true or false"),
        ("discover: {registry: r, name: a, tag: [x]}", "discover.tag", "did you mean `tags`?"),
        ("discover: {registry: r/s, name: a}", "discover.registry", "is not a name"),
        ("discover: []", "discover", "an empty list"),
        ("discover: [{registry: r, name: a}, {registry: r, name: b}]", "discover", "`r` is there twice"),
    ] {
        bad("services/s", text, &[(field, part)]);
    }
}

#[test]
fn instances_say_which_registry_found_them() {
    let by = |text: &str| match parse_text("instances/s/a", text) {
        Ok(Document::Instance(instance)) => instance.by.map(|by| by.to_string()),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(by("address: '10.0.0.1:80'\nversion: v1\nby: nacos-main").as_deref(), Some("nacos-main"));
    assert_eq!(by("address: '10.0.0.1:80'\nversion: v1"), None);
    bad("instances/s/a", "address: '10.0.0.1:80'\nversion: v1\nby: a/b", &[("by", "is not a name")]);
}
