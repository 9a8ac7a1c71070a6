//! A proxy of its own for a test: the binary, its documents, and what it says about itself.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::faults::upstream::Upstream;
use crate::faults::wire::Client;
use crate::harness::ports::free_addresses;

/// Longest wait for anything a test expects to happen.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// A service of a test: its gray and release instances and the rest of its document.
pub struct Service<'a> {
    pub name: &'a str,
    pub gray: &'a [&'a Upstream],
    pub release: &'a [&'a Upstream],
    /// Further lines of the service's document.
    pub more: &'a str,
}

pub struct Graygate {
    child: Child,
    directory: TempDir,
    pub address: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Graygate {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Graygate {
    /// Runs until it is dropped. A request to `/name` goes to service `name`, and with the header `x-gray` to gray.
    pub async fn start(services: &[Service<'_>]) -> Graygate {
        let directory = TempDir::new().unwrap();
        let [address, admin] = free_addresses();
        let config = format!(
            "threads: 2\nlisten: [{{address: \"{address}\"}}]\nadmin: {{address: \"{admin}\"}}\n\
             documents: {{directory: documents}}\naccess_log: {{path: access.log}}\nshutdown: {{grace: 1s}}\n"
        );
        std::fs::write(directory.path().join("config.yaml"), config).unwrap();
        write(
            &directory,
            "rules/gray.yaml",
            "when: {attribute: header:x-gray, exists: true}\nversion: gray\n",
        );
        for service in services {
            write_service(&directory, service);
        }
        let log = std::fs::File::create(directory.path().join("process.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_graygate"))
            .args(["run", "--config", "config.yaml"])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let graygate = Graygate { child, directory, address, admin };
        graygate.wait_until_ready().await;
        graygate
    }

    async fn wait_until_ready(&self) {
        let begun = Instant::now();
        while self.ask("/readyz").await.is_none_or(|(status, _)| status != 200) {
            assert!(begun.elapsed() < PATIENCE, "not ready: {}", self.file("process.log"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks the admin address.
    async fn ask(&self, path: &str) -> Option<(u16, String)> {
        let mut client = Client::connect(self.admin).await.ok()?;
        let answer = client.get(path).await?;
        Some((answer.status, answer.text()))
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.address).await.unwrap()
    }

    /// The state of an instance, as `/status` says it.
    pub async fn state(&self, service: &str, instance: &Upstream) -> String {
        let status: serde_json::Value = serde_json::from_str(&self.ask("/status").await.unwrap().1).unwrap();
        let versions = status["services"][service]["versions"].as_object().unwrap().clone();
        let all = versions.values().flat_map(|version| version["instances"].as_array().unwrap().clone());
        let mut of_address = all.filter(|one| one["address"] == instance.address.to_string());
        of_address.next().map_or("absent".into(), |one| one["state"].as_str().unwrap().into())
    }

    pub async fn wait_for_state(&self, service: &str, instance: &Upstream, expected: &str) {
        let begun = Instant::now();
        loop {
            let state = self.state(service, instance).await;
            if state == expected {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{state} and not {expected}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The sum of all samples of a metric whose labels contain all of `labels`.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (_, page) = self.ask("/metrics").await.unwrap();
        let lines = page.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Waits for a count: a request is counted a moment after its answer is sent.
    pub async fn wait_for_metric(&self, name: &str, labels: &[&str], expected: f64) {
        let begun = Instant::now();
        while self.metric(name, labels).await != expected {
            assert!(begun.elapsed() < PATIENCE, "{name} {labels:?} never was {expected}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Writes one document, as the whole file at once.
    pub fn write(&self, path: &str, text: &str) {
        write(&self.directory, path, text);
    }

    /// Waits until a revision runs that was written after this call's documents.
    pub async fn running_revision(&self) -> f64 {
        self.metric("graygate_revision", &["running"]).await
    }

    pub async fn wait_for_revision_after(&self, before: f64) {
        let begun = Instant::now();
        while self.running_revision().await <= before {
            assert!(begun.elapsed() < PATIENCE, "no new revision: {}", self.file("process.log"));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }

    /// The last access log line of a path.
    pub async fn logged(&self, path: &str) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let log = self.file("access.log");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            if let Some(line) = lines.rev().find(|line| line["path"] == path) {
                return line;
            }
            assert!(begun.elapsed() < PATIENCE, "no line of {path}: {log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn write_service(directory: &TempDir, service: &Service<'_>) {
    let name = service.name;
    let mut text = String::from("instances:\n");
    for (version, instances) in [("gray", service.gray), ("release", service.release)] {
        for one in instances {
            text.push_str(&format!("  - {{address: \"{}\", version: {version}}}\n", one.address));
        }
    }
    text.push_str(service.more);
    write(directory, &format!("services/{name}.yaml"), &text);
    write(
        directory,
        &format!("routes/{name}.yaml"),
        &format!("paths: [{{prefix: /{name}}}]\nservice: {name}\n"),
    );
}

fn write(directory: &TempDir, path: &str, text: &str) {
    let file: PathBuf = directory.path().join("documents").join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    // Renamed into place, as editors and deployments do: a half-written document is another test's business.
    let fresh = directory.path().join(path.replace('/', "-"));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, file).unwrap();
}
