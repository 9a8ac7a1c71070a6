//! `checks::responses` under the fuzzer.
#![no_main]

#[path = "../checks/mod.rs"]
mod checks;
#[path = "../../tests/rules/oracle/mod.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::responses::check(data));
