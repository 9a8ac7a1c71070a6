//! Numbers beside others: the same gray policy for graygate, nginx, HAProxy, Envoy and a proxy that only forwards, the
//! same requests, in turns, on one processor each. `make loadtest` runs it; `workload` says what is asked and
//! `systems` how each is configured. Prints a Markdown table and writes it to the file of `--out`.

#![expect(
    clippy::indexing_slicing,
    reason = "arrays of a fixed size, and a load test may die of its own mistake"
)]

mod systems;
mod workload;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use systems::{Stage, System};
use workload::{Request, VERSIONS, Workload};

/// Longest wait for a system to answer; a million entries take a while to read.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Requests each system answers before it is measured, to compare versions.
const SAMPLE: usize = 400;

#[derive(Parser)]
struct Arguments {
    /// Where graygate and the examples were built
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    #[arg(long, default_value = "envoy")]
    envoy: PathBuf,
    /// Numbers of rules; each is a table of its own
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    rules: Vec<usize>,
    /// Members of the list of users
    #[arg(long, default_value_t = 1_000_000)]
    users: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds a system is under load in each round
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Only the systems whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut text = heading()?;
    for rules in &arguments.rules {
        let workload = Workload { rules: *rules, users: arguments.users };
        text.push_str(&compare(&arguments, &workload)?);
    }
    print!("{text}");
    if let Some(out) = &arguments.out {
        fs::write(out, &text)?;
    }
    Ok(())
}

/// Machine, date, commit and command.
fn heading() -> Result<String> {
    let said = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
        let all = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&all).lines().next().unwrap_or_default().trim().to_owned())
    };
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = processor.matches("model name").count();
    Ok(format!(
        "{} · {cores} x {} · commit {} · {} · {} · `{}`\n",
        said("date", &["-u", "+%Y-%m-%d"])?,
        model.trim_matches([' ', '\t', ':']),
        said("git", &["describe", "--always", "--dirty"])?,
        said("nginx", &["-v"])?,
        said("haproxy", &["-v"])?,
        std::env::args().skip(1).collect::<Vec<_>>().join(" ")
    ))
}

/// A running process; killed with this, children included.
struct Running(Child);

impl Running {
    /// Started on a processor of its own where there is one to spare.
    fn start(mut command: Command, processor: &str, root: &PathBuf) -> Result<Running> {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", processor]).arg(command.get_program()).args(command.get_args());
        command = pinned;
        let log = fs::File::create(root.join("started.log"))?;
        let child =
            command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Running(child))
    }

    /// The process and everything below it.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.0.id()];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            at += 1;
        }
        family
    }

    /// Processor time so far, user and system.
    fn ticks(&self) -> u64 {
        let ticks = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<u64> = stat
                .rsplit_once(')')
                .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
                .unwrap_or_default();
            fields.get(11..13).map_or(0, |times| times.iter().sum())
        };
        self.family().iter().map(ticks).sum()
    }

    fn resident_mib(&self) -> u64 {
        let resident = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
        };
        self.family().iter().map(resident).sum::<u64>() / 1_024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let family = self.family();
        // Parents first: one that lives would start a killed child again.
        let pids: Vec<String> = family.iter().map(u32::to_string).collect();
        let _ = Command::new("kill").arg("-9").args(&pids).status();
        let _ = self.0.wait();
    }
}

/// What one round under load showed.
struct Figures {
    micros: f64,
    per_second: f64,
    latency: [f64; 3],
    failed: u64,
}

#[derive(Default)]
struct Measured {
    figures: Vec<Figures>,
    start: Duration,
    resident_mib: u64,
    mismatches: String,
}

fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let addresses: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;
    addresses.try_into().ok().context("not as many addresses as were asked for")
}

fn compare(arguments: &Arguments, workload: &Workload) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let [listen, admin, release, gray, feat] = free()?;
    let stage = Stage {
        root: directory.path().to_owned(),
        listen,
        admin,
        upstreams: [release, gray, feat],
        binaries: fs::canonicalize(&arguments.binaries)?,
        envoy: arguments.envoy.clone(),
    };
    let requests = workload.requests();
    let script = stage.root.join("requests.lua");
    fs::write(&script, workload::script(&requests))?;
    let _upstream = Running::start(systems::upstream(&stage)?, "1", &stage.root)?;
    answered(release)?;
    let mut measured: BTreeMap<usize, Measured> = BTreeMap::new();
    for round in 0..arguments.rounds {
        for (index, system) in System::ALL.into_iter().enumerate() {
            if !arguments.only.is_empty()
                && !arguments.only.iter().any(|word| system.name().contains(word.as_str()))
            {
                continue;
            }
            if system == System::Envoy && Command::new(&stage.envoy).arg("--version").output().is_err() {
                if round == 0 {
                    eprintln!("Envoy is left out: there is no {}", stage.envoy.display());
                }
                continue;
            }
            let command = system.prepare(&stage, workload)?;
            let begun = Instant::now();
            let mut running = Running::start(command, "0", &stage.root)?;
            let started = ready(&stage, system, &mut running).with_context(|| {
                let log = fs::read_to_string(stage.root.join("started.log")).unwrap_or_default();
                format!("{}: {}", system.name(), log.chars().take(2_000).collect::<String>())
            });
            started?;
            let entry = measured.entry(index).or_default();
            entry.start = begun.elapsed();
            if round == 0 && system != System::Bare {
                entry.mismatches = sample(&stage, &requests)?;
            }
            load(arguments, &stage, &script, 1, &running)?;
            entry.figures.push(load(arguments, &stage, &script, arguments.seconds, &running)?);
            entry.resident_mib = running.resident_mib();
        }
        eprintln!("{} rules: round {} of {} done", workload.rules, round + 1, arguments.rounds);
    }
    Ok(table(workload, arguments, &measured))
}

fn ready(stage: &Stage, system: System, running: &mut Running) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(stage.listen).is_err() {
        ensure!(running.0.try_wait()?.is_none(), "it ended by itself");
        ensure!(begun.elapsed() < START_LIMIT, "nobody listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    if matches!(system, System::Graygate | System::GraygateLogging) {
        while !ask(stage.admin, "/readyz", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(begun.elapsed() < START_LIMIT, "not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    answered(stage.listen)
}

fn answered(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while !ask(address, "/", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        ensure!(begun.elapsed() < START_LIMIT, "nobody answers on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn ask(address: SocketAddr, path: &str, headers: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: medical.example.com\r\nconnection: close\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Requests whose version is not the wanted one, and the share of the first version among those the percentage decides.
fn sample(stage: &Stage, requests: &[Request]) -> Result<String> {
    let (mut wrong, mut first, mut open) = (0, 0, 0);
    for request in requests.iter().take(SAMPLE) {
        let lines: String =
            request.headers().iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = ask(stage.listen, &request.path, &lines)?;
        let version = answer.lines().find_map(|line| line.strip_prefix("x-version: ")).unwrap_or_default();
        match request.expected {
            Some(expected) => wrong += usize::from(version != expected),
            None => {
                open += 1;
                first += usize::from(version == VERSIONS[0]);
                wrong += usize::from(version != VERSIONS[0] && version != "release");
            }
        }
    }
    Ok(format!("{wrong}; {:.0} %", 100.0 * first as f64 / f64::from(open.max(1))))
}

fn load(
    arguments: &Arguments,
    stage: &Stage,
    script: &PathBuf,
    seconds: u32,
    running: &Running,
) -> Result<Figures> {
    let before = running.ticks();
    let output = Command::new("taskset")
        .args(["-c", "1", "wrk", "-t1", "--timeout", "10s", "-c", &arguments.connections.to_string()])
        .args(["-d", &format!("{seconds}s"), "-s"])
        .arg(script)
        .arg(format!("http://{}/", stage.listen))
        .output()?;
    let ticks = running.ticks() - before;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(line) = said.lines().find_map(|line| line.strip_prefix("figures ")) else {
        bail!("wrk says {said} {}", String::from_utf8_lossy(&output.stderr));
    };
    let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [requests, micros, p50, p99, p999, failed] = numbers[..] else { bail!("wrk says {line}") };
    Ok(Figures {
        // A tick is 10 ms everywhere Linux runs today.
        micros: ticks as f64 * 10_000.0 / requests.max(1.0),
        per_second: requests / micros * 1e6,
        latency: [p50, p99, p999].map(|latency| latency / 1e3),
        failed: failed as u64,
    })
}

fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    let mut all: Vec<f64> = figures.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

fn table(workload: &Workload, arguments: &Arguments, measured: &BTreeMap<usize, Measured>) -> String {
    let mut text = format!(
        "\n{} rules, a list of {} users, {} connections; medians of {} rounds of {} s\n\n",
        workload.rules, workload.users, arguments.connections, arguments.rounds, arguments.seconds
    );
    text.push_str(
        "| system | processor µs a request | beside bare | beside nginx | requests/s | p50 ms | p99 ms | p99.9 ms | MiB | start s | failed | wrong; share |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let cost = |system: System| {
        let index = System::ALL.iter().position(|other| *other == system)?;
        measured.get(&index).map(|measured| median(&measured.figures, |figures| figures.micros))
    };
    let (bare, nginx) = (cost(System::Bare).unwrap_or(f64::NAN), cost(System::Nginx).unwrap_or(f64::NAN));
    for (index, measured) in measured {
        let of = |value: fn(&Figures) -> f64| median(&measured.figures, value);
        let micros = of(|figures| figures.micros);
        let _ = writeln!(
            text,
            "| {} | {micros:.1} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {:.2} | {} | {} |",
            System::ALL[*index].name(),
            micros / bare,
            micros / nginx,
            of(|figures| figures.per_second),
            of(|figures| figures.latency[0]),
            of(|figures| figures.latency[1]),
            of(|figures| figures.latency[2]),
            measured.resident_mib,
            measured.start.as_secs_f64(),
            measured.figures.iter().map(|figures| figures.failed).sum::<u64>(),
            measured.mismatches,
        );
    }
    text
}
