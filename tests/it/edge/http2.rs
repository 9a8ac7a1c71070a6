//! HTTP/2 from clients: what becomes a request, and what ends a connection.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::LIMIT;

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
    assert_eq!(seen.header("via"), Some("2 graygate"));
    assert_eq!(
        seen.header("x-gray-version"),
        Some("release"),
        "what an untrusted client says is not believed"
    );
    let post = Request::post("http://app.test/p").body(()).unwrap();
    ask(&client, post, "a body").await;
    assert_eq!(
        (upstream.last().text(), upstream.last().header("via")),
        ("a body".to_owned(), Some("2 graygate"))
    );
    // The same listener speaks HTTP/1.1.
    let mut old = crate::harness::wire::Connection::open(proxy.second).await;
    assert_eq!(old.get("/", &[]).await.text(), "up");
    assert_eq!(upstream.last().header("via"), Some("1.1 graygate"));
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
    for (name, value) in [("host", "other.test"), ("content-length", "0")] {
        let twice = get("/").header("content-length", "0").header(name, value).body(()).unwrap();
        let (response, text) = ask(&client, twice, "").await;
        assert_eq!(
            (error(&response), &*text),
            ((400, "bad_request"), "the request could not be understood\n"),
            "{name}"
        );
    }
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

/// The frames of a request for `http://a/` that is begun and taken back.
fn taken_back(stream: u32) -> Vec<u8> {
    let stream = stream.to_be_bytes();
    let headers = [0x82, 0x86, 0x84, 0x01, 1, b'a'];
    let begun = [&[0, 0, headers.len() as u8, 1, 4], &stream[..], &headers].concat();
    let cancelled = [&[0, 0, 4, 3, 0], &stream[..], &[0, 0, 0, 8]].concat();
    [begun, cancelled].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_back_requests_are_bounded() {
    let upstream = Upstream::scripted(|_| Act::Hang).await;
    let proxy = in_front_of(H2C, &upstream).await;
    let mut stream = TcpStream::connect(proxy.second).await.unwrap();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let ended = tokio::spawn(async move { while reader.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {} });
    // Rapid reset: far more of them at once than may wait to be looked at. The connection may end before all are sent.
    let requests: Vec<u8> = (1..10_000).step_by(2).flat_map(taken_back).collect();
    let _ = writer.write_all(&requests).await;
    timeout(LIMIT, ended).await.expect("every request is taken").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_malformed_requests_is_left() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of(H2C, &upstream).await;
    let stream = TcpStream::connect(proxy.second).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answered = 0;
    for n in 0.. {
        assert!(n < 100, "malformed requests are taken for ever");
        let Ok(mut client) = client.clone().ready().await else { break };
        let two_hosts = get("/").header("host", "other.test").body(()).unwrap();
        let Ok((response, _)) = client.send_request(two_hosts, true) else { break };
        answered += usize::from(timeout(LIMIT, response).await.unwrap().is_ok());
    }
    assert!((25..35).contains(&answered), "{answered}");
    // How it ends is the library's business.
    let _ = timeout(LIMIT, connection).await.expect("the connection stays");
    assert_eq!(upstream.seen().len(), 0);
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

/// An address that sends a header byte by byte and never ends it.
async fn dripping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx-drip: ").await;
                while stream.write_all(b"x").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_drips_is_late_after_the_requests_time() {
    let service = instances(&[("release", dripping().await)]);
    let service = service + "timeouts: {read: 10s, request: 500ms}\nretries: 1\n";
    let proxy = Proxy::start(H2C, &[ALL, ("services/s.yaml", &service)]).await;
    let client = client(&proxy).await;
    let call = Request::post("http://app.test/").header("content-type", "application/grpc");
    for (request, body, expected) in [
        (get("/").body(()), "", (504, "upstream_timeout")),
        (Request::post("http://app.test/").body(()), "a body", (504, "upstream_timeout")),
        (call.body(()), "a call", (200, "upstream_timeout")),
    ] {
        let begun = Instant::now();
        let (response, _) = ask(&client, request.unwrap(), body).await;
        assert_eq!(error(&response), expected);
        let took = begun.elapsed();
        assert!((Duration::from_millis(450)..Duration::from_secs(5)).contains(&took), "{took:?}");
        let grpc = response.headers().get("grpc-status").map(|status| status.to_str().unwrap());
        assert_eq!(grpc, (expected.0 == 200).then_some("4"));
    }
    let outcome = [("service", "s"), ("version", "release"), ("outcome", "request_timeout")];
    assert_eq!(proxy.metrics().await.get("graygate_upstream_tries_total", &outcome), Some(3.0));
    let log = proxy.logged(3).await;
    assert!(log.iter().all(|line| line["error"] == "upstream_timeout" && line["tries"] == 1), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_waits_for_the_upstream_is_not_slow() {
    const SIZE: usize = 32 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service = instances(&[("release", listener.local_addr().unwrap())]);
    let config = format!("{H2C}limits: {{body_rate: 10MiB/s}}");
    let proxy = Proxy::start(&config, &[ALL, ("services/s.yaml", &service)]).await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Longer than the grace, and than what fits into the sockets earns.
        tokio::time::sleep(Duration::from_secs(7)).await;
        let (mut seen, mut bytes) = (0, vec![0; 1 << 20]);
        while seen < SIZE {
            seen += stream.read(&mut bytes).await.unwrap();
        }
        stream.write_all(ok("taken").as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = client(&proxy).await;
    let post = Request::post("http://app.test/").header("content-length", SIZE).body(()).unwrap();
    let (response, mut sender) = client.ready().await.unwrap().send_request(post, false).unwrap();
    let mut rest = Bytes::from(vec![b'x'; SIZE]);
    while !rest.is_empty() {
        sender.reserve_capacity(rest.len());
        let room = timeout(LIMIT, std::future::poll_fn(|cx| sender.poll_capacity(cx))).await.unwrap();
        let part = rest.split_to(room.expect("the request was ended").unwrap().min(rest.len()));
        sender.send_data(part, rest.is_empty()).unwrap();
    }
    assert_eq!(error(&timeout(LIMIT, response).await.unwrap().unwrap()), (200, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_off_is_no_whole_one() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    let upstream = Upstream::scripted(|_| Act::AnswerAndClose(half.into())).await;
    let proxy = in_front_of(H2C, &upstream).await;
    let client = client(&proxy).await;
    let (response, _) =
        client.clone().ready().await.unwrap().send_request(get("/").body(()).unwrap(), true).unwrap();
    let mut body = timeout(LIMIT, response).await.unwrap().unwrap().into_body();
    let broken = loop {
        // A part that has come may be lost with the rest.
        if let Err(error) = timeout(LIMIT, body.data()).await.unwrap().expect("it looks whole") {
            break error;
        }
    };
    assert!(broken.is_reset(), "{broken}");
    assert_eq!(proxy.logged(1).await[0]["error"], "upstream_error");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_makes_no_room_costs_little() {
    const SIZE: usize = 4 << 20;
    let upstream = Upstream::scripted(|_| Act::Answer(ok(&"x".repeat(SIZE)))).await;
    let proxy = in_front_of(H2C, &upstream).await;
    let memory = async || proxy.metrics().await.get("process_resident_memory_bytes", &[]).unwrap();
    let stream = TcpStream::connect(proxy.second).await.unwrap();
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    tokio::spawn(connection);
    let before = memory().await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut client = client.clone().ready().await.unwrap();
        let (response, _) = client.send_request(get("/").body(()).unwrap(), true).unwrap();
        waiting.push(timeout(LIMIT, response).await.unwrap().unwrap());
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = memory().await - before;
    assert!(held < 16.0 * 1024.0 * 1024.0, "20 clients that take nothing cost {held} bytes");
    drop(waiting);
    let gone = [("service", "s"), ("version", "release")];
    until(async || proxy.metrics().await.get("graygate_requests_in_flight", &gone) == Some(0.0)).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_its_upstream_fails_is_decided_and_limited_once() {
    let upstream = Upstream::scripted(|_| Act::Close).await;
    let service = instances(&[("release", upstream.address)]) + "retries: 0\noutlier: off\n";
    let route = "service: s\nlimit: {rate: 1/h, burst: 4}\n";
    let proxy = Proxy::start(H2C, &[("routes/all.yaml", route), ("services/s.yaml", &service)]).await;
    let client = client(&proxy).await;
    for _ in 0..4 {
        let (response, text) = ask(&client, get("/").body(()).unwrap(), "").await;
        assert_eq!(error(&response), (502, "upstream_error"), "{text}");
    }
    let (response, _) = ask(&client, get("/").body(()).unwrap(), "").await;
    assert_eq!(error(&response), (429, "rate_limited"), "and the fifth comes too early");
    let log = proxy.logged(5).await;
    assert!(log.iter().all(|line| line["version"] == "release"), "{log:?}");
    let metrics = proxy.metrics().await;
    let counted = ["graygate_decisions_total", "graygate_requests_total", "graygate_limited_total"];
    assert_eq!(counted.map(|name| metrics.sum(name)), [5.0, 5.0, 1.0]);
    assert_eq!(metrics.sum("graygate_requests_in_flight"), 0.0);
}
