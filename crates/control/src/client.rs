//! A client of the API, for the command line: one request, one answer.
//!
//! Owns: `GRAYGATE_URL` and `GRAYGATE_TOKEN`, TLS with the system's authorities, and the words of a refusal. The token
//! goes over TLS or loopback alone. Never: follows a redirect.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the control plane is where nothing else is said.
const URL: &str = "http://127.0.0.1:9180";
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer.
const ANSWER_LIMIT: usize = 64 << 20;

/// Where to ask, and as whom.
pub struct Client {
    base: Uri,
    token: String,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub etag: Option<String>,
    pub body: Value,
}

impl Client {
    /// As the environment says.
    pub fn from_env() -> Result<Client, String> {
        let url = std::env::var("GRAYGATE_URL").unwrap_or_else(|_| URL.to_owned());
        let token = std::env::var("GRAYGATE_TOKEN")
            .map_err(|_| "set GRAYGATE_TOKEN to a token of the control plane".to_owned())?;
        Client::new(&url, token)
    }

    pub fn new(url: &str, token: String) -> Result<Client, String> {
        let base: Uri =
            url.trim_end_matches('/').parse().map_err(|_| format!("`{url}` is not an address"))?;
        let host = base.host().ok_or_else(|| format!("`{url}` is not like {URL}"))?;
        match base.scheme_str() {
            Some("https") => {}
            Some("http") if is_loopback(host) => {}
            Some("http") => return Err(format!("`{url}`: a token goes over TLS or loopback alone")),
            _ => return Err(format!("`{url}` is not like {URL}")),
        }
        Ok(Client { base, token })
    }

    /// Asks; an answer that refuses is an error with its reason.
    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        self.ask_with(method, path, (body, &[])).await
    }

    pub async fn ask_with(
        &self,
        method: Method,
        path: &str,
        (body, headers): (Option<&Value>, &[(&str, &str)]),
    ) -> Result<Answer, String> {
        let asked = tokio::time::timeout(PATIENCE, self.send(method, path, (body, headers))).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {} seconds", PATIENCE.as_secs())))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        (body, headers): (Option<&Value>, &[(&str, &str)]),
    ) -> Result<Answer, String> {
        let host = self.base.host().unwrap_or_default();
        let is_tls = self.base.scheme_str() == Some("https");
        let port = self.base.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let prefix = self.base.path().trim_end_matches('/');
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{prefix}/api/v1{path}"))
            .header(header::HOST, self.base.authority().map_or(host, |authority| authority.as_str()))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        deliver((host, port, is_tls), request).await
    }
}

/// Whether an address names this host alone: a token may go there in plain text.
pub(crate) fn is_loopback(host: &str) -> bool {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    plain == "localhost" || plain.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// TLS over a connection, with the system's authorities.
pub(crate) async fn connect_tls(host: &str, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    connector()?.connect(name, stream).await.map_err(|error| error.to_string())
}

/// Sends one request to an address of control.yaml, and takes what comes back as it is: no redirect is followed.
pub async fn send(
    request: Request<Vec<u8>>,
    patience: Duration,
    limit: usize,
) -> Result<http::Response<Vec<u8>>, String> {
    let (mut parts, body) = request.into_parts();
    let uri = std::mem::take(&mut parts.uri);
    let host = uri.host().unwrap_or_default();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let authority = uri.authority().map_or(host, |authority| authority.as_str());
    parts
        .headers
        .insert(header::HOST, authority.parse().map_err(|_| format!("`{authority}` is not a host"))?);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(|_| format!("`{path}` is not a path"))?;
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));
    let sent = tokio::time::timeout(patience, reach((host, port, is_tls), request, limit)).await;
    let response = sent.unwrap_or_else(|_| Err(format!("{host}:{port}: no answer in time")))?;
    Ok(response.map(|body| body.to_vec()))
}

async fn deliver(place: (&str, u16, bool), request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let (parts, bytes) = reach(place, request, ANSWER_LIMIT).await?.into_parts();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let status = parts.status.as_u16();
    if status >= 400 {
        let said = body.get("detail").and_then(Value::as_str).unwrap_or("no reason was given");
        return Err(format!("{status}: {said}"));
    }
    let etag = parts.headers.get(header::ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Answer { status, etag, body })
}

async fn reach(
    (host, port, is_tls): (&str, u16, bool),
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<http::Response<Bytes>, String> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((plain, port)).await;
    let stream = stream.map_err(|error| format!("{host}:{port}: {error}"))?;
    match is_tls {
        false => exchange(stream, request, limit).await,
        true => {
            let shaken = connect_tls(plain, stream).await;
            exchange(shaken.map_err(|error| format!("{host}:{port}: {error}"))?, request, limit).await
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<http::Response<Bytes>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let task = tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (parts, body) = response.into_parts();
    let bytes = Limited::new(body, limit).collect().await.map_err(|error| error.to_string())?.to_bytes();
    task.abort();
    Ok(http::Response::from_parts(parts, bytes))
}

/// The system's authorities are read once: there are hundreds, and a fleet is asked every second.
fn connector() -> Result<TlsConnector, String> {
    static CONFIG: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(TlsConnector::from(config.clone()));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be understood costs only what it signed.
        let _ = roots.add(certificate);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(CONFIG.get_or_init(|| Arc::new(config)).clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_loopback_alone() {
        for (url, good) in [
            ("http://127.0.0.1:9180", true),
            ("http://localhost:9180/", true),
            ("http://[::1]:9180", true),
            ("https://gray.example.com/gray", true),
            ("http://gray.example.com", false),
            ("http://10.0.0.1:9180", false),
            ("ftp://127.0.0.1", false),
            ("gray", false),
        ] {
            assert_eq!(Client::new(url, String::new()).is_ok(), good, "{url}");
        }
    }
}
