//! One gRPC connection to a Nacos server: requests, the stream of pushes, and the token both carry.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::uri::PathAndQuery;
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

use super::wire::Envelope;
use crate::registries::http::exchange;
use crate::registries::link::{LinkError, within};
use crate::registries::settings::{Login, NacosSettings, Tls};

/// Until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// One request. A push that waits behind it is answered in time: the server's patience is 5 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(3);
/// How far gRPC's port is above that of HTTP.
const PORT_OFFSET: u16 = 1_000;
/// Pause between looks whether the server knows the stream already.
const SETUP_PAUSE: Duration = Duration::from_millis(20);
/// Largest message: a service of ten thousand instances with metadata has about 10 MiB.
const MESSAGE_LIMIT: usize = 64 << 20;
/// Answers to pushes that wait to be sent; a server with more open pushes than this has stopped reading.
const ANSWERS: usize = 64;
/// A token is renewed at this part of its time.
const RENEWAL: f64 = 0.8;

const UNARY: &str = "/Request/request";
const STREAM: &str = "/BiRequestStream/requestBiStream";
/// Nacos' code for a connection whose stream it does not know (yet, or any more).
const UNREGISTERED: i64 = 301;
const FORBIDDEN: i64 = 403;
/// What we say we are; servers choose the form of their answers by it.
const CLIENT_VERSION: &str = "Nacos-Rust-Client:2.3.0";

pub struct Connection {
    grpc: Grpc<Channel>,
    pushes: Streaming<Envelope>,
    answers: mpsc::Sender<Envelope>,
    access: Option<Access>,
}

/// Who we are towards the server.
struct Access {
    login: Login,
    url: String,
    tls: Option<Tls>,
    token: String,
    renew_at: Instant,
}

impl Connection {
    pub async fn open(settings: &NacosSettings, address: &str) -> Result<Connection, LinkError> {
        let access = match &settings.login {
            Some(login) => Some(Access::log_in(login.clone(), address, settings.tls.clone()).await?),
            None => None,
        };
        let channel = within(CONNECT_LIMIT, "connecting", channel(settings, address)).await?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
        unary(&mut grpc, Envelope::new("ServerCheckRequest", &json!({"module": "internal"}), None)).await?;
        let (answers, outgoing) = mpsc::channel(ANSWERS);
        let setup = json!({
            "clientVersion": CLIENT_VERSION, "tenant": settings.namespace,
            "labels": {"module": "naming", "source": "sdk"}, "module": "internal",
        });
        let token = access.as_ref().map(|access| access.token.as_str());
        let _ = answers.send(Envelope::new("ConnectionSetupRequest", &setup, token)).await;
        let pushes = within(REQUEST_LIMIT, "the stream of pushes", stream(&mut grpc, outgoing)).await?;
        let mut connection = Connection { grpc, pushes, answers, access };
        within(CONNECT_LIMIT, "being registered", connection.registered()).await?;
        Ok(connection)
    }

    /// Waits until the server knows the stream: it answers the setup with nothing.
    async fn registered(&mut self) -> Result<(), LinkError> {
        loop {
            let check = Envelope::new("HealthCheckRequest", &json!({"module": "internal"}), self.token());
            let answer = unary(&mut self.grpc, check).await?;
            match error_code(&answer) {
                None => return Ok(()),
                Some(UNREGISTERED) => tokio::time::sleep(SETUP_PAUSE).await,
                Some(_) => return Err(refused(&answer)),
            }
        }
    }

    fn token(&self) -> Option<&str> {
        self.access.as_ref().map(|access| access.token.as_str())
    }

    /// Sends a request and waits for its answer; a token that is not good any more is renewed once.
    pub async fn request(&mut self, kind: &str, body: Value) -> Result<Value, LinkError> {
        if let Some(access) = &mut self.access
            && access.renew_at <= Instant::now()
        {
            access.renew().await?;
        }
        let request = Envelope::new(kind, &body, self.token());
        let mut answer = unary(&mut self.grpc, request).await?;
        if let (Some(FORBIDDEN), Some(access)) = (error_code(&answer), &mut self.access) {
            access.renew().await?;
            let request = Envelope::new(kind, &body, Some(access.token.as_str()));
            answer = unary(&mut self.grpc, request).await?;
        }
        match error_code(&answer) {
            None => Ok(answer),
            Some(_) => Err(refused(&answer)),
        }
    }

    /// The next thing the server says by itself.
    pub async fn pushed(&mut self) -> Result<Envelope, LinkError> {
        match self.pushes.message().await {
            Ok(Some(pushed)) => Ok(pushed),
            Ok(None) => Err(LinkError::Lost("the server closed the stream".to_owned())),
            Err(status) => Err(lost(&status)),
        }
    }

    pub async fn answer(&mut self, kind: &str, body: &Value) -> Result<(), LinkError> {
        let answer = Envelope::new(kind, body, self.token());
        // The server has stopped reading: waiting longer would only hide it.
        self.answers.try_send(answer).map_err(|_| LinkError::Lost("answers pile up".to_owned()))
    }
}

async fn channel(settings: &NacosSettings, address: &str) -> Result<Channel, LinkError> {
    let failed = |error: &dyn std::error::Error| {
        let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        LinkError::Connect(why)
    };
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let port = port.parse::<u16>().ok().and_then(|port| port.checked_add(PORT_OFFSET));
    let port = port.ok_or_else(|| LinkError::Connect(format!("`{address}` has no port for gRPC")))?;
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}:{port}")).map_err(|e| failed(&e))?;
    let mut endpoint = endpoint.connect_timeout(CONNECT_LIMIT);
    if let Some(tls) = &settings.tls {
        endpoint = endpoint.tls_config(tls_config(tls)?).map_err(|e| failed(&e))?;
    }
    endpoint.connect().await.map_err(|e| failed(&e))
}

fn tls_config(tls: &Tls) -> Result<ClientTlsConfig, LinkError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path)
            .map_err(|error| LinkError::File { path: path.display().to_string(), why: error.to_string() })
    };
    let mut config = ClientTlsConfig::new();
    config = match &tls.ca {
        Some(path) => config.ca_certificate(Certificate::from_pem(read(path)?)),
        None => config.with_native_roots(),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(match &tls.domain {
        Some(domain) => config.domain_name(domain),
        None => config,
    })
}

async fn unary(grpc: &mut Grpc<Channel>, request: Envelope) -> Result<Value, LinkError> {
    within(REQUEST_LIMIT, "a request", async {
        ready(grpc).await?;
        let codec: ProstCodec<Envelope, Envelope> = ProstCodec::default();
        let path = PathAndQuery::from_static(UNARY);
        let answer = grpc.unary(tonic::Request::new(request), path, codec).await;
        answer.map_err(|status| lost(&status))?.into_inner().json()
    })
    .await
}

async fn stream(
    grpc: &mut Grpc<Channel>,
    outgoing: mpsc::Receiver<Envelope>,
) -> Result<Streaming<Envelope>, LinkError> {
    ready(grpc).await?;
    let codec: ProstCodec<Envelope, Envelope> = ProstCodec::default();
    let path = PathAndQuery::from_static(STREAM);
    let answer = grpc.streaming(tonic::Request::new(ReceiverStream::new(outgoing)), path, codec).await;
    Ok(answer.map_err(|status| lost(&status))?.into_inner())
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), LinkError> {
    grpc.ready().await.map_err(|error| LinkError::Lost(error.to_string()))
}

fn lost(status: &Status) -> LinkError {
    match status.code() {
        Code::Unimplemented => LinkError::Refused("this is not a Nacos of 2.x or 3.x".to_owned()),
        _ => LinkError::Lost(status.message().to_owned()),
    }
}

/// The code of an answer that says no.
fn error_code(answer: &Value) -> Option<i64> {
    let number = |key: &str| answer.get(key).and_then(Value::as_i64);
    match (number("resultCode"), number("errorCode")) {
        (Some(200) | None, _) => None,
        (_, Some(code)) if code != 0 => Some(code),
        (Some(code), _) => Some(code),
    }
}

fn refused(answer: &Value) -> LinkError {
    LinkError::Refused(answer.get("message").and_then(Value::as_str).unwrap_or("without a reason").to_owned())
}

impl Access {
    async fn log_in(login: Login, address: &str, tls: Option<Tls>) -> Result<Access, LinkError> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{address}/nacos");
        let mut access =
            Access { login, url: String::new(), tls, token: String::new(), renew_at: Instant::now() };
        // 3.x took the old place away, 2.x has not got the new one.
        let mut refused = LinkError::Refused("there is no place to log in".to_owned());
        for path in ["/v3/auth/user/login", "/v1/auth/login"] {
            access.url = format!("{base}{path}");
            match access.renew().await {
                Ok(()) => return Ok(access),
                Err(error @ LinkError::Refused(_)) => refused = error,
                Err(error) => return Err(error),
            }
        }
        Err(refused)
    }

    async fn renew(&mut self) -> Result<(), LinkError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("username", &self.login.username)
            .append_pair("password", &self.login.password()?)
            .finish();
        let request = Request::post(&self.url)
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .map_err(|error| LinkError::Connect(error.to_string()))?;
        let answer = exchange(request, self.tls.as_ref()).await?;
        let said = || format!("the login was answered with {}", answer.status.as_u16());
        let body: Value = serde_json::from_slice(&answer.body).map_err(|_| LinkError::Refused(said()))?;
        // 3.x puts what it says below `data`.
        let said_in = body.get("data").filter(|inner| inner.is_object()).unwrap_or(&body);
        let token = said_in.get("accessToken").and_then(Value::as_str).filter(|_| answer.status.is_success());
        self.token = token.ok_or_else(|| LinkError::Refused(said()))?.to_owned();
        let seconds = said_in.get("tokenTtl").and_then(Value::as_f64).unwrap_or(60.0).clamp(1.0, 1e7);
        self.renew_at = Instant::now() + Duration::from_secs_f64(seconds).mul_f64(RENEWAL);
        Ok(())
    }
}
