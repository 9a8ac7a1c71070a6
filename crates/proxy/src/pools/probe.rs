//! One check of one instance, over a connection of its own.
//!
//! Answers: does it accept, answer, serve? Owns: the three checks of the contract: TCP, HTTP and
//! `grpc.health.v1`. Connections are not reused: a kept one would hide that new ones fail.
//! Never: judges; thresholds are in `vitals`. The only file of the room that makes requests.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{Method, Request, Response, StatusCode};
use pingora::connectors::TransportConnector;
use pingora::http::RequestHeader;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use super::peer::PeerTemplate;
use graygate_rules::spec::{Check, HealthSpec, Transport, Wire};

/// What a check calls itself, so that it can be told from users in the upstream's log.
const USER_AGENT: &str = concat!("graygate-health/", env!("CARGO_PKG_VERSION"));

/// Interim answers (1xx) read before the real one; a server that sends more is not well.
const INTERIM_LIMIT: usize = 8;

/// Longest gRPC health answer; a real one has seven bytes.
const GRPC_ANSWER_LIMIT: usize = 1024;

/// Largest header list accepted over HTTP/2; HTTP/1 is bounded by Pingora's reader.
const HEADER_LIST_LIMIT: u32 = 64 * 1024;

/// `SERVING` in `grpc.health.v1.HealthCheckResponse`.
const SERVING: u64 = 1;

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Http1(#[from] pingora::BError),
    #[error("{0}")]
    Http2(#[from] h2::Error),
    #[error("the check is no valid request: {0}")]
    Request(#[from] http::Error),
    #[error("{0}")]
    Grpc(&'static str),
}

/// Checks an instance once.
pub(super) async fn probe(
    connector: &TransportConnector,
    address: SocketAddr,
    spec: &HealthSpec,
) -> Result<(), ProbeError> {
    let answer = tokio::time::timeout(spec.timeout, ask(connector, address, spec));
    answer.await.unwrap_or(Err(ProbeError::Timeout(spec.timeout)))
}

async fn ask(
    connector: &TransportConnector,
    address: SocketAddr,
    spec: &HealthSpec,
) -> Result<(), ProbeError> {
    let is_grpc = matches!(spec.check, Check::Grpc { .. });
    let wire = if is_grpc { Wire::Http2 } else { spec.transport.wire };
    let stream = connector.new_stream(&peer(address, &spec.transport, wire)).await?;
    match (&spec.check, wire) {
        (Check::Tcp, _) => Ok(()),
        (Check::Http { .. }, Wire::Http1) => ask_http1(stream, address, &spec.check).await,
        (Check::Http { .. }, Wire::Http2) => ask_http2(stream, address, spec).await,
        (Check::Grpc { service }, _) => ask_grpc(stream, address, spec, service).await,
    }
}

fn peer(address: SocketAddr, transport: &Transport, wire: Wire) -> HttpPeer {
    let mut peer = PeerTemplate::new(transport).peer(address);
    let version = match wire {
        Wire::Http1 => 1,
        Wire::Http2 => 2,
    };
    peer.options.set_http_version(version, version);
    peer
}

async fn ask_http1(stream: Stream, address: SocketAddr, check: &Check) -> Result<(), ProbeError> {
    let Check::Http { path, host, statuses, headers } = check else {
        return Ok(());
    };
    let mut request = RequestHeader::build(Method::GET, path.as_bytes(), None)?;
    let host = host.clone().unwrap_or_else(|| address.to_string());
    request.insert_header(http::header::HOST, host)?;
    request.insert_header(http::header::USER_AGENT, USER_AGENT)?;
    request.insert_header(http::header::CONNECTION, "close")?;
    for (name, value) in headers {
        request.insert_header(name.clone(), value)?;
    }
    let mut session = HttpSession::new(stream);
    session.write_request_header(Box::new(request)).await?;
    for _ in 0..INTERIM_LIMIT {
        session.read_response().await?;
        match session.get_status() {
            Some(status) if status.is_informational() => continue,
            Some(status) => return expect_status(status, statuses),
            None => break,
        }
    }
    Err(ProbeError::Status(StatusCode::CONTINUE))
}

fn expect_status(status: StatusCode, expected: &[u16]) -> Result<(), ProbeError> {
    match expected.contains(&status.as_u16()) {
        true => Ok(()),
        false => Err(ProbeError::Status(status)),
    }
}

async fn ask_http2(stream: Stream, address: SocketAddr, spec: &HealthSpec) -> Result<(), ProbeError> {
    let Check::Http { path, host, statuses, headers } = &spec.check else {
        return Ok(());
    };
    let host = host.clone().unwrap_or_else(|| address.to_string());
    let mut request = Request::get(url(&spec.transport, &host, path));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.header(http::header::USER_AGENT, USER_AGENT).body(())?;
    let response = exchange(stream, request, Bytes::new(), |answer| async { Ok(answer) }).await?;
    expect_status(response.status(), statuses)
}

async fn ask_grpc(
    stream: Stream,
    address: SocketAddr,
    spec: &HealthSpec,
    service: &str,
) -> Result<(), ProbeError> {
    let path = "/grpc.health.v1.Health/Check";
    let request = Request::post(url(&spec.transport, &address.to_string(), path))
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::USER_AGENT, USER_AGENT)
        .header(http::header::TE, "trailers")
        .body(())?;
    exchange(stream, request, grpc_request(service), |answer| async {
        expect_status(answer.status(), &[200])?;
        read_grpc(answer).await
    })
    .await
}

fn url(transport: &Transport, authority: &str, path: &str) -> String {
    let scheme = if transport.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{authority}{path}")
}

/// Sends one request over HTTP/2 and reads the answer, driving the connection meanwhile.
async fn exchange<T, F: Future<Output = Result<T, ProbeError>>>(
    stream: Stream,
    request: Request<()>,
    body: Bytes,
    read: impl FnOnce(Response<h2::RecvStream>) -> F,
) -> Result<T, ProbeError> {
    let mut settings = h2::client::Builder::new();
    settings.enable_push(false).max_header_list_size(HEADER_LIST_LIMIT);
    let (sender, connection) = settings.handshake(stream).await?;
    let answer = async {
        let mut sender: SendRequest<Bytes> = sender.ready().await?;
        let (response, mut sending) = sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            sending.send_data(body, true)?;
        }
        read(response.await?).await
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

async fn read_grpc(answer: Response<h2::RecvStream>) -> Result<(), ProbeError> {
    // An error comes without a message, its status in the first header block.
    expect_grpc_ok(answer.headers().get("grpc-status"), true)?;
    let mut body = answer.into_body();
    let mut message = BytesMut::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        if message.len() + chunk.len() > GRPC_ANSWER_LIMIT {
            return Err(ProbeError::Grpc("the health answer is too long"));
        }
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    expect_grpc_ok(trailers.get("grpc-status"), false)?;
    match serving_status(message.freeze()) {
        Some(SERVING) => Ok(()),
        Some(_) => Err(ProbeError::Grpc("the service does not serve")),
        None => Err(ProbeError::Grpc("the health answer could not be read")),
    }
}

fn expect_grpc_ok(status: Option<&http::HeaderValue>, may_be_absent: bool) -> Result<(), ProbeError> {
    match status.map(|status| status.as_bytes()) {
        Some(b"0") => Ok(()),
        None if may_be_absent => Ok(()),
        Some(b"5") => Err(ProbeError::Grpc("the service is not known there")),
        Some(b"12") => Err(ProbeError::Grpc("there is no health service")),
        _ => Err(ProbeError::Grpc("the health call failed")),
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
