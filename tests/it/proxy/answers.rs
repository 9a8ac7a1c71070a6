//! What the proxy says by itself, which heads it refuses, and what becomes of the connection.

use std::time::Duration;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, WANTED, in_front_of, instances};
use crate::harness::upstream::{Act, Refusing, Upstream, ok};
use crate::harness::wire::{Message, request, with_body};

/// One line of plain text with its reason, and not a word about who made it.
#[track_caller]
fn check(answer: &Message, status: u16, reason: &str) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.header("x-graygate-error"), Some(reason), "{answer:?}");
    assert_eq!(answer.header("server"), None);
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    let text = answer.text();
    assert!(text.trim_end_matches('\n').len() > 3, "{text:?}");
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_keep_the_connection() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]);
    let none = "fallback: {gray: none}\n".to_string() + &service;
    let documents = [
        ("routes/s.yaml", "paths: [{prefix: /s}]\nservice: s"),
        ("routes/none.yaml", "paths: [{prefix: /none}]\nservice: none"),
        ("routes/empty.yaml", "paths: [{prefix: /empty}]\nservice: empty"),
        ("routes/lost.yaml", "paths: [{prefix: /lost}]\nservice: lost"),
        ("rules/gray.yaml", "services: [none]\nversion: gray"),
        ("services/s.yaml", &*service),
        ("services/none.yaml", &*none),
        ("services/empty.yaml", "instances: []"),
    ];
    let proxy = Proxy::start("limits: {body: 1KiB}", &documents).await;
    let mut connection = proxy.connect().await;
    for (target, status, reason) in [
        ("/nowhere", 404, "no_route"),
        ("/s/%00", 400, "bad_request"),
        ("/lost", 503, "no_service"),
        ("/empty", 503, "no_instance"),
        ("/none", 503, "no_instance"),
    ] {
        check(&connection.get(target, &[]).await, status, reason);
        let small = connection.ask(with_body("POST", target, "a body that has to be passed over")).await;
        check(&small, status, reason);
        assert_eq!(connection.get("/s", &[]).await.text(), "up", "after {target}");
    }
    connection.send(request("HEAD", "/nowhere", &[])).await;
    assert_eq!(connection.bodiless_answer().await.status(), 404);
    check(&connection.ask(with_body("POST", "/s", &"x".repeat(2000))).await, 413, "body_too_large");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.get("graygate_unrouted_total", &[("reason", "no_route")]), Some(3.0));
    assert_eq!(metrics.get("graygate_unrouted_total", &[("reason", "no_service")]), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_upstreams_are_502_and_504() {
    let upstream = Upstream::scripted(|message| match message.target() {
        "/hang" => Act::Hang,
        "/close" => Act::Close,
        "/noise" => Act::AnswerAndClose("no HTTP at all\r\n\r\n".into()),
        "/half" => Act::AnswerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab".into()),
        _ => Act::Answer(ok("up")),
    })
    .await;
    let refusing = Refusing::new();
    let timed = instances(&[("release", upstream.address)]) + "timeouts: {read: 100ms}\nretries: 0\n";
    let refused = instances(&[("release", refusing.address)]);
    let documents = [
        ALL,
        ("routes/refused.yaml", "paths: [{prefix: /refused}]\nservice: refused"),
        ("services/s.yaml", &*timed),
        ("services/refused.yaml", &*refused),
    ];
    let proxy = Proxy::start("", &documents).await;
    for (target, status, reason) in [
        ("/hang", 504, "upstream_timeout"),
        ("/close", 502, "upstream_error"),
        ("/noise", 502, "upstream_error"),
        ("/refused", 502, "upstream_error"),
    ] {
        check(&proxy.get(target, &[]).await, status, reason);
        check(&proxy.raw(with_body("POST", target, "x")).await, status, reason);
    }
    // A response that has begun cannot be taken back: the client sees that it is not whole.
    let mut connection = proxy.connect().await;
    connection.send(request("GET", "/half", &[])).await;
    assert!(connection.message(false).await.is_err());
    let tries = |outcome| [("service", "s"), ("version", "release"), ("outcome", outcome)];
    until(async || {
        proxy.metrics().await.get("graygate_upstream_tries_total", &tries("timeout")) == Some(2.0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_or_large_head_is_refused() {
    let upstream = Upstream::named("up").await;
    let limits = "limits: {header_bytes: 2KiB, headers: 10, header_timeout: 200ms, keepalive: 300ms}";
    let proxy = in_front_of(limits, &upstream).await;
    let long = "x".repeat(2100);
    check(&proxy.get("/", &[("x-long", &long)]).await, 431, "headers_too_large");
    check(&proxy.get(&format!("/{long}"), &[]).await, 431, "headers_too_large");
    check(&proxy.get("/", &[("x", "y"); 10]).await, 431, "headers_too_large");
    assert_eq!(proxy.get("/", &[("x", "y"); 9]).await.status(), 200);
    let mut connection = proxy.connect().await;
    connection.send("GET / HTTP/1.1\r\nHost: a\r\nX-Slow").await;
    check(&connection.answer().await, 408, "timeout");
    assert!(connection.ended().await);
    // Nothing was asked: nothing is answered.
    let mut idle = proxy.connect().await;
    assert_eq!(idle.get("/", &[]).await.status(), 200);
    assert!(idle.ended().await, "an idle connection ends after keepalive");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.get("graygate_unrouted_total", &[("reason", "headers_too_large")]), Some(3.0));
    assert_eq!(metrics.get("graygate_unrouted_total", &[("reason", "timeout")]), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_said() {
    let upstream = Upstream::scripted(|_| Act::Hold(ok("late"))).await;
    let service = instances(&[("release", upstream.address)]) + "max_connections: 1\n";
    let proxy = Proxy::start("limits: {connections: 4}", &[ALL, ("services/s.yaml", &service)]).await;
    // The harness looked whether it listens: those connections have ended before the count begins.
    proxy.all_closed().await;
    let mut first = proxy.connect().await;
    first.send(request("GET", "/", &[])).await;
    until(async || upstream.asked().len() == 1).await;
    let mut second = proxy.connect().await;
    check(&second.get("/", &[]).await, 503, "overloaded");
    let (_third, _fourth) = (proxy.connect().await, proxy.connect().await);
    until(async || proxy.metrics().await.sum("graygate_connections") == 4.0).await;
    let mut fifth = proxy.connect().await;
    check(&fifth.get("/", &[]).await, 503, "overloaded");
    upstream.release();
    assert_eq!(first.answer().await.text(), "late");
    upstream.release();
    // The place is free a moment after the answer is out.
    until(async || second.get("/", &[]).await.text() == "late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_with_two_readings_are_refused_and_the_upstream_sees_nothing() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX y: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = proxy.raw(format!("{head}{smuggled}")).await;
        check(&answer, 400, "bad_request");
    }
    // Framed clearly, and wrong for another reason: what follows on the connection is a request of its own.
    for head in [
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:/\\a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a<b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = proxy.raw(head).await;
        assert_eq!(answer.status(), 400, "{head:?}");
        check(&answer, 400, "bad_request");
    }
    assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
    assert!(proxy.metrics().await.get("graygate_unrouted_total", &[("reason", "bad_request")]) >= Some(30.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_chunks_end_the_request_and_nothing_behind_them_is_a_request() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\nab\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n", "-1\r\n", "ffffffffffffffffff\r\na"] {
        let mut connection = proxy.connect().await;
        connection.send(format!("{head}{body}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        check(&connection.answer().await, 400, "bad_request");
        assert!(connection.ended().await);
    }
    assert!(upstream.seen().iter().all(|seen| seen.target() != "/smuggled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::scripted(|message| Act::Answer(ok(message.target()))).await;
    let proxy = in_front_of("", &upstream).await;
    let mut all = Vec::new();
    all.extend(request("GET", "/1", &[]));
    all.extend(with_body("POST", "/2", "body"));
    all.extend(request("GET", "/%zz", &[]));
    all.extend(b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let mut connection = proxy.connect().await;
    connection.send(&all).await;
    assert_eq!(connection.answer().await.text(), "/1");
    assert_eq!(connection.answer().await.text(), "/2");
    check(&connection.answer().await, 400, "bad_request");
    assert_eq!(connection.answer().await.text(), "/3");
    let mut gets = Vec::new();
    (0..50).for_each(|n| gets.extend(request("GET", &format!("/{n}"), &[])));
    let mut connection = proxy.connect().await;
    connection.send(&gets).await;
    for n in 0..50 {
        assert_eq!(connection.answer().await.text(), format!("/{n}"));
    }
    connection.send(request("GET", "/last", &[("Connection", "close")])).await;
    assert_eq!(connection.answer().await.text(), "/last");
    assert!(connection.ended().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_clients_and_split_requests_are_served() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    connection.send("GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(connection.answer().await.status(), 200);
    assert!(connection.ended().await);
    let mut connection = proxy.connect().await;
    for byte in request("GET", "/slowly", &[]) {
        connection.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.answer().await.text(), "up");
    let answer = connection.ask("\r\nGET /after-a-blank-line HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.text(), "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn expect_continue_gets_its_body_through() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let mut connection = proxy.connect().await;
    let head = [("Content-Length", "4"), ("Expect", "100-continue")];
    connection.send(request("POST", "/", &head)).await;
    let send_anyway = tokio::time::timeout(Duration::from_millis(300), connection.message(false)).await;
    let interim = send_anyway.map(|message| message.unwrap().unwrap().status());
    assert!(interim.is_err() || interim == Ok(100));
    connection.send("body").await;
    assert_eq!(connection.answer().await.text(), "up");
    assert_eq!(upstream.last().text(), "body");
}

#[tokio::test(flavor = "multi_thread")]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let upstream = Upstream::scripted(|_| {
        Act::Answer(crate::harness::upstream::answer(
            "200 OK",
            &[("Connection", "x-secret"), ("X-Secret", "1"), ("Keep-Alive", "timeout=5"), ("X-Open", "1")],
            "",
        ))
    })
    .await;
    let service = instances(&[("release", upstream.address), ("gray", upstream.address)]);
    let proxy = Proxy::start("", &[ALL, WANTED, ("services/s.yaml", &service)]).await;
    let headers = [
        ("Connection", "keep-alive, x-hop, x-gray-version"),
        ("X-Hop", "1"),
        ("Keep-Alive", "1"),
        ("Proxy-Connection", "a"),
        ("TE", "gzip"),
        ("X-End", "1"),
    ];
    let answer = proxy.get("/", &headers).await;
    let seen = upstream.last();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-end"), Some("1"));
    assert_eq!(seen.header("x-gray-version"), Some("release"), "nominating it does not remove it");
    assert_eq!(answer.header("x-secret"), None);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-open"), Some("1"));
}
