//! Finding the first rule or route that matches without asking all of them.
//!
//! Answers: which few rules, or routes, are worth asking about this request? Owns keys, posting lists, sets of patterns
//! and what becomes of an index while rules change. Never: a rule's outcome, its window of time, or whether it matches
//! beyond its condition; imports lead from here to conditions, lists and requests, and never back. Start at
//! [`RuleIndex`].

mod intervals;
mod keys;
mod literals;
mod overlay;
mod path_texts;
mod patterns;
mod postings;
mod routes;
mod scratch;
mod table;
mod ways;
mod words;

pub use overlay::{Edit, RuleId, RuleIndex};
pub use patterns::PatternSets;
pub(super) use routes::RouteIndex;
pub use scratch::Scratch;
pub use table::RuleKey;
pub use ways::Indexed;
