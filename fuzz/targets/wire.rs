//! Arbitrary bytes to a whole proxy: what arrives upstream is one well-formed request after the other, or nothing.
#![no_main]

#[path = "../../tests/it/harness/strict.rs"]
mod strict;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static WORLD: LazyLock<strict::World> = LazyLock::new(|| strict::World::new(graygate_proxy::request::Way::Short));

fuzz_target!(|data: &[u8]| WORLD.check(data));
