//! Where documents come from: a directory or an etcd prefix, and the cache of what ran last.
//!
//! Answers: what do the operators want right now, completely, and at which revision?
//! Owns: reading, watching, caching, and writing: several documents at once (`commit`), whole directories (`push`, `pull`),
//! who may write for all (`leader`), and keys that several processes keep together (`board`).
//! Never: reads a body, judges a document, or decides what runs. A source that is gone changes nothing:
//! the last [`Update`] simply stays the last. Start at [`Source`] and [`Update`], then
//! `directory` or `etcd`.

mod behind;
pub mod board;
pub mod cache;
pub mod commit;
pub mod directory;
pub mod etcd;
mod fingerprint;
pub mod fleet;
pub mod leader;
pub mod push;
mod source;
mod status;
mod strays;
mod update;
mod written;

pub use behind::behind_requests;
pub use fingerprint::Fingerprint;
pub use source::Source;
pub use status::{SourceKind, SourceStatus};
pub use update::{Shutdown, SourceError, Update, UpdateSender};
pub use written::read_source;
