//! The real binary as a child process, on ports of its own, with documents of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use super::ports::free_addresses;
use super::wire::{Connection, LIMIT, Message, request, with_body};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_graygate");

/// What is started: another build of it where the environment names one, for what is measured.
pub fn program() -> PathBuf {
    std::env::var_os("GRAYGATE_PROGRAM").map_or_else(|| BINARY.into(), PathBuf::from)
}

pub struct Proxy {
    child: Child,
    directory: Arc<TempDir>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    /// Of a configuration that begins with `also `: its second listener, which has the fields of that line.
    pub second: SocketAddr,
}

impl Proxy {
    /// Starts with the process file's further lines and with documents, and waits until it is ready.
    pub async fn start(config: &str, documents: &[(&str, &str)]) -> Proxy {
        let proxy = Proxy::start_unready(config, documents).await;
        proxy.ready().await;
        proxy
    }

    /// With documents from elsewhere, and with variables in its environment and in that of every process after it.
    pub async fn start_in(environment: &[(&str, &str)], config: &str) -> Proxy {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let lines: Vec<String> =
            environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        fs::write(directory.path().join("environment"), lines.concat()).unwrap();
        let mut proxy = Proxy::spawn(directory.clone(), config);
        while !proxy.serves().await {
            proxy = Proxy::spawn(directory.clone(), config);
        }
        proxy.ready().await;
        proxy
    }

    /// The same, until the admin address answers.
    pub async fn start_unready(config: &str, documents: &[(&str, &str)]) -> Proxy {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        fs::create_dir(directory.path().join("documents")).unwrap();
        for (name, text) in documents {
            write(&directory.path().join("documents").join(name), text);
        }
        let mut proxy = Proxy::spawn(directory.clone(), config);
        // Another process may take the ports between finding and using them.
        while !proxy.serves().await {
            proxy = Proxy::spawn(directory.clone(), config);
        }
        proxy
    }

    fn spawn(directory: Arc<TempDir>, config: &str) -> Proxy {
        let [address, admin, second] = free_addresses();
        let path = directory.path();
        let (also, config) = match config.strip_prefix("also ") {
            Some(config) => config.split_once('\n').unwrap_or((config, "")),
            None => ("", config),
        };
        let also = match also {
            "" => String::new(),
            fields => format!(", {{address: \"{second}\", {fields}}}"),
        };
        let mut text = format!(
            "threads: 2\nlisten: [{{address: \"{address}\"}}{also}]\nadmin: {{address: \"{admin}\"}}\n"
        );
        if !config.contains("documents:") {
            text.push_str(&format!("documents: {{directory: {}}}\n", path.join("documents").display()));
        }
        if !config.contains("upgrade_socket:") {
            text.push_str(&format!("upgrade_socket: {}\n", path.join("upgrade.sock").display()));
        }
        if !config.contains("access_log:") {
            text.push_str(&format!("access_log: {{path: {}}}\n", path.join("access.log").display()));
        }
        if let Some(way) = std::env::var_os("GRAYGATE_SHORT_PATH").filter(|_| !config.contains("short_path:"))
        {
            text.push_str(&format!("short_path: {}\n", way.display()));
        }
        fs::write(path.join("graygate.yaml"), text + config).unwrap();
        let child = Proxy::run(path, &[]);
        Proxy { child, directory, address, admin, second }
    }

    /// A second process that takes over what this one listens with, once this one gets SIGQUIT.
    pub fn successor(&self) -> Proxy {
        let child = Proxy::run(self.directory.path(), &["--upgrade"]);
        Proxy { child, directory: self.directory.clone(), ..*self }
    }

    /// The same files and addresses, after this process has ended.
    pub fn again(&self) -> Proxy {
        let child = Proxy::run(self.directory.path(), &[]);
        Proxy { child, directory: self.directory.clone(), ..*self }
    }

    /// What it says goes behind what an earlier process said.
    fn run(path: &Path, further: &[&str]) -> Child {
        let output = |name| {
            let file = fs::OpenOptions::new().append(true).create(true).open(path.join(name));
            Stdio::from(file.unwrap())
        };
        let mut command = Command::new(program());
        let environment = fs::read_to_string(path.join("environment")).unwrap_or_default();
        command.envs(environment.lines().filter_map(|line| line.split_once('=')));
        // A test that bound it plays the service manager.
        let manager = path.join("notify.sock");
        if manager.exists() {
            command.env("NOTIFY_SOCKET", manager);
            // systemd tells the watchdog's period to what it starts, and not to what a reload starts.
            if further.is_empty() {
                command.env("WATCHDOG_USEC", "100000");
            }
        }
        command
            .args(["run", "--config"])
            .arg(path.join("graygate.yaml"))
            .args(further)
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap()
    }

    /// Waits until the admin address answers; false where a port was taken by another process.
    async fn serves(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let errors = self.stderr();
                assert!(errors.contains("cannot listen on"), "ended with {status}:\n{errors}");
                return false;
            }
            if tokio::net::TcpStream::connect(self.admin).await.is_ok()
                && tokio::net::TcpStream::connect(self.address).await.is_ok()
            {
                return true;
            }
            assert!(begun.elapsed() < LIMIT, "does not listen:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until `/readyz` says 200.
    #[track_caller]
    pub fn ready(&self) -> impl Future<Output = ()> {
        let admin = self.admin;
        until(async move || ask(admin, request("GET", "/readyz", &[])).await.status() == 200)
    }

    /// One request on a connection of its own.
    pub async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Message {
        ask(self.address, request("GET", target, headers)).await
    }

    /// The body of the answer to one request.
    pub async fn served_by(&self, target: &str, headers: &[(&str, &str)]) -> String {
        self.get(target, headers).await.text()
    }

    /// Bytes on a connection of their own, and the first answer to them.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Message {
        ask(self.address, bytes).await
    }

    pub async fn connect(&self) -> Connection {
        Connection::open(self.address).await
    }

    pub async fn ask_admin(&self, target: &str) -> Message {
        ask(self.admin, request("GET", target, &[])).await
    }

    pub async fn status(&self) -> Value {
        let answer = self.ask_admin("/status").await;
        assert_eq!(answer.status(), 200);
        answer.json()
    }

    pub async fn explain(&self, question: &Value) -> Message {
        ask(self.admin, with_body("POST", "/explain", &question.to_string())).await
    }

    pub async fn metrics(&self) -> Samples {
        let answer = self.ask_admin("/metrics").await;
        assert_eq!(answer.status(), 200);
        Samples::parse(&answer.text())
    }

    /// Waits until a sample has a value: what a request counts is counted when it has ended.
    #[track_caller]
    pub fn metric_becomes(
        &self,
        name: &'static str,
        labels: &'static [(&'static str, &'static str)],
        value: f64,
    ) -> impl Future<Output = ()> {
        until(async move || self.metrics().await.get(name, labels) == Some(value))
    }

    /// Waits until no client is connected, those that looked whether it listens included.
    #[track_caller]
    pub fn all_closed(&self) -> impl Future<Output = ()> {
        until(async move || self.metrics().await.sum("graygate_connections") == 0.0)
    }

    /// Writes a document in one step, as an editor or a deployment does.
    pub fn write(&self, name: &str, text: &str) {
        write(&self.file("documents").join(name), text);
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.file("documents").join(name)).unwrap();
    }

    /// A file in the process's own directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(self.file("stderr")).unwrap_or_default()
    }

    /// The access log, once it has this many lines.
    #[track_caller]
    pub fn logged(&self, lines: usize) -> impl Future<Output = Vec<Value>> {
        let waiting = until(async move || self.log().len() >= lines);
        async move {
            waiting.await;
            let log = self.log();
            assert_eq!(log.len(), lines, "{log:?}");
            log
        }
    }

    /// The lines of the access log so far.
    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it the hard way, and starts it again with its files, on ports of its own.
    pub async fn restart(mut self, config: &str) -> Proxy {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut proxy = Proxy::spawn(self.directory.clone(), config);
        assert!(proxy.serves().await);
        proxy
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < LIMIT, "does not end:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy said:\n{}", self.stderr());
        }
    }
}

async fn ask(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Message {
    Connection::open(address).await.ask(bytes).await
}

/// Into place in one step: no one sees half a file.
pub fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let unfinished = path.with_file_name(format!(".{name}.new"));
    fs::write(&unfinished, text).unwrap();
    fs::rename(unfinished, path).unwrap();
}

/// Waits until an asynchronous condition holds; fails the test, naming the caller, when it does not in time.
#[track_caller]
pub fn until(mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let begun = Instant::now();
        while !holds().await {
            assert!(begun.elapsed() < LIMIT, "{caller}: not within {LIMIT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A page of metrics, read strictly: a line that is no sample fails the test.
#[derive(Debug)]
pub struct Samples(pub Vec<Sample>);

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Samples {
    pub fn parse(page: &str) -> Samples {
        assert!(page.ends_with('\n'));
        let mut types = Vec::new();
        let mut samples = Vec::new();
        for line in page.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.split(' ');
                let (kind, name) = (words.next().unwrap(), words.next().unwrap());
                assert!(matches!(kind, "HELP" | "TYPE"), "{line}");
                if kind == "TYPE" {
                    assert!(!types.contains(&name.to_string()), "{name} comes twice");
                    types.push(name.to_string());
                }
                continue;
            }
            let sample = Sample::parse(line);
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| sample.name.strip_suffix(end));
            let typed = |name: &str| types.iter().any(|known| known == name);
            assert!(typed(&sample.name) || family.is_some_and(typed), "no type before {line}");
            samples.push(sample);
        }
        Samples(samples)
    }

    /// The value of the one sample with exactly these labels.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let mut found = self.0.iter().filter(|sample| sample.name == name && sample.labels == wanted);
        let value = found.next().map(|sample| sample.value);
        assert!(found.next().is_none(), "{name} {labels:?} comes twice");
        value
    }

    /// The sum over all samples of a name.
    pub fn sum(&self, name: &str) -> f64 {
        self.0.iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
            None => (series, ""),
        };
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{line}");
        let pair = |label: &str| {
            let (key, value) = label.split_once('=').unwrap_or_else(|| panic!("no label: {line}"));
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            (key.to_string(), value.unwrap_or_else(|| panic!("no label: {line}")).to_string())
        };
        // Names of documents have no comma, so no label's value has one here.
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(pair).collect();
        Sample { name: name.to_string(), labels, value: value.parse().unwrap() }
    }
}
