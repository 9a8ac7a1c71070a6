//! How long a start takes that has nothing but its cache, and how much memory a proxy of the demo's documents holds.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::Arguments;
use crate::processes::{Running, START_LIMIT, free, ready};
use crate::systems::{Stage, System};
use crate::workload::Workload;

const RULES: usize = 10_000;
const MEMBERS: usize = 10_000_000;
/// A file that has not grown for this long is written.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a proxy rests before its idle memory is read.
const IDLE: Duration = Duration::from_secs(3);

pub fn start(arguments: &Arguments) -> Result<String> {
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
    let _upstream = Running::start(crate::systems::upstream(&stage)?, "0-1", &stage.root)?;
    System::Graygate.prepare(&stage, &Workload { rules: RULES, users: MEMBERS })?;
    let config = stage.root.join("graygate.yaml");
    let text = fs::read_to_string(&config)?.replace("threads: 1\n", "threads: 2\ncache: cache\n");
    fs::write(&config, text)?;
    let from_directory = timed(&stage, &config, |stage| settled(&stage.root.join("cache")))?;
    let mut waits = Vec::new();
    let mut resident = 0;
    for _ in 0..arguments.rounds {
        let (wait, mib) = timed(&stage, &config, |_| Ok(()))?;
        waits.push(wait.as_secs_f64());
        resident = mib;
    }
    waits.sort_by(f64::total_cmp);
    let idle = idle(&stage)?;
    Ok(format!(
        "\n| what | figure |\n|---|--:|\n\
         | {RULES} rules and {MEMBERS} members, first start, from a directory | {:.2} s |\n\
         | the same with a cache, which runs when the directory is not read within 0.5 s: median of {} | {:.2} s |\n\
         | the slowest of them | {:.2} s |\n\
         | resident memory after it | {resident} MiB |\n\
         | resident memory with the demo's documents, idle | {idle} MiB |\n",
        from_directory.0.as_secs_f64(),
        waits.len(),
        waits[waits.len() / 2],
        waits.last().copied().unwrap_or_default(),
    ))
}

/// From the start of the process to the first answer that came from an upstream, and what it holds then.
fn timed(stage: &Stage, config: &Path, then: impl Fn(&Stage) -> Result<()>) -> Result<(Duration, u64)> {
    let mut command = Command::new(stage.binaries.join("graygate"));
    command.arg("run").arg("--config").arg(config);
    let begun = Instant::now();
    let mut running = Running::start(command, "0-1", &stage.root)?;
    ready(stage, System::Graygate, &mut running)?;
    let taken = begun.elapsed();
    let resident = running.resident_mib();
    then(stage)?;
    Ok((taken, resident))
}

/// Waits until a cache is written.
fn settled(cache: &Path) -> Result<()> {
    let size = || -> u64 {
        let files = fs::read_dir(cache).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    };
    let begun = Instant::now();
    let (mut last, mut since) = (0, Instant::now());
    while last < MEMBERS as u64 || since.elapsed() < SETTLED {
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
    let documents = fs::canonicalize("conf/documents")?;
    let [listen, admin] = free()?;
    let config = stage.root.join("idle.yaml");
    let text = format!(
        "listen: [{{address: \"{listen}\"}}]\nadmin: {{address: \"{admin}\"}}\ndocuments: {{directory: {documents:?}}}\n"
    );
    fs::write(&config, text)?;
    let mut command = Command::new(stage.binaries.join("graygate"));
    command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
    let running = Running::start(command, "0-1", &stage.root)?;
    std::thread::sleep(IDLE);
    let resident = running.resident_mib();
    ensure!(resident > 0, "the proxy does not run");
    Ok(resident)
}
