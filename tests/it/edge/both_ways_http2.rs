//! The short path beside the pipeline for clients of HTTP/2: the same requests and the same upstreams, and nothing that differs.
//!
//! As in `both_ways`, whose upstreams these are. That plain requests do go the short path is seen as well: the pipeline
//! counts those that it gets.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use graygate_proxy::edge::{Plain, Speaks};
use graygate_proxy::request::{Gate, Short, Way};
use graygate_rules::vocab::Share;
use graygate_telemetry::{AccessLog, AccessLogSettings, LogPath, Registry};
use graygate_testing::bytes::Chance;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Method};
use pingora::apps::{HttpServerApp, ReusedHttpStream, ServerApp as _};
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use super::both_ways::{
    End, MOST_TOLD, PATIENCE, Script, counters, difference, grown, log_of, pick, request_of, script, told,
    upstream,
};
use crate::harness::strict::{proxy, service_at};

const CASES: usize = 300;

/// What a client asks for.
#[derive(Debug)]
struct Request {
    method: &'static str,
    path: &'static str,
    fields: Vec<(&'static str, String)>,
    body: String,
    /// Sent in two pieces, parted here, the second soon enough for the short path.
    parted: usize,
}

impl Request {
    fn get(path: &'static str) -> Request {
        Request { method: "GET", path, fields: known(), body: String::new(), parted: 0 }
    }
}

/// Fields that the proxy would draw by chance.
fn known() -> Vec<(&'static str, String)> {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    vec![("x-request-id", "1".to_owned()), ("traceparent", trace.to_owned())]
}

/// What the client reads.
#[derive(Debug, PartialEq)]
enum Answer {
    Whole {
        head: Vec<String>,
        body: String,
        trailers: Option<HeaderMap>,
    },
    /// It broke off behind this head.
    Torn(Vec<String>, Option<Reason>),
    /// There was none.
    Reset(Option<Reason>),
}

impl Answer {
    /// Whether the proxy made it itself.
    fn is_own(&self) -> bool {
        matches!(self, Answer::Whole { head, .. } if head.iter().any(|line| line.starts_with("x-graygate-error")))
    }
}

/// What was seen of one case.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// The answers to the request, and to one behind it on the same connection.
    client: Vec<Answer>,
    upstream: Vec<String>,
    log: Vec<Value>,
    counted: BTreeMap<String, u64>,
}

/// When a client gives its request up.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// While its upstream has answered nothing.
    Waiting,
    /// With the head of its answer, and a part of the body.
    Reading,
}

/// The pipeline, with a count of what it gets.
struct Counting {
    pipeline: Arc<HttpProxy<Gate>>,
    served: Arc<AtomicUsize>,
}

#[async_trait]
impl HttpServerApp for Counting {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.served.fetch_add(1, Ordering::SeqCst);
        self.pipeline.process_new_http(session, shutdown).await
    }
}

/// One proxy, and the upstream behind it.
struct Side {
    app: Arc<Plain<Counting, Short>>,
    /// Requests that went through the pipeline.
    served: Arc<AtomicUsize>,
    families: Registry,
    log: AccessLog,
    log_file: PathBuf,
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
        let served = Arc::<AtomicUsize>::default();
        let counting = Counting { pipeline: Arc::new(parts.pipeline), served: served.clone() };
        let app = Arc::new(Plain::new(counting, parts.short, Speaks::Http2));
        Side {
            app,
            served,
            families: parts.families,
            log: parts.log.unwrap(),
            log_file,
            scripts,
            seen,
            read: 0,
        }
    }

    /// Opens a connection, over which `asks` asks, and waits for the end of what was asked.
    async fn converse(
        &mut self,
        scripts: &[Script],
        requests: usize,
        asks: impl AsyncFnOnce(SendRequest<Bytes>, &Side) -> Vec<Answer>,
    ) -> Outcome {
        *self.scripts.lock().unwrap() = scripts.iter().cloned().collect();
        self.seen.lock().unwrap().clear();
        self.served.store(0, Ordering::SeqCst);
        let before = counters(&self.families);
        let (client, own) = tokio::io::duplex(64 << 10);
        let app = self.app.clone();
        let (_running, shutdown) = tokio::sync::watch::channel(false);
        let served = tokio::spawn(async move { app.process_new(Box::new(own), &shutdown).await });
        let (client, connection) = h2::client::handshake(client).await.unwrap();
        tokio::spawn(connection);
        let client = timeout(PATIENCE, asks(client, self)).await.expect("no end of the answers");
        timeout(PATIENCE, served).await.expect("the connection goes on without its client").unwrap();
        let log = timeout(PATIENCE, self.logged(requests)).await.expect("a request is not logged");
        Outcome {
            client,
            upstream: self.seen.lock().unwrap().iter().map(|bytes| request_of(bytes)).collect(),
            log,
            counted: grown(&before, counters(&self.families)),
        }
    }

    /// So many more lines of the log. A response may be read before its request is logged.
    async fn logged(&mut self, count: usize) -> Vec<Value> {
        loop {
            assert!(self.log.flush(PATIENCE));
            let text = std::fs::read_to_string(&self.log_file).unwrap();
            let lines: Vec<&str> = text.lines().skip(self.read).collect();
            if lines.len() >= count {
                self.read += lines.len();
                return lines.iter().map(|line| log_of(line)).collect();
            }
            sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Sends the request, and one more over the same connection.
    async fn run(&mut self, request: &Request, scripts: &[Script]) -> Outcome {
        let again = Request::get("/again");
        let both = async |client: SendRequest<Bytes>, _: &Side| {
            vec![ask(&client, request).await, ask(&client, &again).await]
        };
        self.converse(scripts, 2, both).await
    }

    /// Gives a request up.
    async fn leave(&mut self, request: &Request, script: Script, leaves: Leaves) -> Outcome {
        let leave = async |client: SendRequest<Bytes>, side: &Side| {
            let (response, mut sender) = send(&client, request).await;
            match leaves {
                Leaves::Waiting => {
                    while side.seen.lock().unwrap().is_empty() {
                        sleep(std::time::Duration::from_millis(1)).await;
                    }
                }
                Leaves::Reading => {
                    let (_, mut body) = response.await.unwrap().into_parts();
                    assert_eq!(body.data().await.unwrap().unwrap(), "begun");
                }
            }
            sender.send_reset(Reason::CANCEL);
            Vec::new()
        };
        self.converse(&[script], 1, leave).await
    }
}

async fn send(
    client: &SendRequest<Bytes>,
    request: &Request,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let head = http::Request::builder()
        .method(Method::from_bytes(request.method.as_bytes()).unwrap())
        .uri(format!("http://a.b:80{}", request.path));
    let fields = request.fields.iter();
    let head = fields.fold(head, |head, (name, value)| head.header(*name, value.as_bytes()));
    let mut client = client.clone().ready().await.unwrap();
    let (response, mut sender) =
        client.send_request(head.body(()).unwrap(), request.body.is_empty()).unwrap();
    let (first, second) = request.body.split_at(request.parted);
    if !first.is_empty() {
        // It may be answered before all of it came.
        let _ = sender.send_data(Bytes::copy_from_slice(first.as_bytes()), second.is_empty());
        tokio::task::yield_now().await;
    }
    if !second.is_empty() {
        let _ = sender.send_data(Bytes::copy_from_slice(second.as_bytes()), true);
    }
    (response, sender)
}

async fn ask(client: &SendRequest<Bytes>, request: &Request) -> Answer {
    let (response, _sender) = send(client, request).await;
    let (head, body) = match response.await {
        Ok(response) => response.into_parts(),
        Err(error) => return Answer::Reset(error.reason()),
    };
    let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", value.as_bytes().escape_ascii())
    };
    // A date that is the proxy's own: those of the scripts are of another year.
    let is_now = |line: &String| line.starts_with("date: ") && !line.contains("1999");
    let mut lines: Vec<String> = head.headers.iter().map(field).filter(|line| !is_now(line)).collect();
    assert!(head.headers.contains_key("date"), "{head:?}");
    lines.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
    lines.insert(0, head.status.to_string());
    match read(body).await {
        Ok((body, trailers)) => Answer::Whole { head: lines, body, trailers },
        Err(error) => Answer::Torn(lines, error.reason()),
    }
}

async fn read(mut body: RecvStream) -> Result<(String, Option<HeaderMap>), h2::Error> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        bytes.extend_from_slice(&piece?);
        let _ = body.flow_control().release_capacity(bytes.len());
    }
    Ok((bytes.escape_ascii().to_string(), body.trailers().await?))
}

/// A plain request.
fn request(chance: &mut Chance) -> Request {
    let method =
        pick(chance, &["GET", "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "QUERY", "PATCH"]);
    let path = pick(chance, &["/", "/a/b?c=d&e", "/%2e%2e/x", "/a//b;c", "/x?y=z%20&gray=1", "/{a}|b?"]);
    let mut fields = known();
    const FIELDS: [(&str, &str); 21] = [
        ("te", "trailers"),
        ("trailer", "x-sum"),
        ("proxy-authorization", "Basic x"),
        ("proxy-authenticate", "Basic"),
        ("cookie", "a=b; c=d"),
        ("cookie", "e=f"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "other"),
        ("via", "1.0 before"),
        ("user-agent", "test/1.0 (a; b)"),
        ("accept", "*/*"),
        ("x-empty", ""),
        ("x-obs", "\u{fc}\u{4e2d}"),
        ("baggage", "gray.version=gray,a=b"),
        ("x-gray-version", "gray"),
        ("forwarded", "for=1.2.3.4"),
        ("authorization", "Bearer x"),
        ("tracestate", "a=b"),
        ("range", "bytes=0-1"),
        ("accept-encoding", "gzip, br"),
    ];
    for _ in 0..chance.below(6) {
        let (name, value) = FIELDS[chance.below(FIELDS.len())];
        fields.push((name, value.to_owned()));
    }
    let body = match method {
        "POST" | "PUT" | "QUERY" if chance.below(4) > 0 => {
            let most = if chance.below(3) == 0 { 12_000 } else { 1_500 };
            "x".repeat(chance.below(most))
        }
        _ => String::new(),
    };
    // A body of no known length is the pipeline's, which has connections of its own.
    if !body.is_empty() || chance.below(8) == 0 {
        fields.push(("content-length", body.len().to_string()));
    }
    let parted = if chance.below(2) == 0 { 0 } else { chance.below(body.len() + 1) };
    Request { method, path, fields, body, parted }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn both_ways_end_alike_over_http2() {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("GRAYGATE_CASES", CASES), number("GRAYGATE_SEED", 11));
    let directory = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(u64::try_from(seed).unwrap());
    runtime().block_on(async {
        let mut short = Side::start(Way::Short, directory.path()).await;
        let mut pipeline = Side::start(Way::Pipeline, directory.path()).await;
        let mut differences = Vec::new();
        for case in 0..cases {
            let request = request(&mut chance);
            let scripts: Vec<Script> = (0..1 + chance.below(3)).map(|_| script(&mut chance)).collect();
            let (one, other) = tokio::join!(short.run(&request, &scripts), pipeline.run(&request, &scripts));
            let told = || format!("case {case}: {request:?}\n{}", told(&scripts));
            if one != other {
                differences.push(format!("{}{}", told(), difference(&one, &other)));
            }
            assert!(differences.len() < MOST_TOLD, "{}", differences.join("\n\n"));
            let served = |side: &Side| side.served.load(Ordering::SeqCst);
            assert_eq!(served(&pipeline), 2);
            // The proxy's own answers are the pipeline's; whether a body is here in time is for a clock to say.
            let own = one.client.iter().filter(|answer| answer.is_own()).count();
            let own_or_later = own + usize::from(!request.body.is_empty());
            assert!(
                (own..=own_or_later).contains(&served(&short)),
                "{} in the pipeline: {}",
                served(&short),
                told()
            );
        }
        assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    });
}

#[test]
fn who_gives_a_request_up_ends_it_alike() {
    let directory = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut short = Side::start(Way::Short, directory.path()).await;
        let mut pipeline = Side::start(Way::Pipeline, directory.path()).await;
        let begun = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun";
        for (leaves, bytes) in [(Leaves::Waiting, ""), (Leaves::Reading, begun)] {
            let request = Request::get("/");
            let script = || Script { bytes: bytes.into(), parted: 0, end: End::Open };
            let mut outcomes = Vec::new();
            for side in [&mut short, &mut pipeline] {
                outcomes.push(side.leave(&request, script(), leaves).await);
            }
            assert_eq!(outcomes[0], outcomes[1], "{leaves:?}");
            assert_eq!(short.served.load(Ordering::SeqCst), 0, "{leaves:?}");
            let status = if bytes.is_empty() { Value::Null } else { 200.into() };
            assert_eq!(outcomes[0].log[0]["status"], status, "{leaves:?}");
        }
    });
}
