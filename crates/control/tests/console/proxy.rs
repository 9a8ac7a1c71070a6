//! What stands in for a proxy: it tells of itself and counts made-up requests, second by second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// What it says next.
#[derive(Default)]
pub struct Said {
    /// Errors of a second of the gray version, of 60 requests.
    pub errors: AtomicU64,
    /// The rule that drew the requests, and its share in percent; a rule of the documents where nothing is said.
    pub drawn: std::sync::Mutex<Option<(String, u64)>>,
}

pub struct Proxy {
    pub address: SocketAddr,
    pub said: Arc<Said>,
    serving: JoinHandle<()>,
}

impl Proxy {
    pub async fn start() -> Proxy {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Proxy::serve(listener, Arc::default())
    }

    /// At the address of one that was killed.
    pub async fn again(address: SocketAddr, said: Arc<Said>) -> Proxy {
        Proxy::serve(tokio::net::TcpListener::bind(address).await.unwrap(), said)
    }

    fn serve(listener: tokio::net::TcpListener, said: Arc<Said>) -> Proxy {
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/status", get(status))
            .route("/observations", get(observations))
            .route("/explain", axum::routing::post(explain))
            .with_state(said.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Proxy { address, said, serving }
    }

    pub fn kill(self) -> (SocketAddr, Arc<Said>) {
        self.serving.abort();
        (self.address, self.said.clone())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn status() -> Json<Value> {
    let instance = |address: &str| json!({"address": address, "state": "healthy"});
    Json(json!({
        "version": "0.1.0", "started": "2026-11-20T08:00:00Z",
        "revision": {"running": 7, "offered": 7}, "problems": [],
        "services": {"patient": {"versions": {
            "release": {"instances": [instance("127.0.0.1:9001"), instance("127.0.0.1:9002")]},
            "gray": {"instances": [instance("127.0.0.1:9003")]},
        }}},
    }))
}

/// It runs what it runs, whatever the documents say by now.
async fn explain(Json(asked): Json<Value>) -> Json<Value> {
    assert!(asked["url"].is_string(), "{asked}");
    Json(
        json!({"status": 200, "route": "portal", "service": "patient", "version": "v-of-p1", "reason": "rule",
        "rule": "30-share", "trace": [], "chain": []}),
    )
}

async fn observations(
    State(said): State<Arc<Said>>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Json<Value> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let after = asked
        .iter()
        .find(|(key, _)| key == "after")
        .and_then(|(_, value)| value.rsplit('.').next()?.parse::<u64>().ok());
    let from = after.unwrap_or(now - 60).max(now - 60);
    let (rule, share) = said.drawn.lock().unwrap().clone().unwrap_or(("30-share".to_owned(), 20));
    let row = |second: u64, version: &str, (requests, errors): (u64, u64)| {
        // Each error is another client's.
        let clients: Vec<String> = (0..errors).map(|number| format!("{second:010x}{number:06x}")).collect();
        json!({"second": second, "service": "patient", "route": "portal", "rule": rule, "share": share, "version": version,
            "requests": requests, "timed": requests, "undrawn": 0, "errors": errors, "error_clients": clients, "sampled": 0,
            "fallbacks": 0, "slower": vec![requests; 12].into_iter().chain([requests / 10, requests / 50, 1]).collect::<Vec<_>>()})
    };
    let seconds = (from..now).flat_map(|second| {
        [row(second, "release", (240, 0)), row(second, "gray", (60, said.errors.load(Ordering::Relaxed)))]
    });
    let edges: Vec<f64> = (0..=60).map(|k| 1.2f64.powi(k)).collect();
    Json(
        json!({"proxy": "p1", "boot": "b1", "cursor": format!("b1.{now}"), "lost": 0, "now": now, "counting_since": now - 60,
        "left_out": 0, "edges_ms": edges, "seconds": seconds.collect::<Vec<_>>()}),
    )
}
