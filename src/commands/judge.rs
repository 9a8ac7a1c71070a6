//! `graygate judge`: what the judge says of rows from a file, so that a verdict can be checked.

use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::{JudgeArguments, print_problems};
use graygate_judge::guards::{
    ERRORS_ALPHA, ERRORS_TOLERATE, GuardProblem, LATENCY_ALPHA, LATENCY_TOLERATE, LIMIT_ALPHA, Limit,
    Relative, SlowLimit, Switch,
};
use graygate_judge::{Guards, offline};
use graygate_rules::documents::fields::{Field, Notes};
use graygate_rules::documents::plan::{self as written, Guard};
use graygate_rules::documents::text::{self, Syntax};
use graygate_rules::vocab::{Problem, Share};

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
    let written = written::Guards::read(field)?;
    judged(&written).map_or_else(|problem| field.wrong(problem.to_string(), ""), Some)
}

/// The judge's guards of written ones. Numbers from elsewhere are no rows; an operator who has them in a plan need not
/// take them out.
fn judged(written: &written::Guards) -> Result<Guards, GuardProblem> {
    let share = |on: &written::Limit<Share>| {
        Limit::new(f64::from(on.above.hundredths()) / 10_000.0, on.alpha.unwrap_or(LIMIT_ALPHA))
    };
    let time = |on: &written::Limit<Duration>| {
        SlowLimit::new(on.above.as_secs_f64() * 1_000.0, on.alpha.unwrap_or(LIMIT_ALPHA))
    };
    Ok(Guards {
        errors: relative(&written.errors, ERRORS_TOLERATE, ERRORS_ALPHA)?,
        latency: relative(&written.latency, LATENCY_TOLERATE, LATENCY_ALPHA)?,
        error_rate: switch(&written.error_rate, share)?,
        latency_p99: switch(&written.latency_p99, time)?,
        fallback: match switch(&written.fallback, share)? {
            Switch::Unwritten => Guards::default().fallback,
            written => written.on(),
        },
    })
}

fn relative(
    guard: &Guard<written::Relative>,
    tolerate: f64,
    alpha: f64,
) -> Result<Option<Relative>, GuardProblem> {
    match guard {
        Guard::Off => Ok(None),
        Guard::Unwritten => Relative::new(tolerate, alpha).map(Some),
        Guard::On(on) => Relative::new(on.tolerate.unwrap_or(tolerate), on.alpha.unwrap_or(alpha)).map(Some),
    }
}

fn switch<W, T>(
    guard: &Guard<W>,
    judged: impl FnOnce(&W) -> Result<T, GuardProblem>,
) -> Result<Switch<T>, GuardProblem> {
    Ok(match guard {
        Guard::Unwritten => Switch::Unwritten,
        Guard::Off => Switch::Off,
        Guard::On(on) => Switch::On(judged(on)?),
    })
}
