//! The same policy for graygate, nginx, HAProxy, Envoy and a proxy that only forwards, the same requests, in turns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::Arguments;
use crate::processes::{Running, answered, ask, free, ready};
use crate::systems::{self, Stage, System};
use crate::workload::{self, Request, VERSIONS, Workload};

/// Requests each system answers before it is measured, to compare versions.
const SAMPLE: usize = 400;

/// What one round under load showed.
pub struct Figures {
    pub micros: f64,
    pub per_second: f64,
    pub latency: [f64; 3],
    pub failed: u64,
}

#[derive(Default)]
struct Measured {
    figures: Vec<Figures>,
    start: Duration,
    resident_mib: u64,
    mismatches: String,
}

pub fn compare(arguments: &Arguments, workload: &Workload) -> Result<String> {
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

pub fn load(
    arguments: &Arguments,
    stage: &Stage,
    script: &Path,
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

pub fn median(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
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
