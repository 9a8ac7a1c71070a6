//! The end of the process.

use crate::harness::proxy::until;
use crate::harness::sample::in_front_of;
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::{Connection, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_finishes_and_then_the_process_ends() {
    let upstream = Upstream::scripted(|_| Act::Hold(ok("late"))).await;
    let mut proxy = in_front_of("shutdown: {grace: 15s}", &upstream).await;
    let mut idle = proxy.connect().await;
    let mut running = proxy.connect().await;
    running.send(request("GET", "/", &[])).await;
    until(async || upstream.asked().len() == 1).await;
    let mut admin = Connection::open(proxy.admin).await;
    assert_eq!(admin.get("/readyz", &[]).await.status(), 200);
    proxy.signal("-TERM");
    assert!(idle.ended().await, "an idle connection ends at once");
    let ready = until(async || {
        let Ok(stream) = tokio::net::TcpStream::connect(proxy.admin).await else { return false };
        let mut connection = Connection::over(stream);
        connection.send(request("GET", "/readyz", &[])).await;
        connection
            .message(false)
            .await
            .is_ok_and(|answer| answer.is_some_and(|answer| answer.status() == 503))
    });
    ready.await;
    upstream.release();
    assert_eq!(running.answer().await.text(), "late");
    let begun = std::time::Instant::now();
    let status = proxy.ended().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(5),
        "soon after the last request: {:?}",
        begun.elapsed()
    );
    let log = proxy.log();
    assert_eq!(log.len(), 1, "the last lines are written");
}

/// So often it is interrupted while its loops begin to accept; one that is told of the end by an error must not go on.
const STARTS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_right_after_the_start_ends_the_process() {
    let upstream = Upstream::named("up").await;
    for start in 0..STARTS {
        let mut proxy = in_front_of("", &upstream).await;
        proxy.signal("-INT");
        assert_eq!(proxy.ended().await.code(), Some(0), "start {start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_process_ends_at_once() {
    let upstream = Upstream::named("up").await;
    for signal in ["-TERM", "-INT"] {
        let mut proxy = in_front_of("", &upstream).await;
        proxy.get("/", &[]).await;
        proxy.signal(signal);
        let begun = std::time::Instant::now();
        assert_eq!(proxy.ended().await.code(), Some(0), "{signal}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_head_has_begun_is_served() {
    let upstream = Upstream::named("up").await;
    let mut proxy = in_front_of("shutdown: {grace: 15s}", &upstream).await;
    let mut idle = proxy.connect().await;
    let mut begun = proxy.connect().await;
    begun.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    proxy.signal("-TERM");
    assert!(idle.ended().await);
    begun.send("\r\n").await;
    assert_eq!(begun.answer().await.status(), 200);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grace_period_is_the_longest_wait() {
    let upstream = Upstream::scripted(|_| Act::Hang).await;
    let mut proxy = in_front_of("shutdown: {grace: 1s}", &upstream).await;
    let mut running = proxy.connect().await;
    running.send(request("GET", "/", &[])).await;
    until(async || upstream.asked().len() == 1).await;
    proxy.signal("-TERM");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_that_reload_other_servers_change_nothing() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    for (signal, name) in [("-HUP", "SIGHUP"), ("-USR2", "SIGUSR2")] {
        proxy.signal(signal);
        until(async || proxy.stderr().contains(&format!("{name} changes nothing"))).await;
        assert_eq!(proxy.get("/", &[]).await.text(), "up", "{name}");
    }
}
