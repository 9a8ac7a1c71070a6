//! Where the control plane keeps what it knows: records, and the documents beside them.
//!
//! Answers: what is the value under this name, and was this change written, all of it or nothing?
//! Owns: names, revisions, comparisons and the atomic write over records and documents. Two keepers stand behind one
//! trait: [`Sqlite`] for one machine, with a directory of documents, and [`Etcd`] for a fleet. Never: what a record means.
//! Start at [`State`].

mod archive;
mod etcd;
mod figures;
mod files;
mod keeper;
mod leadership;
pub mod memory;
mod sqlite;
#[cfg(test)]
mod suite;

pub use archive::Archived;
pub use etcd::Etcd;
pub use figures::{Figure, Figures};
pub use keeper::{
    Entry, Expect, OPERATION_LIMIT, Order, PAGE_LIMIT, Range, Reserve, Revision, Slot, State, StateError,
    Stored, TRANSACTION_BYTES, Transaction, Write, read_json, to_json,
};
pub use leadership::Leadership;
pub use memory::Memory;
pub use sqlite::{Holder, Sqlite};
