//! `graygate judge`: what the judge says of rows from a file, so that a verdict can be checked.

use std::io::{self, BufWriter};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use super::{JudgeArguments, print_problems};
use graygate_control::plans;
use graygate_judge::{Guards, offline};
use graygate_rules::documents::fields::{Field, Notes};
use graygate_rules::documents::plan as written;
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

/// What stands behind a plan's `guards:`, with that key above it or without. Numbers from elsewhere are no rows; an
/// operator who has them in a plan need not take them out.
fn read(field: &Field<'_>) -> Option<Guards> {
    let mut map = field.map()?;
    if map.has("guards") {
        let guards = map.get("guards");
        map.note_unknown();
        return read(&guards?);
    }
    let written = written::Guards::read(field)?;
    plans::guards(&written).map_or_else(|problem| field.wrong(problem.to_string(), ""), Some)
}
