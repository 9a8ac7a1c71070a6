//! `graygate control`: the control plane.

use std::path::Path;
use std::process::ExitCode;

use super::print_problems;
use crate::node;
use graygate_control::settings::Config;

pub fn control(file: &Path) -> anyhow::Result<ExitCode> {
    match Config::load(file) {
        Ok(config) => node::control(&config),
        Err(problems) => {
            print_problems(&problems);
            Ok(ExitCode::FAILURE)
        }
    }
}
