//! What a route makes of a request: rewritten paths and hosts, locations, edited headers.

use super::*;
use crate::decide::{self, BadTarget, Groups, Rewritten, Target, apply, edits, location, rewrite};

fn route(text: &str) -> Compiled {
    good(&[("services/s", "{}"), ("routes/r", text)])
}

/// What the upstream gets: the path, and the host where it is another one.
fn rewritten(text: &str, target: &str) -> Result<(String, Option<String>), BadTarget> {
    let compiled = route(&format!("{text}\nservice: s"));
    get(&format!("h{target}")).with(&compiled, |request, decision| {
        let Decision::Version(routed, _) = decision else { panic!("{text} {target}: {decision:?}") };
        let groups = Groups::of(&routed, request.path.view);
        let Rewritten { path, host } = rewrite(&routed, request.path, &groups)?;
        Ok((path.unwrap_or_else(|| request.path.upstream.into()), host))
    })
}

#[test]
fn paths_are_rewritten() {
    for (text, target, expected) in [
        // A prefix replaces what matched.
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /}", "/portal", "/"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /}", "/portal/", "/"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /}", "/portal/list", "/list"),
        ("paths: [{prefix: /portal/}]\nrewrite: {prefix: /base}", "/portal/list/", "/base/list/"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /base/}", "/portal/list", "/base/list"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /base}", "/portal", "/base"),
        ("paths: [{prefix: /}]\nrewrite: {prefix: /base}", "/", "/base/"),
        ("paths: [{prefix: /}]\nrewrite: {prefix: /base}", "/x", "/base/x"),
        ("paths: [{prefix: /用户}]\nrewrite: {prefix: /u}", "/%E7%94%A8%e6%88%b7/%61%2fb", "/u/%61%2fb"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: '/a b$$'}", "/portal/x", "/a%20b$/x"),
        // The bytes behind it go on as they came, normalised.
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /}", "//portal/./a%20b//c/../d", "/a%20b/d"),
        ("paths: [{prefix: /portal}]\nrewrite: {prefix: /}", "/portal//evil.example/x", "/evil.example/x"),
        // Reached by another path of the route, there is no prefix to replace.
        ("paths: [{prefix: /portal}, {exact: /x}]\nrewrite: {prefix: /}", "/x", "/x"),
        ("rewrite: {path: /fixed}", "/any/thing", "/fixed"),
        ("rewrite: {path: '/用户 a?b#c%d'}", "/x", "/%E7%94%A8%E6%88%B7%20a%3Fb%23c%25d"),
        ("rewrite: {path: '/a%2Fb'}", "/x", "/a%2Fb"),
        // Groups are encoded again; one that took no part is empty.
        (
            "paths: [{regex: '/(?<org>[^/]+)/(?<rest>.*)'}]\nrewrite: {path: '/${rest}/${org}'}",
            "/a%20b/c%2Fd",
            "/c%2Fd/a%20b",
        ),
        ("paths: [{regex: '/(?<a>x)?(?<b>.*)'}]\nrewrite: {path: '/1${a}2${b}'}", "/yz", "/12yz"),
        ("paths: [{regex: '/(?<a>.*)'}]\nrewrite: {path: '/${a}'}", "/100%25", "/100%25"),
        ("paths: [{regex: '/(?<a>.*)'}]\nrewrite: {path: '/${a}'}", "/a%252Fb", "/a%252Fb"),
        ("paths: [{regex: '/(?<a>.*)'}]\nrewrite: {path: '/${a}'}", "/%3Fx=1%23", "/%3Fx=1%23"),
        ("paths: [{regex: '/x(?<a>.*)'}]\nrewrite: {path: '/${a}/y'}", "/x/evil", "/evil/y"),
        // A pattern matches the whole path or changes nothing; both patterns' groups can be used.
        ("rewrite: {regex: '/old/(?<rest>.*)', replace: '/new/${rest}'}", "/old/x%20y", "/new/x%20y"),
        ("rewrite: {regex: '/old/(?<rest>.*)', replace: '/new/${rest}'}", "/very/old/x", "/very/old/x"),
        ("rewrite: {regex: '/old', replace: '/new'}", "/old/x", "/old/x"),
        ("rewrite: {regex: '/old/(?<rest>.*)', replace: '${rest}'}", "/old//evil/x", "/evil/x"),
        (
            "paths: [{regex: '/(?<a>[^/]*)/.*'}]\nrewrite: {regex: '.*/(?<b>[^/]*)', replace: '/${b}/${a}'}",
            "/one/two/three",
            "/three/one",
        ),
        (
            "paths: [{regex: '/(?<a>[^/]*)/.*'}]\nrewrite: {regex: '.*/(?<a>[^/]*)', replace: '/${a}'}",
            "/one/two",
            "/two",
        ),
        ("methods: [GET]", "//a/./%62/..", "/a/"),
    ] {
        let found = rewritten(text, target).map(|(path, _)| path);
        assert_eq!(found.as_deref(), Ok(expected), "{text} {target}");
    }
}

#[test]
fn groups_never_climb() {
    let into_base = "paths: [{regex: '/(?<a>.*)x(?<b>.*)'}]\nrewrite: {path: '/base/${a}/${b}'}";
    assert_eq!(rewritten(into_base, "/..x/c").map(|(path, _)| path).as_deref(), Ok("/c"));
    assert_eq!(rewritten(into_base, "/..x..").map(|(path, _)| path), Err(BadTarget));
    let paths = "paths: [{regex: '/(?<a>.*)x'}]";
    assert_eq!(redirected("{path: '/${a}/..'}", paths, "http://a.test/..x"), Err(BadTarget));
}

#[test]
fn hosts_are_rewritten_and_never_injected() {
    let of = |text: &str, target: &str| rewritten(text, target).map(|(_, host)| host);
    assert_eq!(of("rewrite: {path: /}", "/"), Ok(None));
    assert_eq!(of("rewrite: {host: patient.internal}", "/"), Ok(Some("patient.internal".into())));
    assert_eq!(of("rewrite: {host: 'patient.internal:8080'}", "/"), Ok(Some("patient.internal:8080".into())));
    let grouped = "paths: [{regex: '/(?<org>[^/]*)(?<no>/x)?'}]\nrewrite: {host: '${org}.internal'}";
    assert_eq!(of(grouped, "/st-luke"), Ok(Some("st-luke.internal".into())));
    for target in ["/a%20b", "/a%2Fb", "/a@b", "/用", "/a%3Fb", "/a%23"] {
        assert_eq!(of(grouped, target), Err(BadTarget), "{target}");
    }
    assert_eq!(of(&grouped.replace("{org}", "{no}"), "/a"), Err(BadTarget));
}

/// The `Location` for a request to this scheme, host and path.
fn redirected(redirect: &str, paths: &str, asked: &str) -> Result<String, BadTarget> {
    let compiled = route(&format!("{paths}\nredirect: {redirect}"));
    let (scheme, target) = asked.split_once("://").unwrap();
    let ask = Ask { scheme: if scheme == "https" { "https" } else { "http" }, ..get(target) };
    ask.with(&compiled, |request, decision| {
        let Decision::Redirect(routed) = decision else { panic!("{decision:?}") };
        let Target::Redirect(redirect) = &routed.route.target else { panic!("{routed:?}") };
        location(redirect, &routed, request, &Groups::of(&routed, request.path.view))
    })
}

#[test]
fn redirects_keep_what_they_do_not_name() {
    for (redirect, paths, asked, expected) in [
        ("{scheme: https}", "", "http://A.test/x?q=1&r", "https://a.test/x?q=1&r"),
        ("{scheme: https}", "", "http://a.test:8080/x", "https://a.test/x"),
        ("{scheme: https}", "", "http://a.test:443/x", "https://a.test/x"),
        ("{scheme: https, port: 8443}", "", "http://a.test:8080/x", "https://a.test:8443/x"),
        ("{scheme: https, port: 443}", "", "http://a.test/", "https://a.test/"),
        ("{scheme: http, port: 80}", "", "https://a.test:9/", "http://a.test/"),
        ("{port: 80}", "", "https://a.test/", "https://a.test:80/"),
        ("{port: 443}", "", "https://a.test:8443/", "https://a.test/"),
        ("{host: b.test}", "", "http://a.test:8080/x?", "http://b.test:8080/x?"),
        ("{host: b.test}", "", "https://a.test:443/x", "https://b.test/x"),
        ("{host: b.test, scheme: https}", "", "http://a.test:8080/x", "https://b.test/x"),
        ("{host: '[::1]'}", "", "http://a.test:8080/x", "http://[::1]:8080/x"),
        ("{path: /new}", "", "https://a.test:8443/x/y?q=1", "https://a.test:8443/new?q=1"),
        ("{path: /用户}", "", "http://a.test/x", "http://a.test/%E7%94%A8%E6%88%B7"),
        ("{prefix: /new}", "paths: [{prefix: /old}]", "http://a.test/old/x%20y/", "http://a.test/new/x%20y/"),
        ("{prefix: /}", "paths: [{prefix: /old}]", "http://a.test/old//evil", "http://a.test/evil"),
        ("{scheme: https}", "", "http://[0:0::1]:8080/x", "https://[::1]/x"),
        ("{scheme: https}", "", "http://a.test//b/../c%2fd", "https://a.test/c%2fd"),
        (
            "{host: '${org}.test', path: '/${rest}'}",
            "paths: [{regex: '/(?<org>[^/]+)/(?<rest>.*)'}]",
            "http://a.test/b/c/d%3Fe?f",
            "http://b.test/c/d%3Fe?f",
        ),
    ] {
        assert_eq!(redirected(redirect, paths, asked).as_deref(), Ok(expected), "{redirect} {asked}");
    }
    // Without a host of any kind there is nowhere to send the client.
    assert_eq!(redirected("{scheme: https}", "", "http:///x"), Err(BadTarget));
    let grouped = "paths: [{regex: '/(?<org>[^/]+)/.*'}]";
    for path in ["a%2Fb", "a@b", "a b", "a:80", "用"] {
        let asked = format!("http://a.test/{path}/x");
        assert_eq!(redirected("{host: '${org}'}", grouped, &asked), Err(BadTarget), "{path}");
    }
}

#[test]
fn a_redirect_names_its_port_once() {
    let compiled = compiled(&[("routes/r", "redirect: {host: 'b.test:8443', port: 9}")]);
    assert_eq!(compiled.problems.len(), 1);
    assert_eq!(compiled.problems[0].field, "redirect.host");
    assert!(compiled.problems[0].help.contains("port"), "{:?}", compiled.problems[0]);
}

/// The request's headers after the edits, one `name: value` a line.
fn edited(text: &str, ask: &Ask) -> Vec<String> {
    let compiled = route(&format!("{text}\nservice: s"));
    ask.with(&compiled, |request, decision| {
        let Decision::Version(routed, _) = decision else { panic!("{decision:?}") };
        let mut headers = HeaderMap::new();
        request.fields.copy_to(&mut headers);
        apply(&edits(&routed.route.request_headers, &Groups::of(&routed, request.path.view)), &mut headers);
        let shown = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        let mut lines: Vec<String> = headers.iter().map(shown).collect();
        lines.sort();
        lines
    })
}

#[test]
fn headers_are_edited_in_order() {
    let ask = get("h/st luke/x").header("a", "1").header("a", "2").header("b", "3");
    let groups = "paths: [{regex: '/(?<org>[^/]+)/(?<no>y)?.*'}]\n";
    for (edits, expected) in [
        ("{}", vec!["a: 1", "a: 2", "b: 3"]),
        ("{remove: [A, none]}", vec!["b: 3"]),
        ("{set: {a: x}}", vec!["a: x", "b: 3"]),
        ("{set_if_absent: {a: x, c: y}}", vec!["a: 1", "a: 2", "b: 3", "c: y"]),
        ("{add: {a: x}}", vec!["a: 1", "a: 2", "a: x", "b: 3"]),
        // Remove, set, set_if_absent, add: however they are written.
        ("{add: {a: x}, set: {a: y}, remove: [a, b]}", vec!["a: x", "a: y"]),
        ("{set_if_absent: {a: x}, remove: [a]}", vec!["a: x", "b: 3"]),
        ("{set_if_absent: {c: x}, set: {c: y}}", vec!["a: 1", "a: 2", "b: 3", "c: y"]),
        ("{add: {c: x}, set_if_absent: {c: y}}", vec!["a: 1", "a: 2", "b: 3", "c: x", "c: y"]),
        // Groups are decoded; an edit whose group took no part is left out, its header as it was.
        ("{set: {b: 'in ${org}'}}", vec!["a: 1", "a: 2", "b: in st luke"]),
        ("{set: {b: '${no}', a: '$$${org}'}}", vec!["a: $st luke", "b: 3"]),
        ("{set: {b: ''}}", vec!["a: 1", "a: 2", "b: "]),
    ] {
        let text = format!("{groups}request_headers: {edits}");
        assert_eq!(edited(&text, &ask), expected, "{edits}");
    }
    let text = "paths: [{regex: '/(?<x>.*)'}]\nrequest_headers: {set: {b: '${x}'}}";
    assert_eq!(edited(text, &get("h/%E7%94%A8%2F%25")), ["b: 用%2F%"]);
}

#[test]
fn edits_of_responses_use_the_request_s_groups() {
    let text = "paths: [{regex: '/(?<org>[^/]+)'}]\nresponse_headers: {set: {x-org: '${org}'}}\nservice: s";
    get("h/acme").with(&route(text), |request, decision| {
        let Decision::Version(routed, _) = decision else { panic!("{decision:?}") };
        let found = edits(&routed.route.response_headers, &Groups::of(&routed, request.path.view));
        let expected = decide::Edit::Set(HeaderName::from_static("x-org"), HeaderValue::from_static("acme"));
        assert_eq!(found, [expected]);
    });
}

#[test]
fn mistakes_behind_the_first_are_named_too() {
    let text = "rewrite: {prefix: /, hots: a, host: 'a b'}\nservice: s";
    let fields: Vec<String> = compiled(&[("services/s", "{}"), ("routes/r", text)])
        .problems
        .into_iter()
        .map(|problem| problem.field)
        .collect();
    assert_eq!(fields, ["rewrite.host", "rewrite.hots", "rewrite.prefix"]);
}

#[test]
fn a_pattern_that_no_request_can_have_is_a_problem() {
    for (text, field) in [
        ("hosts: ['*.[::1]']", "hosts[0]"),
        ("paths: [{exact: '/a%2fb'}]", "paths[0].exact"),
        ("paths: [{prefix: '/a%5cb'}]", "paths[0].prefix"),
        ("paths: [{prefix: '/a\\b'}]", "paths[0].prefix"),
    ] {
        let compiled = compiled(&[("services/s", "{}"), ("routes/r", &format!("{text}\nservice: s"))]);
        let fields: Vec<&str> = compiled.problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(fields, [field], "{text}");
    }
}
