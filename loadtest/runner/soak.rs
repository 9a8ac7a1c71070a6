//! Mixed traffic for a long time while rules change, upstreams die and, in the second half, the proxy is upgraded every
//! minute. Tells apart what failed though the contract promises to save it from what it does not promise; watches memory and
//! file handles.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;

use crate::Arguments;
use crate::processes::{Running, answered, ask};
use crate::stage::Stage;

/// In the second half; oftener where the whole is shorter than a quarter of an hour.
const UPGRADE_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the old process after an upgrade, its grace included.
const UPGRADE_LIMIT: Duration = Duration::from_secs(30);
/// How long a new process runs before its memory is first read.
const WARM: Duration = Duration::from_secs(10);
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// An upstream lives this long before the next is killed, and stays dead for this long.
const UPSTREAM_LIVES: Duration = Duration::from_secs(4);
const UPSTREAM_DEAD: Duration = Duration::from_secs(2);
/// A slow client's request may be on its way for this long.
const UNDER_WAY: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A pause of each client between two requests: this is about time, not about throughput.
const THINK: Duration = Duration::from_millis(1);
/// Requests with this user are gray, always.
const ALWAYS: &str = "always";
/// Of the three upstreams.
const VERSIONS: [&str; 3] = ["release", "release", "gray"];

#[derive(Default)]
struct Counts {
    ends: AtomicBool,
    done: AtomicU64,
    wrong: AtomicU64,
    changes: AtomicU64,
    kills: AtomicU64,
    /// When the last one was.
    killed: Mutex<Option<Instant>>,
    failures: Mutex<BTreeMap<Failure, u64>>,
}

/// Who got what instead of an answer, and whether the contract promises to save it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Failure {
    client: Client,
    got: String,
    is_promised: bool,
}

impl Failure {
    /// A request that is not idempotent is not sent again once an upstream has seen bytes of it, and an answer that has
    /// begun cannot be taken back; either can be under way only when an upstream is killed. Everything else has to be saved.
    fn of(client: Client, got: String, killed: Option<Instant>) -> Failure {
        let was_sent = matches!(client, Client::Posts | Client::Slow) && got.contains(" 502 ");
        let is_cut = killed.is_some_and(|at| at.elapsed() < UNDER_WAY);
        let is_promised = !(is_cut && (was_sent || got.starts_with(BROKEN_OFF)));
        Failure { client, got, is_promised }
    }
}

const BROKEN_OFF: &str = "broken off";

impl Counts {
    fn go_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }

    fn failed(&self, is_promised: bool) -> u64 {
        let failures = self.failures.lock();
        failures
            .iter()
            .filter(|(failure, _)| failure.is_promised == is_promised)
            .map(|(_, count)| count)
            .sum()
    }
}

/// One more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Client {
    Keeps,
    Closes,
    Posts,
    /// Head and body in pieces.
    Slow,
}

pub fn soak(arguments: &Arguments, whole: Duration) -> Result<String> {
    let stage = Stage::new(arguments)?;
    write_documents(&stage)?;
    let listen = stage.listen;
    let mut upstreams =
        (0..VERSIONS.len()).map(|number| upstream(&stage, number)).collect::<Result<Vec<_>>>()?;
    let first = proxy(&stage, false)?;
    answered(listen)?;
    let counts = Counts::default();
    let clients = [Client::Keeps, Client::Keeps, Client::Closes, Client::Closes, Client::Posts, Client::Slow];
    let processes = std::thread::scope(|scope| {
        for client in clients {
            let counts = &counts;
            scope.spawn(move || ask_on(listen, client, counts));
        }
        let changing = scope.spawn(|| change(&stage, &counts));
        let killing = scope.spawn(|| kill(&stage, &mut upstreams, &counts));
        let processes = watch(&stage, first, whole, &counts);
        counts.ends.store(true, Ordering::Relaxed);
        for thread in [changing, killing] {
            thread.join().ok().context("a thread died")??;
        }
        processes
    })?;
    Ok(told(whole, &counts, &processes))
}

fn told(whole: Duration, counts: &Counts, processes: &[Seen]) -> String {
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "\n{} s · {} requests · **{} failed that had to be saved** · {} failed that it does not promise to save · {} with the \
         wrong version · {} rule changes, each tenth broken · {} upstreams killed · {} upgrades\n\n\
         | process | lived s | MiB after {} s | at its end | most | file handles after {} s | at its end | most | ejections | retries its budget refused |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        whole.as_secs(),
        number(&counts.done),
        counts.failed(true),
        counts.failed(false),
        number(&counts.wrong),
        number(&counts.changes),
        number(&counts.kills),
        processes.len() - 1,
        WARM.as_secs(),
        WARM.as_secs(),
    );
    for (index, Seen { lived, mib, handles, ejections, suppressed }) in processes.iter().enumerate() {
        let ([mib, mib_end, mib_most], [handles, handles_end, handles_most]) = (mib, handles);
        let _ = writeln!(
            text,
            "| {} | {} | {mib} | {mib_end} | {mib_most} | {handles} | {handles_end} | {handles_most} | {ejections} | {suppressed} |",
            index + 1,
            lived.as_secs()
        );
    }
    let failures = counts.failures.lock();
    if !failures.is_empty() {
        text.push_str("\n| client | what it got | times | had to be saved |\n|---|---|--:|---|\n");
    }
    for (failure, times) in failures.iter() {
        let promised = if failure.is_promised { "yes" } else { "no" };
        let _ = writeln!(text, "| {:?} | {} | {times} | {promised} |", failure.client, failure.got);
    }
    text
}

/// What one process of the proxy held: when warm, at its end, and at most.
#[derive(Default)]
struct Seen {
    lived: Duration,
    mib: [u64; 3],
    handles: [u64; 3],
    ejections: u64,
    suppressed: u64,
}

impl Seen {
    fn look(&mut self, proxy: &Running, lived: Duration) -> Result<()> {
        let handles = fs::read_dir(format!("/proc/{}/fd", proxy.0.id()))?.count() as u64;
        for (seen, now) in [(&mut self.mib, proxy.resident_mib()), (&mut self.handles, handles)] {
            let [warm, end, most] = seen;
            if lived < WARM || *warm == 0 {
                *warm = now;
            }
            (*end, *most) = (now, now.max(*most));
        }
        self.lived = lived;
        Ok(())
    }

    /// What the process says of itself before it goes.
    fn ask(&mut self, stage: &Stage) -> Result<()> {
        let metrics = ask(stage.admin, "/metrics", "")?;
        let sum = |name: &str| -> u64 {
            let values = metrics.lines().filter(|line| line.starts_with(name));
            values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
        };
        self.ejections = sum("graygate_ejections_total");
        self.suppressed = sum("graygate_retries_suppressed_total");
        Ok(())
    }
}

fn watch(stage: &Stage, mut proxy: Running, whole: Duration, counts: &Counts) -> Result<Vec<Seen>> {
    let begun = Instant::now();
    let mut processes = Vec::new();
    let (mut born, mut seen) = (Instant::now(), Seen::default());
    let mut next_upgrade = whole / 2;
    while begun.elapsed() < whole {
        std::thread::sleep(Duration::from_millis(500));
        ensure!(proxy.0.try_wait()?.is_none(), "the proxy ended by itself");
        seen.look(&proxy, born.elapsed())?;
        if begun.elapsed() >= next_upgrade && whole - begun.elapsed().min(whole) > WARM {
            next_upgrade += UPGRADE_EVERY.min(whole / 8).max(WARM);
            seen.ask(stage)?;
            let next = self::proxy(stage, true)?;
            signal(&proxy, "-QUIT")?;
            let asked = Instant::now();
            while proxy.0.try_wait()?.is_none() {
                ensure!(asked.elapsed() < UPGRADE_LIMIT, "the old process does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
            proxy = next;
            processes.push(std::mem::take(&mut seen));
            born = Instant::now();
            eprintln!("upgraded after {} s, {} failed", begun.elapsed().as_secs(), counts.failed(true));
        }
    }
    counts.ends.store(true, Ordering::Relaxed);
    seen.ask(stage)?;
    processes.push(seen);
    // Clients finish what they began before the proxy goes.
    std::thread::sleep(Duration::from_secs(2));
    drop(proxy);
    Ok(processes)
}

fn signal(process: &Running, signal: &str) -> Result<()> {
    let sent = Command::new("kill").args([signal, &process.0.id().to_string()]).status()?;
    ensure!(sent.success(), "the signal was not sent");
    Ok(())
}

fn write_documents(stage: &Stage) -> Result<()> {
    let documents = stage.documents();
    for folder in ["routes", "services", "rules"] {
        fs::create_dir_all(documents.join(folder))?;
    }
    fs::write(documents.join("routes/all.yaml"), "service: patient\n")?;
    let mut service = String::from("identity: [header:x-user]\ninstances:\n");
    for (address, version) in stage.upstreams.iter().zip(VERSIONS) {
        let _ = writeln!(service, "  - {{address: \"{address}\", version: {version}}}");
    }
    fs::write(documents.join("services/patient.yaml"), service)?;
    let always =
        format!("priority: 20\nwhen: {{attribute: header:x-user, equals: {ALWAYS}}}\nversion: gray\n");
    Ok(fs::write(documents.join("rules/always.yaml"), always)?)
}

fn proxy(stage: &Stage, upgrades: bool) -> Result<Running> {
    let mut command = stage.graygate(&[
        ("threads", "2"),
        ("cache", "cache"),
        ("respond_version", "always"),
        ("access_log", "{path: access.log, sample: 1%}"),
        ("shutdown", "{grace: 10s}"),
    ])?;
    command.args(upgrades.then_some("--upgrade"));
    Running::start(command, "0-1", stage.root())
}

fn upstream(stage: &Stage, number: usize) -> Result<Running> {
    let mut command = Command::new(stage.binaries.join("graygate"));
    let address = stage.upstreams[number];
    command.args(["echo", "--address", &address.to_string(), "--version", VERSIONS[number]]);
    let running = Running::start(command, "0-1", stage.root())?;
    answered(address)?;
    Ok(running)
}

/// A share that goes up and down; each tenth time a document that is wrong.
fn change(stage: &Stage, counts: &Counts) -> Result<()> {
    let rules = stage.documents().join("rules");
    for number in 0_u64.. {
        if !counts.go_on() {
            break;
        }
        let text = match number % 10 {
            9 => "splitt: {gray: 10}\n".to_owned(),
            _ => format!("split: {{gray: {}}}\n", number % 100),
        };
        fs::write(rules.join(".share"), text)?;
        fs::rename(rules.join(".share"), rules.join("share.yaml"))?;
        count(&counts.changes);
        std::thread::sleep(CHANGE_EVERY);
    }
    Ok(())
}

/// One upstream at a time is dead, so that there is always one to save a request.
fn kill(stage: &Stage, upstreams: &mut [Running], counts: &Counts) -> Result<()> {
    for number in (0..upstreams.len()).cycle() {
        let begun = Instant::now();
        while counts.go_on() && begun.elapsed() < UPSTREAM_LIVES {
            std::thread::sleep(Duration::from_millis(100));
        }
        if !counts.go_on() {
            break;
        }
        *counts.killed.lock() = Some(Instant::now());
        signal(&upstreams[number], "-KILL")?;
        upstreams[number].0.wait()?;
        count(&counts.kills);
        std::thread::sleep(UPSTREAM_DEAD);
        upstreams[number] = upstream(stage, number)?;
    }
    Ok(())
}

fn ask_on(address: SocketAddr, client: Client, counts: &Counts) {
    let mut kept = None;
    for number in 0_u64.. {
        if !counts.go_on() {
            break;
        }
        let user = if number % 4 == 0 { ALWAYS.to_owned() } else { format!("user-{}", number % 5_000) };
        count(&counts.done);
        match exchange(address, client, &user, &mut kept) {
            Ok(version) if user == ALWAYS && version != "gray" => count(&counts.wrong),
            Ok(_) => {}
            Err(error) => {
                kept = None;
                let failure = Failure::of(client, format!("{error:#}"), *counts.killed.lock());
                *counts.failures.lock().entry(failure).or_default() += 1;
            }
        }
        std::thread::sleep(THINK);
    }
}

/// One request and its whole answer; says which version it was decided for.
fn exchange(address: SocketAddr, client: Client, user: &str, kept: &mut Option<TcpStream>) -> Result<String> {
    let mut stream = match kept.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).context("cannot connect")?,
    };
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let closes = if client == Client::Closes { "connection: close\r\n" } else { "" };
    let (method, body) = match client {
        Client::Keeps | Client::Closes => ("GET", Vec::new()),
        Client::Posts => ("POST", vec![b'x'; 64 << 10]),
        Client::Slow => ("POST", vec![b'x'; 4 << 10]),
    };
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let head = format!("{method} /orders HTTP/1.1\r\nhost: x\r\nx-user: {user}\r\n{closes}{length}\r\n");
    if client == Client::Slow {
        for piece in head.as_bytes().chunks(40).chain(body.chunks(1_024)) {
            // Here as well an answer may come before all is read; without one, reading fails.
            if stream.write_all(piece).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    } else {
        // An answer may come before all of the body is read.
        let _ = stream.write_all(&[head.as_bytes(), &body].concat());
    }
    let (version, closed) = answer(&mut stream)?;
    *kept = (!closed && client != Client::Closes).then_some(stream);
    Ok(version)
}

fn answer(stream: &mut TcpStream) -> Result<(String, bool)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 << 10]);
    let mut wanted = usize::MAX;
    let mut head = String::new();
    while bytes.len() < wanted {
        let what = if bytes.is_empty() { "no answer" } else { BROKEN_OFF };
        let count = match stream.read(&mut piece) {
            // A signal to this process says nothing about the proxy.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read.context(what)?,
        };
        ensure!(count > 0 || bytes.is_empty(), "{BROKEN_OFF} within the answer");
        ensure!(count > 0, "closed without an answer");
        bytes.extend(piece.iter().take(count));
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let (true, Some(end)) = (head.is_empty(), end) {
            head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_lowercase();
            let Some(length) = field(&head, "content-length") else {
                bail!("an answer without a length: {head}")
            };
            wanted = end + 4 + length.parse::<usize>()?;
        }
    }
    let reason = field(&head, "x-graygate-error").unwrap_or_default();
    ensure!(head.starts_with("http/1.1 200"), "{} {reason}", head.lines().next().unwrap_or_default());
    let closed = field(&head, "connection") == Some("close");
    Ok((field(&head, "x-gray-version").unwrap_or_default().to_owned(), closed))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}
