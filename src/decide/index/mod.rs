//! Finding the first rule or route that matches without asking all of them.
//!
//! Answers: which few rules, or routes, are worth asking about this request? Owns keys, posting lists, sets of patterns
//! and what becomes of an index while rules change. Never: a rule's outcome, or whether one may be asked at all.
//! Start at [`RuleIndex`].

mod intervals;
mod keys;
mod literals;
mod overlay;
mod path_texts;
mod patterns;
mod postings;
mod routes;
mod table;
mod ways;
mod words;

pub use literals::Pattern;
pub use overlay::{RuleIndex, reached};
pub use patterns::PatternSets;
pub(super) use postings::Queue;
pub(super) use routes::RouteIndex;
pub(super) use ways::{Few, Remainder, Way, ways};
