//! One HTTP request to a registry: a connection, a bounded answer, a time limit, no redirects.
//!
//! Owns: connecting, TLS and the limits. Never: keeps a connection, follows a redirect, shows an answer to anyone.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::link::{LinkError, within};
use super::settings::{Login, Tls};

/// A whole exchange, connecting included.
const LIMIT: Duration = Duration::from_secs(5);
/// Largest answer: a Eureka list of ten thousand instances has about 20 MiB.
const BODY_LIMIT: usize = 64 << 20;

pub struct Answered {
    pub status: StatusCode,
    pub body: Bytes,
}

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Sends a request whose URI has scheme and host.
pub async fn exchange(request: Request<Full<Bytes>>, tls: Option<&Tls>) -> Result<Answered, LinkError> {
    within(LIMIT, "an HTTP request", exchange_in_time(request, tls)).await
}

async fn exchange_in_time(
    mut request: Request<Full<Bytes>>,
    tls: Option<&Tls>,
) -> Result<Answered, LinkError> {
    let uri = request.uri().clone();
    let wire = connect(&uri, tls).await?;
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    // User and password of an address are no part of a host.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|error| LinkError::Connect(error.to_string()))?;
    request.headers_mut().insert(header::HOST, host);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| LinkError::Connect(format!("`{path}` is not a path")))?;
    let lost = |error: hyper::Error| LinkError::Lost(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(wire)).await.map_err(lost)?;
    let answered = async {
        let answer = sender.send_request(request).await.map_err(lost)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), BODY_LIMIT).collect().await;
        let body = body.map_err(|error| LinkError::Malformed(error.to_string()))?.to_bytes();
        Ok(Answered { status, body })
    };
    // The connection is driven beside its one request, and dropped with it.
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        answered = &mut answered => answered,
        _ = connection => answered.await,
    }
}

async fn connect(uri: &Uri, tls: Option<&Tls>) -> Result<Box<dyn Wire>, LinkError> {
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let failed = |error: io::Error| LinkError::Connect(error.to_string());
    let stream = TcpStream::connect((bare, port)).await.map_err(failed)?;
    if !is_tls {
        return Ok(Box::new(stream));
    }
    let none = Tls::default();
    let tls = tls.unwrap_or(&none);
    let name = tls.domain.clone().unwrap_or_else(|| bare.to_owned());
    let name = ServerName::try_from(name).map_err(|error| LinkError::Connect(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(client_config(tls)?));
    Ok(Box::new(connector.connect(name, stream).await.map_err(failed)?))
}

fn client_config(tls: &Tls) -> Result<ClientConfig, LinkError> {
    let mut roots = RootCertStore::empty();
    let refused = |error: tokio_rustls::rustls::Error| LinkError::Connect(error.to_string());
    let authorities = match &tls.ca {
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(path, error))?,
        None => rustls_native_certs::load_native_certs().certs,
    };
    roots.add_parsable_certificates(authorities);
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| unreadable(certificate, error))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, error))?;
    builder.with_client_auth_cert(chain, key).map_err(refused)
}

fn unreadable(path: &std::path::Path, error: impl ToString) -> LinkError {
    LinkError::File { path: path.display().to_string(), why: error.to_string() }
}

impl Login {
    /// The password as it stands in its file now: the first line.
    pub fn password(&self) -> Result<String, LinkError> {
        let text = std::fs::read_to_string(&self.password_file);
        let text = text.map_err(|error| unreadable(&self.password_file, error))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}
