//! Bodies that are long in bytes or in time.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::harness::proxy::Proxy;
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::{LIMIT, request, with_body};

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_do_not_stay_in_memory() {
    const SIZE: usize = 64 << 20;
    let upstream = Upstream::scripted(|message| match message.target() {
        "/down" => Act::Answer(ok(&"d".repeat(SIZE))),
        _ => Act::Answer(ok(&message.body.len().to_string())),
    })
    .await;
    let proxy = in_front_of("", &upstream).await;
    let memory = async || proxy.metrics().await.get("process_resident_memory_bytes", &[]).unwrap();
    assert_eq!(proxy.get("/", &[]).await.status(), 200);
    let before = memory().await;
    let mut connection = proxy.connect().await;
    // As much as the sockets take arrives at once; the proxy may not read ahead of its client.
    connection.send(request("GET", "/down", &[])).await;
    crate::harness::proxy::until(async || !upstream.asked().is_empty()).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let held = memory().await - before;
    assert!(held < 8.0 * 1024.0 * 1024.0, "a client that does not read costs {held} bytes");
    assert_eq!(connection.answer().await.body.len(), SIZE);
    let answer = connection.ask(with_body("POST", "/up", &"u".repeat(SIZE))).await;
    assert_eq!(answer.text(), SIZE.to_string());
    let grown = memory().await - before;
    assert!(grown < 16.0 * 1024.0 * 1024.0, "{grown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_arrive_one_by_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = instances(&[("release", listener.local_addr().unwrap())]);
    let (next, mut wanted) = mpsc::channel::<&str>(1);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        while let Some(event) = wanted.recv().await {
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await.unwrap();
        }
    });
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let mut connection = proxy.connect().await;
    connection.send(request("GET", "/events", &[("Accept", "text/event-stream")])).await;
    for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
        next.send(event).await.unwrap();
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(event) {
            let read = timeout(LIMIT, connection.stream.read_buf(&mut seen)).await;
            assert!(read.expect("the event waits for the next one").unwrap() > 0);
        }
    }
}
