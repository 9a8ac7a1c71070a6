//! How many requests are let through: the limits of routes and services.
//!
//! Answers: may this request pass now, and if not, when may the next one? Each limit is a rate by GCRA, for all requests
//! together or for each key by itself; all keys of the process share one table of bounded size. Owns what was let
//! through, which outlives generations. Never: requests, a clock, or what is answered. Start at [`Limiter::pass`].

mod gcra;
mod limiter;
mod table;

pub use limiter::{Limiter, Limits, Refusal};
pub use table::KEYS_LIMIT;

#[cfg(test)]
mod tests;
