//! What a limit remembers and costs: keys until there is no more room, and one question with a million of them known.

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use graygate_proxy::limits::{KEYS_LIMIT, Limits};
use graygate_rules::vocab::{Attribute, DocumentId, Limit, Rate};

use crate::Arguments;
use crate::load::percentiles;

/// Clients that come, each once.
const CLIENTS: u32 = 10_000_000;
/// Questions in one sample of time.
const BATCH: u32 = 1_000;
/// Samples of time.
const SAMPLES: u32 = 2_000;
/// An address space page, in bytes.
const PAGE: u64 = 4_096;

pub fn limits(_arguments: &Arguments) -> Result<String> {
    let epoch = Instant::now();
    let limits = Limits::new(epoch);
    let document = DocumentId::parse("services/patient").context("a document")?;
    let by = [Attribute::parse("header:x-user").context("an attribute")?];
    let limit = Limit { rate: Rate::parse("1/h").context("a rate")?, burst: 1, by: Some(by.into()) };
    let limiter = limits.limiter(&document, &limit);
    let mut text = format!(
        "\nA limit of 1/h by a header, and {CLIENTS} clients that come once\n\n| clients so far | keys remembered | MiB more than at first | ns a client |\n|--:|--:|--:|--:|\n"
    );
    let at_first = resident()?;
    let mut key = String::new();
    let mut come = 0;
    for until in [100_000, 1_000_000, 2_000_000, 5_000_000, CLIENTS] {
        let began = Instant::now();
        let count = until - come;
        while come < until {
            name(come, &mut key);
            black_box(
                limiter.pass(Some(key.as_bytes()), epoch + Duration::from_micros(u64::from(come))).is_ok(),
            );
            come += 1;
        }
        let each = began.elapsed().as_nanos() / u128::from(count);
        let keys = limits.keys(epoch + Duration::from_micros(u64::from(come)));
        ensure!(keys <= KEYS_LIMIT, "{keys} keys");
        let more = resident()?.saturating_sub(at_first) as f64 / f64::from(1 << 20);
        let _ = writeln!(text, "| {until} | {keys} | {more:.1} | {each} |");
    }
    let mut samples = Vec::new();
    let mut state = 1_u64;
    for _ in 0..SAMPLES {
        // Among the last half million, which are all known.
        let names: Vec<String> = (0..BATCH)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut key = String::new();
                name(CLIENTS - 1 - (state >> 33) as u32 % 500_000, &mut key);
                key
            })
            .collect();
        let now = epoch + Duration::from_secs(20);
        let began = Instant::now();
        for name in &names {
            black_box(limiter.pass(Some(name.as_bytes()), now).is_ok());
        }
        samples.push(began.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    let [p50, p99] = percentiles(&mut samples, [0.5, 0.99]);
    let _ = writeln!(
        text,
        "\nOne question for a key that is remembered among a million: **{p50:.0} ns** (p99 of {SAMPLES} batches {p99:.0} ns)."
    );
    Ok(text)
}

fn name(number: u32, out: &mut String) {
    out.clear();
    let _ = write!(out, "user-{number}");
}

/// Bytes of this process in memory.
fn resident() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("statm")?.parse()?;
    Ok(pages * PAGE)
}
