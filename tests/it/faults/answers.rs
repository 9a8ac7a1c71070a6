//! What a client is told of each failure, how soon, and whether its connection survives.

use std::time::{Duration, Instant};

use crate::faults::graygate::{Graygate, Service};
use crate::faults::upstream::{Mode, Upstream};
use crate::faults::wire::Answer;

const TIMEOUTS: &str = "timeouts: {connect: 300ms, read: 400ms, request: 1s}\noutlier: off\n";

async fn release_in(mode: Mode) -> (Graygate, Upstream) {
    let release = Upstream::start("release").await;
    let service = Service { name: "s", gray: &[], release: &[&release], more: TIMEOUTS };
    let graygate = Graygate::start(&[service]).await;
    release.set(mode);
    (graygate, release)
}

fn times(first: u64, last: u64) -> std::ops::Range<Duration> {
    Duration::from_millis(first)..Duration::from_millis(last)
}

#[tokio::test]
async fn every_failure_has_its_answer_its_time_and_its_outcome() {
    for (mode, method, expected, took, outcome) in [
        // One retry each, where it is safe.
        (Mode::Refuse, "GET", (502, "upstream_error"), times(0, 350), "connect_failed"),
        (Mode::Refuse, "POST", (502, "upstream_error"), times(0, 350), "connect_failed"),
        (Mode::Hang, "GET", (504, "upstream_timeout"), times(790, 2_000), "timeout"),
        (Mode::Hang, "POST", (504, "upstream_timeout"), times(390, 1_500), "timeout"),
        (Mode::Drip, "GET", (504, "upstream_timeout"), times(990, 2_000), "request_timeout"),
        (Mode::Drip, "POST", (504, "upstream_timeout"), times(790, 1_900), "timeout"),
        (Mode::Reset, "GET", (502, "upstream_error"), times(0, 800), "reset"),
        (Mode::ResetInHeader, "POST", (502, "upstream_error"), times(0, 800), "reset"),
        (Mode::Garbage, "GET", (502, "upstream_error"), times(0, 800), "invalid"),
        (Mode::Interim, "GET", (504, "upstream_timeout"), times(790, 2_000), "timeout"),
    ] {
        let (graygate, release) = release_in(mode).await;
        let mut client = graygate.client().await;
        let begun = Instant::now();
        let answer = client.ask(method, "/s/a", "", "").await.unwrap();
        let elapsed = begun.elapsed();
        assert_eq!(answer.verdict(), expected, "{mode:?} {method}");
        assert!(took.contains(&elapsed), "{mode:?} {method}: {elapsed:?}");
        assert!(answer.is_whole);
        // The client did nothing wrong: its next request goes the same way.
        assert_ne!(answer.header("connection"), Some("close"), "{mode:?} {method}");
        release.set(Mode::Healthy);
        release.wait_until_open().await;
        let next = client.get("/s/b").await.unwrap();
        assert!(next.is_good(), "{mode:?} {method}: {next:?}");
        let counted = graygate.metric("graygate_upstream_tries_total", &[&format!("\"{outcome}\"")]).await;
        assert!(counted >= 1.0, "{mode:?} {method}: no {outcome}");
        let line = graygate.logged("/s/a").await;
        assert_eq!(line["error"], expected.1, "{line}");
        let tries = if method == "GET" || mode == Mode::Refuse { 2 } else { 1 };
        assert_eq!(line["tries"], tries, "{mode:?} {method}: {line}");
    }
}

#[tokio::test]
async fn a_connection_that_never_stands_is_a_timeout() {
    let release = Upstream::start("release").await;
    // A listener that accepts nothing: its queue is full after the first few.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        queue.push(stream);
    }
    let more = format!("{TIMEOUTS}retries: 0\n");
    let graygate =
        Graygate::start(&[Service { name: "s", gray: &[], release: &[&release], more: &more }]).await;
    let before = graygate.running_revision().await;
    graygate.write(
        "services/s.yaml",
        &format!("instances: [{{address: \"{address}\", version: release}}]\n{more}"),
    );
    graygate.wait_for_revision_after(before).await;
    let begun = Instant::now();
    let answer = graygate.client().await.get("/s").await.unwrap();
    assert_eq!(answer.verdict(), (504, "upstream_timeout"));
    assert!(times(290, 1_500).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(graygate.metric("graygate_upstream_tries_total", &["\"connect_timeout\""]).await, 1.0);
}

#[tokio::test]
async fn a_response_that_has_begun_ends_where_it_broke() {
    for mode in [Mode::ResetInBody, Mode::StallInBody] {
        let (graygate, release) = release_in(mode).await;
        let mut client = graygate.client().await;
        let answer = client.get("/s/a").await.unwrap();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.is_whole),
            (200, "half ", false),
            "{mode:?}"
        );
        assert!(client.is_closed().await);
        assert_eq!(release.requests(), 1, "{mode:?}: not sent again");
        assert!(graygate.logged("/s/a").await["error"].is_string(), "{mode:?}");
    }
}

#[tokio::test]
async fn a_long_response_is_not_cut_by_the_time_for_its_header() {
    let (graygate, _release) = release_in(Mode::Stream).await;
    let begun = Instant::now();
    let answer = graygate.client().await.get("/s").await.unwrap();
    assert!(answer.is_good(), "{answer:?}");
    assert_eq!(answer.text(), "piece".repeat(10));
    assert!(begun.elapsed() > Duration::from_secs(1));
}

#[tokio::test]
async fn an_upgraded_connection_outlives_the_times_of_a_request() {
    let (graygate, _release) = release_in(Mode::Upgrade).await;
    let mut client = graygate.client().await;
    let upgrade =
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: a\r\nsec-websocket-version: 13\r\n";
    let answer = client.ask("GET", "/s", upgrade, "").await.unwrap();
    assert_eq!(answer.status, 101);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(1_500) {
        client.send("hello").await;
        assert_eq!(client.bytes(5).await, b"hello");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn more_requests_than_connections_are_refused_at_once() {
    let release = Upstream::start("release").await;
    let more = "max_connections: 2\n";
    let graygate = Graygate::start(&[Service { name: "s", gray: &[], release: &[&release], more }]).await;
    release.set(Mode::Hang);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = graygate.client().await;
        client.send("GET /s HTTP/1.1\r\nhost: test\r\n\r\n").await;
        held.push(client);
    }
    let begun = Instant::now();
    while release.requests() < 2 {
        assert!(begun.elapsed() < crate::faults::graygate::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut client = graygate.client().await;
    let answer = client.get("/s").await.unwrap();
    assert_eq!(answer.verdict(), (503, "overloaded"));
    assert_ne!(answer.header("connection"), Some("close"));
    // A client that leaves gives its place back.
    drop(held);
    release.set(Mode::Healthy);
    let begun = Instant::now();
    while !client.get("/s").await.as_ref().is_some_and(Answer::is_good) {
        assert!(begun.elapsed() < crate::faults::graygate::PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
