//! What the fuzz targets check, over their seeds and some thousand inputs near them: no instrumented build is needed.
//!
//! `make fuzz` searches further; this finds again what was found, and builds the checks with everything else.
//! `GRAYGATE_CASES` sets how many of each target are tried, `GRAYGATE_SEED` which.

use std::path::Path;

use graygate_testing::bytes::{Chance, Ingredients};

use crate::checks;

/// What is put between, besides a target's dictionary.
const WORDS: [&[u8]; 14] =
    [b"\0", b"\0\0", b"\n", b" ", b"/", b"..", b"%2f", b"%", b"=", b";", b",", b":", b"\xff", b"*"];

/// Tries the seeds, and as many inputs as `cases` or the environment say.
fn holds(target: &str, cases: u64, check: fn(&[u8])) {
    let number = |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, seed) = (number("GRAYGATE_CASES", cases), number("GRAYGATE_SEED", 0x9e37_79b9_7f4a_7c15));
    let ingredients =
        Ingredients::of_target(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz"), target, &WORDS);
    let mut chance = Chance::new(seed);
    let mixed = (0..cases).map(|_| ingredients.mixed(&mut chance));
    for bytes in ingredients.seeds.iter().cloned().chain(mixed) {
        let broken = std::panic::catch_unwind(|| check(&bytes)).is_err();
        assert!(!broken, "`{target}` breaks on {:?}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn any_bytes_as_documents() {
    holds("documents", 150, checks::documents::check);
}

#[test]
fn any_text_as_a_condition() {
    holds("conditions", 1_500, checks::conditions::check);
}

#[test]
fn any_bytes_as_paths_and_hosts() {
    holds("paths", 10_000, checks::paths::check);
}

#[test]
fn any_bytes_as_cookies_baggage_and_queries() {
    holds("cookies", 10_000, checks::cookies::check);
}

#[test]
fn any_bytes_as_lists() {
    holds("lists", 3_000, checks::lists::check);
}

#[test]
fn any_bytes_as_responses() {
    holds("responses", 20_000, checks::responses::check);
}

#[test]
fn any_choices_of_documents_and_requests() {
    holds("differential", 20, checks::differential::check);
}
