//! HTTP/2 from clients: what becomes a request, and what ends a connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::LIMIT;
use crate::sample::{ALL, in_front_of, instances};

const H2C: &str = "also h2c: true\n";

async fn client(proxy: &Proxy) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.second).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(
    client: &SendRequest<Bytes>,
    request: Request<()>,
    body: &'static str,
) -> (Response<()>, String) {
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut sender) = client.send_request(request, body.is_empty()).unwrap();
    if !body.is_empty() {
        sender.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
    }
    let response = timeout(LIMIT, response).await.unwrap().unwrap();
    let (head, mut stream) = response.into_parts();
    let mut text = Vec::new();
    while let Some(piece) = timeout(LIMIT, stream.data()).await.unwrap() {
        text.extend(piece.unwrap());
    }
    (Response::from_parts(head, ()), String::from_utf8(text).unwrap())
}

fn get(path: &str) -> http::request::Builder {
    Request::get(format!("http://app.test{path}"))
}

fn error<T>(response: &Response<T>) -> (u16, &str) {
    let reason = response.headers().get("x-graygate-error").map_or("", |reason| reason.to_str().unwrap());
    (response.status().as_u16(), reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_reach_the_upstream_as_http1_would_have_sent_them() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let client = client(&proxy).await;
    let crumbs = get("/a?b").header("cookie", "a=1").header("cookie", "b=2").header("x-gray-version", "gray");
    let (response, text) = ask(&client, crumbs.body(()).unwrap(), "").await;
    assert_eq!((error(&response), &*text), ((200, ""), "up"));
    let seen = upstream.last();
    assert_eq!(seen.target(), "/a?b");
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"));
    assert_eq!(seen.header("host"), Some("app.test"));
    assert_eq!(
        seen.header("x-gray-version"),
        Some("release"),
        "what an untrusted client says is not believed"
    );
    let post = Request::post("http://app.test/p").body(()).unwrap();
    ask(&client, post, "a body").await;
    assert_eq!(upstream.last().text(), "a body");
    // The same listener speaks HTTP/1.1.
    let mut old = crate::harness::wire::Connection::open(proxy.second).await;
    assert_eq!(old.get("/", &[]).await.text(), "up");
    let log = proxy.logged(3).await;
    assert_eq!(log[0]["host"], "app.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_answers_are_the_same_and_grpc_reads_a_status() {
    let upstream = Upstream::named("up").await;
    let proxy =
        in_front_of(&format!("{H2C}limits: {{headers: 10, header_bytes: 4KiB, body: 1KiB}}"), &upstream)
            .await;
    let client = client(&proxy).await;
    let many = (0..11).fold(get("/"), |request, n| request.header(format!("x-{n}"), "y"));
    let (response, text) = ask(&client, many.body(()).unwrap(), "").await;
    assert_eq!(error(&response), (431, "headers_too_large"));
    assert!(text.ends_with('\n'));
    let large = get("/").header("x", "y".repeat(5_000)).body(()).unwrap();
    assert_eq!(error(&ask(&client, large, "").await.0), (431, "headers_too_large"));
    assert_eq!(error(&ask(&client, get("/%00").body(()).unwrap(), "").await.0), (400, "bad_request"));
    let other = get("/").header("host", "other.test").body(()).unwrap();
    assert_eq!(ask(&client, other, "").await.0.status(), 400, "two hosts");
    let call = get("/%00").header("content-type", "application/grpc+proto").body(()).unwrap();
    let (response, text) = ask(&client, call, "").await;
    assert_eq!((error(&response), &*text), ((200, "bad_request"), ""));
    assert_eq!(response.headers()["grpc-status"], "13");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(upstream.seen().len(), 0);
    assert_eq!(
        proxy.metrics().await.get("graygate_unrouted_total", &[("reason", "headers_too_large")]),
        Some(2.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_the_connection_and_nothing_else() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let bystander = client(&proxy).await;
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    // HEADERS without END_HEADERS, and CONTINUATION for ever.
    let start = [&[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82][..]].concat();
    let more = [0, 0, 1, 9, 0, 0, 0, 0, 1, 0x82];
    for (first, flood) in [(&b""[..], &PING[..]), (b"", &SETTINGS), (b"", &UPDATE), (&start, &more)] {
        let mut stream = TcpStream::connect(proxy.second).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&SETTINGS).await.unwrap();
        stream.write_all(first).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let drain =
            tokio::spawn(async move { while reader.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {} });
        let mut frames = 0;
        while writer.write_all(flood).await.is_ok() {
            frames += 1;
            assert!(frames < 500_000, "the flood is taken for ever");
        }
        drain.await.unwrap();
    }
    assert_eq!(ask(&bystander, get("/").body(()).unwrap(), "").await.1, "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_back_requests_are_bounded() {
    let upstream = Upstream::scripted(|_| Act::Hang).await;
    let proxy = in_front_of(H2C, &upstream).await;
    let stream = TcpStream::connect(proxy.second).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    // Rapid reset: the server gives the connection up long before all are sent.
    for n in 0..20_000 {
        let Ok(mut ready) = client.ready().await else { break };
        assert!(n < 19_999, "every request is taken");
        let Ok((_, mut sender)) = ready.send_request(get("/").body(()).unwrap(), false) else { break };
        sender.send_reset(h2::Reason::CANCEL);
        client = ready;
    }
    assert!(timeout(LIMIT, connection).await.unwrap().unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_and_slow_connections_end() {
    let upstream = Upstream::named("up").await;
    let proxy =
        in_front_of(&format!("{H2C}limits: {{header_timeout: 200ms, keepalive: 300ms}}"), &upstream).await;
    let stream = TcpStream::connect(proxy.second).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    assert_eq!(ask(&client, get("/").body(()).unwrap(), "").await.1, "up");
    timeout(LIMIT, connection).await.expect("an idle connection ends").unwrap().unwrap();
    for bytes in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(proxy.second).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut said = Vec::new();
        timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("a silent connection ends").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_or_stops_is_a_timeout() {
    let upstream = Upstream::named("up").await;
    let service = instances(&[("release", upstream.address)]) + "timeouts: {read: 2s}\nretries: 0\n";
    let config = format!("{H2C}limits: {{body_rate: 1KiB/s}}");
    let proxy = Proxy::start(&config, &[ALL, ("services/s.yaml", &service)]).await;
    let client = client(&proxy).await;
    for drips in [false, true] {
        let begun = Instant::now();
        let post = Request::post("http://app.test/").body(()).unwrap();
        let (mut response, mut sender) =
            client.clone().ready().await.unwrap().send_request(post, false).unwrap();
        sender.send_data(Bytes::from_static(b"x"), false).unwrap();
        let answer = loop {
            let wait = if drips { Duration::from_millis(200) } else { LIMIT };
            if let Ok(answer) = timeout(wait, &mut response).await {
                break answer.unwrap();
            }
            assert!(begun.elapsed() < LIMIT, "no answer in time");
            // Once the answer is on its way the body may be cut off.
            let _ = sender.send_data(Bytes::from_static(b"x"), false);
        };
        assert_eq!(error(&answer), (408, "timeout"), "drips: {drips}");
        let expected = if drips { 4..12 } else { 1..5 };
        assert!(expected.contains(&begun.elapsed().as_secs()), "drips: {drips}, {:?}", begun.elapsed());
    }
    let tried = [("service", "s"), ("version", "release"), ("outcome", "client_gone")];
    until(async || proxy.metrics().await.get("graygate_upstream_tries_total", &tried) == Some(2.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_process_waits_for_requests_under_way() {
    let upstream = Upstream::scripted(|_| Act::Hold(ok("late"))).await;
    let mut proxy = in_front_of(H2C, &upstream).await;
    let client = client(&proxy).await;
    let asked = tokio::spawn(async move { ask(&client, get("/").body(()).unwrap(), "").await.1 });
    until(async || upstream.asked().len() == 1).await;
    proxy.signal("-TERM");
    // Told to end, and still served.
    tokio::time::sleep(Duration::from_millis(200)).await;
    upstream.release();
    assert_eq!(asked.await.unwrap(), "late");
    assert!(proxy.ended().await.success());
}
