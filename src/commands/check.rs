//! `graygate check`: every problem with its place, found by the compile that `run` uses.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::block_on;
use crate::config::Config;
use graygate_rules::compile::{Compiled, Memory, compile, notes};
use graygate_rules::decide::Snapshot;
use graygate_rules::documents::{DocumentSet, Kind};
use graygate_rules::vocab::Problem;
use graygate_store::directory;

/// Checks a directory, or a process file and the documents it names.
pub fn check(directory: Option<PathBuf>, config: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let set = match (directory, config) {
        (Some(directory), _) => directory::load(&directory)?,
        (None, Some(file)) => match Config::load_to_run(&file) {
            Ok((config, _)) => block_on(async { Ok(config.documents.load().await?) })?,
            Err(problems) => return Ok(report(&problems)),
        },
        (None, None) => anyhow::bail!("nothing to check"),
    };
    let compiled = compile_now(&set);
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    for note in notes(&compiled.snapshot, now) {
        eprintln!("note: {note}");
    }
    if !compiled.problems.is_empty() {
        return Ok(report(&compiled.problems));
    }
    let count = |kind| compiled.counts.documents.get(&kind).copied().unwrap_or_default();
    println!(
        "no problems: {} routes, {} services, {} rules, {} lists, {} instances",
        count(Kind::Route),
        count(Kind::Service),
        count(Kind::Rule),
        count(Kind::List),
        count(Kind::Instance)
    );
    print_costs(&compiled.snapshot);
    Ok(ExitCode::SUCCESS)
}

/// Checks a control plane's file, the certificates it names, and the secrets of its channels.
pub fn check_control(file: &Path) -> anyhow::Result<ExitCode> {
    use graygate_control::certificates::Certificates;
    let config = match graygate_control::settings::Config::load(file) {
        Ok(config) => config,
        Err(problems) => return Ok(report(&problems)),
    };
    if let Some(Err(message)) = config.listen.certificates.as_deref().map(Certificates::open) {
        let problem = Problem::at(file.display().to_string(), "listen.tls.certificates", message, "");
        return Ok(report(&[problem]));
    }
    let wrong = config.channels.iter().flat_map(|(name, channel)| {
        channel.check_files().into_iter().map(move |(field, message)| {
            let field = format!("channels.{name}.{field}");
            Problem::at(file.display().to_string(), field, message, "notices to this channel would be lost")
        })
    });
    let wrong: Vec<Problem> = wrong.collect();
    if !wrong.is_empty() {
        return Ok(report(&wrong));
    }
    println!("no problems");
    Ok(ExitCode::SUCCESS)
}

/// What `/status` says of decisions, for each service that has rules.
fn print_costs(snapshot: &Snapshot) {
    for service in snapshot.services.iter().filter(|service| !service.rules.is_empty()) {
        println!(
            "services/{}: {} rules, a decision costs {} lookups, {} of them rules asked one by one",
            service.name,
            service.rules.len(),
            service.index.cost(),
            service.index.unindexed().len()
        );
    }
}

/// Prints problems on standard output, where a check's findings belong.
fn report(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        println!("{problem}");
    }
    let noun = if problems.len() == 1 { "problem" } else { "problems" };
    eprintln!("{} {noun}", problems.len());
    ExitCode::FAILURE
}

/// Compiles without a past: what was never good is left out.
pub fn compile_now(set: &DocumentSet) -> Compiled {
    compile(set, &Memory::default(), &|path: &Path| std::fs::read(path))
}
