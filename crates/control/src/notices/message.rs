//! A notice as people read it inside the program.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::state::{Slot, StateError, Transaction, to_json};

/// Records of messages, by their ids.
pub const MESSAGES: &str = "messages/";

/// What is kept of a message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// Sorts by time.
    pub id: String,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    /// Such as `plan` or `foreign`.
    pub kind: String,
    pub services: Vec<String>,
    pub text: String,
    pub link: Option<String>,
    #[serde(default)]
    pub read_by: BTreeSet<String>,
}

impl Message {
    /// Adds it to a transaction, so that it is there exactly if what it tells of is.
    pub fn put(&self, transaction: &mut Transaction) -> Result<(), StateError> {
        let record = format!("{MESSAGES}{}", self.id);
        transaction.put(Slot::record(&record), to_json(&record, self)?);
        Ok(())
    }
}
