//! What clients measured, and when it is too much.
//!
//! Owns: the figures of each metric of a run, and the row of values above a limit. A row is counted over all clients and
//! control processes, so its record is compared and written. Never: the rollback itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Values in a row above a limit that roll back.
pub const ROW: u32 = 3;
/// Metrics of one plan; a client cannot fill the store with names.
pub const METRICS: usize = 64;
/// Longest name of a metric.
pub const METRIC_BYTES: usize = 128;
/// Where they are kept, by plan.
pub const MEASURED: &str = "config-measured/";

/// The figures of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    pub run: u64,
    pub metrics: BTreeMap<String, Metric>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Metric {
    pub last: f64,
    pub sum: f64,
    pub max: f64,
    pub count: u64,
    /// Values in a row above the limit.
    pub above: u32,
    pub instance: String,
    /// Milliseconds since 1970.
    pub at: i64,
}

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub struct Value<'a> {
    pub metric: &'a str,
    pub value: f64,
    pub instance: &'a str,
    pub at: i64,
}

impl Measured {
    /// Takes a value in; whether it completes a row above the limit. Another run begins with nothing.
    pub fn take(&mut self, run: u64, value: &Value<'_>, limit: Option<f64>) -> bool {
        if self.run != run {
            *self = Measured { run, ..Measured::default() };
        }
        let metric = self.metrics.entry(value.metric.to_owned()).or_default();
        metric.max = if metric.count == 0 { value.value } else { metric.max.max(value.value) };
        metric.count += 1;
        metric.sum += value.value;
        metric.last = value.value;
        metric.instance = value.instance.to_owned();
        metric.at = value.at;
        let is_above = limit.is_some_and(|limit| value.value > limit);
        metric.above = if is_above { metric.above.saturating_add(1) } else { 0 };
        metric.above >= ROW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_are_too_much() {
        let mut measured = Measured::default();
        let mut take = |run, value, limit| {
            measured.take(run, &Value { metric: "error_rate", value, instance: "i", at: 0 }, limit)
        };
        for (run, value, limit, is_over) in [
            (1, 6.0, Some(5.0), false),
            (1, 6.0, Some(5.0), false),
            (1, 5.0, Some(5.0), false),
            (1, 6.0, Some(5.0), false),
            (1, 7.0, Some(5.0), false),
            (2, 8.0, Some(5.0), false),
            (2, 8.0, Some(5.0), false),
            (2, 8.0, Some(5.0), true),
            (2, 9.0, None, false),
        ] {
            assert_eq!(take(run, value, limit), is_over, "{run} {value}");
        }
    }
}
