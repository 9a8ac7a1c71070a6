//! Who did what, when, to what, and with which result.
//!
//! Answers: what happened to this, and is the account of it whole? Owns: the record, the chain of hashes through all of
//! them, the texts they speak of, and the limits on refusals. Written in the same transaction as what it records, so
//! there is no change without a record. Never: secrets. Start at [`Deed`] and [`Chain::append`]; [`verify`](fn@verify) reads it all.

mod chain;
mod record;
mod refusals;
mod verify;

pub use chain::{
    Chain, HEAD, HISTORY, Head, KEPT_TEXT, RECORDS, TEXTS, history_name, history_prefix, record_name,
    text_name, weight,
};
pub use record::{Deed, Outcome, Record, Text, TextMark};
pub use refusals::{Counted, Refusals};
pub use verify::{Fault, Verified, verify};

/// How long records of the audit are kept unless the file says otherwise.
pub const AUDIT_KEPT: std::time::Duration = std::time::Duration::from_secs(400 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
