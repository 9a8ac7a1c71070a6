//! Each setting of the whole path against its opposite: the program as it is and one with a single setting undone, on the
//! same requests in turns, so that every round gives a ratio of its own.
//!
//! `make settings` builds them: one program for each patch of `loadtest/settings`, whose first line says what it undoes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Arguments;
use crate::load::{Figures, Load, median};
use crate::processes::Running;
use crate::stage::Stage;
use crate::systems::System;
use crate::workload::{self, Workload};

const ROUNDS: usize = 7;
const SECONDS: u32 = 2;
/// Threads of the proxy and connections to it: a processor of its own, and many connections with the threads of two.
const SITUATIONS: [(&str, u32); 2] = [("1", 64), ("2", 512)];

/// One program under test.
struct Variant {
    /// What was done to it.
    what: String,
    binary: PathBuf,
    /// By situation.
    measured: [Vec<(Figures, u64)>; SITUATIONS.len()],
}

pub fn settings(arguments: &Arguments, patches: &Path) -> Result<String> {
    let stage = Stage::new(arguments)?;
    let workload = Workload { rules: arguments.rules[0], users: arguments.users };
    stage.write_documents(&workload)?;
    let script = stage.root().join("requests.lua");
    fs::write(&script, workload::script(&workload.requests()))?;
    let _upstream = stage.upstream()?;
    let mut variants = variants(arguments, patches, &stage)?;
    for round in 0..arguments.rounds(ROUNDS) {
        for (number, (threads, connections)) in SITUATIONS.into_iter().enumerate() {
            for variant in &mut variants {
                let mut command = stage.graygate(&[("threads", threads)])?;
                command = replaced(&variant.binary, &command);
                let running = stage.run(System::Graygate, command, "0")?;
                let load = Load { connections, ..arguments.load(SECONDS) };
                variant.measured[number].push(one(load, &stage, &script, &running)?);
            }
        }
        eprintln!("round {} of {} done", round + 1, arguments.rounds(ROUNDS));
    }
    Ok(table(&workload, arguments, &variants))
}

/// The program as it is comes first.
fn variants(arguments: &Arguments, patches: &Path, stage: &Stage) -> Result<Vec<Variant>> {
    let built = arguments.binaries.join("../settings");
    let of = |what: &str, binary: PathBuf| -> Result<Variant> {
        let binary = fs::canonicalize(&binary).with_context(|| binary.display().to_string())?;
        Ok(Variant { what: what.to_owned(), binary, measured: Default::default() })
    };
    let mut found = vec![
        of("as it is", built.join("as-it-is"))?,
        of("as it is, with link-time optimisation (a release)", stage.binaries.join("graygate"))?,
    ];
    let mut files: Vec<PathBuf> =
        fs::read_dir(patches)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "patch")) {
        let text = fs::read_to_string(file)?;
        let name = file.file_stem().unwrap_or_default();
        found.push(of(text.lines().next().unwrap_or_default(), built.join(name))?);
    }
    Ok(found)
}

/// The same command for another program.
fn replaced(binary: &Path, command: &std::process::Command) -> std::process::Command {
    let mut other = std::process::Command::new(binary);
    other.args(command.get_args());
    other
}

fn one(load: Load, stage: &Stage, script: &Path, running: &Running) -> Result<(Figures, u64)> {
    load.warming().wrk(stage, script, running)?;
    Ok((load.wrk(stage, script, running)?, running.resident_mib()))
}

fn table(workload: &Workload, arguments: &Arguments, variants: &[Variant]) -> String {
    let mut text = format!(
        "\n{} rules, a list of {} users; medians of {} rounds of {} s. Beside the first: the median of the rounds' ratios, and \
         the least and the greatest of them.\n",
        workload.rules,
        workload.users,
        arguments.rounds(ROUNDS),
        arguments.load(SECONDS).seconds
    );
    for (number, (threads, connections)) in SITUATIONS.into_iter().enumerate() {
        let _ = write!(
            text,
            "\n{connections} connections, {threads} threads\n\n\
             | graygate | processor µs a request | beside the first | least | greatest | p50 ms | p99 ms | MiB | failed |\n\
             |---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        let Some(first) = variants.first() else { continue };
        for variant in variants {
            let figures = &variant.measured[number];
            let mut ratios: Vec<f64> = std::iter::zip(figures, &first.measured[number])
                .map(|((own, _), (other, _))| own.micros / other.micros)
                .collect();
            ratios.sort_by(f64::total_cmp);
            let of = |value: fn(&Figures) -> f64| median(figures.iter().map(|(figures, _)| value(figures)));
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} | {} |",
                variant.what,
                of(|figures| figures.micros),
                median(ratios.iter().copied()),
                ratios.first().unwrap_or(&f64::NAN),
                ratios.last().unwrap_or(&f64::NAN),
                of(|figures| figures.latency[0]),
                of(|figures| figures.latency[1]),
                median(figures.iter().map(|(_, mib)| *mib as f64)),
                figures.iter().map(|(figures, _)| figures.failed).sum::<u64>(),
            );
        }
    }
    text
}
