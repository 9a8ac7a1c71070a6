//! One record.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::people::Principal;

/// How it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    Refused,
    /// It waits for a second person.
    Waiting,
}

/// A text as a record names it: by hash and length. The text itself is kept once, no matter who speaks of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct TextMark {
    /// SHA-256, in hex.
    pub hash: String,
    pub bytes: usize,
}

/// A text and its mark.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    pub mark: TextMark,
    pub text: bytes::Bytes,
}

impl Text {
    pub fn of(text: impl Into<bytes::Bytes>) -> Text {
        let text = text.into();
        let hash = hex::encode(Sha256::digest(&text));
        Text { mark: TextMark { hash, bytes: text.len() }, text }
    }
}

/// Something that was done, or refused, before it has its place in the chain.
#[derive(Clone, Debug)]
pub struct Deed {
    pub who: Principal,
    pub approved_by: Option<String>,
    /// Such as `document.put`.
    pub action: String,
    /// Such as `rules/x`.
    pub object: String,
    pub before: Option<Text>,
    pub after: Option<Text>,
    pub reason: Option<String>,
    pub result: Outcome,
    /// A document's name, where this is a part of its history.
    pub history: Option<String>,
}

impl Deed {
    pub fn ok(who: &Principal, action: impl Into<String>, object: impl Into<String>) -> Deed {
        Deed {
            who: who.clone(),
            approved_by: None,
            action: action.into(),
            object: object.into(),
            before: None,
            after: None,
            reason: None,
            result: Outcome::Ok,
            history: None,
        }
    }

    pub fn with_reason(mut self, reason: Option<String>) -> Deed {
        self.reason = reason;
        self
    }

    pub fn with_result(mut self, result: Outcome) -> Deed {
        self.result = result;
        self
    }

    /// As a part of a document's history.
    pub fn changing(mut self, before: Option<Text>, after: Option<Text>) -> Deed {
        (self.before, self.after) = (before, after);
        self.history = Some(self.object.clone());
        self
    }
}

/// A record in its place. Its bytes are what the chain is over, so the order of fields never changes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// From 1, without gaps.
    pub id: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
    pub who: String,
    pub via: String,
    pub credential: String,
    pub address: String,
    pub user_agent: String,
    pub request_id: String,
    pub approved_by: Option<String>,
    pub action: String,
    pub object: String,
    pub before: Option<TextMark>,
    pub after: Option<TextMark>,
    pub reason: Option<String>,
    pub result: Outcome,
    /// The hash of the record before.
    pub previous: String,
}

/// Longest text of a request that a record repeats.
const SHOWN_LIMIT: usize = 1_024;

impl Record {
    pub fn of(deed: &Deed, id: u64, previous: &str, time: OffsetDateTime) -> Record {
        let who = &deed.who;
        Record {
            id,
            time,
            who: shown(&who.name),
            via: who.via.as_str().to_owned(),
            credential: who.credential.clone(),
            address: who.address.clone(),
            user_agent: shown(&who.user_agent),
            request_id: shown(&who.request_id),
            approved_by: deed.approved_by.clone(),
            action: deed.action.clone(),
            object: shown(&deed.object),
            before: deed.before.as_ref().map(|text| text.mark.clone()),
            after: deed.after.as_ref().map(|text| text.mark.clone()),
            reason: deed.reason.as_deref().map(shown),
            result: deed.result,
            previous: previous.to_owned(),
        }
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_LIMIT).collect()
}
