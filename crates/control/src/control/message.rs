//! The record of a message to people, inside the program.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::clock::rfc3339;
use crate::state::{Slot, StateError, Transaction, to_json};

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

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct MessageShown {
    pub id: String,
    pub time: String,
    pub kind: String,
    pub services: Vec<String>,
    pub text: String,
    pub link: Option<String>,
    pub read: bool,
}

impl Message {
    pub fn new(kind: &str, text: String, now: OffsetDateTime) -> Message {
        let id = format!("{:016x}{}", now.unix_timestamp_nanos(), crate::people::short_id());
        let kind = kind.to_owned();
        Message { id, time: now, kind, services: Vec::new(), text, link: None, read_by: BTreeSet::new() }
    }

    pub fn shown(&self, who: &str) -> MessageShown {
        MessageShown {
            id: self.id.clone(),
            time: rfc3339(self.time),
            kind: self.kind.clone(),
            services: self.services.clone(),
            text: self.text.clone(),
            link: self.link.clone(),
            read: self.read_by.contains(who),
        }
    }

    /// Adds it to a transaction, so that it is there exactly if what it tells of is.
    pub fn put(&self, transaction: &mut Transaction) -> std::result::Result<(), StateError> {
        let record = format!("{MESSAGES}{}", self.id);
        transaction.put(Slot::record(&record), to_json(&record, self)?);
        Ok(())
    }
}
