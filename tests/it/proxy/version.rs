//! What versions, trust and identity look like on the wire.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::proxy::Proxy;
use crate::harness::sample::{ALL, WANTED, in_front_of, instances};
use crate::harness::upstream::Upstream;

/// A release and a gray upstream behind the service `s`, with further lines in its document.
async fn two_versions(config: &str, service: &str) -> (Proxy, Upstream, Upstream) {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let service = instances(&[("release", release.address), ("gray", gray.address)]) + service;
    let proxy = Proxy::start(config, &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    (proxy, release, gray)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_gets_the_decided_version_exactly_once() {
    let service = "version_headers:\n  gray: {application_role: \"2\"}\n  release: {application_role: \"1\", x-base: b}\n";
    let (proxy, release, gray) = two_versions("version_header: application_version", service).await;
    let claims =
        [("application_version", "mine"), ("Application_Version", "yours"), ("application_role", "9")];
    assert_eq!(proxy.served_by("/", &claims).await, "release");
    let seen = release.last();
    assert_eq!(seen.header("application_version"), Some("release"));
    assert_eq!(seen.header("application_role"), Some("1"));
    assert_eq!(seen.header("x-base"), Some("b"));
    assert_eq!(proxy.served_by("/", &[("x-want", "gray")]).await, "gray");
    assert_eq!(gray.last().header("application_version"), Some("gray"));
    assert_eq!(gray.last().header("application_role"), Some("2"));
    assert_eq!(gray.last().header("baggage"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fallback_the_decided_version_goes_on() {
    let release = Upstream::named("release").await;
    let service = instances(&[("release", release.address)]);
    let proxy = Proxy::start("baggage: true", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    assert_eq!(proxy.served_by("/", &[("x-want", "gray"), ("baggage", "a=1")]).await, "release");
    let seen = release.last();
    assert_eq!(seen.header("x-gray-version"), Some("gray"));
    assert_eq!(members(seen.header("baggage")), ["a=1", "gray.version=gray"]);
    let labels = [("service", "s"), ("version", "gray"), ("reason", "rule"), ("rule", "10-wanted")];
    assert_eq!(proxy.metrics().await.get("graygate_decisions_total", &labels), Some(1.0));
}

fn members(baggage: Option<&str>) -> Vec<String> {
    baggage.unwrap_or_default().split(',').map(|member| member.trim().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn baggage_carries_the_version_and_an_untrusted_one_is_removed() {
    let (proxy, release, gray) = two_versions("baggage: true", "").await;
    for (sent, got) in [
        ("", vec!["gray.version=release"]),
        ("gray.version=gray", vec!["gray.version=release"]),
        ("a=1, gray.version=gray;p=1 ,b=2;q", vec!["a=1", "b=2;q", "gray.version=release"]),
    ] {
        assert_eq!(proxy.served_by("/", &[("baggage", sent)]).await, "release", "{sent}");
        assert_eq!(members(release.last().header("baggage")), got, "{sent}");
    }
    assert!(gray.asked().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_peer_s_version_is_inherited() {
    let (proxy, release, gray) = two_versions("trust: [127.0.0.0/8]\nbaggage: true", "").await;
    // One connection, so that the log has the same order.
    let mut connection = proxy.connect().await;
    let header = |word| ("X-Gray-Version", word);
    for (headers, word, server) in [
        (vec![header("gray")], "gray", "gray"),
        (vec![header("gray"), header("release")], "gray", "gray"),
        (vec![header("release"), ("x-want", "gray")], "release", "release"),
        (vec![header("unheard-of")], "unheard-of", "release"),
        (vec![header("")], "release", "release"),
        (vec![header("no name")], "release", "release"),
        (vec![header(""), ("x-want", "gray")], "gray", "gray"),
        (vec![("baggage", "gray.version=gray")], "gray", "gray"),
        (vec![header("release"), ("baggage", "gray.version=gray")], "release", "release"),
    ] {
        assert_eq!(connection.get("/", &headers).await.text(), server, "{headers:?}");
        let seen = if server == "gray" { gray.last() } else { release.last() };
        assert_eq!(seen.header("x-gray-version"), Some(word), "{headers:?}");
        assert_eq!(members(seen.header("baggage")), [format!("gray.version={word}")], "{headers:?}");
    }
    let log = proxy.logged(9).await;
    let reasons: Vec<&str> = log.iter().map(|line| line["reason"].as_str().unwrap()).collect();
    let [i, d, r] = ["inherited", "default", "rule"];
    assert_eq!(reasons, [i, i, i, i, d, d, r, i, i]);
    // No label of a metric comes from a request.
    assert!(!proxy.ask_admin("/metrics").await.text().contains("unheard-of"));
}

#[tokio::test(flavor = "multi_thread")]
async fn version_from_overrules_trust_for_versions_only() {
    let config = "trust: [127.0.0.1]\nversion_from: [10.0.0.0/8]\nrespond_version: trusted";
    let (proxy, release, _gray) = two_versions(config, "").await;
    let headers =
        [("x-gray-version", "gray"), ("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https")];
    let answer = proxy.get("/", &headers).await;
    assert_eq!(answer.text(), "release");
    assert_eq!(answer.header("x-gray-version"), None);
    assert_eq!(release.last().header("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(release.last().header("x-forwarded-proto"), Some("https"));
    let (proxy, _release, _gray) = two_versions("version_from: [\"0.0.0.0/0\", \"::/0\"]", "").await;
    assert_eq!(proxy.get("/", &[("x-gray-version", "gray")]).await.header("x-gray-version"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_untrusted_client_claims_is_seen_by_no_condition() {
    let upstream = Upstream::named("release").await;
    let service =
        instances(&[("release", upstream.address)]) + "pin: {attribute: header:developer, tag: developer}\n";
    let claimed = "when: {any: [{attribute: header:x-gray-version, exists: true}, {attribute: header:developer, exists: true},\n\
        {attribute: header:baggage, contains: gray.version}]}\nversion: gray\n";
    let route = "service: s\npriority: 1\nwhen: {attribute: header:x-gray-version, exists: true}\nrequest_headers: {set: {x-routed: claimed}}\n";
    let documents =
        [ALL, ("routes/claimed.yaml", route), ("rules/claimed.yaml", claimed), ("services/s.yaml", &service)];
    let proxy = Proxy::start("baggage: true\nrespond_version: always", &documents).await;
    let headers = [
        ("x-gray-version", "gray"),
        ("developer", "li"),
        ("baggage", "gray.version=gray"),
        ("x-other", "kept"),
    ];
    let answer = proxy.get("/", &headers).await;
    assert_eq!(answer.header("x-gray-version"), Some("release"));
    let seen = upstream.last();
    assert_eq!(seen.header("x-gray-version"), Some("release"));
    assert_eq!(seen.header("developer"), None);
    assert_eq!(seen.header("x-routed"), None);
    assert_eq!(seen.header("x-other"), Some("kept"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_response_tells_the_version_to_whom_it_may() {
    for (config, shown) in [
        ("", false),
        ("respond_version: never\ntrust: [127.0.0.1]", false),
        ("respond_version: trusted", false),
        ("respond_version: trusted\ntrust: [127.0.0.1]", true),
        ("respond_version: always", true),
    ] {
        let (proxy, _release, _gray) = two_versions(config, "").await;
        let answer = proxy.get("/", &[("x-want", "gray")]).await;
        assert_eq!(answer.header("x-gray-version"), shown.then_some("gray"), "{config}");
        assert_eq!(answer.header("x-gray-reason"), shown.then_some("rule"), "{config}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_gives_an_anonymous_client_an_identity_that_lasts() {
    let service = "identity: [header:x-user, cookie:gg_id]\nissue_cookie: {name: gg_id, max_age: 30d}\n";
    let (proxy, release, gray) = two_versions("respond_version: always", service).await;
    proxy.write("rules/20-half.yaml", "split: {gray: 50}\nsalt: plan-1\n");
    let runs = json!({"url": "http://a/", "headers": [["x-user", "user1"]]});
    crate::harness::proxy::until(async || proxy.explain(&runs).await.json()["rule"] == "20-half").await;
    let (mut ids, mut versions) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..40 {
        let answer = proxy.get("/", &[]).await;
        let cookie = answer.header("set-cookie").unwrap().to_string();
        let parts: Vec<&str> = cookie.split("; ").collect();
        let id = parts[0].strip_prefix("gg_id=").unwrap().to_string();
        assert!(id.len() >= 16, "{cookie}");
        for wanted in ["HttpOnly", "SameSite=Lax", "Max-Age=2592000", "Path=/"] {
            assert!(parts.contains(&wanted), "{cookie}");
        }
        let version = answer.text();
        let again = proxy.get("/", &[("Cookie", &format!("other=1; gg_id={id}"))]).await;
        assert_eq!(again.text(), version, "the id counts from the first request on");
        assert_eq!(again.header("set-cookie"), None);
        assert!(ids.insert(id), "an id came twice");
        versions.insert(version);
    }
    assert_eq!(versions.len(), 2, "half and half");
    assert_eq!(proxy.get("/", &[("x-user", "user1")]).await.header("set-cookie"), None);
    assert!(proxy.get("/", &[("x-user", "")]).await.header("set-cookie").is_some(), "empty is absent");
    assert_eq!(release.asked().len() + gray.asked().len(), 82);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_the_published_one() {
    let (proxy, _release, _gray) =
        two_versions("respond_version: always", "identity: [header:x-user]\n").await;
    // user1 has bucket 247 and 用户一 8997 under the salt plan-1.
    for (share, first, second) in [
        ("2.47", "release", "release"),
        ("2.48", "gray", "release"),
        ("89.97", "gray", "release"),
        ("89.98", "gray", "gray"),
    ] {
        proxy.write("rules/20-share.yaml", &format!("split: {{gray: {share}}}\nsalt: plan-1\n"));
        let version = async |user: &str| {
            let answer = proxy.get("/", &[("x-user", user)]).await;
            answer.header("x-gray-version").unwrap().to_string()
        };
        crate::harness::proxy::until(async || {
            [version("user1").await, version("用户一").await] == [first, second]
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_made_kept_and_passed_on() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    proxy.get("/", &[("X-Request-Id", "mine")]).await;
    assert_eq!(upstream.last().header("x-request-id"), Some("mine"));
    let mut made = BTreeSet::new();
    for _ in 0..5 {
        proxy.get("/", &[]).await;
        made.insert(upstream.last().header("x-request-id").unwrap().to_string());
    }
    assert_eq!(made.len(), 5);
    assert!(made.iter().all(|id| id.len() >= 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarding_headers_are_set_for_strangers_and_appended_behind_a_trusted_proxy() {
    let sent = [
        ("X-Forwarded-For", "203.0.113.7"),
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outer.test"),
        ("Via", "1.0 outer"),
        ("Host", "inner.test:81"),
    ];
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    proxy.get("/", &sent).await;
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("inner.test:81"));
    assert_eq!(seen.header("via"), Some("1.1 graygate"));
    assert_eq!(seen.header("host"), Some("inner.test:81"));

    let proxy = in_front_of("trust: [127.0.0.1]", &upstream).await;
    proxy.get("/", &sent).await;
    let seen = upstream.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 198.51.100.1, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("outer.test"), "what the first proxy was asked for");
    assert_eq!(seen.header("via"), Some("1.0 outer, 1.1 graygate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_s_address_is_the_right_most_untrusted_one() {
    let (proxy, _release, _gray) =
        two_versions("trust: [127.0.0.0/8, 10.0.0.0/8]\nrespond_version: always", "").await;
    proxy.write("rules/20-ip.yaml", "when: {attribute: ip, cidr: [203.0.113.0/24]}\nversion: inside\n");
    let version = async |chain: &str| {
        let answer = proxy.get("/", &[("x-forwarded-for", chain)]).await;
        answer.header("x-gray-version").unwrap().to_string()
    };
    crate::harness::proxy::until(async || version("203.0.113.7").await == "inside").await;
    for (chain, inside) in [
        ("203.0.113.7, 10.0.0.1", true),
        ("203.0.113.7:4711, 10.0.0.1", true),
        ("198.51.100.1, 203.0.113.7", true),
        ("203.0.113.7, 198.51.100.1", false),
        ("203.0.113.7, nonsense, 10.0.0.1", false),
        ("203.0.113.9, 10.0.0.1, 10.0.0.2", true),
        ("::ffff:203.0.113.7", true),
        ("10.0.0.1", false),
    ] {
        assert_eq!(version(chain).await == "inside", inside, "{chain}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_go_only_to_tagged_instances_and_tagged_instances_take_no_others() {
    let (plain, li, wang) =
        (Upstream::named("plain").await, Upstream::named("li").await, Upstream::named("wang").await);
    let service = format!(
        "pin: {{attribute: header:developer, tag: developer}}\ninstances:\n\
         - {{address: \"{}\", version: release}}\n\
         - {{address: \"{}\", version: gray, tags: {{developer: li}}}}\n\
         - {{address: \"{}\", version: release, tags: {{developer: wang}}}}\n",
        plain.address, li.address, wang.address
    );
    let documents = [ALL, WANTED, ("services/s.yaml", &*service)];
    let proxy = Proxy::start("trust: [127.0.0.1]", &documents).await;
    let gray = ("x-want", "gray");
    for (headers, server) in [
        (vec![("developer", "li"), gray], "li"),
        (vec![("developer", "wang"), gray], "wang"),
        (vec![("developer", "stranger"), gray], "plain"),
        (vec![gray], "plain"),
        (vec![("developer", "li")], "plain"),
        (vec![("developer", "wang")], "wang"),
        (vec![], "plain"),
    ] {
        for _ in 0..3 {
            assert_eq!(proxy.served_by("/", &headers).await, server, "{headers:?}");
        }
    }
    assert_eq!(li.last().header("developer"), Some("li"), "a trusted one goes on");
    let stranger = Proxy::start("", &documents).await;
    assert_eq!(stranger.served_by("/", &[("developer", "li"), gray]).await, "plain");
    assert_eq!(plain.last().header("developer"), None);
}
