//! Man pages and completions, made from the same definitions as the arguments.
//!
//! A hidden command of the program itself: a build script cannot see the definitions, and a second program to build could
//! be of another version than the one that is packaged.

use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;

pub fn write(directory: &Path) -> anyhow::Result<ExitCode> {
    std::fs::create_dir_all(directory)?;
    clap_mangen::generate_to(Arguments::command(), directory)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        clap_complete::generate_to(shell, &mut Arguments::command(), "graygate", directory)?;
    }
    Ok(ExitCode::SUCCESS)
}
