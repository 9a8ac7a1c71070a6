//! `graygate bucket`: where a value falls, to be reproduced elsewhere.

use std::process::ExitCode;

use graygate_rules::decide;

pub fn bucket(salt: &str, value: &str) -> ExitCode {
    println!("{}", decide::bucket(salt.as_bytes(), value.as_bytes()).number());
    ExitCode::SUCCESS
}
