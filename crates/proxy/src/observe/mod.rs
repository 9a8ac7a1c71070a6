//! What requests did, second by second, while a caller asks.
//!
//! Answers: of each service that is asked about, how many requests of each route, rule and version were there in a second, how
//! many failed, of whom, and how long did they take? Owns: the counts of the last two minutes, and the question and answer of
//! `GET /observations`. Not asked, it costs a request one load. Never: a decision, a verdict, or a clock of its own. Start at
//! [`Observer`], then [`Sighting`].

mod answer;
mod client;
mod counting;
mod edges;
mod epoch;
mod identity;
mod observer;
mod question;
mod row;
mod second;
mod sighting;
mod waiting;

pub use answer::Answer;
pub use client::Client;
pub use epoch::Epoch;
pub use identity::Identity;
pub use observer::Observer;
pub use question::{BadQuestion, Question};
pub use row::{INHERITED, Subject};
pub use sighting::{Answered, Drawn, Rest, Sighting, Tried};

#[cfg(test)]
mod tests;
