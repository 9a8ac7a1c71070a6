//! A number asked of Prometheus.
//!
//! Owns: the question and its one answer. No answer, no series, several series and NaN are no number. Never: what it means.

use std::time::Duration;

use serde_json::Value;

use crate::evidence::ask_once;

/// How long an answer may take: it is asked within the leader's second.
const PATIENCE: Duration = Duration::from_millis(800);

/// The value of an instant query.
pub async fn ask(url: &str, query: &str) -> Option<f64> {
    let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let path = format!("/api/v1/query?query={encoded}");
    number(&ask_once((url.trim_end_matches('/'), &path), None, PATIENCE).await.ok()?)
}

/// The one number of an answer.
fn number(answer: &Value) -> Option<f64> {
    if answer.get("status").and_then(Value::as_str) != Some("success") {
        return None;
    }
    let result = answer.pointer("/data/result")?;
    let pair = match answer.pointer("/data/resultType").and_then(Value::as_str)? {
        "scalar" => result.as_array()?,
        "vector" => match result.as_array()?.as_slice() {
            [only] => only.get("value")?.as_array()?,
            _ => return None,
        },
        _ => return None,
    };
    let value: f64 = pair.get(1)?.as_str()?.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_one_number_is_a_number() {
        let vector = |values: &[&str]| {
            let series: Vec<_> =
                values.iter().map(|value| json!({"metric": {}, "value": [1.0, value]})).collect();
            json!({"status": "success", "data": {"resultType": "vector", "result": series}})
        };
        for (answer, number_of) in [
            (vector(&["12.5"]), Some(12.5)),
            (vector(&[]), None),
            (vector(&["1", "2"]), None),
            (vector(&["NaN"]), None),
            (json!({"status": "success", "data": {"resultType": "scalar", "result": [1.0, "3"]}}), Some(3.0)),
            (json!({"status": "error"}), None),
            (json!({}), None),
        ] {
            assert_eq!(number(&answer), number_of, "{answer}");
        }
    }
}
