//! Routes on the wire: which service, which target, which headers, which redirect.

use crate::harness::proxy::Proxy;
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::{Act, Upstream, answer};
use crate::harness::wire::request;

/// A proxy with routes to `s` and `t`, whose upstreams say their names.
async fn routed(routes: &[(&str, &str)]) -> (Proxy, Upstream, Upstream) {
    let (s, t) = (Upstream::named("s").await, Upstream::named("t").await);
    let services = [instances(&[("release", s.address)]), instances(&[("release", t.address)])];
    let mut documents = vec![("services/s.yaml", &*services[0]), ("services/t.yaml", &*services[1])];
    documents.extend(routes);
    let proxy = Proxy::start("trust: []", &documents).await;
    (proxy, s, t)
}

#[tokio::test(flavor = "multi_thread")]
async fn host_path_method_and_conditions_choose_the_service() {
    let (proxy, _s, _t) = routed(&[
        ("routes/a-any.yaml", "service: s"),
        ("routes/b-host.yaml", "hosts: [\"*.wild.test\", exact.test]\nservice: t"),
        ("routes/c-wilder.yaml", "hosts: [\"*.deep.wild.test\"]\nservice: s"),
        ("routes/d-prefix.yaml", "paths: [{prefix: /portal/}]\nservice: t"),
        ("routes/e-exact.yaml", "paths: [{exact: /portal/home}]\nservice: s"),
        ("routes/f-method.yaml", "paths: [{prefix: /portal}]\nmethods: [PUT]\nservice: s"),
        (
            "routes/g-when.yaml",
            "paths: [{prefix: /when}]\nwhen: {attribute: header:x-t, exists: true}\nservice: t",
        ),
        ("routes/h-regex.yaml", "paths: [{regex: \"/[^/]+/api/.*\"}]\nservice: t"),
        ("routes/i-first.yaml", "paths: [{prefix: /first}]\npriority: 1\nservice: t"),
        ("routes/j-user.json", r#"{"paths": [{"prefix": "/用户"}, {"exact": "/a b"}], "service": "t"}"#),
    ])
    .await;
    for (method, target, headers, service) in [
        ("GET", "/", &[][..], "s"),
        ("GET", "/", &[("Host", "x.wild.test")], "t"),
        ("GET", "/", &[("Host", "X.Y.WILD.test:81")], "t"),
        ("GET", "/", &[("Host", "wild.test")], "s"),
        ("GET", "/", &[("Host", "exact.test.")], "t"),
        ("GET", "/", &[("Host", "a.deep.wild.test")], "s"),
        ("GET", "/portal", &[], "t"),
        ("GET", "/portal/x?y=1", &[], "t"),
        ("GET", "/portals", &[], "s"),
        ("GET", "/portal/home", &[], "s"),
        ("GET", "//portal/./x/../home", &[], "s"),
        ("PUT", "/portal/x", &[], "s"),
        ("GET", "/when", &[], "s"),
        ("GET", "/when", &[("X-T", "")], "t"),
        ("GET", "/x/api/y", &[], "t"),
        ("GET", "/x/y/api/y", &[], "s"),
        ("GET", "/first", &[("Host", "a.deep.wild.test")], "t"),
        ("GET", "/%E7%94%A8%e6%88%b7/1", &[], "t"),
        ("GET", "/用户/1", &[], "t"),
        ("GET", "/a%20b", &[], "t"),
        ("GET", "/a+b", &[], "s"),
    ] {
        let answer = proxy.raw(request(method, target, headers)).await;
        assert_eq!(answer.text(), service, "{method} {target} {headers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rewrites_change_what_the_upstream_gets() {
    let (proxy, s, _) = routed(&[
        ("routes/a.yaml", "paths: [{prefix: /portal}]\nservice: s\nrewrite: {prefix: /}"),
        ("routes/b.yaml", "paths: [{prefix: /}]\nservice: s\nrewrite: {prefix: /base}"),
        ("routes/c.yaml", "paths: [{prefix: /fixed}]\nservice: s\nrewrite: {path: /one, host: inner.test}"),
        (
            "routes/d.yaml",
            "paths: [{regex: \"/(?<org>[^/]+)/api/(?<rest>.*)\"}]\npriority: 1\nservice: s\n\
             rewrite: {path: \"/${rest}/of/${org}/$$\"}\nrequest_headers: {set: {x-org: \"${org}\"}}",
        ),
        (
            "routes/e.yaml",
            "paths: [{prefix: /old}]\nservice: s\nrewrite: {regex: \"/old/(?<rest>[0-9]+)\", replace: \"/new/${rest}\"}",
        ),
    ])
    .await;
    for (asked, got, host) in [
        ("/portal", "/", "app.test"),
        ("/portal/x%20y?q=%zz", "/x%20y?q=%zz", "app.test"),
        ("/portal?", "/?", "app.test"),
        ("/", "/base/", "app.test"),
        ("/z", "/base/z", "app.test"),
        ("/fixed/1?a", "/one?a", "inner.test"),
        ("/h%20%31/api/a/b%2Fc?x=1", "/a/b%2Fc/of/h%201/$?x=1", "app.test"),
        ("/old/12", "/new/12", "app.test"),
        ("/old/x", "/old/x", "app.test"),
    ] {
        assert_eq!(proxy.get(asked, &[]).await.status(), 200, "{asked}");
        let seen = s.last();
        assert_eq!(seen.target(), got, "{asked}");
        assert_eq!(seen.header("host"), Some(host), "{asked}");
    }
    proxy.get("/h%20%E7%94%A8/api/", &[]).await;
    assert_eq!(s.last().header("x-org"), Some("h 用"), "decoded in headers");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_injects_neither_line_nor_header() {
    let (proxy, s, _) = routed(&[(
        "routes/a.yaml",
        "paths: [{regex: \"/(?<a>[^/]*)(/(?<b>.*))?\"}]\nservice: s\n\
         request_headers: {set: {x-a: \"${a}\", x-b: \"b-${b}\"}}",
    )])
    .await;
    let answer = proxy.get("/x%0d%0aevil:%201", &[]).await;
    assert_eq!(answer.status(), 400);
    assert!(s.seen().is_empty());
    proxy.get("/x", &[("x-b", "mine")]).await;
    assert_eq!(s.last().header("x-a"), Some("x"));
    assert_eq!(s.last().header("x-b"), Some("mine"), "an edit whose group took no part is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn header_edits_run_in_their_order_both_ways() {
    let upstream = Upstream::scripted(|_| {
        Act::Answer(answer("200 OK", &[("X-Debug", "1"), ("X-Kept", "up"), ("X-Set", "up")], ""))
    })
    .await;
    let service = instances(&[("release", upstream.address)]);
    let route = "service: s\n\
        request_headers:\n  remove: [x-debug, x-both]\n  set: {x-edge: graygate}\n\
        \x20 set_if_absent: {orgcode: none, x-kept: edge, x-both: again}\n  add: {x-more: two}\n\
        response_headers:\n  remove: [x-debug]\n  set: {x-set: edge}\n  set_if_absent: {x-kept: edge, x-new: edge}\n  add: {x-kept: more}\n";
    let proxy = Proxy::start("trust: []", &[("routes/r.yaml", route), ("services/s.yaml", &service)]).await;
    let headers = [
        ("X-Debug", "1"),
        ("X-Debug", "2"),
        ("x-edge", "mine"),
        ("x-kept", "mine"),
        ("x-more", "one"),
        ("x-both", "0"),
    ];
    let answer = proxy.get("/", &headers).await;
    let seen = upstream.last();
    assert_eq!(seen.all("x-debug"), [""; 0]);
    assert_eq!(seen.header("x-edge"), Some("graygate"));
    assert_eq!(seen.header("x-kept"), Some("mine"));
    assert_eq!(seen.header("orgcode"), Some("none"));
    assert_eq!(seen.header("x-both"), Some("again"));
    assert_eq!(seen.all("x-more"), ["one", "two"]);
    assert_eq!(answer.all("x-debug"), [""; 0]);
    assert_eq!(answer.header("x-set"), Some("edge"));
    assert_eq!(answer.header("x-new"), Some("edge"));
    assert_eq!(answer.all("x-kept"), ["up", "more"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_say_where_in_full() {
    let routes = [
        ("routes/a.yaml", "paths: [{prefix: /tls}]\nredirect: {scheme: https, status: 301}"),
        ("routes/b.yaml", "paths: [{prefix: /old}]\nredirect: {prefix: /new}"),
        (
            "routes/c.yaml",
            "paths: [{prefix: /host}]\nredirect: {host: other.test, port: 81, path: /x, status: 308}",
        ),
        (
            "routes/d.yaml",
            "paths: [{regex: \"/u/(?<id>.*)\"}]\nredirect: {path: \"/user/${id}\", status: 307}",
        ),
        ("routes/e.yaml", "paths: [{prefix: /see}]\nredirect: {path: /other, status: 303}"),
    ];
    let proxy = Proxy::start("trust: [127.0.0.1]", &routes).await;
    let mut connection = proxy.connect().await;
    for (target, headers, status, location) in [
        ("/tls/a%20b?x=1&y=%zz", &[][..], 301, "https://app.test/tls/a%20b?x=1&y=%zz"),
        ("/tls", &[("Host", "app.test:8080")], 301, "https://app.test/tls"),
        ("/old/x", &[("Host", "App.test:8080")], 302, "http://app.test:8080/new/x"),
        ("/old", &[("X-Forwarded-Proto", "https")], 302, "https://app.test/new"),
        ("/host?q", &[], 308, "http://other.test:81/x?q"),
        ("/u/a%2Fb%20c", &[], 307, "http://app.test/user/a%2Fb%20c"),
        ("/see", &[("Host", "[::1]:81")], 303, "http://[::1]:81/other"),
    ] {
        let answer = connection.get(target, headers).await;
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(answer.header("location"), Some(location), "{target}");
        assert_eq!(answer.header("x-graygate-error"), None);
        assert_eq!(answer.header("server"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_a_missing_service_answers_for_its_own_requests_only() {
    let (proxy, _s, _t) = routed(&[
        ("routes/a.yaml", "paths: [{prefix: /gone}]\nservice: nowhere"),
        ("routes/b.yaml", "service: s"),
    ])
    .await;
    let answer = proxy.get("/gone/x", &[]).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (503, Some("no_service")));
    assert_eq!(proxy.served_by("/", &[]).await, "s");
    let status = proxy.status().await;
    assert_eq!(status["problems"][0]["document"], "routes/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_s_timeout_and_body_limit_overrule() {
    let upstream = Upstream::scripted(|message| match message.target() {
        "/slow" => Act::Hang,
        _ => Act::Answer(answer("200 OK", &[], "")),
    })
    .await;
    let service = instances(&[("release", upstream.address)]) + "retries: 0\n";
    let documents = [
        ALL,
        ("routes/slow.yaml", "paths: [{exact: /slow}]\nservice: s\ntimeouts: {request: 100ms}"),
        ("routes/small.yaml", "paths: [{prefix: /small}]\nservice: s\nmax_body: 1KiB"),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("limits: {body: 2KiB}", &documents).await;
    let answer = proxy.get("/slow", &[]).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (504, Some("upstream_timeout")));
    for (target, length, status) in
        [("/small", 1024, 200), ("/small", 1025, 413), ("/large", 2048, 200), ("/large", 2049, 413)]
    {
        let body = "x".repeat(length);
        let answer = proxy.raw(crate::harness::wire::with_body("POST", target, &body)).await;
        assert_eq!(answer.status(), status, "{target} {length}");
        let chunked = format!(
            "POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
        );
        assert_eq!(proxy.raw(chunked).await.status(), status, "{target} {length} in chunks");
    }
    assert_eq!(upstream.last().body.len(), 2048);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_statuses_pass_through() {
    let upstream = Upstream::scripted(|message| match message.target() {
        "/204" => Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()),
        "/304" => Act::Answer("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n".into()),
        "/chunks" => Act::Answer(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n".into(),
        ),
        "/end" => Act::AnswerAndClose("HTTP/1.1 200 OK\r\n\r\nuntil the end".into()),
        _ => Act::Answer(answer("500 Internal Server Error", &[("Server", "own")], "oops")),
    })
    .await;
    let proxy = in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    assert_eq!(connection.get("/204", &[]).await.status(), 204);
    assert_eq!(connection.get("/304", &[]).await.header("etag"), Some("\"a\""));
    assert_eq!(connection.get("/chunks", &[]).await.text(), "abcde");
    let answer = connection.get("/500", &[]).await;
    assert_eq!((answer.status(), answer.text(), answer.header("server")), (500, "oops".into(), Some("own")));
    assert_eq!(answer.header("x-graygate-error"), None, "an upstream's own error is its own");
    connection.send(request("HEAD", "/x", &[])).await;
    let head = connection.bodiless_answer().await;
    assert_eq!((head.status(), head.header("content-length")), (500, Some("4")));
    assert_eq!(proxy.served_by("/end", &[]).await, "until the end");
    let posted = connection.ask(crate::harness::wire::with_body("POST", "/p", "用户")).await;
    assert_eq!(posted.status(), 500);
    assert_eq!(upstream.last().text(), "用户");
}
