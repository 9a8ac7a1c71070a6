//! Decisions against slow, obvious second evaluators, on random documents and requests.

#![cfg(test)]

#[path = "../../fuzz/checks/mod.rs"]
mod checks;
mod oracle;

mod difference;
mod differential;
mod fuzzed;
mod incremental;
mod index;
mod places;
