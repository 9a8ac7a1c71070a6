//! How long a start takes with ten thousand rules and ten million listed users, from a directory, from etcd and from the
//! cache alone; how long one user more takes then; and how much memory a proxy of the demo's documents holds.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Arguments;
use crate::changes;
use crate::load::{median, percentiles};
use crate::processes::{Running, START_LIMIT};
use crate::stage::Stage;
use crate::store::Store;
use crate::systems::System;
use crate::workload::Workload;

const ROUNDS: usize = 5;
/// A file that has not grown for this long is written.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a proxy rests before its idle memory is read.
const IDLE: Duration = Duration::from_secs(3);

pub fn start(arguments: &Arguments) -> Result<String> {
    let stage = Stage::new(arguments)?;
    let _upstream = stage.upstream()?;
    let workload = Workload { rules: arguments.most_rules(), users: arguments.most_users };
    stage.write_documents(&workload)?;
    let mut text = format!(
        "\n{} rules and a list of {} users; from the start of the process to the first answer from an upstream, and what \
         it holds then, medians of {}\n\n| start | s | slowest s | MiB |\n|---|--:|--:|--:|\n",
        workload.rules,
        workload.users,
        arguments.rounds(ROUNDS)
    );
    let mut row = |what: &str, settings: &[(&str, &str)]| {
        let (mut waits, mut held) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds(ROUNDS) {
            let begun = Instant::now();
            let running = begin(&stage, settings)?;
            waits.push(begun.elapsed().as_secs_f64());
            held.push(running.resident_mib() as f64);
        }
        let [middle, slowest] = percentiles(&mut waits, [0.5, 1.0]);
        let _ = writeln!(text, "| {what} | {middle:.2} | {slowest:.2} | {:.0} |", median(held));
        anyhow::Ok(())
    };
    row("from a directory", &[])?;
    let store = Store::start(&stage)?;
    let from_etcd = store.documents();
    row("from etcd", &[("documents", &from_etcd)])?;
    let settings: &[(&str, &str)] = &[("documents", &from_etcd), ("cache", "cache")];
    let mut waits = String::from(changes::WAITS);
    {
        let _running = begin(&stage, settings)?;
        changes::joins(&stage, &store, &workload, &mut waits)?;
        settled(&stage)?;
    }
    let pushed = store.pushed.as_secs_f64();
    drop(store);
    row("from the cache, with etcd away", settings)?;
    let idle = idle(&stage)?;
    let _ = writeln!(
        text,
        "\n`graygate push` of all of it took {pushed:.0} s. With the demo's documents an idle proxy holds **{idle} MiB**."
    );
    Ok(text + &waits)
}

/// With both processors, as an operator would run it.
fn begin(stage: &Stage, settings: &[(&str, &str)]) -> Result<Running> {
    let command = stage.graygate(&[&[("threads", "2")], settings].concat())?;
    stage.run(System::Graygate, command, "0-1")
}

/// Waits until a cache is written.
fn settled(stage: &Stage) -> Result<()> {
    let size = || -> u64 {
        let files = fs::read_dir(stage.root().join("cache")).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    let begun = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    while last == 0 || since.elapsed() < SETTLED {
        ensure!(begun.elapsed() < START_LIMIT, "the cache is not written");
        let now = size();
        if now != last {
            (last, since) = (now, Instant::now());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn idle(stage: &Stage) -> Result<u64> {
    let documents = format!("{{directory: {:?}}}", fs::canonicalize("conf/documents")?);
    let mut command: Command = stage.graygate(&[("threads", "2"), ("documents", &documents)])?;
    command.stdin(Stdio::null());
    let mut running = Running::start(command, "0-1", stage.root())?;
    std::thread::sleep(IDLE);
    ensure!(running.0.try_wait()?.is_none(), "the proxy does not run");
    Ok(running.resident_mib())
}
