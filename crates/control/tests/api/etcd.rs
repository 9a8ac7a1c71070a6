//! A control plane over a real etcd: lists in parts, a store that is nearly full, and one that is away.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::control::Control;
use graygate_control::people::{Grant, Role};
use graygate_control::run;
use graygate_control::settings::Config;
use graygate_rules::documents::fields::Notes;
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{Client, PASSWORD, token_for};

struct Etcd {
    child: Child,
    endpoint: String,
    folder: tempfile::TempDir,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Etcd {
    fn start(arguments: &[&str]) -> Etcd {
        let folder = tempfile::tempdir().unwrap();
        let [client, peer] = [(); 2].map(|()| {
            let port = graygate_testing::registries::servers::free_port();
            format!("http://127.0.0.1:{port}")
        });
        let child = Command::new("etcd")
            .args(["--name", "one", "--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(arguments)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let etcd = Etcd { child, endpoint: client, folder };
        let begun = Instant::now();
        while !etcd.is_healthy() {
            assert!(begun.elapsed().as_secs() < 60, "etcd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        etcd
    }

    fn is_healthy(&self) -> bool {
        let address = self.endpoint.trim_start_matches("http://");
        let Ok(mut stream) = TcpStream::connect(address) else { return false };
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /health HTTP/1.0\r\n\r\n");
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.contains("\"true\"")
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }

    /// A whole control process over it, an administrator, and what ends it.
    async fn plane(&self) -> (Arc<Control>, Client, watch::Sender<bool>) {
        let text = format!(
            "listen: {{address: \"127.0.0.1:0\"}}\ndocuments: {{etcd: {{endpoints: [\"{}\"]}}}}\nstate: {}/state\n",
            self.endpoint,
            self.folder.path().display()
        );
        let config = Config::parse(&text, Notes::of("control.yaml")).unwrap();
        let (end, ended) = watch::channel(false);
        let plane = run::Plane::open(&config, ended).await.unwrap();
        let (address, control) = (plane.address().unwrap(), plane.control.clone());
        tokio::spawn(plane.serve(axum::Router::new()));
        until("the documents are read", async || control.check_ready().is_ok()).await;
        let token = token_for(&control, "li", Grant::all(Role::Admin)).await;
        let li = Client::at(address).with("authorization", &format!("Bearer {token}"));
        let service = "instances: [{address: \"127.0.0.1:9001\", version: gray}]\n";
        li.new_one().put("/documents/services/patient", service).await.is(201);
        (control, li, end)
    }
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed().as_secs() < 60, "it does not come to this: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_list_is_kept_in_parts_and_one_member_is_one_small_write() {
    let etcd = Etcd::start(&[]);
    let (control, li, _end) = etcd.plane().await;
    let text: String = (0..100_000).map(|i| format!("user-{i:07}\n")).collect();
    li.put("/lists/pilots", &text).await.is(201);
    let parts = control.view().parts("pilots");
    assert!(parts.len() > 10, "{} parts", parts.len());
    assert!(parts.iter().all(|(_, raw)| raw.body.len() < 256 << 10));
    let contains = li.get("/lists/pilots?contains=user-0099999").await.is(200).json();
    assert_eq!(contains, json!({"contains": true, "members": 100_000}));

    let changed =
        li.post("/lists/pilots/members", json!({"add": ["zoe"], "remove": []})).await.is(200).json();
    assert_eq!(changed, json!({"added": 1, "removed": 0}));
    let after = control.view().parts("pilots");
    let other =
        after.iter().filter(|(id, raw)| !parts.iter().any(|(old, was)| old == id && was.body == raw.body));
    let other: Vec<usize> = other.map(|(_, raw)| raw.body.len()).collect();
    assert_eq!(other.len(), 1, "one part is written");
    assert!(other[0] < 256 << 10, "{other:?}");
    let changed =
        li.post("/lists/pilots/members", json!({"remove": ["zoe", "user-0000000"]})).await.is(200).json();
    assert_eq!(changed, json!({"added": 0, "removed": 2}));
    assert_eq!(
        li.get("/lists/pilots?contains=zoe").await.json(),
        json!({"contains": false, "members": 99_999})
    );
    assert_eq!(li.get("/lists/pilots").await.text().lines().count(), 99_999);

    // The whole again: safe to repeat, and nothing is written that is as it was.
    li.put("/lists/pilots", &text).await.is(200);
    li.put("/lists/pilots", &text).await.is(200);
    assert_eq!(li.get("/lists/pilots?contains=user-0000000").await.json()["members"], 100_000);
    let etag = li.get("/documents/lists/pilots").await.is(200).etag();
    li.if_match(&etag).delete("/documents/lists/pilots").await.is(204);
    li.get("/lists/pilots?contains=zoe").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_nearly_full_takes_deletions_and_sign_ins_alone() {
    let etcd = Etcd::start(&["--quota-backend-bytes", "16777216"]);
    let (control, li, _end) = etcd.plane().await;
    let rule = "version: gray\nservices: [patient]\n";
    let etag = li.new_one().put("/documents/rules/x", rule).await.is(201).etag();
    let filling: String = (0..40_000).map(|i| format!("{i:020}\n")).collect();
    let mut lists = 0;
    while control.state.crowded().is_none() {
        let status = li.put(&format!("/lists/l{lists}"), &filling).await.status;
        assert!(matches!(status, 201 | 507), "{status}");
        lists += 1;
        assert!(lists < 40, "it is never full");
        // It looks every five seconds.
        let looked = Instant::now();
        while control.state.crowded().is_none() && lists > 8 && looked.elapsed() < Duration::from_secs(6) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let full = li.new_one().put("/documents/rules/y", rule).await.is(507);
    assert!(full.text().contains("defragment"), "{}", full.text());
    li.post("/lists/l0/members", json!({"add": ["x"]})).await.is(507);
    li.post("/users", json!({"name": "wang", "password": PASSWORD, "roles": [{"role": "viewer"}]}))
        .await
        .is(507);
    li.if_match(&etag).delete("/documents/rules/x").await.is(204);
    let removed =
        li.post("/lists/l0/members", json!({"remove": [format!("{:020}", 7)]})).await.is(200).json();
    assert_eq!(removed["removed"], 1);
    li.post("/session", json!({"user": "li", "password": PASSWORD})).await.is(201);
    until("a message says so", async || {
        let messages = li.get("/messages").await.is(200).json();
        messages["items"].as_array().unwrap().iter().filter(|one| one["kind"] == "quota").count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_writes_fail_soon_and_reads_are_marked() {
    let etcd = Etcd::start(&[]);
    let (_, li, _end) = etcd.plane().await;
    let rule = "version: gray\nservices: [patient]\n";
    let etag = li.new_one().put("/documents/rules/x", rule).await.is(201).etag();
    assert!(!li.get("/documents/rules/x").await.is(200).headers.contains_key("x-graygate-stale"));
    etcd.signal("-STOP");
    for _ in 0..2 {
        let writes = (0..10).map(|_| {
            let client = li.if_match(&etag);
            async move {
                let begun = Instant::now();
                let answer = client.put("/documents/rules/x", "version: other\nservices: [patient]\n").await;
                (answer, begun.elapsed())
            }
        });
        for (answer, took) in futures_util::future::join_all(writes).await {
            assert!(took < Duration::from_secs(2), "{took:?}");
            assert!(answer.is(503).text().contains("stop the gray instances"));
        }
    }
    let read = li.get("/documents/rules/x").await.is(200);
    assert_eq!(read.text(), rule);
    assert!(read.headers.contains_key("x-graygate-stale"));
    assert!(li.get("/documents").await.is(200).headers.contains_key("x-graygate-stale"));
    etcd.signal("-CONT");
    until("it is written again", async || {
        li.if_match(&etag).put("/documents/rules/x", "version: other\nservices: [patient]\n").await.status
            != 503
    })
    .await;
    assert!(!li.get("/documents/rules/x").await.is(200).headers.contains_key("x-graygate-stale"));
}
