//! The admin address: health, readiness, metrics, status and explanations.
//!
//! Answers questions about the process; changes nothing. Never: the proxy or the inside of pools.

mod listener;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use http::{Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde::Deserialize;

use crate::live::{Live, ProblemReport};
use crate::metrics::Metrics;
use graygate_rules::explain::{BadQuestion, Explanation, Question};

pub use listener::{Listener, ListenerHandoff};
pub use status::SourceView;

/// Largest question `/explain` reads, bytes.
const QUESTION_LIMIT: usize = 1 << 20;
/// Longest wait for a question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    pub address: SocketAddr,
}

/// Explains a request; `None` before anything runs.
pub type Explain = dyn Fn(&Question) -> Option<Result<Explanation, BadQuestion>> + Send + Sync;

/// What the admin address answers from.
pub struct Admin {
    pub live: Arc<Live>,
    pub metrics: Metrics,
    /// Explains a request; `None` before anything runs.
    pub explain: Box<Explain>,
    pub started: SystemTime,
    /// Asks the source how it is.
    pub source: Box<dyn Fn() -> SourceView + Send + Sync>,
    /// Certificates that are held back.
    pub certificates: Box<dyn Fn() -> Vec<ProblemReport> + Send + Sync>,
    /// Set once every listener is bound.
    pub listening: Arc<AtomicBool>,
    /// Set while the process is on its way out.
    pub ending: Arc<AtomicBool>,
}

const WAITING: &str = "waiting for the first documents\n";

/// A question to `/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionBody {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    ip: Option<String>,
    #[serde(default)]
    trusted: bool,
}

fn get() -> String {
    "GET".into()
}

type Answer = Response<Vec<u8>>;

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Answer {
        let method = session.req_header().method.clone();
        let path = session.req_header().uri.path().to_string();
        match (path.as_str(), &method) {
            ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok\n"),
            ("/readyz", &Method::GET | &Method::HEAD) => self.ready(),
            ("/metrics", &Method::GET | &Method::HEAD) => self.metrics(),
            ("/status", &Method::GET | &Method::HEAD) => json(StatusCode::OK, &self.status()),
            ("/explain", &Method::POST) => self.explain(session).await,
            ("/healthz" | "/readyz" | "/metrics" | "/status" | "/explain", _) => {
                text(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path\n")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there are GET /healthz, /readyz, /metrics, /status and POST /explain\n",
            ),
        }
    }
}

impl Admin {
    fn ready(&self) -> Answer {
        if self.ending.load(Ordering::Relaxed) {
            return text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n");
        }
        match self.live.running() {
            // Who is told `ready` connects at once.
            Some(_) if !self.listening.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "the listeners are not open yet\n")
            }
            Some(_) => text(StatusCode::OK, "ready\n"),
            None => text(StatusCode::SERVICE_UNAVAILABLE, WAITING),
        }
    }

    fn metrics(&self) -> Answer {
        if let Some(generation) = self.live.running() {
            self.metrics.set_instances(generation.instance_counts(Instant::now()));
        }
        answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.render().into_bytes())
    }

    async fn explain(&self, session: &mut ServerSession) -> Answer {
        let body = match tokio::time::timeout(QUESTION_TIMEOUT, read(session)).await {
            Ok(Some(body)) => body,
            _ => return text(StatusCode::BAD_REQUEST, "the question could not be read\n"),
        };
        let question: QuestionBody = match serde_json::from_slice(&body) {
            Ok(question) => question,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("not a question: {error}\n")),
        };
        let address = match question.ip.as_deref().unwrap_or("127.0.0.1").parse() {
            Ok(address) => address,
            Err(_) => return text(StatusCode::BAD_REQUEST, "`ip` is not an address\n"),
        };
        let asked = Question {
            method: question.method,
            url: question.url,
            headers: question.headers,
            address,
            trusted: question.trusted,
        };
        match (self.explain)(&asked) {
            Some(Ok(explanation)) => json(StatusCode::OK, &explanation),
            Some(Err(error)) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
            None => text(StatusCode::SERVICE_UNAVAILABLE, WAITING),
        }
    }
}

/// The body, unless it is too large or breaks off.
async fn read(session: &mut ServerSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = session.read_request_body().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > QUESTION_LIMIT {
            return None;
        }
    }
    Some(body)
}

fn text(status: StatusCode, line: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", line.as_bytes().to_vec())
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            answer(status, "application/json", body)
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, header::HeaderValue::from(body.len()));
    *response.body_mut() = body;
    response
}
