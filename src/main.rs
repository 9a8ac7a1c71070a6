//! The `graygate` binary: everything it can do lives in [`graygate::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    graygate::commands::main()
}

/// The framework allocates some eighty times a request, 64 KiB buffers among them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
