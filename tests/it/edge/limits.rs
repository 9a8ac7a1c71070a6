//! Connections an address may have, bodies that drip, the PROXY protocol, and many idle connections.

use std::time::{Duration, Instant};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::in_front_of;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Connection, request};

async fn refused(proxy: &Proxy, listener: std::net::SocketAddr, reason: &'static str) -> Option<f64> {
    let listener = listener.to_string();
    let labels = [("listener", &*listener), ("reason", reason)];
    proxy.metrics().await.get("graygate_connections_refused_total", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("limits: {connections_per_ip: 3}", &upstream).await;
    proxy.all_closed().await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut connection = proxy.connect().await;
        assert_eq!(connection.get("/", &[]).await.status(), 200);
        open.push(connection);
    }
    let mut fourth = proxy.connect().await;
    let answer = fourth.get("/", &[]).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (503, Some("overloaded")));
    assert!(fourth.ended().await);
    assert_eq!(refused(&proxy, proxy.address, "limit").await, Some(1.0));
    open.pop();
    until(async || proxy.get("/", &[]).await.status() == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_a_timeout() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("limits: {body_rate: 1KiB/s}", &upstream).await;
    let begun = Instant::now();
    let mut connection = proxy.connect().await;
    connection.send(request("POST", "/", &[("Content-Length", "10000")])).await;
    let mut answer = None;
    while answer.is_none() && begun.elapsed() < Duration::from_secs(15) {
        connection.send("x").await;
        answer = tokio::time::timeout(Duration::from_millis(200), connection.message(false)).await.ok();
    }
    let answer = answer.expect("no answer in time").unwrap().unwrap();
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (408, Some("timeout")));
    assert!((4..10).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_announced_client_is_the_client() {
    let upstream = Upstream::named("up").await;
    let config =
        "also proxy_protocol: true, h2c: true\nlimits: {header_timeout: 300ms, connections_per_ip: 1}";
    let proxy = in_front_of(config, &upstream).await;
    let mut open = Vec::new();
    for client in ["203.0.113.7", "203.0.113.8"] {
        let mut connection = Connection::open(proxy.second).await;
        connection.send(format!("PROXY TCP4 {client} 10.0.0.1 4711 80\r\n")).await;
        assert_eq!(connection.get("/", &[]).await.status(), 200);
        assert_eq!(upstream.last().header("x-forwarded-for"), Some(client));
        open.push(connection);
    }
    assert_eq!(proxy.logged(2).await[1]["client"], "203.0.113.8");
    // The binary form, with an extension behind the addresses.
    let start = [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[0x21, 0, 36 + 4]].concat();
    let client: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let (ports, extension) = ([0x12, 0x67, 0, 80], [4, 0, 1, 0]);
    let header = [&start[..], &client.octets(), &[0; 16], &ports, &extension].concat();
    let mut binary = Connection::open(proxy.second).await;
    // It comes in two pieces.
    binary.send(&header[..20]).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    binary.send([&header[20..], &request("GET", "/", &[])].concat()).await;
    assert_eq!(binary.answer().await.status(), 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("2001:db8::7"));
    assert_eq!(proxy.logged(3).await[2]["client"], "2001:db8::7");
    // Who speaks for itself is its own client.
    let mut local = Connection::open(proxy.second).await;
    local.send([&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], &request("GET", "/", &[])].concat()).await;
    assert_eq!(local.answer().await.status(), 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    for again in [b"PROXY TCP4 203.0.113.7 10.0.0.1 4712 80\r\n".to_vec(), header] {
        let mut connection = Connection::open(proxy.second).await;
        connection.send(again).await;
        assert_eq!(connection.get("/", &[]).await.status(), 503);
    }
    let before = upstream.seen().len();
    let version_three = "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c123456789012";
    let broken =
        ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "PROXY TCP4 a b c d\r\n\r\n", version_three, "", "PROXY TC"];
    for broken in broken {
        let mut connection = Connection::open(proxy.second).await;
        connection.send(broken).await;
        assert!(connection.ended().await, "{broken:?}");
    }
    assert!(refused(&proxy, proxy.second, "proxy_protocol").await >= Some(5.0));
    assert_eq!(upstream.seen().len(), before);
}

/// Memory the process holds, bytes.
async fn memory(proxy: &Proxy) -> f64 {
    proxy.metrics().await.get("process_resident_memory_bytes", &[]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_cost_little() {
    // More of them where someone wants to measure, and used ones as well.
    let wanted = std::env::var("GRAYGATE_CONNECTIONS");
    let count: usize = wanted.as_ref().map_or(2_000, |count| count.parse().unwrap());
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    assert_eq!(proxy.get("/", &[]).await.status(), 200);
    let before = memory(&proxy).await;
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(proxy.connect().await);
    }
    until(async || proxy.metrics().await.sum("graygate_connections") >= count as f64).await;
    let each = (memory(&proxy).await - before) / count as f64;
    println!("an idle connection costs {each:.0} bytes");
    assert!(each < 24.0 * 1024.0, "{each}");
    if wanted.is_ok() {
        for connection in &mut open {
            assert_eq!(connection.get("/", &[]).await.status(), 200);
        }
        let each = (memory(&proxy).await - before) / count as f64;
        println!("an idle connection that was used costs {each:.0} bytes");
    }
    assert_eq!(open.last_mut().unwrap().get("/", &[]).await.status(), 200);
}
