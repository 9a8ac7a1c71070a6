//! Spellings of a path: what the upstream gets, what is refused, and that no rule is stepped around.

use crate::harness::proxy::Proxy;
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::Upstream;
use crate::harness::wire::request;

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_normalised_path_and_the_query_untouched() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    for (sent, got) in [
        ("/", "/"),
        ("/a/b/", "/a/b/"),
        ("/a//b///c", "/a/b/c"),
        ("//a", "/a"),
        ("/a/./b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/a//../b", "/b"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a/...", "/a/..."),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb", "/a%2fb"),
        ("/a%5Cb", "/a%5Cb"),
        ("/a%252Fb", "/a%252Fb"),
        ("/a\\b", "/a%5Cb"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/%41%7e", "/%41%7e"),
        ("/%E7%94%A8", "/%E7%94%A8"),
        ("/用", "/%E7%94%A8"),
        ("/a+b", "/a+b"),
        ("/a?", "/a?"),
        ("/a?x=%zz&y=%00&z=../..//", "/a?x=%zz&y=%00&z=../..//"),
        ("/a?b?c", "/a?b?c"),
        ("/a?x=a%20b+c", "/a?x=a%20b+c"),
        ("/*", "/*"),
        ("/a:b@c", "/a:b@c"),
    ] {
        let answer = connection.get(sent, &[]).await;
        assert_eq!(answer.status(), 200, "{sent}: {}", answer.text());
        assert_eq!(upstream.last().target(), got, "{sent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_paths_are_answered_400_and_never_go_on() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    for target in [
        "/%",
        "/%4",
        "/%zz",
        "/%e7%94",
        "/%ff",
        "/a%00b",
        "/%0a",
        "/%1F",
        "/%7f",
        "/..",
        "/../a",
        "/a/../..",
        "/%2e%2e",
        "/a/..//..",
        "/%C0%AF",
        "/a/%2e%2e/%2e%2e/b",
    ] {
        let answer = connection.get(target, &[]).await;
        assert_eq!(answer.status(), 400, "{target}");
        assert_eq!(answer.header("x-graygate-error"), Some("bad_request"), "{target}");
    }
    assert_eq!(connection.get("/fine", &[]).await.status(), 200, "the connection is still good");
    assert_eq!(upstream.asked().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_is_not_stepped_around_by_spelling() {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let service = instances(&[("release", release.address), ("gray", gray.address)]);
    let rule = "when: {attribute: path, prefix: /patient/payment}\nversion: gray\n";
    let user = "when: {attribute: path, equals: \"/用户/a b\"}\nversion: gray\n";
    let documents = [ALL, ("rules/a.yaml", rule), ("rules/b.yaml", user), ("services/s.yaml", &*service)];
    let proxy = Proxy::start("", &documents).await;
    for (target, version) in [
        ("/patient/payment", "gray"),
        ("/patient/payments", "gray"),
        ("/patient//payment", "gray"),
        ("//patient/payment/x", "gray"),
        ("/patient/x/../payment", "gray"),
        ("/patient/%70ayment", "gray"),
        ("/%2e/patient/%2e/payment", "gray"),
        ("/patient/x/%2e%2e/payment", "gray"),
        ("/Patient/payment", "release"),
        ("/patient%2Fpayment", "release"),
        ("/patient\\payment", "release"),
        ("/?/patient/payment", "release"),
        ("/用户/a%20b", "gray"),
        ("/%E7%94%A8户/a%20b", "gray"),
        ("/用户/a+b", "release"),
    ] {
        assert_eq!(proxy.served_by(target, &[]).await, version, "{target}");
    }
    let whole = request("GET", "http://app.test/patient/payment", &[]);
    assert_eq!(proxy.raw(whole).await.text(), "gray");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_url_in_the_request_line_routes_by_its_path_and_host() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]);
    let route = "hosts: [a.test]\npaths: [{prefix: /x}]\nservice: s\n";
    let proxy = Proxy::start("", &[("routes/r.yaml", route), ("services/s.yaml", &service)]).await;
    for (target, host, got) in [
        ("http://a.test/x/y?q=1", "a.test", "/x/y?q=1"),
        ("HTTP://A.test/x", "a.test", "/x"),
        ("http://a.test:81//x/./y", "a.test:81", "/x/y"),
        ("http://a.test/x", "b.test", "/x"),
        ("http://a.test/x?q", "a.test:80", "/x?q"),
    ] {
        let answer = proxy.raw(request("GET", target, &[("Host", host)])).await;
        assert_eq!(answer.text(), "up", "{target}");
        assert_eq!(upstream.last().target(), got, "{target}");
        let authority = target.split('/').nth(2).unwrap();
        assert_eq!(upstream.last().header("host"), Some(authority), "the URL's host goes on");
    }
    for (target, host, status) in [
        ("http://b.test/x", "b.test", 404),
        ("http://b.test/x", "a.test", 404),
        ("http://a.test/", "a.test", 404),
        ("http://a.test", "a.test", 404),
        ("http://a.test/%", "a.test", 400),
    ] {
        let answer = proxy.raw(request("GET", target, &[("Host", host)])).await;
        assert_eq!(answer.status(), status, "{target}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_is_read_as_the_contract_says() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]);
    let route = |host: &str| format!("hosts: [\"{host}\"]\nservice: s\n");
    let documents = [
        ("routes/name.yaml", &*route("app.test")),
        ("routes/six.yaml", &*route("[2001:db8::1]")),
        ("services/s.yaml", &*service),
    ];
    let proxy = Proxy::start("trust: [127.0.0.1]", &documents).await;
    for (host, status) in [
        ("app.test", 200),
        ("APP.Test:8080", 200),
        ("app.test.", 200),
        ("app.test.:80", 200),
        ("[2001:db8::1]:81", 200),
        ("[2001:DB8::1]", 200),
        ("other.test", 404),
        ("app.test.test", 404),
    ] {
        assert_eq!(proxy.get("/", &[("Host", host)]).await.status(), status, "{host}");
    }
    let forwarded = [("Host", "other.test"), ("X-Forwarded-Host", "app.test")];
    assert_eq!(proxy.get("/", &forwarded).await.status(), 404, "X-Forwarded-Host is never followed");
}
