//! Requests that are malformed or could be read in two ways: what each gets, and that none reaches the upstream.
//!
//! `make malformed` writes the table again; the test holds the committed one against what happens.

use std::fmt::Write as _;

use super::blocks::{Client, Fate};
use crate::harness::sample::in_front_of;
use crate::harness::upstream::Upstream;
use crate::harness::wire::Connection;

const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/loadtest/results/malformed.md");
/// Stands behind every request that has an end.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

fn cases() -> Vec<Vec<u8>> {
    let mut cases: Vec<Vec<u8>> = Vec::new();
    let mut add = |text: String| cases.push(text.into_bytes());
    // Request lines.
    for line in [
        "GET /",
        "GET",
        "",
        "GET / HTTP/9.9",
        "GET / HTTP/2.0",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "GET / HTTP/1",
        "GET / HTTP/1.1.1",
        "GET / HTTPS/1.1",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET / / HTTP/1.1",
        "GET /a b HTTP/1.1",
        "G@T / HTTP/1.1",
        "GE\0T / HTTP/1.1",
        "G(T) / HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET a HTTP/1.1",
        "GET a/b HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET ?q HTTP/1.1",
        "GET http:/\\a/ HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://a<b/ HTTP/1.1",
        "GET http://a:b/ HTTP/1.1",
        "GET //[/ HTTP/1.1\r\nHost: b",
        "GET /\x7f HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /a#b HTTP/1.1",
    ] {
        add(format!("{line}\r\nHost: a\r\n\r\n"));
    }
    // Paths.
    for path in [
        "/%",
        "/%2",
        "/%zz",
        "/%00",
        "/%0a",
        "/%0d%0aX:y",
        "/%1f",
        "/%7f",
        "/%ff",
        "/%c3",
        "/%c0%af",
        "/..",
        "/../x",
        "/a/../../x",
        "/%2e%2e/x",
        "/.%2e/x",
        "/a/%2e%2e/%2e%2e/x",
        "//../x",
        "/%ed%a0%80",
    ] {
        add(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    // Hosts.
    for host in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: u@a\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: [::1\r\n",
        "Host: a:b\r\n",
        "Host: a:1:2\r\n",
        "Host:\r\n",
    ] {
        add(format!("GET / HTTP/1.1\r\n{host}\r\n"));
    }
    // Header lines.
    for line in [
        "X : a",
        "X\t: a",
        " X: a",
        "X: a\r\n b",
        "X: a\r\n\tb",
        "X y: a",
        ": a",
        "X",
        "X: a\0b",
        "X: a\x01b",
        "X: a\x08b",
        "X: a\x0bb",
        "X: a\x7fb",
        "X: a\rb",
        "X(: a",
        "X): a",
        "X,: a",
        "X/: a",
        "X;: a",
        "X<: a",
        "X=: a",
        "X>: a",
        "X?: a",
        "X@: a",
        "X[: a",
        "X]: a",
        "X\\: a",
        "X{: a",
        "X}: a",
        "X\": a",
        "X\0: a",
        "\x7f: a",
    ] {
        add(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
    }
    // Lengths and codings.
    for line in [
        "Content-Length:",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5,5",
        "Content-Length: 5, 6",
        "Content-Length: 5 5",
        "Content-Length: 1e1",
        "Content-Length: 5;",
        "Content-Length: 5.0",
        "Content-Length: \"5\"",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length : 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding:",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: ch unked",
    ] {
        add(format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
    }
    add("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into());
    // Chunks.
    for body in [
        "\r\n",
        "\r\n0\r\n\r\n",
        ";a\r\nxx\r\n0\r\n\r\n",
        " 2\r\nxx\r\n0\r\n\r\n",
        "2;\nxx\r\n0\r\n\r\n",
        "2;a\nxx\r\n0\r\n\r\n",
        "2\nxx\r\n0\r\n\r\n",
        "2\rxx\r\n0\r\n\r\n",
        "2 x\r\nxx\r\n0\r\n\r\n",
        "+2\r\nxx\r\n0\r\n\r\n",
        "0x2\r\nxx\r\n0\r\n\r\n",
        "2\r\nxxx\r\n0\r\n\r\n",
        "2\r\nxx\n0\r\n\r\n",
        "2\r\nxx0\r\n\r\n",
        "x\r\n",
        "10000000000000000\r\n",
        "0\r\n\n",
        "0\r\nX: y\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n folded\r\n\r\n",
        "0\r\nX\r\n\r\n",
    ] {
        add(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
    // Line ends.
    for text in [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\rHost: a\r\r",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n\r\n",
        "\0\0\x0c\x04\0\0\0\0\0\r\n\r\n",
    ] {
        add(text.into());
    }
    cases
}

/// Blocks of HTTP/2, field by field; pseudo-headers that a case does not name are `GET http://a/`.
fn blocks() -> Vec<Vec<(&'static str, &'static [u8])>> {
    let mut cases: Vec<Vec<(&str, &[u8])>> = Vec::new();
    let paths: [&[u8]; 16] = [
        b"",
        b"a",
        b"a/b",
        b"*a",
        b"?q",
        b"#",
        b"http://a/",
        b"/a b",
        b"/a#b",
        b"/?a#b",
        b"/?a b",
        b"/\0",
        b"/\x7f",
        b"/\r\nX: y",
        b"/\xff",
        b"/%",
    ];
    cases.extend(paths.map(|path| vec![(":path", path)]));
    let hosts: [&[u8]; 9] = [b"", b"a b", b"a<b", b"a/b", b"u@a", b"a:b", b"[::1", b"\xff", b"a\r\nX: y"];
    cases.extend(hosts.map(|host| vec![(":authority", host)]));
    cases.extend([
        vec![(":authority", &b"a"[..]), ("host", b"b")],
        vec![(":method", b"")],
        vec![(":method", b"G T")],
        vec![(":method", b"CONNECT")],
        vec![(":scheme", b"<")],
        vec![(":scheme", b"http:")],
        vec![(":x", b"y")],
        vec![(":status", b"200")],
        vec![("X", b"y")],
        vec![("", b"y")],
        vec![("x y", b"z")],
        vec![("x", b"a\r\nb: c")],
        vec![("x", b"a\0b")],
        vec![("connection", b"close")],
        vec![("transfer-encoding", b"chunked")],
        vec![("te", b"gzip")],
        vec![("content-length", b"5")],
        vec![("content-length", b"x")],
        vec![("content-length", b"0"), ("content-length", b"0")],
    ]);
    cases
}

/// A block of literals that nothing refers to.
fn block(case: &[(&str, &[u8])]) -> Vec<u8> {
    let defaults: [(&str, &[u8]); 4] =
        [(":method", b"GET"), (":scheme", b"http"), (":path", b"/"), (":authority", b"a")];
    let missing = defaults.iter().filter(|(name, _)| !case.iter().any(|(own, _)| own == name));
    let (own, fields): (Vec<_>, Vec<_>) = case.iter().partition(|(name, _)| name.starts_with(':'));
    let mut block = Vec::new();
    for (name, value) in missing.chain(own).chain(fields) {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(*value);
    }
    block
}

/// As one line that a table can hold.
fn spelled(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace('|', "\\|").replace('`', "'")
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_malformed_reaches_the_upstream() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("also h2c: true\nlimits: {header_timeout: 300ms}", &upstream).await;
    let cases = cases();
    assert!(cases.len() >= 100);
    let mut table = String::from("| request | answer |\n|---|---|\n");
    let mut passed = Vec::new();
    for case in cases {
        let before = upstream.seen().len();
        let mut connection = proxy.connect().await;
        connection.send(&case).await;
        let answer = match connection.message(false).await {
            Ok(Some(answer)) => {
                format!("{} {}", answer.status(), answer.header("x-graygate-error").unwrap_or("-"))
            }
            _ => "closed".into(),
        };
        if upstream.seen().len() > before {
            passed.push((spelled(&case), answer.clone()));
        }
        let _ = writeln!(table, "| `{}` | {answer} |", spelled(&case));
    }
    assert!(passed.is_empty(), "{passed:#?}");
    table += "\n| over HTTP/2, beside `GET http://a/` | answer |\n|---|---|\n";
    for case in blocks() {
        let fate = Client::of(&proxy).await.ask(&[&block(&case)]).await;
        let answer = match fate {
            Fate::Answered(status) => status.to_string(),
            Fate::Reset => "its stream is reset".into(),
        };
        let fields = case.iter().map(|(name, value)| format!("`{name}: {}`", spelled(value)));
        let _ = writeln!(table, "| {} | {answer} |", fields.collect::<Vec<_>>().join(", "));
    }
    let reached = upstream.seen();
    assert!(reached.is_empty(), "{reached:?}");
    if let Some(file) = std::env::var_os("GRAYGATE_MALFORMED") {
        std::fs::write(file, &table).unwrap();
    } else {
        assert_eq!(std::fs::read_to_string(RESULTS).unwrap(), table, "`make malformed` writes it again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_request_with_two_readings_is_no_request() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("limits: {header_timeout: 300ms}", &upstream).await;
    let framed = |case: &&Vec<u8>| case.windows(4).any(|end| end == b"\r\n\r\n") && case.starts_with(b"POST");
    for case in cases().iter().filter(framed) {
        let mut connection: Connection = proxy.connect().await;
        connection.send([case, SMUGGLED.as_bytes()].concat()).await;
        assert_eq!(connection.answer().await.status(), 400, "{}", spelled(case));
        assert!(connection.ended().await, "{}", spelled(case));
    }
    assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
}
