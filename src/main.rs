//! The `graygate` binary: everything it can do lives in [`graygate::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    graygate::commands::main()
}
