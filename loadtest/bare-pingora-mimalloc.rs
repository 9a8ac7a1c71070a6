//! The proxy that only forwards, on graygate's allocator: what of the difference between both is the allocator's.

#[path = "bare-pingora.rs"]
mod bare;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> anyhow::Result<()> {
    bare::main()
}
