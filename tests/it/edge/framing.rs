//! Where bodies, heads and connections end, byte by byte, on both sides.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::edge::certificate::{pair, shake};
use crate::harness::proxy::Proxy;
use crate::harness::sample::{ALL, in_front_of, instances};
use crate::harness::upstream::{Act, Upstream, answer, ok};
use crate::harness::wire::{Connection, LIMIT, request, with_body};

/// What a recording upstream says to the bytes it has of a request; `None`: not all of it is here.
type Script = dyn Fn(&[u8]) -> Option<&'static [u8]> + Send + Sync;

/// An upstream that keeps every byte and parses nothing.
struct Recorder {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Recorder {
    async fn start(script: impl Fn(&[u8]) -> Option<&'static [u8]> + Send + Sync + 'static) -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Recorder { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let (seen, script): (_, Arc<Script>) = (recorder.seen.clone(), Arc::new(script));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, script) = (seen.clone(), script.clone());
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while stream.read_buf(&mut request).await.is_ok_and(|count| count > 0) {
                        let Some(answer) = script(&request) else { continue };
                        // What comes a moment later belongs to it as well.
                        let _ = timeout(std::time::Duration::from_millis(100), stream.read_buf(&mut request))
                            .await;
                        seen.lock().extend(std::mem::take(&mut request));
                        if stream.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        recorder
    }

    /// Answers every head, once it is whole.
    async fn answering(answer: &'static [u8]) -> Recorder {
        Recorder::start(move |seen| ends_head(seen).then_some(answer)).await
    }

    async fn proxy(&self, config: &str) -> Proxy {
        let service = instances(&[("release", self.address)]);
        Proxy::start(config, &[ALL, ("services/s.yaml", &service)]).await
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock()).into_owned()
    }

    /// What came behind the head of the only request.
    fn body(&self) -> String {
        let text = self.text();
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}")).1.to_owned()
    }
}

fn ends_head(seen: &[u8]) -> bool {
    seen.windows(4).any(|end| end == b"\r\n\r\n")
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn h2(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The status of a request over HTTP/2 whose body comes in these frames, the last of which ends it.
async fn framed(proxy: &Proxy, method: &str, frames: &[&'static str]) -> u16 {
    let mut client = h2(proxy.second).await.ready().await.unwrap();
    let asked = Request::builder().method(method).uri("http://app.test/").body(()).unwrap();
    let (response, mut body) = client.send_request(asked, frames.is_empty()).unwrap();
    for (i, frame) in frames.iter().enumerate() {
        body.send_data(Bytes::from_static(frame.as_bytes()), i + 1 == frames.len()).unwrap();
        // So that each is a frame of its own.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    timeout(LIMIT, response).await.unwrap().unwrap().status().as_u16()
}

/// All that comes on a connection until it ends.
async fn to_the_end(connection: &mut Connection) -> String {
    let mut text = Vec::new();
    timeout(LIMIT, connection.stream.read_to_end(&mut text)).await.expect("stays open").unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_http2_has_one_last_chunk_whatever_frames_it_comes_in() {
    for (method, frames, expected) in [
        ("POST", &["hello", ""][..], "5\r\nhello\r\n0\r\n\r\n"),
        ("POST", &["hello"], "5\r\nhello\r\n0\r\n\r\n"),
        ("POST", &["he", "", "llo", ""], "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ("POST", &[""], "0\r\n\r\n"),
        ("POST", &["", "", ""], "0\r\n\r\n"),
        ("GET", &[""], "0\r\n\r\n"),
        ("POST", &[], ""),
    ] {
        let upstream = Recorder::start(move |seen| {
            let all = String::from_utf8_lossy(seen);
            all.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= expected.len()).then_some(OK)
        })
        .await;
        let proxy = upstream.proxy("also h2c: true").await;
        assert_eq!(framed(&proxy, method, frames).await, 200, "{method} {frames:?}");
        assert_eq!(upstream.body(), expected, "{method} {frames:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_without_a_body_says_so() {
    let upstream = Recorder::answering(OK).await;
    let proxy = upstream.proxy("also h2c: true").await;
    assert_eq!(framed(&proxy, "POST", &[]).await, 200);
    assert!(
        upstream.text().contains("ontent-length: 0\r\n") || upstream.text().contains("Content-Length: 0\r\n")
    );
    assert_eq!(proxy.raw(request("PUT", "/", &[])).await.status(), 200);
    assert_eq!(upstream.text().to_lowercase().matches("content-length: 0\r\n").count(), 2);
    assert_eq!(proxy.get("/", &[]).await.status(), 200);
    assert_eq!(upstream.text().to_lowercase().matches("content-length: 0\r\n").count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_can_be_read_in_two_ways_go_nowhere() {
    const HEAD: &str = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in
        ["\r\n", "2;\nxx\r\n", "2\nxx\r\n0\r\n\r\n", ";\r\n", "2;a\nxx\r\n0\r\n\r\n", "0\r\n\n", "2 x\r\n"]
    {
        for apart in [false, true] {
            let upstream = Recorder::start(|seen| seen.ends_with(b"0\r\n\r\n").then_some(OK)).await;
            let proxy = upstream.proxy("").await;
            let mut connection = proxy.connect().await;
            match apart {
                false => connection.send([HEAD, body].concat()).await,
                true => {
                    connection.send(HEAD).await;
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    connection.send(body).await;
                }
            }
            let answer = connection.answer().await;
            assert_eq!(
                (answer.status(), answer.header("x-graygate-error")),
                (400, Some("bad_request")),
                "{body:?}"
            );
            assert!(connection.ended().await);
            assert_eq!(upstream.text(), "", "{body:?}, apart: {apart}");
            assert_eq!(proxy.logged(1).await[0]["error"], "bad_request");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_chunked_body_is_the_next_request() {
    let upstream = Upstream::scripted(|message| Act::Answer(ok(&message.text()))).await;
    let proxy = in_front_of("", &upstream).await;
    let post =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nSum: 1\r\n\r\n";
    for pieces in [1, 2, 7, 1_000] {
        let mut connection = proxy.connect().await;
        for piece in post.repeat(3).as_bytes().chunks(pieces) {
            connection.send(piece).await;
        }
        for _ in 0..3 {
            assert_eq!(connection.answer().await.text(), "abc");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_never_sent_chunks() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    const BARE: &str = "HTTP/1.1 200 OK\r\n\r\nabc";
    const EMPTY: &str = "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    const SAME: &str = "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Upstream::scripted(|message| match message.target() {
        "/chunked" => Act::Answer(CHUNKED.into()),
        "/head" => Act::Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".into()),
        "/bare" => Act::AnswerAndClose(BARE.into()),
        "/204" => Act::AnswerAndClose(EMPTY.into()),
        "/304" => Act::AnswerAndClose(SAME.into()),
        _ => Act::Answer(ok("abc")),
    })
    .await;
    let proxy = in_front_of("", &upstream).await;
    for (line, body) in [
        ("GET /chunked", "abc"),
        ("GET /bare", "abc"),
        ("GET /length", "abc"),
        ("HEAD /head", ""),
        ("GET /204", ""),
        ("GET /304", ""),
    ] {
        for keep in ["", "Connection: keep-alive\r\n"] {
            let mut connection = proxy.connect().await;
            connection.send(format!("{line} HTTP/1.0\r\nHost: a\r\n{keep}\r\n")).await;
            if keep.is_empty() || matches!(line, "GET /chunked" | "GET /bare") {
                let text = to_the_end(&mut connection).await;
                let (head, got) = text.split_once("\r\n\r\n").unwrap();
                assert_eq!(got, body, "{line}: {text:?}");
                assert!(!head.to_lowercase().contains("transfer-encoding"), "{line}: {head}");
                assert!(head.to_lowercase().contains("connection: close"), "{line}: {head}");
            } else {
                let answer = match line.starts_with("HEAD") {
                    true => connection.bodiless_answer().await,
                    false => connection.answer().await,
                };
                assert_eq!(answer.header("connection"), Some("keep-alive"), "{line}");
                assert_eq!(answer.header("transfer-encoding"), None, "{line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_without_content_has_no_length() {
    let upstream = Upstream::scripted(|message| match message.target() {
        "/length" => Act::Answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n".into()),
        _ => Act::AnswerAndClose(
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
        ),
    })
    .await;
    let proxy = in_front_of("", &upstream).await;
    for target in ["/length", "/chunks"] {
        let answer = proxy.get(target, &[]).await;
        assert_eq!(answer.status(), 204);
        assert_eq!(
            (answer.header("content-length"), answer.header("transfer-encoding")),
            (None, None),
            "{target}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_say_nothing_of_the_upstreams_connection() {
    const HINTS: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\
        Keep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Recorder::answering(HINTS).await;
    let proxy = upstream.proxy("").await;
    let mut connection = proxy.connect().await;
    connection.send(request("GET", "/", &[])).await;
    let hints = connection.message(false).await.unwrap().unwrap();
    assert_eq!(hints.status(), 103);
    assert_eq!(hints.headers, [("Link".to_string(), "</a>".to_string())]);
    assert_eq!(connection.answer().await.text(), "ok");
    let mut old = proxy.connect().await;
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(to_the_end(&mut old).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_asked_for_keeps_its_connection() {
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    let upstream = Recorder::start(|seen| match seen.ends_with(b"hello") {
        true => Some(OK),
        false => ends_head(seen).then_some(CONTINUE),
    })
    .await;
    let proxy = upstream.proxy("").await;
    let mut connection = proxy.connect().await;
    for _ in 0..2 {
        connection.send(request("PUT", "/", &[("Expect", "100-continue"), ("Content-Length", "5")])).await;
        assert_eq!(connection.message(false).await.unwrap().unwrap().status(), 100);
        connection.send("hello").await;
        let answer = connection.answer().await;
        assert_eq!((answer.status(), answer.header("connection")), (200, Some("keep-alive")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_overtakes_the_body_is_the_last_one() {
    let upstream = Recorder::answering(OK).await;
    let proxy = upstream.proxy("").await;
    let mut connection = proxy.connect().await;
    connection.send(request("PUT", "/", &[("Content-Length", "5000")])).await;
    let answer = connection.answer().await;
    assert_eq!((answer.status(), answer.header("connection")), (200, Some("close")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_still_sends_reads_its_answer_to_the_end() {
    let upstream = Recorder::answering(OK).await;
    let proxy = upstream.proxy("limits: {body: 1KiB}").await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    let head = request("PUT", "/", &[("Content-Length", "5000000")]);
    client.write_all(&head).await.unwrap();
    client.write_all(&vec![b'x'; 200_000]).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("no reset");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_switches_protocols_unasked_has_failed() {
    const SWITCHED: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nsecret";
    let upstream = Recorder::answering(SWITCHED).await;
    let proxy = upstream.proxy("also h2c: true").await;
    for asked in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: other\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        let mut connection = proxy.connect().await;
        connection.send(asked).await;
        let text = to_the_end(&mut connection).await;
        assert!(text.starts_with("HTTP/1.1 502 ") && !text.contains("secret"), "{asked:?}: {text:?}");
    }
    assert_eq!(framed(&proxy, "GET", &[]).await, 502);
}

/// An upstream that switches protocols, says something in the same segment, and sends everything back from then on.
async fn switching() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    address
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    // Byte by byte: what comes behind the head is sent back.
    while !ends_head(&head) {
        head.push(stream.read_u8().await?);
    }
    let switched =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfirst ";
    stream.write_all(switched).await?;
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(())
}

/// Asks for another protocol, with bytes of it in the same segment and in the next one, and goes on when it has been
/// switched to.
async fn switch<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, kind: &str) {
    let upgrade = request(
        "GET",
        "/",
        &[
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ],
    );
    stream.write_all(&[&upgrade[..], b"early "].concat()).await.unwrap();
    stream.write_all(b"between ").await.unwrap();
    let mut connection = Connection::over(stream);
    assert_eq!(connection.message(false).await.unwrap().unwrap().status(), 101, "{kind}");
    connection.stream.write_all(b"later").await.unwrap();
    let echo = connection.bytes(b"first early between later".len()).await;
    assert_eq!(echo.escape_ascii().to_string(), "first early between later", "{kind}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_in_the_segment_of_an_upgrade_reach_the_other_side() {
    let service = instances(&[("release", switching().await)]);
    let directory = tempfile::tempdir().unwrap();
    pair(directory.path(), "a", &["app.test"]);
    let config = format!("also tls: {{certificates: {}}}\n", directory.path().display());
    let proxy = Proxy::start(&config, &[ALL, ("services/s.yaml", &service)]).await;
    // Whether the echo comes in one segment with the 101 is chance.
    for _ in 0..10 {
        switch(proxy.connect().await.stream, "plain").await;
        let tls = shake(proxy.second, "app.test", rustls::ALL_VERSIONS, &["http/1.1"]).await.unwrap();
        switch(tls, "tls").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_sent_again_counts_once() {
    let upstream = Upstream::scripted(|message| match message.header("x-try") {
        _ if message.target() == "/first" => Act::Close,
        _ => Act::Answer(ok("whole")),
    })
    .await;
    let failing = Upstream::scripted(|_| Act::Close).await;
    let service = format!(
        "{}retries: 3\noutlier: off\n",
        instances(&[("release", failing.address), ("release", upstream.address)])
    );
    let route = "service: s\nmax_body: 1KiB\n";
    let proxy = Proxy::start("", &[("routes/all.yaml", route), ("services/s.yaml", &service)]).await;
    // The first of two requests, or the second, meets the failing instance first.
    for _ in 0..2 {
        assert_eq!(proxy.raw(with_body("PUT", "/", &"x".repeat(600))).await.status(), 200);
    }
    assert!(!failing.asked().is_empty());
    let log = proxy.logged(2).await;
    assert!(log.iter().any(|line| line["tries"].as_u64() > Some(1)), "{log:?}");
    assert!(log.iter().all(|line| line["bytes_in"] == 600), "{log:?}");
    assert_eq!(proxy.raw(with_body("PUT", "/", &"x".repeat(1_025))).await.status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_is_always_told_a_host() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    for asked in ["OPTIONS / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\nHost:\r\n\r\n"] {
        assert_eq!(proxy.raw(asked).await.status(), 200, "{asked:?}");
        assert_eq!(upstream.last().header("host"), Some(upstream.address.to_string().as_str()), "{asked:?}");
    }
    let route = ("routes/all.yaml", "service: s\nrewrite: {host: app.internal}\n");
    let service = instances(&[("release", upstream.address)]);
    let renamed = Proxy::start("", &[route, ("services/s.yaml", &service)]).await;
    assert_eq!(renamed.raw("GET / HTTP/1.0\r\n\r\n").await.status(), 200);
    assert_eq!(upstream.last().header("host"), Some("app.internal"));
}

/// An upstream that speaks HTTP/2 alone, and what it was asked.
async fn h2c_upstream() -> (SocketAddr, Arc<Mutex<Vec<http::Request<()>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<_>>>::default());
    let record = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let record = record.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    record.lock().push(request.map(|_| ()));
                    respond.send_response(http::Response::new(()), true).unwrap();
                }
            });
        }
    });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_http2_is_always_told_a_host() {
    let (address, seen) = h2c_upstream().await;
    let service = instances(&[("release", address)]) + "protocol: h2c\n";
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    let own = address.to_string();
    for (asked, expected) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", &*own),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", &own),
        ("POST /x HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi", &own),
        ("GET /x?y HTTP/1.0\r\nHost: a\r\n\r\n", "a"),
        ("GET /x?y HTTP/1.1\r\nHost: a:1\r\n\r\n", "a:1"),
    ] {
        let answer = proxy.raw(asked).await;
        assert_eq!(answer.status(), 200, "{asked:?}: {answer:?}");
        let request = seen.lock().pop().unwrap();
        assert_eq!(request.uri().authority().map(|name| name.as_str()), Some(expected), "{asked:?}");
        assert!(request.headers().get("host").is_none_or(|host| host == expected), "{request:?}");
    }
    let route = ("routes/all.yaml", "service: s\nrewrite: {host: app.internal}\n");
    let renamed = Proxy::start("", &[route, ("services/s.yaml", &service)]).await;
    assert_eq!(renamed.raw("GET / HTTP/1.0\r\n\r\n").await.status(), 200);
    assert_eq!(seen.lock().pop().unwrap().uri().host(), Some("app.internal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_date_is_kept_and_one_is_added_where_there_is_none() {
    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let upstream = Upstream::scripted(|message| match message.target() {
        "/dated" => Act::Answer(answer("200 OK", &[("Date", OLD)], "dated")),
        "/odd" => Act::Answer(answer("200 OK", &[("date", "yesterday")], "dated")),
        _ => Act::Answer(ok("undated")),
    })
    .await;
    let proxy = in_front_of("also h2c: true", &upstream).await;
    let mut connection = proxy.connect().await;
    for (target, expected) in
        [("/dated", Some(OLD)), ("/", None), ("/odd", Some("yesterday")), ("/dated", Some(OLD))]
    {
        let answer = connection.get(target, &[]).await;
        let date = answer.header("date").unwrap();
        assert!(
            expected.map_or(date.ends_with("GMT") && date != OLD, |expected| date == expected),
            "{target}: {date}"
        );
        let mut client = h2(proxy.second).await.ready().await.unwrap();
        let asked = Request::get(format!("http://app.test{target}")).body(()).unwrap();
        let answer = client.send_request(asked, true).unwrap().0.await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap();
        assert!(
            expected.map_or(date.ends_with("GMT") && date != OLD, |expected| date == expected),
            "{target}: {date}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_query_is_refused() {
    let upstream = Upstream::named("up").await;
    let rule = "when: {attribute: query:q, equals: \"<b>\"}\nversion: gray\n";
    let service = instances(&[("release", upstream.address), ("gray", upstream.address)]);
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service), ("rules/1.yaml", rule)]).await;
    for (target, sent) in [
        (&b"/x?q=<b>"[..], "/x?q=%3Cb%3E"),
        (b"/x?q=%3Cb>", "/x?q=%3Cb%3E"),
        (b"/x?\"`{}|\\^[]", "/x?%22`{}|\\^[]"),
        (b"/x?\xff\xfe", "/x?%FF%FE"),
        (b"/x?%zz%", "/x?%zz%"),
        (b"/<a>`\"", "/%3Ca%3E%60\""),
        ("/x?\u{7528}".as_bytes(), "/x?\u{7528}"),
    ] {
        let answer = proxy.raw([b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
        assert_eq!(answer.status(), 200, "{}", target.escape_ascii());
        assert_eq!(upstream.last().target(), sent);
        let is_gray = sent == "/x?q=%3Cb%3E";
        assert_eq!(upstream.last().header("x-gray-version"), Some(if is_gray { "gray" } else { "release" }));
    }
    // What is refused is counted and logged.
    let before = proxy.logged(7).await.len();
    for target in [&b"/\xff"[..], b"/%ff"] {
        let answer = proxy.raw([b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()).await;
        assert_eq!((answer.status(), answer.header("x-graygate-error")), (400, Some("bad_request")));
    }
    assert_eq!(proxy.logged(before + 2).await.len(), before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_no_more_of_an_upload_is_late_and_not_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut held = Vec::new();
                // The bodies are held and never read: no room is made for more of them.
                while let Some(Ok(asked)) = connection.accept().await {
                    held.push(asked);
                }
            });
        }
    });
    let service = format!(
        "{}protocol: h2c\ntimeouts: {{read: 300ms, request: 5s}}\n",
        instances(&[("release", address)])
    );
    let proxy = Proxy::start("also h2c: true", &[ALL, ("services/s.yaml", &service)]).await;
    let answer = proxy.raw(with_body("POST", "/", &"x".repeat(1 << 20))).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (504, Some("upstream_timeout")));
    let outcome = [("service", "s"), ("version", "release"), ("outcome", "timeout")];
    assert_eq!(proxy.metrics().await.get("graygate_upstream_tries_total", &outcome), Some(1.0));
    // A client that sends half of it is late itself.
    let half = request("POST", "/", &[("Content-Length", "10")]);
    let answer = proxy.raw([&half[..], b"half"].concat()).await;
    assert_eq!((answer.status(), answer.header("x-graygate-error")), (408, Some("timeout")));
}
