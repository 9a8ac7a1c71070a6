//! Whether a new version is worse than the one beside it: evidence in, verdicts out.
//!
//! Answers: may a plan go on, and does a guard say regression? Owns: the table of a plan's states and actions
//! ([`plan`]), rows and what they are compared with ([`blocks`]), the odds of two explanations ([`odds`]), what a run has
//! gathered ([`evidence`]), verdicts ([`Judge`]) and the judge without a control plane ([`offline`]).
//! Never: a clock, IO of its own, threads, chance. Time is a number in what comes in. Start at [`Judge::advance`].

pub mod blocks;
pub mod evidence;
pub mod guards;
mod judge;
pub mod odds;
pub mod offline;
pub mod plan;

pub use guards::{GuardName, Guards};
pub use judge::{Judge, Requests, Run, Tick, Verdict};
