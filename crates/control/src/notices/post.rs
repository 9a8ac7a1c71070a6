//! One POST on a connection of its own: bounded, in TLS where the address says so, without redirects.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Largest answer: chats and gateways say in a line whether they took it.
const ANSWER_LIMIT: usize = 64 << 10;

/// What the other side said.
pub struct Said {
    pub status: StatusCode,
    pub body: Bytes,
}

/// Sends; `ca` has the authorities to believe instead of the system's. The error never has words of the other side.
pub async fn post(
    to: &Uri,
    request: http::request::Builder,
    (body, ca): (Bytes, Option<&Path>),
) -> Result<Said, String> {
    let host = to.host().unwrap_or_default();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let is_tls = to.scheme_str() == Some("https");
    let port = to.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let path = to.path_and_query().map_or("/", |path| path.as_str());
    // User and password of an address are no part of a host.
    let authority = to.authority().map_or(host, |authority| authority.as_str());
    let request = request
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, authority.rsplit('@').next().unwrap_or_default())
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("{host}:{port}: {error}");
    let stream = TcpStream::connect((plain, port)).await.map_err(failed)?;
    if !is_tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(plain.to_owned()).map_err(|error| error.to_string())?;
    let shaken = connector(ca)?.connect(name, stream).await.map_err(failed)?;
    exchange(shaken, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Said, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    // It ends with this future, also where the answer is not waited for any more.
    let mut driven = tokio::task::JoinSet::new();
    driven.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    Ok(Said { status, body: body.map_err(|error| error.to_string())?.to_bytes() })
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, String> {
    let certificates = match ca {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| format!("`{}`: {error}", path.display()))?,
    };
    let mut roots = rustls::RootCertStore::empty();
    // One that cannot be understood costs only what it signed.
    roots.add_parsable_certificates(certificates);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?.with_root_certificates(roots);
    Ok(TlsConnector::from(Arc::new(builder.with_no_client_auth())))
}
