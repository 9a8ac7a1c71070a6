//! The `graygate` binary: everything it can do lives in [`graygate::commands`].

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A tenth of a request's processor time against the system's, whose heap is tidied after each large buffer.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    graygate::commands::main()
}
