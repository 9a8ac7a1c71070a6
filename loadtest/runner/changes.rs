//! Latency and failures while 100 rules a second change, beside the same load without changes in the same run; and how
//! long a change takes to decide its first request, here by a put into etcd, elsewhere by a reload.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etcd_client::Client;

use crate::Arguments;
use crate::compare::{Figures, load, median};
use crate::processes::{Running, START_LIMIT, answered, ask, free, ready};
use crate::systems::{self, Stage, System};
use crate::workload::{self, VERSIONS, Workload};

/// Between two changes under load.
const PACE: Duration = Duration::from_millis(10);
/// Changes by which the way to the first request is measured: of a put, and of a reload, which takes seconds.
const PUTS: usize = 100;
const RELOADS: usize = 10;
/// The rule that changes, and the request that sees it.
const RULE: &str = "/graygate/rules/hospital-00000";
const ASKED: &str = "x-hospital: h00000\r\n";

pub fn changes(arguments: &Arguments) -> Result<String> {
    let mut calm_text = String::from(
        "\n| load | requests/s | p50 ms | p99 ms | p99.9 ms | failed | changes a second |\n|---|--:|--:|--:|--:|--:|--:|\n",
    );
    let mut waits_text = String::from(
        "\n| from a change of one rule to the first request it decides | p50 ms | p99 ms | slowest ms | of |\n|---|--:|--:|--:|--:|\n",
    );
    for rules in &arguments.rules {
        let workload = Workload { rules: *rules, users: arguments.users };
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
        let _upstream = Running::start(systems::upstream(&stage)?, "1", &stage.root)?;
        answered(release)?;
        with_etcd(arguments, &stage, &workload, &mut calm_text, &mut waits_text)?;
        reloads(&stage, &workload, &mut waits_text)?;
    }
    Ok(calm_text + &waits_text)
}

fn with_etcd(
    arguments: &Arguments,
    stage: &Stage,
    workload: &Workload,
    loads: &mut String,
    waits: &mut String,
) -> Result<()> {
    let [client, peer] = free()?;
    let etcd = format!("http://{client}");
    let mut command = Command::new("etcd");
    command.args(["--data-dir", "etcd", "--listen-client-urls", &etcd, "--advertise-client-urls", &etcd]);
    command.args(["--listen-peer-urls", &format!("http://{peer}"), "--log-level", "error"]);
    let _etcd = Running::start(command, "0-1", &stage.root)?;
    let begun = Instant::now();
    while std::net::TcpStream::connect(client).is_err() {
        ensure!(begun.elapsed() < START_LIMIT, "etcd does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    let command = System::Graygate.prepare(stage, workload)?;
    let documents = stage.root.join("documents");
    let pushed = Command::new(stage.binaries.join("graygate"))
        .arg("push")
        .arg(&documents)
        .args(["--etcd", &etcd])
        .output()?;
    ensure!(pushed.status.success(), "not pushed: {}", String::from_utf8_lossy(&pushed.stderr));
    let config = stage.root.join("graygate.yaml");
    let text = fs::read_to_string(&config)?
        .replace("{directory: documents}", &format!("{{etcd: {{endpoints: [\"{etcd}\"]}}}}"));
    fs::write(&config, text)?;
    let mut running = Running::start(command, "0-1", &stage.root)?;
    ready(stage, System::Graygate, &mut running)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut store = runtime.block_on(Client::connect([&etcd], None))?;
    let sent_before = sent_bytes(client)?;
    let taken = first_requests(stage, PUTS, |version| {
        runtime.block_on(store.put(RULE, rule(version), None))?;
        Ok(())
    })?;
    line(waits, &format!("graygate, a put into etcd, {} rules", workload.rules), taken);
    let bytes = (sent_bytes(client)? - sent_before) / PUTS as f64;
    let _ = writeln!(
        waits,
        "| bytes etcd sends for such a change, its answer to the put included: {bytes:.0} | | | | |"
    );
    under_load(arguments, stage, workload, &running, &runtime, &store, loads)
}

/// What etcd says it sent to all of its clients so far.
fn sent_bytes(etcd: SocketAddr) -> Result<f64> {
    let metrics = ask(etcd, "/metrics", "")?;
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("etcd_network_client_grpc_sent_bytes_total "));
    Ok(line.context("etcd does not say what it sent")?.parse()?)
}

fn rule(version: &str) -> String {
    format!(
        "services: [patient]\npriority: 50\nwhen: {{attribute: header:x-hospital, equals: h00000}}\nversion: {version}\n"
    )
}

/// Calm and changing rounds in turn.
fn under_load(
    arguments: &Arguments,
    stage: &Stage,
    workload: &Workload,
    running: &Running,
    runtime: &tokio::runtime::Runtime,
    store: &Client,
    text: &mut String,
) -> Result<()> {
    let script = stage.root.join("requests.lua");
    fs::write(&script, workload::script(&workload.requests()))?;
    load(arguments, stage, &script, 1, running)?;
    let (mut calm, mut changing) = (Vec::new(), Vec::new());
    let (made, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    for _ in 0..arguments.rounds {
        calm.push(load(arguments, stage, &script, arguments.seconds, running)?);
        ends.store(false, Ordering::Relaxed);
        let figures = std::thread::scope(|scope| {
            let putting = scope.spawn(|| runtime.block_on(put_until(store.clone(), &ends, &made)));
            let figures = load(arguments, stage, &script, arguments.seconds, running);
            ends.store(true, Ordering::Relaxed);
            putting.join().ok().context("the changing thread died")??;
            figures
        })?;
        changing.push(figures);
    }
    let seconds = (arguments.rounds as u64 * u64::from(arguments.seconds)).max(1);
    let mut row = |what: &str, figures: &[Figures], made: u64| {
        let of = |value: fn(&Figures) -> f64| median(figures, value);
        let failed: u64 = figures.iter().map(|figures| figures.failed).sum();
        let _ = writeln!(
            text,
            "| {} rules, {what} | {:.0} | {:.2} | {:.2} | {:.2} | {failed} | {} |",
            workload.rules,
            of(|figures| figures.per_second),
            of(|figures| figures.latency[0]),
            of(|figures| figures.latency[1]),
            of(|figures| figures.latency[2]),
            made / seconds
        );
    };
    row("nothing changes", &calm, 0);
    row("rules change", &changing, made.load(Ordering::Relaxed));
    let p99 = |figures: &[Figures]| median(figures, |figures| figures.latency[1]);
    let _ = writeln!(text, "| ratio of p99 | | | {:.2} | | | |", p99(&changing) / p99(&calm));
    Ok(())
}

async fn put_until(mut store: Client, ends: &AtomicBool, made: &AtomicU64) -> Result<()> {
    let mut pace = tokio::time::interval(PACE);
    for version in VERSIONS.iter().cycle() {
        if ends.load(Ordering::Relaxed) {
            break;
        }
        pace.tick().await;
        store.put(RULE, rule(version), None).await?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// How long each change took until a request was decided by it, in milliseconds.
fn first_requests(
    stage: &Stage,
    times: usize,
    mut change: impl FnMut(&str) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut taken = Vec::new();
    for version in VERSIONS.iter().rev().cycle().take(times) {
        let wanted = format!("x-version: {version}\r\n");
        let begun = Instant::now();
        change(version)?;
        // A reload may refuse a connection; that is asked again like a request decided by the old rule.
        while !ask(stage.listen, "/", ASKED).is_ok_and(|answer| answer.contains(&wanted)) {
            ensure!(begun.elapsed() < START_LIMIT, "the change is not in force");
            std::thread::sleep(Duration::from_micros(200));
        }
        taken.push(begun.elapsed().as_secs_f64() * 1e3);
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
        let mut running = Running::start(command, "0-1", &stage.root)?;
        ready(stage, system, &mut running)?;
        let file = stage.root.join(file);
        let taken = first_requests(stage, RELOADS, |version| {
            edit(&file, version, end)?;
            let pid = running.0.id().to_string();
            ensure!(Command::new("kill").args([signal, &pid]).status()?.success(), "not told to reload");
            Ok(())
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
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken[((taken.len() as f64 * share).ceil() as usize).saturating_sub(1)];
    let _ =
        writeln!(text, "| {what} | {:.1} | {:.1} | {:.1} | {} |", at(0.5), at(0.99), at(1.0), taken.len());
}
