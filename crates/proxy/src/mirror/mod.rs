//! Copies of requests for another pool, whose answers no request waits for.
//!
//! Answers: where does a copy go, does it fit, and did its answer differ from the real one? A copy is sent once its request
//! is whole, on a connection of its own, within a budget; what does not fit is not sent. Owns those connections and
//! budgets, which outlive generations. Never: delays or changes an answer, reports to an instance, or takes one of its
//! places. Start at [`Copying`].

mod absent;
mod copying;
mod exchange;
mod shadow;

pub use copying::Copying;
pub use shadow::{Mirrors, Origin, Shadow, ShadowPool, Told};

#[cfg(test)]
mod tests;
