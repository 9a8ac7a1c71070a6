//! How long a change takes to decide its first request, here by a put into etcd, elsewhere by a reload; and latency and
//! failures while 100 rules a second change, beside the same load without changes and with the same writes to keys that
//! no proxy reads, in turns: what those cost is etcd's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::Arguments;
use crate::load::{Figures, median_of, percentiles};
use crate::processes::{Running, START_LIMIT, ask};
use crate::stage::Stage;
use crate::store::Store;
use crate::systems::System;
use crate::workload::{self, VERSIONS, Workload};

/// Pairs of a calm and a changing round, and how long each is.
const ROUNDS: usize = 11;
const SECONDS: u32 = 5;
/// Between two changes under load.
const PACE: Duration = Duration::from_millis(10);
/// Changes by which the way to the first request is measured: of a put, and of a reload, which takes seconds.
const PUTS: usize = 200;
const RELOADS: usize = 10;
/// Between two of them: what a change leaves to be done is done by then.
const PAUSE: Duration = Duration::from_millis(20);
/// After a reload: a signal that comes while the master process still tidies up behind the last one may be lost.
const RELOAD_PAUSE: Duration = Duration::from_millis(500);
/// Long enough for several signs of life.
const REST: Duration = Duration::from_secs(6);
/// The rule that changes, and the request that sees it.
const RULE: &str = "/graygate/rules/hospital-00000";
/// A key that no proxy reads.
const ELSEWHERE: &str = "/elsewhere/rules/hospital-00000";
const ASKED: &str = "x-hospital: h00000\r\n";

pub const WAITS: &str = "\n| from a change to the first request it decides | p50 ms | p99 ms | slowest ms | of |\n|---|--:|--:|--:|--:|\n";

pub fn changes(arguments: &Arguments) -> Result<String> {
    let workload = Workload { rules: arguments.most_rules(), users: arguments.users };
    let stage = Stage::new(arguments)?;
    let _upstream = stage.upstream()?;
    let mut waits = String::from(WAITS);
    let loads = stored(arguments, &stage, &workload, &mut waits)?;
    // A signal that the other one lost takes no figure of ours away.
    if let Err(error) = reloads(&stage, &workload, &mut waits) {
        let _ = writeln!(waits, "\nReloads were not all measured: {error}.");
    }
    Ok(waits + &loads)
}

/// What graygate does with documents from etcd; the rows of its changes go to `waits`.
fn stored(arguments: &Arguments, stage: &Stage, workload: &Workload, waits: &mut String) -> Result<String> {
    stage.write_documents(workload)?;
    let store = Store::start(stage)?;
    let command = stage.graygate(&[("documents", &store.documents())])?;
    let before = store.sent_bytes()?;
    let running = stage.run(System::Graygate, command, "0-1")?;
    let read = store.sent_bytes()? - before;
    let before = store.sent_bytes()?;
    std::thread::sleep(REST);
    let rest = (store.sent_bytes()? - before) / REST.as_secs_f64();
    let before = store.sent_bytes()?;
    let taken = first_requests(stage, (PUTS, PAUSE), |number| {
        let version = VERSIONS[(number + 1) % VERSIONS.len()];
        store.put(RULE, &rule(version))?;
        Ok((ASKED.to_owned(), version))
    })?;
    let change = (store.sent_bytes()? - before) / PUTS as f64;
    line(waits, &format!("graygate, one of {} rules put into etcd", workload.rules), taken);
    joins(stage, &store, workload, waits)?;
    let load = arguments.load(SECONDS);
    let mut text = format!(
        "\n{} rules, a list of {} users, {} connections; medians of {} rounds of {} s each, in turns:\n\n\
         | load | requests/s | processor µs a request | p50 ms | p99 ms | p99.9 ms | failed | changes a second |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
        workload.rules,
        workload.users,
        load.connections,
        arguments.rounds(ROUNDS),
        load.seconds
    );
    let micros = under_load(arguments, stage, workload, (&running, &store), &mut text)?;
    Ok(text + &on_paper(read, rest, change, micros))
}

/// What follows for a fleet, from what was measured of one proxy.
fn on_paper(read: f64, rest: f64, change: f64, micros: f64) -> String {
    let mut text = String::from("\n| what etcd sends | to this proxy | to 1,000 of them |\n|---|--:|--:|\n");
    let mut row = |what: &str, one: f64| {
        let _ = writeln!(text, "| {what} | {} | {} |", bytes(one), bytes(one * 1_000.0));
    };
    row("to read everything, at a start", read);
    row("each second at rest: signs of life, leases", rest);
    row("for a change of one rule, the answer to the put included", change);
    let _ = writeln!(
        text,
        "\n64 cores at {micros:.1} µs a request would answer {:.0} requests a second, if they shared nothing.",
        64e6 / micros
    );
    text
}

fn bytes(number: f64) -> String {
    match number {
        1e9.. => format!("{:.1} GB", number / 1e9),
        1e6.. => format!("{:.1} MB", number / 1e6),
        1e3.. => format!("{:.0} kB", number / 1e3),
        _ => format!("{number:.0} B"),
    }
}

/// One user more in one part of the list, again and again.
pub fn joins(stage: &Stage, store: &Store, workload: &Workload, waits: &mut String) -> Result<()> {
    let (key, mut part) = store.part()?;
    let taken = first_requests(stage, (PUTS, PAUSE), |number| {
        let _ = writeln!(part, "joined-{number}");
        store.put(&key, &part)?;
        Ok((format!("x-user: joined-{number}\r\n"), VERSIONS[0]))
    })?;
    let what = format!(
        "graygate, one user joins a list of {} in etcd, beside {} rules",
        workload.users, workload.rules
    );
    line(waits, &what, taken);
    Ok(())
}

fn rule(version: &str) -> String {
    format!(
        "services: [patient]\npriority: 50\nwhen: {{attribute: header:x-hospital, equals: h00000}}\nversion: {version}\n"
    )
}

/// Rounds of one kind.
struct Turns {
    what: &'static str,
    /// What is written meanwhile.
    key: Option<&'static str>,
    figures: Vec<Figures>,
    written: u64,
}

impl Turns {
    fn new(what: &'static str, key: Option<&'static str>) -> Turns {
        Turns { what, key, figures: Vec::new(), written: 0 }
    }

    fn row(&self, seconds: u32) -> String {
        let of = |value: fn(&Figures) -> f64| median_of(&self.figures, value);
        format!(
            "| {} | {:.0} | {:.1} | {:.2} | {:.2} | {:.2} | {} | {} |\n",
            self.what,
            of(|figures| figures.per_second),
            of(|figures| figures.micros),
            of(|figures| figures.latency[0]),
            of(|figures| figures.latency[1]),
            of(|figures| figures.latency[2]),
            self.figures.iter().map(|figures| figures.failed).sum::<u64>(),
            self.written / (self.figures.len() as u64 * u64::from(seconds)).max(1)
        )
    }

    /// Its p99 beside that of the turn before, round by round.
    fn beside(&self, before: &Turns) -> String {
        let pairs = self.figures.iter().zip(&before.figures);
        let mut ratios: Vec<f64> = pairs.map(|(own, other)| own.latency[1] / other.latency[1]).collect();
        let [least, middle, most] = percentiles(&mut ratios, [0.0, 0.5, 1.0]);
        format!(
            "\np99 where {} beside where {}: **{middle:.2}** (median; {least:.2} to {most:.2})\n",
            self.what, before.what
        )
    }
}

/// Rounds of each kind in turn; returns what a request costs in calm ones.
fn under_load(
    arguments: &Arguments,
    stage: &Stage,
    workload: &Workload,
    (running, store): (&Running, &Store),
    text: &mut String,
) -> Result<f64> {
    let script = stage.root().join("requests.lua");
    fs::write(&script, workload::script(&workload.requests()))?;
    let load = arguments.load(SECONDS);
    load.warming().wrk(stage, &script, running)?;
    let mut turns = [
        Turns::new("nothing changes", None),
        Turns::new("other keys of etcd change", Some(ELSEWHERE)),
        Turns::new("rules change", Some(RULE)),
    ];
    let ends = AtomicBool::new(false);
    for round in 0..arguments.rounds(ROUNDS) {
        for turn in &mut turns {
            ends.store(false, Ordering::Relaxed);
            let figures = std::thread::scope(|scope| {
                let key = turn.key;
                let writing = key.map(|key| scope.spawn(|| store.wait(put_until(store, key, &ends))));
                let figures = load.wrk(stage, &script, running);
                ends.store(true, Ordering::Relaxed);
                if let Some(writing) = writing {
                    turn.written += writing.join().ok().context("the writing thread died")??;
                }
                figures
            })?;
            turn.figures.push(figures);
        }
        eprintln!("changes: round {} of {} done", round + 1, arguments.rounds(ROUNDS));
    }
    let [calm, elsewhere, changing] = &turns;
    for turn in &turns {
        text.push_str(&turn.row(load.seconds));
    }
    for pair in [(elsewhere, calm), (changing, elsewhere), (changing, calm)] {
        text.push_str(&pair.0.beside(pair.1));
    }
    Ok(median_of(&calm.figures, |figures| figures.micros))
}

/// Puts rules until it is to end; how many it were.
async fn put_until(store: &Store, key: &str, ends: &AtomicBool) -> Result<u64> {
    let (mut pace, mut client, mut made) = (tokio::time::interval(PACE), store.client.clone(), 0);
    for version in VERSIONS.iter().cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        client.put(key, rule(version), None).await?;
        made += 1;
    }
    Ok(made)
}

/// How long each change took until a request was decided by it, in milliseconds. A change says which request sees it, by
/// its headers, and which version that gets.
fn first_requests(
    stage: &Stage,
    (times, pause): (usize, Duration),
    mut change: impl FnMut(usize) -> Result<(String, &'static str)>,
) -> Result<Vec<f64>> {
    let mut taken = Vec::new();
    for number in 0..times {
        let begun = Instant::now();
        let (asked, version) = change(number)?;
        let wanted = format!("x-version: {version}\r\n");
        // A reload may refuse a connection; that is asked again like a request decided by the old rule.
        while !ask(stage.listen, "/", &asked).is_ok_and(|answer| answer.contains(&wanted)) {
            ensure!(begun.elapsed() < START_LIMIT, "the change is not in force");
            std::thread::sleep(Duration::from_micros(200));
        }
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(pause);
    }
    Ok(taken)
}

fn reloads(stage: &Stage, workload: &Workload, text: &mut String) -> Result<()> {
    let systems = [
        (System::Nginx, None, "nginx.conf", "-HUP", ";"),
        (System::Haproxy, Some("-W"), "haproxy-hospitals.map", "-USR2", "\n"),
    ];
    for (system, flag, file, signal, end) in systems {
        let mut command = system.prepare(stage, workload)?;
        command.args(flag);
        let running = stage.run(system, command, "0-1")?;
        let file = stage.root().join(file);
        let taken = first_requests(stage, (RELOADS, RELOAD_PAUSE), |number| {
            let version = VERSIONS[(number + 1) % VERSIONS.len()];
            edit(&file, version, end)?;
            let pid = running.0.id().to_string();
            ensure!(Command::new("kill").args([signal, &pid]).status()?.success(), "not told to reload");
            Ok((ASKED.to_owned(), version))
        })?;
        line(text, &format!("{}, a reload, {} rules", system.name(), workload.rules), taken);
    }
    Ok(())
}

fn edit(file: &Path, version: &str, end: &str) -> Result<()> {
    let mut text = fs::read_to_string(file)?;
    for old in VERSIONS {
        text = text.replace(&format!("h00000 {old}{end}"), &format!("h00000 {version}{end}"));
    }
    Ok(fs::write(file, text)?)
}

fn line(text: &mut String, what: &str, mut taken: Vec<f64>) {
    let [p50, p99, slowest] = percentiles(&mut taken, [0.5, 0.99, 1.0]);
    let _ = writeln!(text, "| {what} | {p50:.1} | {p99:.1} | {slowest:.1} | {} |", taken.len());
}
