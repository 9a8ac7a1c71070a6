//! What the control plane counts of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

/// Upper edges of the histogram of calls, in seconds.
const EDGES: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// By path, then by status.
    calls: BTreeMap<String, BTreeMap<u16, u64>>,
    /// Calls between an edge and the one before.
    buckets: [u64; EDGES.len()],
    seconds: f64,
    count: u64,
    is_leader: bool,
    late: u64,
    notices: BTreeMap<(String, String), u64>,
}

impl Metrics {
    pub fn call(&self, path: &str, status: u16, took: Duration) {
        let mut counts = self.counts.lock();
        match counts.calls.get_mut(path) {
            Some(statuses) => *statuses.entry(status).or_default() += 1,
            None => drop(counts.calls.insert(path.to_owned(), BTreeMap::from([(status, 1)]))),
        }
        let seconds = took.as_secs_f64();
        let within = EDGES.iter().position(|edge| seconds <= *edge);
        if let Some(bucket) = within.and_then(|at| counts.buckets.get_mut(at)) {
            *bucket += 1;
        }
        counts.seconds += seconds;
        counts.count += 1;
    }

    pub fn lead(&self, is_leader: bool) {
        self.counts.lock().is_leader = is_leader;
    }

    pub fn late(&self, seconds: u64) {
        self.counts.lock().late += seconds;
    }

    pub fn notice(&self, channel: &str, outcome: &str) {
        *self.counts.lock().notices.entry((channel.to_owned(), outcome.to_owned())).or_default() += 1;
    }

    /// In Prometheus' text format.
    pub fn text(&self) -> String {
        let counts = self.counts.lock();
        let mut out = String::new();
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        line("# TYPE graygate_api_requests_total counter".to_owned());
        for (path, statuses) in &counts.calls {
            for (status, count) in statuses {
                line(format!("graygate_api_requests_total{{path=\"{path}\",status=\"{status}\"}} {count}"));
            }
        }
        line("# TYPE graygate_api_duration_seconds histogram".to_owned());
        let mut sum = 0;
        for (edge, more) in EDGES.iter().zip(counts.buckets) {
            sum += more;
            line(format!("graygate_api_duration_seconds_bucket{{le=\"{edge}\"}} {sum}"));
        }
        line(format!("graygate_api_duration_seconds_bucket{{le=\"+Inf\"}} {}", counts.count));
        line(format!("graygate_api_duration_seconds_sum {}", counts.seconds));
        line(format!("graygate_api_duration_seconds_count {}", counts.count));
        line("# TYPE graygate_leader gauge".to_owned());
        line(format!("graygate_leader {}", u8::from(counts.is_leader)));
        line("# TYPE graygate_observations_late_total counter".to_owned());
        line(format!("graygate_observations_late_total {}", counts.late));
        line("# TYPE graygate_notices_total counter".to_owned());
        for ((channel, outcome), count) in &counts.notices {
            line(format!("graygate_notices_total{{channel=\"{channel}\",outcome=\"{outcome}\"}} {count}"));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_path_and_status() {
        let metrics = Metrics::default();
        metrics.call("/api/v1/me", 200, Duration::from_millis(3));
        metrics.call("/api/v1/me", 200, Duration::from_secs(20));
        let text = metrics.text();
        assert!(text.contains("graygate_api_requests_total{path=\"/api/v1/me\",status=\"200\"} 2"), "{text}");
        assert!(text.contains("graygate_api_duration_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("graygate_api_duration_seconds_bucket{le=\"+Inf\"} 2"), "{text}");
    }
}
