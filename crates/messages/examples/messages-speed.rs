//! What the gateway for RocketMQ costs a call, beside nginx's `grpc_pass` in the same run.
//!
//! Behind both stands a server that answers at once with the same bytes, so that the broker is not what is measured. The
//! gateway has two open lanes: messages are marked, filters narrowed. `make messages-speed` keeps what it prints.

#![expect(clippy::expect_used, reason = "a measure that cannot be set up says so and ends")]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use graygate_messages::{Gateway, Listener, Settings};
use graygate_rules::spec::MessageGroup;
use graygate_store::board::Place;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const SERVICE: &str = "/apache.rocketmq.v2.MessagingService/";
const OK: u64 = 20_000;
const BODY: usize = 1_024;
const CALLS: [&str; 3] = ["SendMessage", "ReceiveMessage", "AckMessage"];
/// Calls at a time, on four connections.
const AT_A_TIME: usize = 64;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 3;
const LOADED: Duration = Duration::from_secs(3);
const ALONE: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["server", at] => one_thread().block_on(serve(address(at))),
        ["gateway", base, lane, behind, folder] => {
            one_thread().block_on(gateway(address(base), address(lane), behind, Path::new(folder)));
        }
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.expect("a runtime").block_on(measure());
        }
    }
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

// Messages of RocketMQ, by the numbers of their fields.

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let length = u64::try_from(value.len()).unwrap_or(0);
    [varint(field << 3 | 2), varint(length), value.to_vec()].concat()
}

fn status() -> Vec<u8> {
    bytes(1, &number(1, OK))
}

fn name(text: &str) -> Vec<u8> {
    bytes(2, text.as_bytes())
}

fn queue() -> Vec<u8> {
    let at = [number(1, 1), bytes(2, &[bytes(1, b"127.0.0.1"), number(2, 8_081)].concat())].concat();
    let broker = [bytes(1, b"broker-a"), bytes(3, &at)].concat();
    [bytes(1, &name("orders")), number(3, 3), bytes(4, &broker)].concat()
}

fn message() -> Vec<u8> {
    let system =
        [bytes(1, b"tag"), bytes(3, b"01A2B3C4D5E6F7"), bytes(12, b"a handle of the usual length 0 1 2 3 4")];
    let property = bytes(2, &[bytes(1, b"key"), bytes(2, b"value")].concat());
    [bytes(1, &name("orders")), property, bytes(3, &system.concat()), bytes(4, &[b'x'; BODY])].concat()
}

fn request(call: &str) -> Vec<u8> {
    let group = bytes(1, &name("provider"));
    match call {
        "SendMessage" => bytes(1, &message()),
        "ReceiveMessage" => {
            let filter = bytes(3, &[number(1, 1), bytes(2, b"*")].concat());
            [group, bytes(2, &queue()), filter, number(4, 1), bytes(7, &number(1, 20))].concat()
        }
        _ => {
            let entry = [bytes(1, b"01A2B3C4D5E6F7"), bytes(2, b"a handle of the usual length 0 1 2 3 4")];
            [group, bytes(2, &name("orders")), bytes(3, &entry.concat())].concat()
        }
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(0);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

fn answer(call: &str) -> Vec<u8> {
    match call {
        "QueryRoute" => framed(&[status(), bytes(2, &queue())].concat()),
        "ReceiveMessage" => [framed(&status()), framed(&bytes(2, &message()))].concat(),
        "Telemetry" => framed(&bytes(2, &number(1, 2))),
        _ => framed(&[status(), bytes(2, &[status(), bytes(2, b"01A2B3C4D5E6F7")].concat())].concat()),
    }
}

/// Answers every call at once.
async fn serve(at: SocketAddr) {
    let listener = TcpListener::bind(at).await.expect("the port is free");
    let answers: Arc<Vec<(&str, Bytes)>> = Arc::new(
        ["QueryRoute", "SendMessage", "ReceiveMessage", "AckMessage", "Telemetry"]
            .map(|call| (call, answer(call).into()))
            .into(),
    );
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let _ = stream.set_nodelay(true);
        let answers = answers.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let found = answers.iter().find(|(call, _)| *call == name).map(|(_, answer)| answer.clone());
            async move {
                if name != "Telemetry" {
                    let _ = request.into_body().collect().await;
                }
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                let body = Full::new(found.unwrap_or_default())
                    .with_trailers(std::future::ready(Some(Ok(trailers))));
                let answer = Response::builder().header("content-type", "application/grpc").body(body);
                Ok::<_, Infallible>(answer.expect("an answer"))
            }
        });
        tokio::spawn(async move {
            let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn gateway(base: SocketAddr, lane: SocketAddr, behind: &str, folder: &Path) {
    let listener =
        |address, version: Option<&str>| Listener { address, version: version.map(str::to_owned), tls: None };
    let settings = Settings {
        id: "one".to_owned(),
        listen: vec![listener(base, None), listener(lane, Some("feat1"))],
        proxies: vec![behind.to_owned()],
        place: Place::File(folder.join("lanes")),
    };
    let gateway = Arc::new(Gateway::new(settings, &graygate_telemetry::Registry::default()));
    gateway.declare(&[MessageGroup {
        group: "provider".into(),
        topics: vec!["orders".into()],
        lanes: vec!["feat1".into(), "feat2".into()],
        takeover: Duration::from_secs(15),
        addresses: Default::default(),
    }]);
    let watched = gateway.clone();
    tokio::spawn(async move {
        while watched.reports().iter().filter(|lane| lane.state != "opening").count() < 2 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("open");
    });
    let (_keeps, shutdown) = watch::channel(false);
    gateway.run(shutdown).await;
}

/// A program that ends with this one.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Program {
    let child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn();
    Program(child.expect("the program starts"))
}

/// Seconds that processors spent on a program.
fn processor_time(program: &Program) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", program.0.id())).expect("it runs");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// One way to the server.
struct Way {
    name: &'static str,
    /// For messages of a lane, and for everything else.
    at: [SocketAddr; 2],
    program: Option<Program>,
}

fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

async fn ways(folder: &Path) -> (Program, [Way; 3]) {
    let own = std::env::current_exe().expect("a program");
    let own = own.to_str().expect("a path");
    let [server, nginx, base, lane] = [free(), free(), free(), free()];
    let behind = start(own, &["server", &server.to_string()]);
    listens(server).await;
    let config = format!(
        "daemon off; master_process off; worker_processes 1; error_log stderr crit; pid {folder}/pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};\n\
         uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
         upstream behind {{ server {server}; keepalive 256; keepalive_requests 100000000; }}\n\
         server {{ listen {nginx} http2; keepalive_requests 100000000; location / {{ grpc_pass grpc://behind; }} }} }}\n",
        folder = folder.display()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).expect("a file");
    let passing = start("nginx", &["-c", &file.display().to_string()]);
    let arguments = [base, lane, server].map(|address| address.to_string());
    let [base_text, lane_text, server_text] = &arguments;
    let folder = folder.display().to_string();
    let mut gateway = start(own, &["gateway", base_text, lane_text, server_text, &folder]);
    let said = gateway.0.stdout.take().expect("its words");
    let opened = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).map(|_| line)
    });
    assert_eq!(opened.await.expect("a thread").expect("a line").trim(), "open");
    for at in [nginx, base, lane] {
        listens(at).await;
    }
    let ways = [
        Way { name: "without a proxy", at: [server, server], program: None },
        Way { name: "nginx, `grpc_pass`", at: [nginx, nginx], program: Some(passing) },
        Way { name: "graygate", at: [lane, base], program: Some(gateway) },
    ];
    (behind, ways)
}

async fn listens(at: SocketAddr) {
    while TcpStream::connect(at).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type Sender = SendRequest<Full<Bytes>>;

async fn connected(at: SocketAddr) -> Sender {
    let stream = TcpStream::connect(at).await.expect("a connection");
    let _ = stream.set_nodelay(true);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("HTTP/2");
    tokio::spawn(connection);
    sender
}

/// What calls took, in seconds, so many at a time and one after another.
async fn calls(at: SocketAddr, call: &'static str, at_a_time: usize, lasting: Duration) -> Vec<f64> {
    let until = Instant::now() + lasting;
    let body = Bytes::from(framed(&request(call)));
    let mut asking = Vec::new();
    for _ in 0..CONNECTIONS.min(at_a_time) {
        let sender = connected(at).await;
        for _ in 0..at_a_time / CONNECTIONS.min(at_a_time) {
            let (mut sender, body) = (sender.clone(), body.clone());
            asking.push(tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < until {
                    let begun = Instant::now();
                    one(&mut sender, at, call, body.clone()).await;
                    took.push(begun.elapsed().as_secs_f64());
                }
                took
            }));
        }
    }
    let mut took = Vec::new();
    for one in asking {
        took.extend(one.await.expect("calls"));
    }
    took.sort_by(f64::total_cmp);
    took
}

async fn one(sender: &mut Sender, at: SocketAddr, call: &str, body: Bytes) {
    let request = Request::post(format!("http://{at}{SERVICE}{call}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-mq-client-id", "client-1")
        .header("grpc-timeout", "30S")
        .body(Full::new(body))
        .expect("a request");
    sender.ready().await.expect("a connection");
    let response = sender.send_request(request).await.expect("an answer");
    let (how, headers) = (response.status(), response.headers().clone());
    let collected = response.into_body().collect().await.expect("a body");
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    assert_eq!(status, Some(HeaderValue::from_static("0")), "{call} at {at}: {how} {headers:?}");
}

/// What one way showed in one kind of call.
#[derive(Default)]
struct Shown {
    calls: usize,
    seconds: f64,
    processor: f64,
    alone: Vec<f64>,
}

impl Shown {
    fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Microseconds of a processor for one call.
    fn each(&self) -> f64 {
        self.processor * 1e6 / self.calls as f64
    }

    /// Microseconds within which this share of calls was answered, one at a time.
    fn within(&self, share: f64) -> f64 {
        let mut alone = self.alone.clone();
        alone.sort_by(f64::total_cmp);
        let at = (alone.len() as f64 * share) as usize;
        alone.get(at.min(alone.len().saturating_sub(1))).copied().unwrap_or_default() * 1e6
    }
}

async fn measure() {
    let folder = tempfile::tempdir().expect("a directory");
    let (_behind, ways) = ways(folder.path()).await;
    println!(
        "Two open lanes; {BODY} bytes a message; behind all stands one server that answers at once. {AT_A_TIME} calls at a time on \
         {CONNECTIONS} connections, then one at a time; {ROUNDS} rounds in turn. nginx and graygate have one thread each.\n"
    );
    println!(
        "| call | way | calls/s | µs of a processor for each | beside nginx | one at a time: p50, p99 µs | added at p50, beside nginx |"
    );
    println!("|---|---|---|---|---|---|---|");
    for call in CALLS {
        let mut shown: Vec<Shown> = ways.iter().map(|_| Shown::default()).collect();
        for _ in 0..ROUNDS {
            for (way, shown) in ways.iter().zip(&mut shown) {
                round(way, call, shown).await;
            }
        }
        let [direct, nginx, _] = shown.as_slice() else { return };
        for (way, own) in ways.iter().zip(&shown) {
            let (p50, p99) = (own.within(0.5), own.within(0.99));
            let (each, ratio, added) = match way.program {
                None => (String::new(), String::new(), String::new()),
                Some(_) => {
                    let added = p50 - direct.within(0.5);
                    let of_nginx = nginx.within(0.5) - direct.within(0.5);
                    (
                        format!("{:.1}", own.each()),
                        format!("{:.2}", own.each() / nginx.each()),
                        format!("{added:.0} µs, {:.2}", added / of_nginx),
                    )
                }
            };
            let rate = own.rate();
            println!(
                "| {call} | {} | {rate:.0} | {each} | {ratio} | {p50:.0}, {p99:.0} | {added} |",
                way.name
            );
        }
    }
}

async fn round(way: &Way, call: &'static str, shown: &mut Shown) {
    let [lane, base] = way.at;
    let at = if call == "SendMessage" { lane } else { base };
    calls(at, call, AT_A_TIME, WARM_UP).await;
    let time = || way.program.as_ref().map(processor_time).unwrap_or_default();
    let (before, begun) = (time(), Instant::now());
    shown.calls += calls(at, call, AT_A_TIME, LOADED).await.len();
    shown.seconds += begun.elapsed().as_secs_f64();
    shown.processor += time() - before;
    shown.alone.extend(calls(at, call, 1, ALONE).await);
}
