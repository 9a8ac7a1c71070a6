//! Live figures: what proxies counted, as the control plane tells it.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use graygate_testing::registries::servers::free_port;
use serde_json::Value;

use crate::harness::proxy::{BINARY, Proxy, until};
use crate::harness::sample::{ALL, WANTED, instances};
use crate::harness::upstream::{Act, Upstream, answer};
use crate::harness::wire::Connection;

/// A control process over a directory of documents, and a token of its administrator.
struct Control {
    child: Child,
    address: SocketAddr,
    token: String,
    folder: tempfile::TempDir,
}

impl Control {
    fn start(documents: &Path, proxies: &[&Proxy]) -> Control {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let proxies: Vec<String> = proxies.iter().map(|proxy| format!("'http://{}'", proxy.admin)).collect();
        let file = format!(
            "listen: {{address: '{address}'}}\ndocuments: {{directory: '{}'}}\nstate: '{}'\nproxies: [{}]\n",
            documents.display(),
            folder.path().join("state").display(),
            proxies.join(", "),
        );
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let path = folder.path().join("control.yaml");
        std::fs::write(&path, file).unwrap();
        typed(&["user", "add", "li", "--role", "admin", "--control"], &path, "a password of some length\n");
        let token = ["token", "add", "tests", "--user", "li", "--role", "viewer", "--control"];
        let token = typed(&token, &path, "").trim().to_owned();
        let said = std::fs::File::create(folder.path().join("stderr")).unwrap();
        let child = Command::new(BINARY)
            .args(["control", "--config"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .unwrap();
        Control { child, address, token, folder }
    }

    async fn get(&self, path: &str) -> Option<String> {
        tokio::net::TcpStream::connect(self.address).await.ok()?;
        let bearer = format!("Bearer {}", self.token);
        let headers = [("host", "127.0.0.1"), ("authorization", bearer.as_str())];
        let answer = Connection::open(self.address).await.get(path, &headers).await;
        (answer.status() == 200).then(|| answer.text())
    }

    /// The figures of a version in a window.
    async fn figures(&self, version: &str, window: &str) -> Value {
        let Some(text) = self.get("/api/v1/services").await else { return Value::Null };
        let told: Value = serde_json::from_str(&text).unwrap();
        let versions = told["items"][0]["versions"].as_array().cloned().unwrap_or_default();
        let found = versions.into_iter().find(|one| one["version"] == version);
        found.map_or(Value::Null, |one| one["live"][window].clone())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = std::fs::read_to_string(self.folder.path().join("stderr"));
            eprintln!("the control process said:\n{}", said.unwrap_or_default());
        }
    }
}

/// What a command prints that ends well.
fn typed(arguments: &[&str], file: &Path, input: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(arguments).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_two_proxies_are_told_together_and_one_that_stands_still_holds_nothing_up() {
    let release = Upstream::named("release").await;
    let gray = Upstream::scripted(|_| Act::Answer(answer("500 Internal Server Error", &[], ""))).await;
    let service =
        instances(&[("release", release.address), ("gray", gray.address)]) + "outlier: off\nwarm_up: 0s\n";
    let documents = [ALL, WANTED, ("services/s.yaml", service.as_str())];
    let (one, two) = (Proxy::start("", &documents).await, Proxy::start("", &documents).await);
    let control = Control::start(&one.file("documents"), &[&one, &two]);
    until(async || control.get("/api/v1/services").await.is_some()).await;
    // Both are asked about once they answer a question.
    until(async || {
        for proxy in [&one, &two] {
            proxy.get("/", &[("x-want", "gray")]).await;
            proxy.get("/", &[]).await;
        }
        control.figures("release", "1m").await["requests"].as_u64().is_some_and(|requests| requests >= 8)
    })
    .await;
    let gray = control.figures("gray", "1m").await;
    assert_eq!((&gray["error_share"], &gray["fallbacks"]), (&1.0.into(), &0.into()), "{gray}");
    assert!(gray["p99_ms"].as_f64().is_some(), "{gray}");
    let hour = control.figures("gray", "1h").await;
    assert!(hour["requests"].as_u64() >= gray["requests"].as_u64(), "one process alone leads: {hour}");
    let services: Value = serde_json::from_str(&control.get("/api/v1/services").await.unwrap()).unwrap();
    assert!(services["items"][0]["pools"].to_string().contains("healthy"), "{services}");

    two.signal("-STOP");
    let before = control.figures("release", "1h").await["requests"].as_u64().unwrap();
    until(async || {
        one.get("/", &[]).await;
        control.figures("release", "1h").await["requests"].as_u64().unwrap() >= before + 10
    })
    .await;
    two.signal("-CONT");
    let page = control.get("/metrics").await.unwrap();
    assert!(page.contains("graygate_observations_late_total"), "{page}");
}
