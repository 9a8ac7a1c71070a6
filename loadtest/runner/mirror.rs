//! What mirroring costs those who are mirrored: the same load without a mirror, with a shadow that answers, with one that
//! refuses connections, and with one that takes requests and never answers.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Arguments;
use crate::load::{Figures, median_of};
use crate::processes::{ask, free};
use crate::stage::Stage;
use crate::systems::System;
use crate::workload::{self, Workload};

const ROUNDS: usize = 3;
const SECONDS: u32 = 10;
/// How long a copy may take: shorter than a round, so that copies to a silent shadow come and go.
const PATIENCE: &str = "2s";

const SHADOWS: [&str; 4] = ["none", "answers", "is dead", "never answers"];

pub fn mirror(arguments: &Arguments) -> Result<String> {
    let stage = Stage::new(arguments)?;
    let _upstream = stage.upstream()?;
    let workload = Workload { rules: 100, users: 0 };
    let [dead] = free()?;
    let silent = Silent::start()?;
    let addresses = [None, Some(stage.upstreams[2]), Some(dead), Some(silent.address)];
    let mut text = format!(
        "\n{} rounds of {} s for each shadow, in turns, {} connections, one thread; every request is copied, 64 copies at a \
         time; medians\n\n| shadow | p50 ms | p99 ms | p99.9 ms | requests a second | µs a request | failed | MiB before | MiB \
         after | copies |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|---|\n",
        arguments.rounds(ROUNDS),
        arguments.load(SECONDS).seconds,
        arguments.connections,
    );
    let mut rounds: [Vec<Round>; 4] = Default::default();
    for _ in 0..arguments.rounds(ROUNDS) {
        for (shadow, address) in addresses.into_iter().enumerate() {
            rounds[shadow].push(round(&stage, arguments, &workload, address)?);
        }
    }
    for (name, rounds) in SHADOWS.iter().zip(rounds) {
        let (figures, others): (Vec<Figures>, Vec<_>) =
            rounds.into_iter().map(|round| (round.figures, round.held)).unzip();
        let latency = |at: usize| median_of(&figures, |figures| figures.latency[at]);
        let failed: u64 = figures.iter().map(|figures| figures.failed).sum();
        let Some((before, after, copies)) = others.into_iter().last() else { continue };
        let _ = writeln!(
            text,
            "| {name} | {:.2} | {:.2} | {:.2} | {:.0} | {:.1} | {failed} | {before} | {after} | {copies} |",
            latency(0),
            latency(1),
            latency(2),
            median_of(&figures, |figures| figures.per_second),
            median_of(&figures, |figures| figures.micros),
        );
    }
    Ok(text)
}

struct Round {
    figures: Figures,
    /// Memory before and after, and what became of the copies.
    held: (u64, u64, String),
}

fn round(
    stage: &Stage,
    arguments: &Arguments,
    workload: &Workload,
    shadow: Option<SocketAddr>,
) -> Result<Round> {
    let command = System::Graygate.prepare(stage, workload)?;
    if let Some(address) = shadow {
        let service = format!(
            "timeouts: {{request: {PATIENCE}, read: {PATIENCE}}}\ninstances: [{{address: \"{address}\", version: release}}]\n"
        );
        fs::write(stage.documents().join("services/shadow.yaml"), service)?;
        fs::write(
            stage.documents().join("routes/all.yaml"),
            "service: patient\nmirror: {service: shadow}\n",
        )?;
    }
    let running = stage.run(System::Graygate, command, "0")?;
    let script = stage.root().join("requests.lua");
    fs::write(&script, workload::script(&workload.requests()))?;
    let load = arguments.load(SECONDS);
    load.warming().wrk(stage, &script, &running)?;
    let before = running.resident_mib();
    let figures = load.wrk(stage, &script, &running)?;
    let held = (before, running.resident_mib(), copies(stage)?);
    Ok(Round { figures, held })
}

/// The counts of `graygate_mirrored_total` that are not zero.
fn copies(stage: &Stage) -> Result<String> {
    let page = ask(stage.admin, "/metrics", "")?;
    let mut found = Vec::new();
    for line in page.lines().filter(|line| line.starts_with("graygate_mirrored_total{")) {
        let (labels, count) = line.rsplit_once(' ').context("no sample")?;
        let outcome =
            labels.split("outcome=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        if count != "0" {
            found.push(format!("{count} {outcome}"));
        }
    }
    Ok(if found.is_empty() { "none".to_owned() } else { found.join(", ") })
}

/// Takes connections and whatever is sent on them, and never answers.
struct Silent {
    address: SocketAddr,
    over: Arc<AtomicBool>,
}

impl Silent {
    fn start() -> Result<Silent> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let over = Arc::new(AtomicBool::new(false));
        let ends = over.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                std::thread::spawn(move || swallow(stream));
            }
        });
        Ok(Silent { address, over })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // The thread waits for a connection.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn swallow(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(stream.read(&mut buffer), Ok(read) if read > 0) {}
}
