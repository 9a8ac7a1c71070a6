//! `graygate judge`: what the judge says of rows from a file, so that a verdict can be checked.

use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{JudgeArguments, print_problems};
use graygate_judge::guards::{
    ERRORS_ALPHA, ERRORS_TOLERATE, GuardProblem, LATENCY_ALPHA, LATENCY_TOLERATE, LIMIT_ALPHA, Limit,
    Relative, SlowLimit, Switch,
};
use graygate_judge::{Guards, offline};
use graygate_rules::documents::fields::{Field, Map, Notes};
use graygate_rules::documents::text::{self, Syntax};
use graygate_rules::vocab::Problem;

/// Judges the rows of standard input; 1 where a line could not be read.
pub fn judge(arguments: JudgeArguments) -> anyhow::Result<ExitCode> {
    let JudgeArguments { plan, version, services, guards } = arguments;
    let guards = match guards.as_deref().map(load).transpose()?.unwrap_or(Ok(Guards::default())) {
        Ok(guards) => guards,
        Err(problems) => {
            print_problems(&problems);
            return Ok(ExitCode::FAILURE);
        }
    };
    let options = offline::Options { plan, version, services, guards };
    let output = BufWriter::new(io::stdout().lock());
    let unreadable = offline::run(io::stdin().lock(), output, io::stderr().lock(), options)?;
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn load(file: &Path) -> anyhow::Result<Result<Guards, Vec<Problem>>> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("reading `{shown}`"))?;
    let node = text::parse(&text, Syntax::Yaml).with_context(|| format!("reading `{shown}`"))?;
    let notes = Notes::of(shown);
    let guards = read(&Field::root(&node, &notes));
    Ok(match guards {
        Some(guards) if notes.is_empty() => Ok(guards),
        _ => Err(notes.into_problems()),
    })
}

/// What stands behind a plan's `guards:`, with that key above it or without.
fn read(field: &Field<'_>) -> Option<Guards> {
    let mut map = field.map()?;
    if map.has("guards") {
        let guards = map.get("guards");
        map.note_unknown();
        return read(&guards?);
    }
    let default = Guards::default();
    // Numbers from elsewhere are no rows; an operator who has them in a plan need not take them out.
    map.know(&["metrics"]);
    let guards = Guards {
        errors: relative(&mut map, "errors", (ERRORS_TOLERATE, ERRORS_ALPHA)),
        latency: relative(&mut map, "latency", (LATENCY_TOLERATE, LATENCY_ALPHA)),
        error_rate: switch(&mut map, "error_rate", Switch::Unwritten, limit),
        latency_p99: switch(&mut map, "latency_p99", Switch::Unwritten, slow_limit),
        fallback: switch(&mut map, "fallback", default.fallback.map_or(Switch::Off, Switch::On), limit).on(),
    };
    map.note_unknown();
    Some(guards)
}

fn relative(map: &mut Map<'_>, key: &'static str, (tolerate, alpha): (f64, f64)) -> Option<Relative> {
    let read = |field: &Field<'_>| {
        let mut map = field.map()?;
        let tolerate = map.or("tolerate", tolerate, number);
        let alpha = map.or("alpha", alpha, number);
        map.note_unknown();
        good(field, Relative::new(tolerate, alpha))
    };
    let unwritten = Relative::new(tolerate, alpha).map_or(Switch::Off, Switch::On);
    switch(map, key, unwritten, read).on()
}

fn limit(field: &Field<'_>) -> Option<Limit> {
    let mut map = field.map()?;
    let above = map.required("above").and_then(|above| above.percent());
    let alpha = map.or("alpha", LIMIT_ALPHA, number);
    map.note_unknown();
    good(field, Limit::new(f64::from(above?.hundredths()) / 10_000.0, alpha))
}

fn slow_limit(field: &Field<'_>) -> Option<SlowLimit> {
    let mut map = field.map()?;
    let above = map.required("above").and_then(|above| above.duration());
    let alpha = map.or("alpha", LIMIT_ALPHA, number);
    map.note_unknown();
    good(field, SlowLimit::new(above?.as_secs_f64() * 1000.0, alpha))
}

/// A guard that may be `off`.
fn switch<T>(
    map: &mut Map<'_>,
    key: &'static str,
    unwritten: Switch<T>,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Switch<T> {
    match map.get(key) {
        None => unwritten,
        Some(field) if field.is_text("off") => Switch::Off,
        Some(field) => read(&field).map_or(Switch::Off, Switch::On),
    }
}

fn number(field: &Field<'_>) -> Option<f64> {
    let text = field.number()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => field.wrong(format!("`{text}` is not a number like `1.2`"), ""),
    }
}

fn good<T>(field: &Field<'_>, guard: Result<T, GuardProblem>) -> Option<T> {
    guard.map_or_else(|problem| field.wrong(problem.to_string(), ""), Some)
}
