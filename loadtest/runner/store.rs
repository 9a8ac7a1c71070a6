//! An etcd of a measurement's own, with a stage's documents in it.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etcd_client::{Client, GetOptions};
use tokio::runtime::Runtime;

use crate::processes::{Running, START_LIMIT, ask, free};
use crate::stage::Stage;

/// Space it may take: the history of ten million members included.
const QUOTA_BYTES: &str = "8589934592";

pub struct Store {
    _etcd: Running,
    address: SocketAddr,
    runtime: Runtime,
    pub client: Client,
    /// How long `graygate push` took for all documents.
    pub pushed: Duration,
}

impl Store {
    /// Started, and filled with what is written in the stage's directory.
    pub fn start(stage: &Stage) -> Result<Store> {
        let [address, peer] = free()?;
        let url = format!("http://{address}");
        let mut command = Command::new("etcd");
        command.args(["--data-dir", "etcd", "--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &format!("http://{peer}"), "--log-level", "error"]);
        command.args(["--quota-backend-bytes", QUOTA_BYTES]);
        let etcd = Running::start(command, "0-1", stage.root())?;
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < START_LIMIT, "etcd does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        let begun = Instant::now();
        let mut push = Command::new(stage.binaries.join("graygate"));
        push.arg("push").arg(stage.documents()).args(["--etcd", &url]);
        let output = push.output()?;
        ensure!(output.status.success(), "not pushed: {}", String::from_utf8_lossy(&output.stderr));
        let pushed = begun.elapsed();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(Client::connect([&url], None))?;
        Ok(Store { _etcd: etcd, address, runtime, client, pushed })
    }

    /// The line of a process file that reads from here.
    pub fn documents(&self) -> String {
        format!("{{etcd: {{endpoints: [\"http://{}\"]}}}}", self.address)
    }

    pub fn wait<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(what)
    }

    pub fn put(&self, key: &str, text: &str) -> Result<()> {
        self.wait(async { Ok(self.client.clone().put(key, text, None).await.map(drop)?) })
    }

    /// A part of the list of users, and what is in it.
    pub fn part(&self) -> Result<(String, String)> {
        self.wait(async {
            let options = GetOptions::new().with_prefix().with_limit(1);
            let mut parts = self.client.clone().get("/graygate/lists/pilot", Some(options)).await?;
            let part = parts.take_kvs().pop().context("the list is not stored")?;
            Ok((part.key_str()?.to_owned(), part.value_str()?.to_owned()))
        })
    }

    /// What etcd says it sent to all of its clients so far.
    pub fn sent_bytes(&self) -> Result<f64> {
        let metrics = ask(self.address, "/metrics", "")?;
        let name = "etcd_network_client_grpc_sent_bytes_total ";
        let said = metrics.lines().find_map(|line| line.strip_prefix(name));
        Ok(said.context("etcd does not say what it sent")?.parse()?)
    }
}
