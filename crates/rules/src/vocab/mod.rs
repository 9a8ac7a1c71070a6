//! The words every room shares: names, shares, sizes, durations, reasons, problems.
//!
//! Answers: what do the small values of the contract look like, and how are they read and printed?
//! Owns: newtypes that parse once and print the same text again. Never: IO, or any other room.

mod address;
mod attribute;
mod chunks;
mod decimal;
mod edits;
mod failures;
mod kind;
mod limit;
mod mirror;
mod name;
mod problem;
mod quantity;
mod reason;
mod template;
mod timeouts;

pub use address::{canonical_net, read_address};
pub use attribute::{Attribute, GeoField};
pub use chunks::{Chunks, Dealt, Derived};
pub use decimal::{Comparison, Decimal};
pub use edits::HeaderEdits;
pub use failures::{Failures, GRPC_STATUS, StatusMatch};
pub use kind::{DocumentId, Kind};
pub use limit::Limit;
pub use mirror::Mirror;
pub use name::{Label, Name};
pub use problem::{Place, Problem, did_you_mean};
pub use quantity::{Bucket, ByteSize, Rate, Share, format_duration, parse_duration};
pub use reason::{
    ErrorReason, FallbackReason, InstanceState, MirrorOutcome, Reason, StatusClass, TryOutcome,
};
pub use template::{Part, Template};
pub use timeouts::Timeouts;

/// The source's number for a state of all documents; larger is newer, 0 is "none yet".
pub type Revision = u64;

/// How a source counts its revisions, which decides how far an empty set is to be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counting {
    /// By itself, from 1 in each process: a cleared directory looks like a lost one.
    Own,
    /// In the store: a deletion makes it grow, and only replaced data makes it fall.
    Stored,
}
