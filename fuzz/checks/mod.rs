//! What holds for any bytes: what the fuzz targets check, and `tests/rules/fuzzed.rs` with a few thousand cases.
#![allow(dead_code, reason = "each target uses one of them")]

pub mod conditions;
pub mod cookies;
pub mod differential;
pub mod documents;
pub mod lists;
pub mod paths;
pub mod responses;
mod shared;
