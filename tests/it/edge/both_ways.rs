//! The short path beside the pipeline: the same requests and the same upstreams, and nothing that differs.
//!
//! Random plain requests meet random responses, well-formed and not, cut and reset anywhere. What the client reads, what
//! the upstream gets, what is counted and what is logged have to be the same. What may differ is taken away before, each
//! with its reason, in `docs/inside/short-path.md`. `GRAYGATE_CASES` sets how many are tried, `GRAYGATE_SEED` which.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use graygate_proxy::request::Way;
use graygate_rules::vocab::Share;
use graygate_telemetry::{AccessLog, AccessLogSettings, LogPath, Registry};
use graygate_testing::bytes::Chance;
use pingora::apps::ServerApp as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::harness::strict::{App, proxy, service_at};

const CASES: usize = 500;
/// Differences that are told at once.
pub const MOST_TOLD: usize = 12;
/// Longest wait for anything: longer than the route's timeouts together.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a client sends.
struct Request {
    bytes: Vec<u8>,
    /// Sent in two pieces, parted here, the second soon enough for the short path.
    parted: usize,
}

/// What an upstream does with one request.
#[derive(Clone, Debug)]
pub struct Script {
    pub bytes: Vec<u8>,
    /// Sent in two pieces, parted here.
    pub parted: usize,
    pub end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Close,
    Reset,
}

/// What was seen of one case.
#[derive(Debug, PartialEq)]
struct Outcome {
    client: Vec<Answer>,
    /// Bytes that are no whole answer.
    torn: Option<Torn>,
    is_closed: bool,
    upstream: Vec<String>,
    log: Vec<Value>,
    /// What was counted, by how much.
    counted: BTreeMap<String, u64>,
}

/// A response that does not end.
#[derive(Debug, PartialEq)]
struct Torn {
    head: Option<Vec<String>>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    head: Vec<String>,
    body: String,
}

/// One proxy, and the upstream behind it.
struct Side {
    app: Arc<App>,
    families: Registry,
    log: AccessLog,
    log_file: std::path::PathBuf,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Lines of the log that were looked at.
    read: usize,
}

impl Side {
    async fn start(way: Way, directory: &Path) -> Side {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (scripts, seen) =
            (Arc::<Mutex<VecDeque<Script>>>::default(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        tokio::spawn(upstream(listener, scripts.clone(), seen.clone()));
        let log_file = directory.join(format!("{way:?}.log"));
        let settings = AccessLogSettings { path: LogPath::File(log_file.clone()), sample: Share::ALL };
        let parts = proxy(&service_at(&address, "{eject_for: 1ms}"), way, Some(settings));
        let (families, log) = (parts.families.clone(), parts.log.clone().unwrap());
        let app = Arc::new(parts.over_http1());
        Side { app, families, log, log_file, scripts, seen, read: 0 }
    }

    /// Sends the request, and one more where the connection stays.
    async fn run(&mut self, request: &Request, scripts: &[Script]) -> Outcome {
        *self.scripts.lock().unwrap() = scripts.iter().cloned().collect();
        self.seen.lock().unwrap().clear();
        let before = counters(&self.families);
        let (client, own) = tokio::io::duplex(64 << 10);
        let app = self.app.clone();
        let (_running, shutdown) = tokio::sync::watch::channel(false);
        let served = tokio::spawn(async move { app.process_new(Box::new(own), &shutdown).await });
        let head = request.bytes.starts_with(b"HEAD");
        let (read, is_closed) = converse(client, request, head).await;
        timeout(PATIENCE, served).await.expect("the connection goes on without its client").unwrap();
        assert!(self.log.flush(PATIENCE));
        let text = std::fs::read_to_string(&self.log_file).unwrap();
        let lines: Vec<&str> = text.lines().skip(self.read).collect();
        self.read += lines.len();
        let (client, torn) = answers(&read, head);
        let after = counters(&self.families);
        Outcome {
            client,
            torn,
            is_closed,
            upstream: self.seen.lock().unwrap().iter().map(|bytes| request_of(bytes)).collect(),
            log: lines.iter().map(|line| log_of(line)).collect(),
            counted: grown(&before, after),
        }
    }
}

/// What the client reads until the connection ends, or until it has two answers; and whether it ended.
async fn converse(mut client: DuplexStream, request: &Request, head: bool) -> (Vec<u8>, bool) {
    let (first, second) = request.bytes.split_at(request.parted);
    client.write_all(first).await.unwrap();
    tokio::task::yield_now().await;
    // It may be answered, and the connection closed, before all of it came.
    let _ = client.write_all(second).await;
    let mut read = Vec::new();
    let mut has_asked_again = false;
    let is_closed = loop {
        let (whole, torn) = answers(&read, head);
        let finals = whole.iter().filter(|answer| !answer.head[0].contains(" 1")).count();
        if torn.is_none() && finals == 2 {
            break false;
        }
        if torn.is_none() && finals == 1 && !has_asked_again {
            has_asked_again = true;
            // The connection may be closed already.
            let again = b"GET /again HTTP/1.1\r\nHost: a\r\nX-Request-Id: 2\r\nTraceparent: \
                00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";
            if client.write_all(again).await.is_err() {
                break true;
            }
        }
        match timeout(PATIENCE, client.read_buf(&mut read)).await {
            Ok(Ok(count)) if count > 0 => {}
            Ok(_) => break true,
            Err(_) => panic!("no end after {}", read.escape_ascii()),
        }
    };
    (read, is_closed)
}

/// Answers every request by the next script; the last resort is a plain answer.
pub async fn upstream(
    listener: TcpListener,
    scripts: Arc<Mutex<VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, scripts.clone(), seen.clone()));
    }
}

async fn serve(mut stream: TcpStream, scripts: Arc<Mutex<VecDeque<Script>>>, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    // What is sent before a reset is on its way at once.
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    loop {
        let Some(length) = whole(&bytes) else {
            if stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
                continue;
            }
            return;
        };
        let request: Vec<u8> = bytes.drain(..length).collect();
        let again = request.windows(6).any(|window| window == b"/again");
        seen.lock().unwrap().push(request);
        let plain = Script {
            bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec(),
            parted: 0,
            end: End::Open,
        };
        let script = scripts.lock().unwrap().pop_front().filter(|_| !again).unwrap_or(plain);
        let (first, second) = script.bytes.split_at(script.parted);
        let sent = async {
            stream.write_all(first).await?;
            if !first.is_empty() {
                tokio::task::yield_now().await;
            }
            stream.write_all(second).await
        };
        if sent.await.is_err() {
            return;
        }
        match script.end {
            End::Open => {}
            End::Close => return,
            End::Reset => {
                let _ = stream.set_zero_linger();
                return;
            }
        }
    }
}

/// The length of the request that begins the bytes, once it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let length = head + length.unwrap_or(0);
    (bytes.len() >= length).then_some(length)
}

/// Whole answers, and what follows them.
fn answers(mut bytes: &[u8], mut head: bool) -> (Vec<Answer>, Option<Torn>) {
    let mut whole = Vec::new();
    while !bytes.is_empty() {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return (whole, Some(Torn { head: None }));
        };
        let lines = normal(&bytes[..end]);
        let status: u16 = lines[0].split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let is_final = status >= 200;
        let empty = !is_final || matches!(status, 204 | 304) || head;
        let Some((body, length)) = body(&lines, &bytes[end + 4..], empty) else {
            return (whole, Some(Torn { head: Some(lines) }));
        };
        whole.push(Answer { head: lines, body: body.escape_ascii().to_string() });
        bytes = &bytes[end + 4 + length..];
        head &= !is_final;
    }
    (whole, None)
}

/// A body without its framing, and how many bytes it took; `None`: it does not end.
fn body(lines: &[String], bytes: &[u8], empty: bool) -> Option<(Vec<u8>, usize)> {
    let field = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    if empty {
        return Some((Vec::new(), 0));
    }
    if field("transfer-encoding: ").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return chunks(bytes);
    }
    let length: usize = field("content-length: ")?.parse().ok()?;
    bytes.get(..length).map(|body| (body.to_vec(), length))
}

/// Chunks joined; trailers are dropped, as the pipeline drops them.
fn chunks(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut at) = (Vec::new(), 0);
    let line = |from: usize| {
        let end = bytes.get(from..)?.windows(2).position(|window| window == b"\r\n")?;
        Some((String::from_utf8_lossy(&bytes[from..from + end]).into_owned(), from + end + 2))
    };
    loop {
        let (size, next) = line(at)?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at = next;
        if size == 0 {
            loop {
                let (trailer, next) = line(at)?;
                at = next;
                if trailer.is_empty() {
                    return Some((body, at));
                }
            }
        }
        body.extend_from_slice(bytes.get(at..at + size)?);
        at += size + 2;
        bytes.get(at - 1)?;
    }
}

/// A head's lines: names in lower case, in the order of names, without the time of day.
pub fn normal(head: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(head).into_owned();
    let mut lines = text.split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let field = |line: String| match line.split_once(':') {
        Some((name, value)) => format!("{}: {}", name.to_lowercase(), value.trim()),
        None => line,
    };
    let mut fields: Vec<String> = lines.map(field).filter(|line| !is_now(line)).collect();
    fields.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    std::iter::once(first.trim_end().to_owned()).chain(fields).collect()
}

/// A date that is the proxy's own: those of the scripts are of another year.
fn is_now(line: &str) -> bool {
    line.starts_with("date: ") && !line.contains("1999")
}

pub fn request_of(bytes: &[u8]) -> String {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    format!("{}|{}", normal(&bytes[..end]).join("|"), bytes[end..].escape_ascii())
}

/// A line of the log without what clocks say.
pub fn log_of(line: &str) -> Value {
    let mut entry: Value = serde_json::from_str(line).unwrap();
    let fields = entry.as_object_mut().unwrap();
    for clock in ["time", "duration_ms", "upstream_ms"] {
        fields.remove(clock);
    }
    if let Some(served) = fields.get_mut("served_by").and_then(|served| served.as_object_mut()) {
        served.remove("address");
    }
    entry
}

/// Every sample that counts something; times are not compared.
pub fn counters(families: &Registry) -> BTreeMap<String, u64> {
    let text = families.render();
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let counts = samples.filter(|(name, _)| name.contains("_total") || name.contains("_count"));
    counts.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// What grew, by how much.
pub fn grown(before: &BTreeMap<String, u64>, after: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let by = |(name, value): (String, u64)| {
        let by = value - before.get(&name).unwrap_or(&0);
        (by > 0).then_some((name, by))
    };
    after.into_iter().filter_map(by).collect()
}

pub fn pick<'a, T: ?Sized>(chance: &mut Chance, of: &[&'a T]) -> &'a T {
    of[chance.below(of.len())]
}

/// A plain request.
fn request(chance: &mut Chance) -> Request {
    let method = pick(chance, &["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY"]);
    let path = pick(chance, &["/", "/a/b?c=d&e", "/%2e%2e/x", "/a//b;c", "/ä?ü", "/x?y=z%20&gray=1"]);
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let mut fields = vec![
        format!("{}: {}", pick(chance, &["Host", "host", "HOST"]), pick(chance, &["a", "a.b:80", "A.B"])),
        "X-Request-ID: 1".to_owned(),
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned(),
    ];
    for _ in 0..chance.below(6) {
        let field = pick(
            chance,
            &[
                "Connection: close",
                "connection: keep-alive",
                "Connection: Keep-Alive, close",
                "Keep-Alive: timeout=5",
                "TE: trailers",
                "Trailer: X-Sum",
                "Proxy-Connection: keep-alive",
                "Proxy-Authorization: Basic x",
                "Cookie: a=b; c=d",
                "Cookie: e=f",
                "X-Forwarded-For: 1.2.3.4",
                "X-FORWARDED-proto: https",
                "x-forwarded-host: other",
                "Via: 1.0 before",
                "User-Agent: test/1.0 (a; b)",
                "Accept: */*",
                "accept: text/html",
                "X-Empty:",
                "X-Obs: \u{fc}\u{4e2d}",
                "baggage: gray.version=gray,a=b",
                "X-Gray-Version: gray",
                "Forwarded: for=1.2.3.4",
                "Authorization: Bearer x",
                "tracestate: a=b",
                "X-UserId: 42",
                "Range: bytes=0-1",
                "If-None-Match: \"x\"",
                "Accept-Encoding: gzip, br",
            ],
        );
        fields.push(field.to_owned());
    }
    let body = match method {
        "POST" | "PUT" | "QUERY" if chance.below(4) > 0 => {
            let most = if chance.below(3) == 0 { 12_000 } else { 1_500 };
            "x".repeat(chance.below(most))
        }
        _ => String::new(),
    };
    if !body.is_empty() || chance.below(8) == 0 {
        fields.push(format!("Content-Length: {}", body.len()));
    }
    while !fields.is_empty() {
        text.push_str(&fields.remove(chance.below(fields.len())));
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(&body);
    let bytes = text.into_bytes();
    let parted = if chance.below(2) == 0 { bytes.len() } else { chance.below(bytes.len()) };
    Request { bytes, parted }
}

/// What the upstream does.
pub fn script(chance: &mut Chance) -> Script {
    let mut bytes = Vec::new();
    if chance.below(12) == 0 {
        bytes.extend_from_slice(pick(
            chance,
            &[
                &b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-own\r\nX-Own: 1\r\n\r\n"[..],
                b"HTTP/1.1 100 Continue\r\n\r\n",
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            ],
        ));
    }
    let version = pick(chance, &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]);
    let status = pick(
        chance,
        &[
            "200 OK",
            "200 OK",
            "200 OK",
            "200",
            "201 Created",
            "204 No Content",
            "206 Partial Content",
            "301 Moved",
            "304 Not Modified",
            "404 Not Found",
            "500 Internal Server Error",
            "503 Busy Today",
            "299 Odd  Words",
        ],
    );
    bytes.extend_from_slice(format!("{version} {status}\r\n").as_bytes());
    for _ in 0..chance.below(5) {
        bytes.extend_from_slice(pick(
            chance,
            &[
                &b"Date: Tue, 15 Nov 1999 08:12:31 GMT\r\n"[..],
                b"Server: x\r\n",
                b"Connection: close\r\n",
                b"Connection: keep-alive\r\n",
                b"Connection: X-Own\r\nX-Own: 1\r\n",
                b"Keep-Alive: timeout=5\r\n",
                b"Set-Cookie: a=b; Path=/\r\n",
                b"set-cookie: c=d\r\n",
                b"X-Empty:\r\n",
                b"Trailer: X-Sum\r\n",
                b"Proxy-Authenticate: Basic\r\n",
                b"ETag: \"x\"\r\n",
                b"X-Name : spaced\r\n",
                b"Content-Type: text/plain\r\n",
                b"Via: 1.1 inner\r\n",
            ],
        ));
    }
    let (framed, ends_with_connection) = framed(chance);
    bytes.extend_from_slice(&framed);
    let whole = bytes.len();
    let mut end = *pick(chance, &[&End::Open, &End::Open, &End::Open, &End::Close, &End::Reset]);
    let is_cut = chance.below(4) == 0;
    if is_cut {
        bytes.truncate(chance.below(whole));
    }
    // What only a clock would end belongs to the tests of faults.
    if end == End::Open && (is_cut || ends_with_connection) {
        end = End::Close;
    }
    if chance.below(24) == 0 {
        bytes = pick(
            chance,
            &[
                &b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"[..],
                b"HTTP/2.0 200 OK\r\n\r\n",
                b"HTTP/1.1 xxx OK\r\n\r\n",
                b"SSH-2.0-x\r\n",
                b"\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nab",
                b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
            ],
        )
        .to_vec();
        end = End::Close;
    }
    let parted = if chance.below(2) == 0 { 0 } else { chance.below(bytes.len() + 1) };
    Script { bytes, parted, end }
}

/// The rest of a head, and a body; whether nothing but the connection's end ends it.
fn framed(chance: &mut Chance) -> (Vec<u8>, bool) {
    let body = "0123456789".repeat(chance.below(40));
    let kind = chance.below(9);
    let text = match kind {
        0 => format!("\r\n{body}"),
        1 => format!("Content-Length: {}\r\n\r\n{body}more", body.len()),
        2 => format!("Content-Length: {}\r\nContent-Length: {0}\r\n\r\n{body}", body.len()),
        3 => format!(
            "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n{:x}\r\n{body}y\r\n0\r\n\r\n",
            body.len() + 1
        ),
        4 => "transfer-encoding: Chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n".to_owned(),
        5 => "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_owned(),
        _ => format!("content-length: {}\r\n\r\n{body}", body.len()),
    };
    (text.into_bytes(), kind == 0)
}

/// What an upstream was to do, a line a request.
pub fn told(scripts: &[Script]) -> String {
    let told = |script: &Script| {
        format!("{} at {} then {:?}\n", script.bytes.escape_ascii(), script.parted, script.end)
    };
    scripts.iter().map(told).collect()
}

/// The lines in which two outcomes differ.
pub fn difference(short: &impl Debug, pipeline: &impl Debug) -> String {
    let lines = |outcome: &dyn Debug| format!("{outcome:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (short, pipeline) = (lines(short), lines(pipeline));
    let only = |way: &str, own: &[String], other: &[String]| {
        let own = own.iter().filter(|line| !other.contains(line));
        own.map(|line| format!("{way}: {line}\n")).collect::<String>()
    };
    only("short path", &short, &pipeline) + &only("pipeline", &pipeline, &short)
}

#[test]
fn both_ways_end_alike() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("GRAYGATE_CASES", CASES), number("GRAYGATE_SEED", 7));
    let runtime: Runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(u64::try_from(seed).unwrap());
    runtime.block_on(async {
        let mut short = Side::start(Way::Short, directory.path()).await;
        let mut pipeline = Side::start(Way::Pipeline, directory.path()).await;
        let mut differences = Vec::new();
        for case in 0..cases {
            let request = request(&mut chance);
            let scripts: Vec<Script> = (0..1 + chance.below(3)).map(|_| script(&mut chance)).collect();
            let (one, other) = tokio::join!(short.run(&request, &scripts), pipeline.run(&request, &scripts));
            let told = || {
                let bytes = request.bytes.escape_ascii();
                format!("case {case}: {bytes} at {}\n{}", request.parted, told(&scripts))
            };
            if one != other {
                differences.push(format!("{}\n{}", told(), difference(&one, &other)));
            }
            assert!(differences.len() < MOST_TOLD, "{}", differences.join("\n\n"));
        }
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    });
}
