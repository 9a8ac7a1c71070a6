//! Mixed traffic for a long time while rules change, upstreams die and, in the second half, the proxy is upgraded every
//! minute. Counts requests that failed though the contract promises to save them; watches memory and file handles.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;

use crate::Arguments;
use crate::processes::{Running, answered, free};

const UPGRADE_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for the old process after an upgrade, its grace included.
const UPGRADE_LIMIT: Duration = Duration::from_secs(30);
/// How long a new process runs before its memory is first read.
const WARM: Duration = Duration::from_secs(10);
const CHANGE_EVERY: Duration = Duration::from_millis(50);
/// An upstream lives this long before the next is killed, and stays dead for this long.
const UPSTREAM_LIVES: Duration = Duration::from_secs(4);
const UPSTREAM_DEAD: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A pause of each client between two requests: this is about time, not about throughput.
const THINK: Duration = Duration::from_millis(1);
const TOLD_FAILURES: usize = 5;
/// Requests with this user are gray, always.
const ALWAYS: &str = "always";

#[derive(Default)]
struct Counts {
    ends: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    /// A POST under way to an upstream that died: it may not be sent again, and nobody promises it.
    not_promised: AtomicU64,
    wrong: AtomicU64,
    changes: AtomicU64,
    kills: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Counts {
    fn go_on(&self) -> bool {
        !self.ends.load(Ordering::Relaxed)
    }
}

/// One more.
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    Keeps,
    Closes,
    Posts,
    /// Head and body in pieces.
    Slow,
}

struct Place {
    root: PathBuf,
    binary: PathBuf,
    listen: SocketAddr,
    upstreams: [(SocketAddr, &'static str); 3],
}

pub fn soak(arguments: &Arguments, whole: Duration) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let [listen, admin, one, two, gray] = free()?;
    let place = Place {
        root: directory.path().to_owned(),
        binary: fs::canonicalize(arguments.binaries.join("graygate"))?,
        listen,
        upstreams: [(one, "release"), (two, "release"), (gray, "gray")],
    };
    place.write(admin)?;
    let mut upstreams = Vec::new();
    for number in 0..place.upstreams.len() {
        upstreams.push(place.upstream(number)?);
    }
    let proxy = place.proxy(false)?;
    answered(listen)?;
    let counts = Counts::default();
    let clients = [Client::Keeps, Client::Keeps, Client::Closes, Client::Closes, Client::Posts, Client::Slow];
    let processes = std::thread::scope(|scope| {
        for client in clients {
            let counts = &counts;
            scope.spawn(move || ask_on(listen, client, counts));
        }
        let changing = scope.spawn(|| place.change(&counts));
        let killing = scope.spawn(|| place.kill(&mut upstreams, &counts));
        let processes = watch(&place, proxy, whole, &counts);
        counts.ends.store(true, Ordering::Relaxed);
        for thread in [changing, killing] {
            thread.join().ok().context("a thread died")??;
        }
        processes
    })?;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = format!(
        "\n{} s · {} requests · **{} failed that had to be saved** · {} with the wrong version · {} POSTs lost with the \
         upstream that was reading them (not promised) · {} rule changes, each tenth broken · {} upstreams killed · {} upgrades\n\n\
         | process | lived s | MiB after {} s | MiB at its end | file handles after {} s | at its end | most |\n|---|--:|--:|--:|--:|--:|--:|\n",
        whole.as_secs(),
        number(&counts.done),
        number(&counts.failed),
        number(&counts.wrong),
        number(&counts.not_promised),
        number(&counts.changes),
        number(&counts.kills),
        processes.len() - 1,
        WARM.as_secs(),
        WARM.as_secs(),
    );
    for (index, seen) in processes.iter().enumerate() {
        let Seen { lived, mib, handles, most_handles } = seen;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {most_handles} |",
            index + 1,
            lived.as_secs(),
            mib[0],
            mib[1],
            handles[0],
            handles[1]
        );
    }
    for failure in counts.failures.lock().iter() {
        let _ = writeln!(text, "\n    {failure}");
    }
    Ok(text)
}

/// What one process of the proxy held: when warm, and at its end.
#[derive(Default)]
struct Seen {
    lived: Duration,
    mib: [u64; 2],
    handles: [usize; 2],
    most_handles: usize,
}

fn watch(place: &Place, mut proxy: Running, whole: Duration, counts: &Counts) -> Result<Vec<Seen>> {
    let begun = Instant::now();
    let mut processes = Vec::new();
    let (mut born, mut seen) = (Instant::now(), Seen::default());
    let mut next_upgrade = whole / 2;
    while begun.elapsed() < whole {
        std::thread::sleep(Duration::from_millis(500));
        ensure!(proxy.0.try_wait()?.is_none(), "the proxy ended by itself");
        let mib = proxy.resident_mib();
        let handles = fs::read_dir(format!("/proc/{}/fd", proxy.0.id()))?.count();
        if born.elapsed() < WARM || seen.handles[0] == 0 {
            (seen.mib[0], seen.handles[0]) = (mib, handles);
        }
        (seen.mib[1], seen.handles[1], seen.lived) = (mib, handles, born.elapsed());
        seen.most_handles = seen.most_handles.max(handles);
        if begun.elapsed() >= next_upgrade && whole - begun.elapsed().min(whole) > WARM {
            next_upgrade += UPGRADE_EVERY;
            let next = place.proxy(true)?;
            signal(&proxy, "-QUIT")?;
            let asked = Instant::now();
            while proxy.0.try_wait()?.is_none() {
                ensure!(asked.elapsed() < UPGRADE_LIMIT, "the old process does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
            proxy = next;
            processes.push(std::mem::take(&mut seen));
            born = Instant::now();
            eprintln!(
                "upgraded after {} s, {} failed",
                begun.elapsed().as_secs(),
                counts.failed.load(Ordering::Relaxed)
            );
        }
    }
    counts.ends.store(true, Ordering::Relaxed);
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

impl Place {
    fn write(&self, admin: SocketAddr) -> Result<()> {
        let documents = self.root.join("documents");
        for folder in ["routes", "services", "rules"] {
            fs::create_dir_all(documents.join(folder))?;
        }
        fs::write(documents.join("routes/all.yaml"), "service: patient\n")?;
        let mut service = String::from("identity: [header:x-user]\ninstances:\n");
        for (address, version) in &self.upstreams {
            let _ = writeln!(service, "  - {{address: \"{address}\", version: {version}}}");
        }
        fs::write(documents.join("services/patient.yaml"), service)?;
        let always =
            format!("priority: 20\nwhen: {{attribute: header:x-user, equals: {ALWAYS}}}\nversion: gray\n");
        fs::write(documents.join("rules/always.yaml"), always)?;
        let config = format!(
            "listen: [{{address: \"{}\"}}]\nadmin: {{address: \"{admin}\"}}\ndocuments: {{directory: documents}}\n\
             cache: cache\nrespond_version: always\naccess_log: {{path: access.log, sample: 1%}}\nshutdown: {{grace: 10s}}\n",
            self.listen
        );
        Ok(fs::write(self.root.join("graygate.yaml"), config)?)
    }

    fn proxy(&self, upgrades: bool) -> Result<Running> {
        let mut command = Command::new(&self.binary);
        command.args(["run", "--config", "graygate.yaml"]).args(upgrades.then_some("--upgrade"));
        Running::start(command, "0-1", &self.root)
    }

    fn upstream(&self, number: usize) -> Result<Running> {
        let (address, version) = self.upstreams[number];
        let mut command = Command::new(&self.binary);
        command.args(["echo", "--address", &address.to_string(), "--version", version]);
        let running = Running::start(command, "0-1", &self.root)?;
        answered(address)?;
        Ok(running)
    }

    /// A share that goes up and down; each tenth time a document that is wrong.
    fn change(&self, counts: &Counts) -> Result<()> {
        let rules: &Path = &self.root.join("documents/rules");
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
    fn kill(&self, upstreams: &mut [Running], counts: &Counts) -> Result<()> {
        for number in (0..upstreams.len()).cycle() {
            let begun = Instant::now();
            while counts.go_on() && begun.elapsed() < UPSTREAM_LIVES {
                std::thread::sleep(Duration::from_millis(100));
            }
            if !counts.go_on() {
                break;
            }
            signal(&upstreams[number], "-KILL")?;
            upstreams[number].0.wait()?;
            count(&counts.kills);
            std::thread::sleep(UPSTREAM_DEAD);
            upstreams[number] = self.upstream(number)?;
        }
        Ok(())
    }
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
                let text = error.to_string();
                let lost = matches!(client, Client::Posts | Client::Slow) && text.contains("502");
                count(if lost { &counts.not_promised } else { &counts.failed });
                let mut failures = counts.failures.lock();
                if !lost && failures.len() < TOLD_FAILURES {
                    failures.push(text);
                }
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
            stream.write_all(piece).context("cannot send slowly")?;
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
        let count = stream.read(&mut piece).context("no answer")?;
        ensure!(count > 0, "closed after {} bytes of the answer", bytes.len());
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
    ensure!(head.starts_with("http/1.1 200"), "{}", head.replace("\r\n", " "));
    let closed = field(&head, "connection") == Some("close");
    Ok((field(&head, "x-gray-version").unwrap_or_default().to_owned(), closed))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}
