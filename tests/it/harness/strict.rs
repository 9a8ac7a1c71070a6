//! A whole proxy in this process, before an upstream that keeps every byte and reads it by the letter.
//!
//! A second parser, which shares no code with the proxy, reads what the client sent and what the upstream got. Whatever
//! arrives is one well-formed request after the other, each of them one that the client sent, with the same method and
//! body and in the same order; what the proxy refuses may be missing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use graygate_proxy::edge::{Limits, Plain, Speaks};
use graygate_proxy::live::{Admitted, Live, Publisher};
use graygate_proxy::metrics::Metrics;
use graygate_proxy::observe::{Epoch, Identity, Observer};
use graygate_proxy::pools::Registry;
use graygate_proxy::request::{Gate, RespondVersion, Settings, Short, Way};
use graygate_rules::decide::Trust;
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use graygate_telemetry::{AccessLog, AccessLogSettings, Registry as Families};
use pingora::apps::ServerApp as _;
use pingora::connectors::TransportConnector;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;

/// Longer inputs find nothing that shorter ones do not, and take longer.
const LONGEST: usize = 8 << 10;
/// Longest wait for a request that the second parser takes and the proxy may refuse.
const PATIENCE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: Vec<u8>,
    body: Vec<u8>,
}

#[derive(Debug)]
enum Parsed {
    /// A request, and how many bytes it took.
    Whole(Seen, usize),
    Partial,
    Malformed(&'static str),
}

/// The proxy and its upstream; both live as long as this does.
pub struct World {
    runtime: Runtime,
    app: Arc<App>,
    record: Record,
}

/// What reached the upstream.
#[derive(Clone, Default)]
struct Record {
    seen: Arc<Mutex<Vec<Seen>>>,
    wrong: Arc<Mutex<Option<String>>>,
}

impl World {
    /// With plain requests going this way.
    pub fn new(way: Way) -> World {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let record = Record::default();
        let app = runtime.block_on(async {
            let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = upstream.local_addr().unwrap();
            tokio::spawn(serve(upstream, record.clone()));
            proxy(&service_at(&address.to_string(), "off"), way, None).over_http1()
        });
        World { runtime, app: Arc::new(app), record }
    }

    /// Sends these bytes, and panics where something arrives that is no request, or none of the client's.
    pub fn check(&self, sent: &[u8]) {
        self.runtime.block_on(self.converse(&sent[..sent.len().min(LONGEST)]));
    }

    async fn converse(&self, sent: &[u8]) {
        self.record.seen.lock().unwrap().clear();
        let expected = requests(sent);
        let (mut client, own) = tokio::io::duplex(64 << 10);
        let app = self.app.clone();
        let (_running, shutdown) = tokio::sync::watch::channel(false);
        let served = tokio::spawn(async move { app.process_new(Box::new(own), &shutdown).await });
        client.write_all(sent).await.unwrap();
        if !expected.is_empty() {
            let all = async {
                let mut answers = [0; 4096];
                while self.record.seen.lock().unwrap().len() < expected.len()
                    && client.read(&mut answers).await.is_ok_and(|count| count > 0)
                {}
            };
            let _ = timeout(PATIENCE, all).await;
        }
        // The last answer is on its way: a client that closes first would be taken for one that left.
        let _ = timeout(Duration::from_millis(1), client.read(&mut [0; 4096])).await;
        drop(client);
        let _ =
            timeout(Duration::from_secs(1), served).await.expect("the connection goes on without its client");
        let wrong = self.record.wrong.lock().unwrap().take();
        assert_eq!(wrong, None, "the client sent {}", sent.escape_ascii());
        let seen = self.record.seen.lock().unwrap().clone();
        let mut sent_too = expected.iter();
        for request in &seen {
            assert!(
                sent_too.any(|expected| expected == request),
                "no one sent {request:?}\nthe client sent {}\nthe upstream got {seen:?}",
                sent.escape_ascii()
            );
        }
    }
}

/// A service of one instance.
pub fn service_at(upstream: &str, outlier: &str) -> String {
    format!(
        "{{\"instances\": [{{\"address\": \"{upstream}\", \"version\": \"release\"}}], \"outlier\": {outlier}}}"
    )
}

/// What is under test.
pub type App = Plain<HttpProxy<Gate>, Short>;

/// What a proxy is made of.
pub struct Parts {
    pub pipeline: HttpProxy<Gate>,
    pub short: Option<Short>,
    /// Its metrics.
    pub families: Families,
    pub log: Option<AccessLog>,
}

impl Parts {
    pub fn over_http1(self) -> App {
        Plain::new(self.pipeline, self.short, Speaks::Http1)
    }
}

/// A proxy with one route to one service.
pub fn proxy(service: &str, way: Way, log: Option<AccessLogSettings>) -> Parts {
    let route = "{service: s, timeouts: {connect: 1s, read: 20s, request: 30s}}";
    let documents = [("services/s", Raw::yaml(service)), ("routes/r", Raw::yaml(route))];
    let read = |(id, raw): (&str, Raw)| (DocumentId::parse(id).unwrap(), Arc::new(raw));
    let set = DocumentSet { documents: documents.into_iter().map(read).collect(), ..DocumentSet::default() };
    let families = Families::default();
    let (live, metrics) = (Arc::new(Live::default()), Metrics::new(&families));
    let log = log.map(|settings| AccessLog::open(settings, Arc::default()).unwrap());
    let mut publisher = Publisher::new(live.clone(), Arc::new(Registry::new(0)), metrics.clone());
    let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let generation =
        publisher.publish(&Admitted::as_offered(Arc::new(set)), std::time::SystemTime::now(), &no_file);
    assert!(generation.problems.is_empty(), "{:?}", generation.problems);
    let settings = Settings {
        threads: 1,
        listen: Vec::new(),
        trust: Trust {
            forwarded: std::iter::empty().collect(),
            version: std::iter::empty().collect(),
            version_header: "x-gray-version".parse().unwrap(),
            baggage: true,
            overrides: graygate_rules::decide::Overrides::default(),
            places: None,
        },
        respond_version: RespondVersion::Never,
        limits: Limits::default(),
        plain: way,
        grace: Duration::ZERO,
    };
    let now = std::time::Instant::now();
    let identity = Identity { proxy: "strict".into(), boot: "0".into() };
    let epoch = Epoch::new(now, std::time::SystemTime::now());
    let observer = Arc::new(Observer::new(identity, epoch, now));
    let gate = Gate { live, settings: Arc::new(settings), metrics, access_log: log.clone(), observer };
    let short = (way == Way::Short).then(|| Short::new(gate.clone(), TransportConnector::new(None)));
    let conf = Arc::new(ServerConf { max_retries: 4, ..ServerConf::default() });
    Parts { pipeline: http_proxy(&conf, gate), short, families, log }
}

/// An upstream that answers whole requests.
async fn serve(upstream: TcpListener, record: Record) {
    while let Ok((stream, _)) = upstream.accept().await {
        tokio::spawn(serve_one(stream, record.clone()));
    }
}

async fn serve_one(mut stream: TcpStream, record: Record) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
        loop {
            match parse(&bytes) {
                Parsed::Whole(request, length) => {
                    bytes.drain(..length);
                    record.seen.lock().unwrap().push(request);
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
                        return;
                    }
                }
                Parsed::Partial => break,
                Parsed::Malformed(why) => {
                    let wrong = format!("the upstream got {}: {why}", bytes.escape_ascii());
                    *record.wrong.lock().unwrap() = Some(wrong);
                    return;
                }
            }
        }
    }
}

/// The requests of a client, up to the first that is none or is not whole.
fn requests(mut bytes: &[u8]) -> Vec<Seen> {
    let mut requests = Vec::new();
    while let Parsed::Whole(request, length) = parse(bytes) {
        requests.push(request);
        bytes = &bytes[length..];
    }
    requests
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// One line and the bytes it took; its end is a carriage return and a line feed, and nothing else is.
fn line(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, &'static str> {
    let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
        let torn = bytes.iter().position(|b| *b == b'\r').is_some_and(|at| at + 1 < bytes.len());
        return if torn { Err("a bare carriage return") } else { Ok(None) };
    };
    match bytes[..end].strip_suffix(b"\r") {
        Some(line) if line.contains(&b'\r') || line.contains(&0) => Err("a control character"),
        Some(line) => Ok(Some((line, end + 1))),
        None => Err("a bare line feed"),
    }
}

/// Reads one request after RFC 9112, by the letter.
fn parse(bytes: &[u8]) -> Parsed {
    match read(bytes) {
        Ok(Some((request, length))) => Parsed::Whole(request, length),
        Ok(None) => Parsed::Partial,
        Err(why) => Parsed::Malformed(why),
    }
}

fn read(bytes: &[u8]) -> Result<Option<(Seen, usize)>, &'static str> {
    let mut at = 0;
    // Empty lines before a request are passed over (2.2).
    let start = loop {
        let Some((line, length)) = line(&bytes[at..])? else { return Ok(None) };
        at += length;
        if !line.is_empty() {
            break line;
        }
    };
    let words: Vec<&[u8]> = start.split(|b| *b == b' ').collect();
    let [method, target, version] = words[..] else { return Err("no request line") };
    if !is_token(method) || target.is_empty() || target.iter().any(|b| *b <= b' ' || *b == 0x7f) {
        return Err("a request line of other characters");
    }
    let is_new = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err("another version"),
    };
    let (mut hosts, mut lengths, mut codings) = (0, Vec::new(), Vec::new());
    loop {
        let Some((line, length)) = line(&bytes[at..])? else { return Ok(None) };
        at += length;
        if line.is_empty() {
            break;
        }
        let Some(colon) = line.iter().position(|b| *b == b':') else { return Err("a field without a colon") };
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        if !is_token(&name) || value.iter().any(|b| (*b < b' ' && *b != b'\t') || *b == 0x7f) {
            return Err("a field of other characters");
        }
        match &name[..] {
            b"host" => hosts += 1,
            b"content-length" => lengths.push(value.to_vec()),
            b"transfer-encoding" => codings.push(value.to_ascii_lowercase()),
            _ => {}
        }
    }
    if hosts > 1 || (is_new && hosts == 0) {
        return Err("no host, or two");
    }
    let method = method.to_vec();
    let (body, length) = match (&lengths[..], &codings[..]) {
        ([], []) => (Vec::new(), 0),
        ([length], []) => {
            let digits = !length.is_empty() && length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(length).ok().filter(|_| digits).ok_or("a length that is none")?;
            let length: usize = length.parse().map_err(|_| "a length that is none")?;
            let Some(body) = bytes[at..].get(..length) else { return Ok(None) };
            (body.to_vec(), length)
        }
        ([], [coding]) if coding == b"chunked" && is_new => match chunks(&bytes[at..])? {
            Some(chunked) => chunked,
            None => return Ok(None),
        },
        _ => return Err("a body with two readings"),
    };
    Ok(Some((Seen { method, body }, at + length)))
}

fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let Some((size, length)) = line(&bytes[at..])? else { return Ok(None) };
        at += length;
        let digits = size.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let behind = size[digits..].trim_ascii_start();
        if digits == 0 || digits > 15 || !(behind.is_empty() || behind.starts_with(b";")) {
            return Err("a size that is none");
        }
        let digits = std::str::from_utf8(&size[..digits]).map_err(|_| "a size that is none")?;
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a size that is none")?;
        if size == 0 {
            break;
        }
        let Some(content) = bytes[at..].get(..size) else { return Ok(None) };
        body.extend(content);
        at += size;
        match line(&bytes[at..])? {
            None => return Ok(None),
            Some((b"", length)) => at += length,
            Some(_) => return Err("a chunk that is longer than its size"),
        }
    }
    loop {
        let Some((trailer, length)) = line(&bytes[at..])? else { return Ok(None) };
        at += length;
        if trailer.is_empty() {
            return Ok(Some((body, at)));
        }
        let colon = trailer.iter().position(|b| *b == b':').ok_or("a trailer without a colon")?;
        if !is_token(&trailer[..colon]) {
            return Err("a trailer of other characters");
        }
    }
}
