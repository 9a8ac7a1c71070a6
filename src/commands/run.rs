//! `graygate run`: the proxy, as its process file says.

use std::path::Path;
use std::process::ExitCode;

use super::print_problems;
use crate::config::Config;
use crate::node::{self, Start};

pub fn run(file: &Path, start: Start) -> anyhow::Result<ExitCode> {
    match Config::load_to_run(file) {
        Ok((config, certificates)) => node::run(config, certificates, start, || ()),
        Err(problems) => {
            print_problems(&problems);
            Ok(ExitCode::FAILURE)
        }
    }
}
