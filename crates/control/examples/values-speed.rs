//! How many configuration values a second one core answers, beside a plain handler that answers a constant.
//!
//! 100,000 items and 100 running plans in an embedded store, the whole control plane behind them, one thread; `wrk` asks
//! for keys at random with a token. `make values-speed` runs it and keeps what it prints.

#![expect(clippy::expect_used, reason = "a measure that cannot be set up says so and ends")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use graygate_control::api::{Front, Site, router};
use graygate_control::control::{Control, NewUser, SystemClock};
use graygate_control::people::{Grant, Principal, Role, SessionSettings, Via};
use graygate_control::serve::serve;
use graygate_control::state::{Holder, Slot, Sqlite, Transaction};
use graygate_judge::plan::Action;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

const ITEMS: usize = 100_000;
const PLANS: usize = 100;
const SECONDS: u32 = 10;
const CONNECTIONS: usize = 64;
/// Keys of one application.
const KEYS: usize = 100;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (told, heard) = std::sync::mpsc::channel();
    // It ends with the process.
    std::thread::spawn(move || runtime.block_on(run(told)));
    let Ready { values, constant, token, thread } = heard.recv().expect("the server starts");
    println!("{ITEMS} items, {PLANS} running plans, {CONNECTIONS} connections, {SECONDS} s each.");
    println!(
        "A processor's time counts what the server's thread ran, so that other programs beside it change it little.\n"
    );
    println!("| | requests/s | p50 | p99 | µs of a processor for each | so many a second of one core |");
    println!("|---|---|---|---|---|---|");
    let row = |name: &str, address: SocketAddr, delay: Option<u32>| {
        let before = processor_time(&thread);
        let told = wrk(address, &token, delay);
        let each = (processor_time(&thread) - before) / 1_000.0 / told.requests;
        let (rate, p50, p99) = (told.rate, told.p50, told.p99);
        println!("| {name} | {rate} | {p50} | {p99} | {each:.1} | {:.0} |", 1e6 / each);
    };
    row("a constant, plain axum", constant, None);
    row("configuration values", values, None);
    row("configuration values, held to about 15,000/s", values, Some(4));
}

/// A server that can be asked.
struct Ready {
    values: SocketAddr,
    constant: SocketAddr,
    token: String,
    /// Where the kernel tells what its thread ran.
    thread: PathBuf,
}

/// Nanoseconds that a thread ran.
fn processor_time(thread: &Path) -> f64 {
    let told = std::fs::read_to_string(thread.join("schedstat")).expect("Linux tells what a thread ran");
    told.split(' ').next().and_then(|text| text.parse().ok()).expect("a number")
}

async fn run(told: std::sync::mpsc::Sender<Ready>) {
    let folder = tempfile::tempdir().expect("a directory");
    let documents = folder.path().join("documents");
    std::fs::create_dir_all(&documents).expect("a directory");
    let state =
        Sqlite::open(&folder.path().join("state"), Some(&documents), Holder::Service).expect("a store");
    let control = Control::new(Arc::new(state), Arc::new(SystemClock), SessionSettings::default());
    let control = Arc::new(control);
    control.begin(graygate_store::directory::load(&documents).expect("no documents")).await.expect("a start");
    fill(&control).await;
    let root = Principal::own("command", Via::Command);
    let new = NewUser {
        name: "app".into(),
        password: "correct horse battery".into(),
        roles: vec![Grant::all(Role::Viewer)],
    };
    control.add_user(&root, new).await.expect("an account");
    let body = json!({"name": "app", "user": "app", "role": "viewer"});
    let token = control
        .add_token(&root, serde_json::from_value(body).expect("a token"))
        .await
        .expect("a token")
        .token;
    let (_end, ended) = watch::channel(false);
    let site = Site { control: control.clone(), front: Arc::new(Front::loopback()) };
    let values = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = (values.local_addr().expect("an address"), plain.local_addr().expect("an address"));
    tokio::spawn(serve(values, None, router(site, axum::Router::new()), ended));
    let follower = control.clone();
    tokio::spawn(async move { follower.follow_configs().await });
    let answer = || async {
        axum::Json(json!({"code": 200, "message": "success", "data": {"configKey": "k", "value": "v"}}))
    };
    let constant = axum::Router::new().fallback(axum::routing::get(answer));
    let thread = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").expect("a thread"));
    told.send(Ready { values: addresses.0, constant: addresses.1, token, thread })
        .expect("a caller measures");
    axum::serve(plain, constant).await.expect("it serves");
}

/// Items, and plans that are under way: each gives a share of its application's users another value of one key.
async fn fill(control: &Control) {
    for chunk in (0..ITEMS).collect::<Vec<_>>().chunks(50) {
        let mut transaction = Transaction::default();
        for number in chunk {
            let name = format!("configs/app{}/prod/default/key{}", number / KEYS, number % KEYS);
            transaction.put(Slot::record(name), format!("{{\"value\":\"value {number}\"}}"));
        }
        control.state.commit(transaction).await.expect("items are written");
    }
    let root = Principal::own("command", Via::Command);
    for number in 0..PLANS {
        let Value::Object(body) = json!({
            "appName": format!("app{number}"), "environment": "prod", "grayValues": {"key0": "other"},
            "grayStrategy": "PERCENTAGE", "percentage": 30,
        }) else {
            continue;
        };
        let made = control.make_gray_plan(&root, body).await.expect("a draft");
        let graygate_control::configs::PlanDone::Written(plan) = made else { continue };
        let id = plan.get("planId").and_then(Value::as_str).unwrap_or_default().to_owned();
        control.act_on_gray_plan(&root, (&id, Action::Start), None).await.expect("it starts");
    }
    control.look_at_configs().await.expect("values are read");
}

/// What `wrk` told: requests, requests a second, and the middle and the 99th hundredth of their times.
struct Told {
    requests: f64,
    rate: String,
    p50: String,
    p99: String,
}

/// Every tenth request is for a key of a plan.
fn wrk(address: SocketAddr, token: &str, delay: Option<u32>) -> Told {
    let delay =
        delay.map(|milliseconds| format!("function delay() return {milliseconds} end\n")).unwrap_or_default();
    let script = format!(
        "{delay}request = function()\n  local app, key = math.random(0, {}), math.random(0, {})\n  \
         if math.random(10) == 1 then app = app % {PLANS}; key = 0 end\n  \
         return wrk.format('GET', '/api/gray-release/config/value?appName=app' .. app .. '&environment=prod&configKey=key' .. key\n    \
         .. '&userId=u' .. math.random(0, 9999) .. '&instanceId=i' .. math.random(0, 999) .. '&instanceIp=10.0.0.1')\nend\n",
        ITEMS / KEYS - 1,
        KEYS - 1
    );
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("ask.lua");
    std::fs::write(&file, script).expect("a script");
    let output = Command::new("wrk")
        .args(["-t1", "--latency", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), "-s"])
        .arg(&file)
        .args(["-H", &format!("Authorization: Bearer {token}"), &format!("http://{address}/")])
        .output()
        .expect("wrk is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{text}");
    let after = |mark: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(mark));
        line.and_then(|line| line.split_whitespace().last()).unwrap_or("?").to_owned()
    };
    // "123456 requests in 10.00s, 12.3MB read"
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
    Told {
        requests: requests.expect("wrk counts"),
        rate: after("Requests/sec"),
        p50: after("50%"),
        p99: after("99%"),
    }
}
