//! How long a change takes from the store to the first request decided by it.
//!
//! Starts an etcd, two echo upstreams and `graygate run`, pushes documents with `graygate push`, then puts changes
//! through etcd's gRPC API (what `etcdctl put` does, without starting a process for each) while one connection asks
//! the proxy without pause. Prints p50, p99 and the slowest, from sending the put and from its acknowledgement.
//! With a list, one user is added to one part of it each time; without, the outcome of one rule changes.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use etcd_client::{Client, GetOptions};

/// Longest wait for a process to answer; a list of ten million is pushed and read in less.
const START_LIMIT: Duration = Duration::from_secs(300);
/// Longest wait for one change.
const CHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Space etcd may take: history of the pushed parts included.
const QUOTA_BYTES: &str = "8589934592";

#[derive(Parser)]
struct Arguments {
    /// The program under test
    #[arg(long)]
    graygate: PathBuf,
    /// Rules in one service
    #[arg(long, default_value_t = 10_000)]
    rules: usize,
    /// Members of a list that a rule asks; 0: no list, and a rule is what changes
    #[arg(long, default_value_t = 0)]
    members: usize,
    /// Changes to measure
    #[arg(long, default_value_t = 200)]
    changes: usize,
    /// Pause between two changes, milliseconds
    #[arg(long, default_value_t = 20)]
    pause: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let stage = Stage::set(arguments).await?;
    let mut store = Client::connect([stage.etcd.as_str()], None).await?;
    let mut change = Change::first(arguments, &mut store).await?;
    let mut asking = Asking::open(stage.proxy)?;
    let before = resident_kib(stage.proxy_pid());
    let mut waits = Vec::new();
    for number in 0..arguments.changes {
        let (key, value) = change.next(number);
        let (user, wanted) = change.expects(number);
        ensure!(asking.version(&user)? != wanted, "the change {number} is in force before it is made");
        let (told, hears) = mpsc::channel();
        let asked = std::thread::spawn(move || asking.until(&user, &wanted, &told));
        // The connection is asking before the change is sent.
        hears.recv().context("nobody asks")?;
        let sent = Instant::now();
        store.put(key, value, None).await?;
        let acknowledged = Instant::now();
        let seen;
        (asking, seen) = match asked.join() {
            Ok(done) => done?,
            Err(_) => bail!("the asking thread died"),
        };
        waits.push((seen.saturating_duration_since(sent), seen.saturating_duration_since(acknowledged)));
        tokio::time::sleep(Duration::from_millis(arguments.pause)).await;
    }
    let after = resident_kib(stage.proxy_pid());
    let what = match arguments.members {
        0 => format!("one of {} rules changed", arguments.rules),
        members => format!("one user added to a list of {members}, {} rules", arguments.rules),
    };
    println!("{what}, {} times", arguments.changes);
    print_waits("from sending the put     ", waits.iter().map(|(sent, _)| *sent).collect());
    print_waits("from its acknowledgement ", waits.iter().map(|(_, acknowledged)| *acknowledged).collect());
    println!("resident memory of the proxy: {} MiB before, {} MiB after", before / 1_024, after / 1_024);
    Ok(())
}

fn print_waits(what: &str, mut waits: Vec<Duration>) {
    waits.sort();
    let at = |share: f64| {
        let place = (waits.len() as f64 * share).ceil() as usize;
        waits.get(place.saturating_sub(1)).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("{what} p50 {:6.1} ms   p99 {:6.1} ms   slowest {:6.1} ms", at(0.5), at(0.99), at(1.0));
}

/// What is put, and what it changes.
enum Change {
    /// A rule whose outcome goes back and forth.
    Rule,
    /// One part of the list, with one more line each time.
    Part { key: String, body: String },
}

impl Change {
    async fn first(arguments: &Arguments, store: &mut Client) -> Result<Change> {
        if arguments.members == 0 {
            return Ok(Change::Rule);
        }
        let options = GetOptions::new().with_prefix().with_limit(1);
        let mut parts = store.get("/graygate/lists/pilot", Some(options)).await?;
        let part = parts.take_kvs().pop().context("the list is not stored")?;
        Ok(Change::Part { key: part.key_str()?.to_owned(), body: part.value_str()?.to_owned() })
    }

    fn next(&mut self, number: usize) -> (String, String) {
        match self {
            Change::Rule => {
                let version = if number.is_multiple_of(2) { "gray" } else { "release" };
                ("/graygate/rules/probe".into(), probe_rule(version))
            }
            Change::Part { key, body } => {
                body.push_str(&format!("probe-{number}\n"));
                (key.clone(), body.clone())
            }
        }
    }

    /// Who gets which version once the change is in force.
    fn expects(&self, number: usize) -> (String, String) {
        match self {
            Change::Rule => {
                ("probe".into(), if number.is_multiple_of(2) { "gray" } else { "release" }.into())
            }
            Change::Part { .. } => (format!("probe-{number}"), "gray".into()),
        }
    }
}

fn probe_rule(version: &str) -> String {
    format!("services: [patient]\nwhen: {{attribute: header:x-user, equals: probe}}\nversion: {version}\n")
}

/// One connection that asks the proxy.
struct Asking {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Asking {
    fn open(proxy: SocketAddr) -> Result<Asking> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CHANGE_LIMIT))?;
        Ok(Asking { stream, buffer: Vec::new() })
    }

    /// Asks until the version is the wanted one, and says when that answer was there.
    fn until(mut self, user: &str, wanted: &str, told: &mpsc::Sender<()>) -> Result<(Asking, Instant)> {
        let begun = Instant::now();
        loop {
            let found = self.version(user)?;
            let now = Instant::now();
            if found == wanted {
                return Ok((self, now));
            }
            ensure!(now - begun < CHANGE_LIMIT, "not in force after {CHANGE_LIMIT:?}");
            let _ = told.send(());
        }
    }

    fn version(&mut self, user: &str) -> Result<String> {
        write!(self.stream, "GET / HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n\r\n")?;
        let head = self.head()?;
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        ensure!(head.starts_with("HTTP/1.1 200"), "the proxy answers {head}");
        let length: usize = field("content-length").context("an answer without a length")?.parse()?;
        while self.buffer.len() < length {
            self.read()?;
        }
        self.buffer.drain(..length);
        field("x-gray-version").context("an answer without a version")
    }

    fn head(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.buffer.drain(..end + 4).collect();
                return Ok(String::from_utf8(head)?);
            }
            self.read()?;
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut piece = [0; 16 << 10];
        let count = self.stream.read(&mut piece)?;
        ensure!(count > 0, "the proxy closed the connection");
        self.buffer.extend(piece.iter().take(count));
        Ok(())
    }
}

/// Everything that runs, in a directory of its own; gone with this.
struct Stage {
    children: Vec<Child>,
    etcd: String,
    proxy: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Stage {
    async fn set(arguments: &Arguments) -> Result<Stage> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().to_owned();
        let [client, peer, release, gray, proxy, admin] = free_addresses()?;
        let etcd = format!("http://{client}");
        let mut stage = Stage { children: Vec::new(), etcd: etcd.clone(), proxy, _directory: directory };
        stage.start(&mut etcd_command(client, peer, &root))?;
        for (address, version) in [(release, "release"), (gray, "gray")] {
            let mut echo = Command::new(&arguments.graygate);
            stage.start(echo.args(["echo", "--address", &address.to_string(), "--version", version]))?;
        }
        write_documents(&root.join("documents"), arguments, release, gray)?;
        for address in [client, release, gray] {
            reachable(address).await?;
        }
        let begun = Instant::now();
        let push = Command::new(&arguments.graygate)
            .args(["push", &root.join("documents").display().to_string(), "--etcd", &etcd])
            .stdout(Stdio::null())
            .status()?;
        ensure!(push.success(), "the documents were not pushed");
        println!("pushed in {:.1} s", begun.elapsed().as_secs_f64());
        let config = root.join("graygate.yaml");
        fs::write(
            &config,
            format!(
                "listen: [{{address: \"{proxy}\"}}]\nadmin: {{address: \"{admin}\"}}\nrespond_version: always\n\
                 documents: {{etcd: {{endpoints: [\"{etcd}\"]}}}}\ncache: {:?}\n",
                root.join("cache").display().to_string()
            ),
        )?;
        let begun = Instant::now();
        stage.start(Command::new(&arguments.graygate).arg("run").arg("--config").arg(&config))?;
        reachable(admin).await?;
        while !ready(admin) {
            ensure!(begun.elapsed() < START_LIMIT, "the proxy is not ready");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("ready after {:.2} s", begun.elapsed().as_secs_f64());
        Ok(stage)
    }

    fn start(&mut self, command: &mut Command) -> Result<()> {
        let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
        self.children.push(quiet.spawn().with_context(|| format!("{command:?}"))?);
        Ok(())
    }

    fn proxy_pid(&self) -> u32 {
        self.children.last().map_or(0, Child::id)
    }
}

fn etcd_command(client: SocketAddr, peer: SocketAddr, root: &Path) -> Command {
    let mut command = Command::new("etcd");
    command
        .args(["--name", "one", "--quota-backend-bytes", QUOTA_BYTES])
        .args(["--listen-client-urls", &format!("http://{client}")])
        .args(["--advertise-client-urls", &format!("http://{client}")])
        .args(["--listen-peer-urls", &format!("http://{peer}")])
        .args(["--initial-advertise-peer-urls", &format!("http://{peer}")])
        .args(["--initial-cluster", &format!("one=http://{peer}")])
        .arg("--data-dir")
        .arg(root.join("etcd"));
    command
}

fn write_documents(root: &Path, arguments: &Arguments, release: SocketAddr, gray: SocketAddr) -> Result<()> {
    for folder in ["routes", "services", "rules", "lists"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::write(root.join("routes/all.yaml"), "service: patient\n")?;
    fs::write(
        root.join("services/patient.yaml"),
        format!(
            "instances:\n  - {{address: \"{release}\", version: release}}\n  - {{address: \"{gray}\", version: gray}}\n"
        ),
    )?;
    for number in 0..arguments.rules.saturating_sub(1) {
        let rule = format!(
            "services: [patient]\nwhen:\n  all:\n    - {{attribute: header:x-user, equals: user-{number}}}\n    \
             - {{attribute: path, prefix: /p{}}}\nversion: gray\n",
            number % 100
        );
        fs::write(root.join(format!("rules/r{number:05}.yaml")), rule)?;
    }
    if arguments.members == 0 {
        fs::write(root.join("rules/probe.yaml"), probe_rule("release"))?;
        return Ok(());
    }
    let listed = "services: [patient]\nwhen: {attribute: header:x-user, in_list: pilot}\nversion: gray\n";
    fs::write(root.join("rules/probe.yaml"), listed)?;
    let mut list = std::io::BufWriter::new(fs::File::create(root.join("lists/pilot.txt"))?);
    for number in 0..arguments.members {
        writeln!(list, "member-{number:08}")?;
    }
    Ok(list.flush()?)
}

fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let addresses: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;
    addresses.try_into().ok().context("not as many addresses as were asked for")
}

async fn reachable(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        ensure!(begun.elapsed() < START_LIMIT, "nobody listens on {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

fn ready(admin: SocketAddr) -> bool {
    let asked = || -> Result<String> {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(CHANGE_LIMIT))?;
        write!(stream, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// What the system holds in memory for a process.
fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
}
