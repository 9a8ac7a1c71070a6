//! A change that someone asks for: what it has to find, how it is meant, and what it came to.

use std::collections::BTreeMap;

use bytes::Bytes;
use graygate_rules::documents::DocumentId;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::draft::DryRun;
use super::proposal::ProposalShown;
use crate::error::{Error, Mistake, Result};
use crate::state::{Revision, Slot, Stored, Transaction};

/// What is known of documents' texts, so that a stranger's change is told from one of ours.
pub const KNOWN: &str = "known/";

/// What a write has to find for it to happen.
#[derive(Clone, Default, Debug)]
pub struct Precondition {
    pub if_match: Option<String>,
    pub if_none_match: Option<String>,
    /// Of the difference that was shown.
    pub hash: Option<String>,
}

/// How a write is meant.
#[derive(Clone, Default, Debug)]
pub struct Intent {
    pub reason: Option<String>,
    pub dry_run: bool,
    /// What the audit calls it.
    pub action: String,
    /// Who approved it, where it waited.
    pub approved_by: Option<String>,
}

impl Intent {
    pub fn of(action: &str) -> Intent {
        Intent { action: action.to_owned(), ..Intent::default() }
    }
}

/// What a write came to.
#[derive(Debug)]
pub enum Done {
    Shown(DryRun),
    Written(ChangedShown),
    Waiting(ProposalShown),
}

/// A written change.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ChangedShown {
    pub revision: Revision,
    /// By document; null for those that were taken away.
    pub etags: BTreeMap<String, Option<String>>,
    pub notes: Vec<Mistake>,
    #[serde(skip)]
    #[schema(ignore)]
    pub created: bool,
}

pub fn etag(stored: &Stored) -> String {
    let hash = hex::encode(Sha256::digest(&stored.value));
    format!("\"{}-{}\"", stored.revision, hash.get(..16).unwrap_or(&hash))
}

/// Remembers that this text is ours.
pub fn put_known(transaction: &mut Transaction, id: &DocumentId, text: Option<&Bytes>) {
    let slot = Slot::record(format!("{KNOWN}{id}"));
    match text {
        Some(text) => transaction.put(slot, hex::encode(Sha256::digest(text))),
        None => transaction.delete(slot),
    };
}

/// What a write has to say about what is there.
pub fn check_condition(name: &str, before: Option<&Stored>, condition: &Precondition) -> Result<()> {
    match (before, &condition.if_match, &condition.if_none_match) {
        (Some(stored), _, Some(_)) => {
            let detail = format!("`{name}` exists already; its ETag is {}", etag(stored));
            Err(Error::PreconditionFailed { detail, etag: Some(etag(stored)) })
        }
        (Some(stored), Some(wanted), None) if matches_tag(wanted, &etag(stored)) => Ok(()),
        (Some(stored), Some(_), None) => Err(Error::changed(name, Some(etag(stored)))),
        (Some(_), None, None) => {
            let detail = format!("`{name}` exists; send its ETag as `If-Match`");
            Err(Error::PreconditionRequired(detail))
        }
        (None, Some(_), _) => Err(Error::changed(name, None)),
        (None, None, Some(_)) => Ok(()),
        (None, None, None) => {
            let detail = format!("`{name}` is new; send `If-None-Match: *`");
            Err(Error::PreconditionRequired(detail))
        }
    }
}

/// Whether an `If-Match` names this tag.
pub fn matches_tag(header: &str, tag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|wanted| wanted == "*" || wanted == tag || wanted.trim_matches('"') == tag.trim_matches('"'))
}
