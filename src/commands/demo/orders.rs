//! The demo's plan under way: a service with live traffic, a version that can be broken, and what is told of it.
//!
//! Owns: the documents of the service `orders`, its two instances, its users, and the lines that say what happened to the
//! plan. Never: what the plan does; it is the control plane's own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{any, post};
use graygate_control::client::Client;
use graygate_control::control::{Control, EventKind};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

pub const PLAN: &str = "orders-2";
/// The addresses of the release and of the gray version.
pub const ADDRESSES: [&str; 2] = ["127.0.0.1:9004", "127.0.0.1:9005"];

/// The documents; the addresses are replaced where they are taken.
pub const DOCUMENTS: [(&str, &str); 3] = [
    ("routes/orders.yaml", "paths: [{prefix: /orders}]\nservice: orders\n"),
    (
        "services/orders.yaml",
        "# What the plan `orders-2` moves: one instance of the release, one of the gray version.\n\
         identity: [header:x-user]\nwarm_up: 0s\ninstances:\n  \
         - {address: \"127.0.0.1:9004\", version: release}\n  - {address: \"127.0.0.1:9005\", version: gray}\n",
    ),
    (
        "plans/orders-2.yaml",
        "title: Orders 2.0, step by step\nservices: [orders]\nversion: gray\nsteps:\n  \
         - {name: a tenth, share: 10, hold: 2m, min_requests: 200}\n  - {share: 50, hold: 5m}\n  \
         - {share: 100, hold: 5m, approval: true}\n",
    ),
];

/// People who order; a request a few milliseconds apart.
const USERS: u64 = 2_000;
const EVERY: Duration = Duration::from_millis(10);
/// Requests at one time: one that hangs must not stop the others.
const AT_ONCE: usize = 32;
/// How long the first start is tried: until the proxy shows an instance that takes requests.
const START_TRIES: usize = 120;

/// How the gray version does.
#[derive(Default)]
struct Mood {
    is_broken: AtomicBool,
    count: AtomicU64,
}

/// Answers as an instance of `orders`; `POST /break` makes half of the answers errors, `POST /mend` none.
pub async fn serve(listener: TcpListener, version: &'static str) {
    let mood = Arc::new(Mood::default());
    let router = Router::new()
        .route("/break", post(|State(mood): State<Arc<Mood>>| set(mood, true)))
        .route("/mend", post(|State(mood): State<Arc<Mood>>| set(mood, false)))
        .fallback(any(move |State(mood): State<Arc<Mood>>| answer(mood, version)))
        .with_state(mood);
    if listener.set_nonblocking(true).is_ok()
        && let Ok(listener) = tokio::net::TcpListener::from_std(listener)
    {
        let (_end, ended) = watch::channel(false);
        graygate_control::serve::serve(listener, None, router, ended).await;
    }
}

async fn set(mood: Arc<Mood>, is_broken: bool) -> &'static str {
    mood.is_broken.store(is_broken, Ordering::Relaxed);
    if is_broken { "every second answer is 500 now\n" } else { "every answer is 200 again\n" }
}

async fn answer(mood: Arc<Mood>, version: &'static str) -> (StatusCode, String) {
    let is_odd = mood.count.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    let status = match mood.is_broken.load(Ordering::Relaxed) && is_odd {
        true => StatusCode::INTERNAL_SERVER_ERROR,
        false => StatusCode::OK,
    };
    (status, json!({"version": version}).to_string())
}

/// Orders as two thousand people do, until the process ends.
pub async fn order(proxy: SocketAddr) {
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let user = rand::random::<u64>() % USERS;
        if let Ok(place) = places.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // The proxy may not be there yet, and an error is what the demo is about.
                let _ = tokio::time::timeout(Duration::from_secs(5), one_order(proxy, user)).await;
                drop(place);
            });
        }
    }
}

async fn one_order(proxy: SocketAddr, user: u64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(proxy).await?;
    let request =
        format!("GET /orders/list HTTP/1.1\r\nhost: {proxy}\r\nx-user: p{user}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map(drop)
}

/// Starts the plan as soon as it can be started.
pub async fn start(client: Client) {
    let path = format!("/plans/{PLAN}");
    for _ in 0..START_TRIES {
        if let Ok(read) = client.ask(Method::GET, &path, None).await {
            let etag = read.etag.unwrap_or_default();
            let body = json!({"reason": "the demo begins"});
            let headers = [("if-match", etag.as_str())];
            let started =
                client.ask_with(Method::POST, &format!("{path}/start"), (Some(&body), &headers)).await;
            if started.is_ok() {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("the plan `{PLAN}` could not be started; `graygate plan start {PLAN}` says why");
}

/// Prints what happens to the plan, as it happens.
pub async fn tell(control: Arc<Control>) {
    let Some(mut place) = control.events.subscribe("the demo", None) else { return };
    loop {
        for event in control.events.next(&mut place).await {
            let is_ours = event.kind == EventKind::Plan && text(&event.body, "plan") == PLAN;
            if is_ours {
                println!("{}", line(&event.body));
            }
        }
    }
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn line(body: &Value) -> String {
    let step = body.get("step").and_then(Value::as_u64).unwrap_or_default();
    format!("plan {PLAN}: {} (step {step}), by {}: {}", text(body, "to"), text(body, "by"), text(body, "why"))
}
