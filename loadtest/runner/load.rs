//! One round of requests and what it showed: `wrk` with a script, or `h2load` where it has to be HTTP/2.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::processes::Running;
use crate::stage::Stage;

/// Seconds after which a generator that hangs is ended.
const LIMIT: &str = "300";

/// What one round under load showed.
pub struct Figures {
    /// Processor time of the proxy, for a request.
    pub micros: f64,
    pub per_second: f64,
    /// p50, p99 and p99.9 in milliseconds.
    pub latency: [f64; 3],
    pub failed: u64,
}

/// How many clients ask for how long.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: u32,
    pub seconds: u32,
}

impl Load {
    /// Before anything is measured: connections, buffers and automata are there afterwards.
    pub const fn warming(self) -> Load {
        Load { seconds: 1, ..self }
    }

    pub fn wrk(self, stage: &Stage, script: &Path, running: &Running) -> Result<Figures> {
        let before = running.ticks();
        let output = Command::new("taskset")
            .args([
                "-c",
                "1",
                "timeout",
                LIMIT,
                "wrk",
                "-t1",
                "--timeout",
                "10s",
                "-c",
                &self.connections.to_string(),
            ])
            .args(["-d", &format!("{}s", self.seconds), "-s"])
            .arg(script)
            .arg(format!("http://{}/", stage.listen))
            .output()?;
        let ticks = running.ticks() - before;
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(line) = said.lines().find_map(|line| line.strip_prefix("figures ")) else {
            bail!("wrk says {said} {}", String::from_utf8_lossy(&output.stderr));
        };
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [requests, micros, p50, p99, p999, failed] = numbers[..] else { bail!("wrk says {line}") };
        Ok(Figures {
            micros: micros_each(ticks, requests),
            per_second: requests / micros * 1e6,
            latency: [p50, p99, p999].map(|latency| latency / 1e3),
            failed: failed as u64,
        })
    }

    /// One request again and again; `words` choose the protocol.
    pub fn h2load(self, stage: &Stage, words: &[&str], url: &str, running: &Running) -> Result<Figures> {
        let log = stage.root().join("h2load.log");
        let _ = fs::remove_file(&log);
        let before = running.ticks();
        let output = Command::new("taskset")
            .args(["-c", "1", "timeout", LIMIT, "h2load", "-t1", "-c", &self.connections.to_string()])
            .args(["-D", &self.seconds.to_string(), "--log-file"])
            .arg(&log)
            .args(words)
            .arg(url)
            .output()?;
        let ticks = running.ticks() - before;
        // A line a request: when it began, its status, and how many microseconds it took.
        let text = fs::read_to_string(&log)
            .with_context(|| format!("h2load says {}", String::from_utf8_lossy(&output.stderr)))?;
        let (mut taken, mut failed) = (Vec::new(), 0);
        for line in text.lines() {
            let mut words = line.split('\t').skip(1);
            match (words.next(), words.next().and_then(|micros| micros.parse::<f64>().ok())) {
                (Some("200"), Some(micros)) => taken.push(micros / 1e3),
                _ => failed += 1,
            }
        }
        ensure!(!taken.is_empty(), "h2load says {}", String::from_utf8_lossy(&output.stdout));
        let requests = taken.len() as f64;
        Ok(Figures {
            micros: micros_each(ticks, requests),
            per_second: requests / f64::from(self.seconds),
            latency: percentiles(&mut taken, [0.5, 0.99, 0.999]),
            failed,
        })
    }
}

fn micros_each(ticks: u64, requests: f64) -> f64 {
    // A tick is 10 ms everywhere Linux runs today.
    ticks as f64 * 10_000.0 / requests.max(1.0)
}

/// The smallest value that so much of the whole does not exceed.
pub fn percentiles<const N: usize>(values: &mut [f64], shares: [f64; N]) -> [f64; N] {
    values.sort_by(f64::total_cmp);
    shares.map(|share| {
        let place = (values.len() as f64 * share).ceil() as usize;
        values.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    })
}

pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let [median] = percentiles(&mut values.into_iter().collect::<Vec<_>>(), [0.5]);
    median
}

pub fn median_of(figures: &[Figures], of: impl Fn(&Figures) -> f64) -> f64 {
    median(figures.iter().map(of))
}
