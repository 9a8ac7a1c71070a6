//! The same policy for graygate, nginx, HAProxy, Envoy and a proxy that only forwards, the same requests, in turns.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Arguments;
use crate::load::{Figures, median_of};
use crate::processes::ask;
use crate::stage::Stage;
use crate::systems::System;
use crate::workload::{self, Request, VERSIONS, Workload};

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
/// Requests each system answers before it is measured, to compare versions.
const SAMPLE: usize = 400;

#[derive(Default)]
struct Measured {
    figures: Vec<Figures>,
    start: Duration,
    resident_mib: u64,
    mismatches: String,
}

pub fn compare(arguments: &Arguments, workload: &Workload) -> Result<String> {
    let stage = Stage::new(arguments)?;
    let requests = workload.requests();
    let script = stage.root().join("requests.lua");
    fs::write(&script, workload::script(&requests))?;
    let load = arguments.load(SECONDS);
    let _upstream = stage.upstream()?;
    let mut measured: BTreeMap<usize, Measured> = BTreeMap::new();
    for round in 0..arguments.rounds(ROUNDS) {
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
            let running = stage.run(system, command, "0")?;
            let entry = measured.entry(index).or_default();
            entry.start = begun.elapsed();
            if round == 0 && system.decides() {
                entry.mismatches = sample(&stage, &requests)?;
            }
            load.warming().wrk(&stage, &script, &running)?;
            entry.figures.push(load.wrk(&stage, &script, &running)?);
            entry.resident_mib = running.resident_mib();
        }
        eprintln!("{} rules: round {} of {} done", workload.rules, round + 1, arguments.rounds(ROUNDS));
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

fn table(workload: &Workload, arguments: &Arguments, measured: &BTreeMap<usize, Measured>) -> String {
    let mut text = format!(
        "\n{} rules, a list of {} users, {} connections; medians of {} rounds of {} s\n\n",
        workload.rules,
        workload.users,
        arguments.connections,
        arguments.rounds(ROUNDS),
        arguments.load(SECONDS).seconds
    );
    text.push_str(
        "| system | processor µs a request | beside bare | beside nginx | requests/s | p50 ms | p99 ms | p99.9 ms | MiB | start s | failed | wrong; share |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    let cost = |system: System| {
        let index = System::ALL.iter().position(|other| *other == system)?;
        measured.get(&index).map(|measured| median_of(&measured.figures, |figures| figures.micros))
    };
    let (bare, nginx) = (cost(System::Bare).unwrap_or(f64::NAN), cost(System::Nginx).unwrap_or(f64::NAN));
    for (index, measured) in measured {
        let of = |value: fn(&Figures) -> f64| median_of(&measured.figures, value);
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
    if let Some(own) = cost(System::Graygate) {
        let beside = |system: &System| Some(format!("{:.2} of {}'s", own / cost(*system)?, system.name()));
        let others = System::ALL.iter().filter(|other| **other != System::Graygate);
        let all: Vec<_> = others.filter_map(beside).collect();
        let _ = writeln!(text, "\ngraygate's processor time is {}.", all.join(", "));
    }
    text
}
