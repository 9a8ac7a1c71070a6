//! Plans with real proxies, real control processes and a real etcd: what goes wrong is taken back, and no other notices.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::control::stage::documents_from;
use crate::harness::proxy::{Proxy, free_addresses, program, until};
use crate::harness::upstream::{Act, Upstream, answer, ok};
use crate::harness::wire::Connection;
use crate::support::etcd::Etcd;

/// How long a rollback by evidence may take here, where the machine is shared.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A control process over the test's etcd, and a token of an administrator.
pub struct Control {
    pub child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    token: String,
}

impl Control {
    pub async fn start(etcd: &Etcd) -> Control {
        let folder = tempfile::tempdir().unwrap();
        let [address, _, _] = free_addresses();
        let file = format!(
            "listen: {{address: '{address}'}}\n{}state: '{}'\n",
            documents_from(etcd),
            folder.path().join("state").display()
        );
        fs::write(folder.path().join("control.yaml"), file).unwrap();
        let token = Control::account(folder.path());
        let child = Control::run(folder.path());
        let control = Control { child, folder, address, token };
        until(async || control.ready().await).await;
        control
    }

    fn account(folder: &std::path::Path) -> String {
        let file = folder.join("control.yaml");
        let name = format!("root{}", std::process::id() ^ file.as_os_str().len() as u32 ^ rand(&file));
        let mut user = Command::new(program())
            .args(["user", "add", &name, "--role", "admin", "--control"])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        user.stdin.take().unwrap().write_all(b"correct horse battery\n").unwrap();
        assert!(user.wait().unwrap().success());
        let made = Command::new(program())
            .args(["token", "add", "test", "--user", &name, "--role", "admin", "--control"])
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8(made.stdout).unwrap();
        assert!(made.status.success(), "{said}");
        said.split_whitespace().last().unwrap().to_owned()
    }

    fn run(folder: &std::path::Path) -> Child {
        let said = fs::OpenOptions::new().append(true).create(true).open(folder.join("stderr")).unwrap();
        Command::new(program())
            .args(["control", "--config"])
            .arg(folder.join("control.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap()
    }

    /// Ends at once, as on a machine that loses power.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same files and address, after it has ended.
    pub async fn start_again(&mut self) {
        self.child = Control::run(self.folder.path());
        until(async || self.ready().await).await;
    }

    pub fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    pub async fn ready(&self) -> bool {
        match tokio::net::TcpStream::connect(self.address).await {
            Ok(_) => self.send("GET", "/plans", None, "").await.0 == 200,
            Err(_) => false,
        }
    }

    /// The body of an answer that is not one JSON document.
    pub async fn text(&self, path: &str) -> String {
        let request = format!(
            "GET /api/v1{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            self.address, self.token
        );
        let answer = Connection::open(self.address).await.ask(request).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        answer.text()
    }

    /// Status, ETag and body.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        tag: Option<&str>,
        body: &str,
    ) -> (u16, String, Value) {
        let tag = tag.map(|tag| match tag {
            "*" => "If-None-Match: *\r\n".to_owned(),
            tag => format!("If-Match: {tag}\r\n"),
        });
        let request = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{}Content-Length: {}\r\n\r\n{body}",
            self.address,
            self.token,
            tag.unwrap_or_default(),
            body.len()
        );
        let answer = Connection::open(self.address).await.ask(request).await;
        let etag = answer.header("etag").unwrap_or_default().to_owned();
        let body = serde_json::from_str(&answer.text()).unwrap_or(Value::Null);
        (answer.status(), etag, body)
    }

    pub async fn plan(&self, name: &str) -> (String, Value) {
        let (status, tag, body) = self.send("GET", &format!("/plans/{name}"), None, "").await;
        assert_eq!(status, 200, "{body}");
        (tag, body)
    }

    /// The action with the plan's newest ETag.
    pub async fn act(&self, name: &str, action: &str) -> (u16, Value) {
        let (tag, _) = self.plan(name).await;
        let path = format!("/plans/{name}/{action}");
        let (status, _, body) = self.send("POST", &path, Some(&tag), r#"{"reason": "test"}"#).await;
        (status, body)
    }

    pub async fn put(&self, path: &str, text: &str) {
        let (status, _, body) = self.send("PUT", path, Some("*"), text).await;
        assert_eq!(status, 201, "{path}: {body}");
    }

    pub async fn comes_to(&self, name: &str, state: &str) {
        let begun = Instant::now();
        loop {
            let (_, body) = self.plan(name).await;
            if body["state"] == state {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "not {state}: {body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A number of its own for each folder.
fn rand(path: &std::path::Path) -> u32 {
    path.to_string_lossy().bytes().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "control said:\n{}",
                fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
            );
        }
    }
}

/// Users without end, each with a name of his own.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    failed_release: Arc<AtomicUsize>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Traffic {
    pub fn on(address: SocketAddr) -> Traffic {
        let (stop, failed_release, answered) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let task = |number: usize| {
            let (stop, failed, answered) = (stop.clone(), failed_release.clone(), answered.clone());
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                let mut user = number * 10_000_000;
                while !stop.load(Ordering::Relaxed) {
                    user += 1;
                    let name = format!("u{user}");
                    let said = connection.get("/", &[("x-user", &name)]).await;
                    answered.fetch_add(1, Ordering::Relaxed);
                    // Only gray's own instance says so when it fails.
                    if said.status() != 200 && said.text() != "gray" {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        };
        let tasks = (1..5).map(task).collect();
        Traffic { stop, failed_release, answered, tasks }
    }

    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        assert!(self.answered.load(Ordering::Relaxed) > 100);
        self.failed_release.load(Ordering::Relaxed)
    }
}

pub struct Stage {
    pub etcd: Etcd,
    pub breaks: Arc<AtomicBool>,
    _upstreams: (Upstream, Upstream),
    pub proxy: Proxy,
    pub control: Control,
}

/// A service of two versions behind a proxy, gray breaking on demand, and a plan that begins with `share` percent.
pub async fn stage(share: u32) -> Stage {
    let etcd = Etcd::start().await;
    let breaks = Arc::new(AtomicBool::new(false));
    let release = Upstream::named("release").await;
    let broken = breaks.clone();
    let count = AtomicUsize::new(0);
    let gray = Upstream::scripted(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        match broken.load(Ordering::Relaxed) && number.is_multiple_of(2) {
            true => Act::Answer(answer("500 Internal Server Error", &[], "gray")),
            false => Act::Answer(ok("gray")),
        }
    })
    .await;
    etcd.put("routes/all", "service: s\n").await;
    let service = format!(
        "identity: [header:x-user]\nretries: 0\noutlier: off\ninstances: [{{address: \"{}\", version: release}}, {{address: \"{}\", version: gray}}]\n",
        release.address, gray.address
    );
    etcd.put("services/s", service).await;
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    let control = Control::start(&etcd).await;
    let next = if share < 100 { "  - {share: 100, hold: 1h}\n" } else { "" };
    let plan = format!(
        "services: [s]\nversion: gray\nsteps:\n  - {{share: {share}, hold: 1h}}\n{next}guards: {{latency: off, fallback: off}}\n"
    );
    control.put("/plans/p", &plan).await;
    Stage { etcd, breaks, _upstreams: (release, gray), proxy, control }
}

impl Stage {
    pub async fn start_plan(&self) {
        let (status, body) = self.control.act("p", "start").await;
        assert_eq!(status, 200, "{body}");
        let begun = Instant::now();
        let mut user = 0;
        while self.proxy.served_by("/", &[("x-user", &format!("first{user}"))]).await != "gray" {
            user += 1;
            assert!(begun.elapsed() < PATIENCE);
        }
    }

    pub async fn is_taken_back(&self) {
        self.control.comes_to("p", "ROLLBACK").await;
        assert_eq!(self.etcd.get("rules/plan.p.share").await, None);
        assert!(self.etcd.get("closures/s.gray").await.unwrap().contains("plan `p`"));
        for user in 0..200 {
            assert_eq!(self.proxy.served_by("/", &[("x-user", &format!("after{user}"))]).await, "release");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_version_that_breaks_is_rolled_back_and_release_users_notice_nothing() {
    let stage = stage(5).await;
    stage.start_plan().await;
    let traffic = Traffic::on(stage.proxy.address);
    stage.breaks.store(true, Ordering::Relaxed);
    stage.is_taken_back().await;
    assert_eq!(traffic.stop().await, 0, "requests of release users failed");
    let (_, plan) = stage.control.plan("p").await;
    assert!(plan["why"].as_str().unwrap().contains("`errors` says regression"), "{plan}");
    let (status, _, runs) = stage.control.send("GET", "/plans/p/runs", None, "").await;
    assert_eq!(status, 200);
    assert_eq!(runs["items"][0]["transitions"].as_array().unwrap().len(), 2, "{runs}");
    assert_eq!(runs["items"][0]["transitions"][1]["by"], "controller");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn guards_look_on_while_it_is_paused_and_once_it_is_complete() {
    for action in ["pause", "complete"] {
        let stage = stage(20).await;
        stage.start_plan().await;
        let (status, body) = stage.control.act("p", action).await;
        assert_eq!(status, 200, "{body}");
        let traffic = Traffic::on(stage.proxy.address);
        stage.breaks.store(true, Ordering::Relaxed);
        stage.control.comes_to("p", "ROLLBACK").await;
        traffic.stop().await;
        stage.is_taken_back().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_completions_and_one_rollback_end_in_a_rollback() {
    let stage = Arc::new(stage(5).await);
    stage.start_plan().await;
    let (tag, _) = stage.control.plan("p").await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..51 {
        let (stage, tag) = (stage.clone(), tag.clone());
        tasks.spawn(async move {
            if number == 25 {
                return stage.control.send("POST", "/plans/p/rollback", None, "{}").await.0;
            }
            stage.control.send("POST", "/plans/p/complete", Some(&tag), "{}").await.0
        });
    }
    let mut statuses = Vec::new();
    while let Some(status) = tasks.join_next().await {
        statuses.push(status.unwrap());
    }
    assert!(statuses.iter().all(|status| [200, 409, 412].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 200).count() <= 2, "{statuses:?}");
    stage.is_taken_back().await;
    // To ask once more changes nothing; the proxy may not have told the fleet of itself yet.
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (status, _, outcome) = stage.control.send("POST", "/plans/p/rollback", None, "{}").await;
        assert_eq!(status, 200, "{outcome}");
        if (&outcome["confirmed"], &outcome["of"]) == (&json!(1), &json!(1)) {
            break;
        }
        assert!(Instant::now() < until, "{outcome}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_leader_goes_on_and_one_that_wakes_up_writes_nothing() {
    let stage = stage(20).await;
    let second = Control::start(&stage.etcd).await;
    stage.start_plan().await;
    let traffic = Traffic::on(stage.proxy.address);
    // The leader stops, wakes up beside its successor, and then dies.
    stage.control.signal("-STOP");
    stage.breaks.store(true, Ordering::Relaxed);
    second.comes_to("p", "ROLLBACK").await;
    stage.control.signal("-CONT");
    traffic.stop().await;
    stage.is_taken_back().await;
    let (_, _, runs) = second.send("GET", "/plans/p/runs", None, "").await;
    let told: Vec<&str> = runs["items"][0]["transitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["to"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["ACTIVE", "ROLLBACK"]);
}
