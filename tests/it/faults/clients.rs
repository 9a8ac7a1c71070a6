//! Clients that are slow, early or gone, and what they may not do to instances.

use std::time::Duration;

use crate::faults::graygate::{Graygate, Service};
use crate::faults::upstream::{Mode, Upstream};

async fn release(more: &str) -> (Graygate, Upstream) {
    let release = Upstream::start("release").await;
    let graygate = Graygate::start(&[Service { name: "s", gray: &[], release: &[&release], more }]).await;
    (graygate, release)
}

#[tokio::test]
async fn who_stops_within_a_body_is_not_held_against_the_instance() {
    let gray = Upstream::start("gray").await;
    let release = Upstream::start("release").await;
    let more = "timeouts: {read: 200ms}\noutlier: {consecutive_errors: 1}\n";
    let service = Service { name: "s", gray: &[&gray], release: &[&release], more };
    let graygate = Graygate::start(&[service]).await;
    for _ in 0..3 {
        let mut client = graygate.client().await;
        client.send("PUT /s HTTP/1.1\r\nhost: test\r\nx-gray: yes\r\ncontent-length: 100\r\n\r\nhalf").await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.verdict(), (408, "timeout"));
        assert!(client.is_closed().await);
    }
    assert_eq!(graygate.state("s", &gray).await, "healthy");
}

#[tokio::test]
async fn a_request_that_is_early_waits_for_the_one_before() {
    let (graygate, upstream) = release("").await;
    upstream.set(Mode::Slow);
    let mut client = graygate.client().await;
    client.send("GET /s/1 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    // While the first one is under way, the second one and half of a third arrive.
    while upstream.requests() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.send("PUT /s/2 HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nbodyGET /s/3 HT").await;
    assert!(client.answer().await.unwrap().is_good());
    assert!(client.answer().await.unwrap().is_good());
    client.send("TP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(client.answer().await.unwrap().is_good());
    assert_eq!(upstream.requests(), 3);
}

#[tokio::test]
async fn an_early_request_survives_the_failure_of_the_one_before() {
    let (graygate, upstream) = release("timeouts: {read: 200ms, request: 300ms}\noutlier: off\n").await;
    upstream.set(Mode::Hang);
    let mut client = graygate.client().await;
    client.send("POST /s/1 HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").await;
    while upstream.requests() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.send("GET /s/2 HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert_eq!(client.answer().await.unwrap().verdict(), (504, "upstream_timeout"));
    assert_eq!(client.answer().await.unwrap().verdict(), (504, "upstream_timeout"));
}

#[tokio::test]
async fn who_leaves_is_counted_and_blames_no_one() {
    let (graygate, upstream) = release("outlier: {consecutive_errors: 1}\n").await;
    upstream.set(Mode::Hang);
    let mut client = graygate.client().await;
    client.send("GET /s/left HTTP/1.1\r\nhost: test\r\n\r\n").await;
    while upstream.requests() < 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(client);
    let line = graygate.logged("/s/left").await;
    assert!(line["status"].is_null() || line["status"] == 499, "{line}");
    assert_eq!(graygate.metric("graygate_upstream_tries_total", &["\"client_gone\""]).await, 1.0);
    assert_eq!(graygate.metric("graygate_requests_in_flight", &[]).await, 0.0);
    assert_eq!(graygate.state("s", &upstream).await, "healthy");
}
