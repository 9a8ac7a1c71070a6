//! What proxies counted, gathered once a second.
//!
//! Owns: who is asked, with what, how long an answer may take and how large it may be, and where the next question goes on.
//! Never: a verdict; rows go on to the judge as they are read. Start at [`Gatherer::gather`].

mod answer;
mod cursors;
mod gatherer;
mod link;
mod once;
mod places;

pub use cursors::{Cursor, Cursors};
pub use gatherer::{Gathered, Gatherer, Question};
pub use once::ask_once;
pub use places::Place;

#[cfg(test)]
mod tests;
