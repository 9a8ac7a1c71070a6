//! `graygate replay`: who would move if a draft became the documents.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::check::compile_now;
use super::{ReplayArguments, print_problems};
use graygate_rules::decide::Snapshot;
use graygate_rules::replay::{self, Moves, Sample};
use graygate_store::directory;

pub fn replay(arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let before = snapshot(&arguments.documents)?;
    let after = snapshot(&arguments.draft)?;
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let moves = match (&arguments.log, arguments.identities) {
        (Some(log), _) => {
            let mut failed = None;
            let lines = lines(open(log)?, &mut failed);
            let moves = replay::replay(&before, &after, Sample::Log(lines), now);
            match failed {
                Some(error) => return Err(error).with_context(|| format!("reading `{}`", log.display())),
                None => moves,
            }
        }
        (None, Some(count)) => replay::replay(&before, &after, Sample::<[&str; 0]>::Identities(count), now),
        (None, None) => anyhow::bail!("nothing to replay"),
    };
    match arguments.json {
        true => println!("{}", serde_json::to_string(&moves)?),
        false => print(&moves),
    }
    Ok(ExitCode::SUCCESS)
}

/// The good documents of a directory; what is wrong with the others goes to standard error.
fn snapshot(documents: &Path) -> anyhow::Result<Snapshot> {
    let compiled = compile_now(&directory::load(documents)?);
    print_problems(&compiled.problems);
    Ok(compiled.snapshot)
}

fn open(log: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    if log == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(log).with_context(|| format!("opening `{}`", log.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// The lines as far as they can be read; bytes that are no text are shown as the log itself shows them.
fn lines(mut log: Box<dyn BufRead>, failed: &mut Option<io::Error>) -> impl Iterator<Item = String> {
    std::iter::from_fn(move || {
        let mut line = Vec::new();
        match log.read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8_lossy(&line).into_owned()),
            Err(error) => {
                *failed = Some(error);
                None
            }
        }
    })
}

fn print(moves: &Moves) {
    let or = |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.into());
    println!("{} requests, {} would move", moves.requests, moves.moved);
    for entry in &moves.by {
        let (from, to) = (or(&entry.from, "(elsewhere)"), or(&entry.to, "(elsewhere)"));
        println!("{:>9}  {}: {from} -> {to}", entry.requests, entry.service);
    }
    for shift in &moves.rules {
        let rule = or(&shift.rule, "(no rule)");
        println!(
            "rule {rule} of {}: decides {} today, {} then; of those that move {} come and {} go",
            shift.service, shift.before, shift.after, shift.gained, shift.lost
        );
    }
    for example in &moves.examples {
        let who = example.identity.clone().unwrap_or_else(|| example.client.clone());
        let way = |version: &Option<String>, rule: &Option<String>| {
            format!("{} ({})", or(version, "(elsewhere)"), or(rule, "no rule"))
        };
        println!(
            "for example {} {}{} of {who}: {} -> {}",
            example.method,
            example.host,
            example.path,
            way(&example.from, &example.from_rule),
            way(&example.to, &example.to_rule)
        );
    }
    if moves.undrawn > 0 {
        println!("note: {} requests have no identity to draw a share by; they get `release`", moves.undrawn);
    }
    if moves.left_out > 0 {
        println!("note: {} lines are no request and were left out", moves.left_out);
    }
}
