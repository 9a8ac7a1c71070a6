//! The admin address: health, readiness, metrics, status and explanations.
//!
//! Answers questions about the process; changes nothing. With a token, every path but health and readiness asks for it.
//! Never: the proxy or the inside of pools.

mod listener;
mod status;
mod token;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::live::{Live, ProblemReport};
use crate::metrics::Metrics;
use crate::observe::{self, Observer};
use graygate_rules::explain::{BadQuestion, Explanation, Question};
use graygate_rules::vocab::Name;

use listener::Answers;
pub use listener::{Listener, ListenerHandoff};
pub use status::SourceView;
use status::Status;
pub use token::Token;

/// Largest question `/explain` reads, bytes.
const QUESTION_LIMIT: usize = 1 << 20;
/// Longest wait for a question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub address: SocketAddr,
    /// Where others find it, where that is not `address`.
    pub advertise: Option<String>,
    /// Whose first line has to be shown; `None`: no caller is asked.
    pub token_file: Option<PathBuf>,
}

/// Explains a request; `None` before anything runs.
pub type Explain = dyn Fn(&Question) -> Option<Result<Explanation, BadQuestion>> + Send + Sync;

/// Lanes of messages, as they are told.
pub type Lanes = dyn Fn() -> serde_json::Value + Send + Sync;

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
    /// What has to be shown; `None`: no caller is asked.
    pub token: Option<Token>,
    /// Lanes of messages; `None` where there is no gateway for them.
    pub messages: Option<Box<Lanes>>,
    /// Counts requests while they are asked about.
    pub observer: Arc<Observer>,
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

impl Answers for Admin {
    async fn respond(&self, request: Request<Incoming>) -> Answer {
        let method = request.method().clone();
        let path = request.uri().path().to_string();
        if !self.may_ask(&path, request.headers()) {
            let mut refused = text(StatusCode::UNAUTHORIZED, "this path asks for `Authorization: Bearer`\n");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
        match (path.as_str(), &method) {
            ("/healthz", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "ok\n"),
            ("/readyz", &Method::GET | &Method::HEAD) => self.ready(),
            ("/metrics", &Method::GET | &Method::HEAD) => self.metrics(),
            ("/status", &Method::GET | &Method::HEAD) => json(StatusCode::OK, &self.status()),
            ("/observations", &Method::GET) => self.observations(request.uri().query().unwrap_or_default()),
            ("/explain", &Method::POST) => self.explain(request.into_body()).await,
            ("/healthz" | "/readyz" | "/metrics" | "/status" | "/observations" | "/explain", _) => {
                text(StatusCode::METHOD_NOT_ALLOWED, "this method is not for this path\n")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there are GET /healthz, /readyz, /metrics, /status, /observations and POST /explain\n",
            ),
        }
    }
}

impl Admin {
    /// Health and readiness are asked by those who have no secrets: balancers, and the system that runs containers.
    fn may_ask(&self, path: &str, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        matches!(path, "/healthz" | "/readyz") || token.is_shown_in(headers)
    }

    fn status(&self) -> Status {
        let status = Status::of(&self.live, self.started, (self.source)(), (self.certificates)());
        status.with_lanes(self.messages.as_ref().map(|lanes| lanes()))
    }

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

    fn observations(&self, query: &str) -> Answer {
        let question = match observe::Question::parse(query) {
            Ok(question) => question,
            Err(error) => return text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
        };
        let Some(generation) = self.live.running() else {
            return text(StatusCode::SERVICE_UNAVAILABLE, WAITING);
        };
        let known: HashSet<&Name> = generation.snapshot.services.iter().map(|plan| &plan.name).collect();
        let unknown: Vec<String> = question
            .services
            .iter()
            .filter(|name| !known.contains(name))
            .map(|name| format!("`{name}`"))
            .collect();
        match unknown.as_slice() {
            [] => json(StatusCode::OK, &self.observer.ask(&question, Instant::now())),
            unknown => text(StatusCode::NOT_FOUND, &format!("there is no service {}\n", unknown.join(", "))),
        }
    }

    async fn explain(&self, body: Incoming) -> Answer {
        let body = match tokio::time::timeout(QUESTION_TIMEOUT, Limited::new(body, QUESTION_LIMIT).collect())
            .await
        {
            Ok(Ok(body)) => body.to_bytes(),
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
