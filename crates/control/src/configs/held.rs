//! What a plan of values holds: its items, of which no other plan may move one at the same time.

use graygate_rules::documents::plan::{ConfigValues, Subject};

use super::item::{ItemId, ItemPlace};
use crate::error::{Error, Result};
use crate::plans::Spec;

/// Keys of one plan: completion writes all of them, each with its record, in one transaction.
const KEYS: usize = 14;

/// The items a plan gives other values, with those values.
pub fn items(config: &ConfigValues) -> Result<Vec<(ItemId, &str)>> {
    let place = ItemPlace {
        app: config.app.clone(),
        environment: config.environment.clone(),
        group: config.group.clone(),
    };
    let mut found = Vec::new();
    for (key, value) in &config.values {
        found.push((ItemId::of(place.clone(), key)?, value.as_str()));
    }
    Ok(found)
}

/// The values of a plan; none of one that moves requests.
pub fn config_of(spec: &Spec) -> Option<&ConfigValues> {
    match &spec.plan.subject {
        Subject::Config(config) => Some(config),
        Subject::Services { .. } => None,
    }
}

/// What forbids a start, beyond other plans.
pub fn check_start(spec: &Spec) -> Result<()> {
    let Some(config) = config_of(spec) else { return Ok(()) };
    items(config)?;
    match config.values.len() <= KEYS {
        true => Ok(()),
        false => Err(Error::Conflict(format!("one plan moves at most {KEYS} keys; make two of it"))),
    }
}

/// What a plan of values holds, so that no other one moves the same.
pub fn holds(spec: &Spec) -> Vec<String> {
    let items = config_of(spec).and_then(|config| items(config).ok()).unwrap_or_default();
    items.into_iter().map(|(id, _)| id.record()).collect()
}
