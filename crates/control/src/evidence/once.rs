//! One question to one place, with one JSON answer.

use std::time::Duration;

use serde_json::Value;

use super::link::{Budget, Link};

/// What an answer may take in memory.
const ANSWER_LIMIT: usize = 16 << 20;

/// What a place answers below its address.
pub async fn ask_once(
    (url, path): (&str, &str),
    token: Option<&str>,
    patience: Duration,
) -> Result<Value, String> {
    let link = Link::new(url)?;
    let budget = Budget::new(ANSWER_LIMIT);
    let asked = tokio::time::timeout(patience, link.get(path, token, &budget)).await;
    let answered = asked.map_err(|_| "no answer in time".to_owned())??;
    match answered.status {
        200 => serde_json::from_slice(&answered.body).map_err(|error| error.to_string()),
        status => Err(format!("answered {status}")),
    }
}
