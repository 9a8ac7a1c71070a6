//! One check of one instance, over a connection of its own.
//!
//! Answers: does it accept, answer, serve? Owns: the three checks of the contract, each behind the framework's
//! `HealthCheck`: its own for TCP and HTTP, and `grpc.health.v1` as a third. All stand under one timeout for the whole
//! check, which the framework's have not. Connections are not reused: a kept one would hide that new ones fail.
//! Never: judges; thresholds are in `vitals`. The only file of the room that makes requests.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode, header};
use parking_lot::Mutex;
use pingora::ErrorType;
use pingora::connectors::http::Connector as HttpConnector;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::http::RequestHeader;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::lb::{Backend, Extensions};
use pingora::protocols::Stream;
use pingora::protocols::l4::socket;
use pingora::upstreams::peer::{BasicPeer, HttpPeer};
use tokio::sync::watch;

use graygate_rules::spec::{Check, HealthSpec, Transport, Wire};

use super::peer::PeerTemplate;

/// What a check calls itself, so that the upstream's log shows it apart from users.
const USER_AGENT: &str = concat!("graygate-health/", env!("CARGO_PKG_VERSION"));

/// Longest gRPC health answer; a real one has seven bytes.
const GRPC_ANSWER_LIMIT: usize = 1024;

/// Largest header list accepted over HTTP/2 by our own check; the framework's are bounded by its readers.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;

/// `SERVING` in `grpc.health.v1.HealthCheckResponse`.
const SERVING: u64 = 1;

/// A file of authorities that has none.
const NO_AUTHORITIES: &str = "/dev/null";

/// Checks that wait for their next use, of each kind: as many as run at once on a quiet day.
const IDLE_LIMIT: usize = 32;

/// Marks errors whose whole text is their context.
const OWN_WORDS: ErrorType = ErrorType::Custom("health check");

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("{}", words(.0))]
    Failed(#[from] pingora::BError),
}

fn words(error: &pingora::Error) -> String {
    match &error.context {
        Some(context) if error.etype == OWN_WORDS => context.as_str().to_owned(),
        _ => error.to_string(),
    }
}

fn failure(text: impl Display) -> pingora::BError {
    pingora::Error::explain(OWN_WORDS, text.to_string())
}

/// Makes the checks of all instances.
///
/// Each of the framework's checks owns its connectors, and a connector reads the system's authorities when it is made:
/// too much for one a check, or one a service. So a few of them are kept, and told whom to check next; and where the
/// system's authorities are not asked, none are read.
pub(super) struct Checks {
    connector: TransportConnector,
    tcp: Mutex<Vec<TcpHealthCheck>>,
    /// Of those that ask no authorities, or those of their service.
    http: Mutex<Vec<HttpHealthCheck>>,
    /// Of those that ask the system's.
    http_system: Mutex<Vec<HttpHealthCheck>>,
}

impl Default for Checks {
    fn default() -> Checks {
        Checks {
            connector: TransportConnector::new(None),
            tcp: Mutex::default(),
            http: Mutex::default(),
            http_system: Mutex::default(),
        }
    }
}

impl Checks {
    /// Checks an instance once.
    pub async fn check(&self, address: SocketAddr, spec: &HealthSpec) -> Result<(), ProbeError> {
        match &spec.check {
            Check::Tcp => self.check_tcp(address, spec).await,
            Check::Http { path, host, statuses, headers } => {
                let request = http_request(address, spec.transport.wire, (path, host.as_deref()), headers)?;
                expect_status(self.ask(request, address, spec).await?, statuses)
            }
            Check::Grpc { service } => {
                let peer = peer(address, &spec.transport, Wire::Http2);
                run(&GrpcHealthCheck { connector: &self.connector, peer, service }, address, spec.timeout)
                    .await
            }
        }
    }

    async fn check_tcp(&self, address: SocketAddr, spec: &HealthSpec) -> Result<(), ProbeError> {
        let peer = peer(address, &spec.transport, spec.transport.wire);
        if peer.client_cert_key.is_some() {
            return run(&HandshakeCheck { connector: &self.connector, peer }, address, spec.timeout).await;
        }
        let mut check = lend(&self.tcp, TcpHealthCheck::default);
        check.peer_template = BasicPeer { _address: peer._address, sni: peer.sni, options: peer.options };
        let outcome = run(&check, address, spec.timeout).await;
        take_back(&self.tcp, check);
        outcome
    }

    /// The status of the answer. The framework's check would read the whole body behind it, however long that is and
    /// however slowly it comes: the validator notes the status, and ends the check there.
    async fn ask(
        &self,
        request: RequestHeader,
        address: SocketAddr,
        spec: &HealthSpec,
    ) -> Result<StatusCode, ProbeError> {
        let (seen, status) = watch::channel(None);
        let peer = peer(address, &spec.transport, spec.transport.wire);
        let asks_system = peer.is_tls() && peer.options.ca.is_none();
        let (idle, authorities) = match asks_system {
            true => (&self.http_system, None),
            false => (&self.http, Some(NO_AUTHORITIES)),
        };
        let mut check = lend(idle, || http_check(authorities));
        check.peer_template = peer;
        check.req = request;
        check.validator = Some(Box::new(move |answer| {
            seen.send_replace(Some(answer.status));
            Err(failure("nothing behind the header is wanted"))
        }));
        let outcome = run(&check, address, spec.timeout).await;
        let status = *status.borrow();
        take_back(idle, check);
        match (status, outcome) {
            (Some(status), _) => Ok(status),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => Err(failure("there was no answer").into()),
        }
    }
}

fn http_check(authorities: Option<&str>) -> HttpHealthCheck {
    let options = authorities.map(|file| {
        let mut options = ConnectorOptions::new(1);
        options.ca_file = Some(file.to_owned());
        options
    });
    HttpHealthCheck::new_custom("", false, HttpConnector::new(options))
}

/// One that waits, or another one.
fn lend<T>(idle: &Mutex<Vec<T>>, make: impl FnOnce() -> T) -> T {
    let waiting = idle.lock().pop();
    waiting.unwrap_or_else(make)
}

fn take_back<T>(idle: &Mutex<Vec<T>>, check: T) {
    let mut idle = idle.lock();
    if idle.len() < IDLE_LIMIT {
        idle.push(check);
    }
}

/// Any check, under our own timeout for the whole of it.
async fn run(check: &dyn Checking, address: SocketAddr, timeout: Duration) -> Result<(), ProbeError> {
    let addr = socket::SocketAddr::Inet(address);
    let target = Backend { addr, weight: 1, ext: Extensions::new() };
    match tokio::time::timeout(timeout, check.check(&target)).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(ProbeError::Timeout(timeout)),
    }
}

/// A check that tasks may share.
trait Checking: HealthCheck + Sync {}

impl<C: HealthCheck + Sync> Checking for C {}

fn peer(address: SocketAddr, transport: &Transport, wire: Wire) -> HttpPeer {
    let mut peer = PeerTemplate::new(transport).peer(address);
    let version = match wire {
        Wire::Http1 => 1,
        Wire::Http2 => 2,
    };
    peer.options.set_http_version(version, version);
    // One stream a connection, or the connector would keep it for the next check.
    peer.options.max_h2_streams = 1;
    peer
}

fn http_request(
    address: SocketAddr,
    wire: Wire,
    (path, host): (&str, Option<&str>),
    headers: &[(String, String)],
) -> Result<RequestHeader, pingora::BError> {
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), None)?;
    request.insert_header(header::HOST, host.map_or_else(|| address.to_string(), String::from))?;
    request.insert_header(header::USER_AGENT, USER_AGENT)?;
    if wire == Wire::Http1 {
        request.insert_header(header::CONNECTION, "close")?;
    }
    for (name, value) in headers {
        request.insert_header(name.clone(), value)?;
    }
    Ok(request)
}

fn expect_status(status: StatusCode, expected: &[u16]) -> Result<(), ProbeError> {
    match expected.contains(&status.as_u16()) {
        true => Ok(()),
        false => Err(ProbeError::Status(status)),
    }
}

/// A connection that shows a certificate of our own, which the framework's check of one cannot.
struct HandshakeCheck<'a> {
    connector: &'a TransportConnector,
    peer: HttpPeer,
}

#[async_trait]
impl HealthCheck for HandshakeCheck<'_> {
    async fn check(&self, _target: &Backend) -> pingora::Result<()> {
        self.connector.new_stream(&self.peer).await.map(drop)
    }

    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

/// `grpc.health.v1.Health/Check`, which the framework has not. By hand over its connector and `h2`: the answer has seven
/// bytes, and a client of generated code would want a channel of its own.
struct GrpcHealthCheck<'a> {
    connector: &'a TransportConnector,
    peer: HttpPeer,
    service: &'a str,
}

#[async_trait]
impl HealthCheck for GrpcHealthCheck<'_> {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        let stream = self.connector.new_stream(&self.peer).await?;
        let scheme = if self.peer.is_tls() { "https" } else { "http" };
        let request = Request::post(format!("{scheme}://{}/grpc.health.v1.Health/Check", target.addr))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::TE, "trailers")
            .body(())
            .map_err(failure)?;
        exchange(stream, request, grpc_request(self.service)).await
    }

    /// Thresholds are the specification's, and counted in `vitals`.
    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

/// Sends one request over HTTP/2 and reads the answer, driving the connection meanwhile.
async fn exchange(stream: Stream, request: Request<()>, body: Bytes) -> pingora::Result<()> {
    let mut settings = h2::client::Builder::new();
    settings.enable_push(false).max_header_list_size(HEADER_LIST_LIMIT);
    let (sender, connection) = settings.handshake(stream).await.map_err(failure)?;
    let answer = async {
        let mut sender: SendRequest<Bytes> = sender.ready().await.map_err(failure)?;
        let (response, mut sending) = sender.send_request(request, false).map_err(failure)?;
        sending.send_data(body, true).map_err(failure)?;
        read_grpc(response.await.map_err(failure)?).await
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        result = &mut answer => result,
        // The answer may have been read before the connection went; if not, it knows the error.
        _ = connection => answer.await,
    }
}

/// `HealthCheckRequest { service }` as a gRPC message: flag, length, then field 1 as text.
fn grpc_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(&message);
    framed.freeze()
}

async fn read_grpc(answer: Response<h2::RecvStream>) -> pingora::Result<()> {
    if answer.status() != StatusCode::OK {
        return Err(failure(ProbeError::Status(answer.status())));
    }
    // An error comes without a message, its status in the first header block.
    expect_grpc_ok(answer.headers().get("grpc-status"), true)?;
    let mut body = answer.into_body();
    let mut message = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(failure)?;
        if message.len() + chunk.len() > GRPC_ANSWER_LIMIT {
            return Err(failure("the health answer is too long"));
        }
        body.flow_control().release_capacity(chunk.len()).map_err(failure)?;
        message.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await.map_err(failure)?.unwrap_or_default();
    expect_grpc_ok(trailers.get("grpc-status"), false)?;
    match serving_status(message.freeze()) {
        Some(SERVING) => Ok(()),
        Some(_) => Err(failure("the service does not serve")),
        None => Err(failure("the health answer could not be read")),
    }
}

fn expect_grpc_ok(status: Option<&http::HeaderValue>, may_be_absent: bool) -> pingora::Result<()> {
    match status.map(|status| status.as_bytes()) {
        Some(b"0") => Ok(()),
        None if may_be_absent => Ok(()),
        Some(b"5") => Err(failure("the service is not known there")),
        Some(b"12") => Err(failure("there is no health service")),
        _ => Err(failure("the health call failed")),
    }
}

/// Field 1 of an uncompressed `HealthCheckResponse`; an absent one is 0, `UNKNOWN`.
fn serving_status(mut framed: Bytes) -> Option<u64> {
    let compressed = framed.try_get_u8().ok()?;
    let length = framed.try_get_u32().ok()? as usize;
    match (compressed, length, framed.len()) {
        (0, 0, 0) => Some(0),
        (0, length, there) if length == there && framed.try_get_u8().ok()? == 0x08 => {
            let status = framed.try_get_u8().ok()?;
            (status < 0x80).then_some(u64::from(status))
        }
        _ => None,
    }
}
