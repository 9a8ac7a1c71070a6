//! What people are told of, wherever they are.
//!
//! Answers: what has to be told, to which channels, and was it? Owns: the shape of a notice, the outbox (one record a
//! notice, written with what it tells of), its way to mail, chats and gateways, and the log of what became of it. At least once, always under the same id.
//! Never: decides what is worth telling, or shows what the other side answers. Start at [`Notice`]; [`Delivery`] is the way
//! out.

mod channels;
mod chat;
mod deliver;
mod log;
mod message;
mod notice;
mod outcome;
mod post;
mod send;
mod wording;
mod worker;

pub use channels::Channels;
pub use deliver::Delivery;
pub use log::{DELIVERIES, Tried, Tries, note};
pub use message::{MESSAGES, Message};
pub use notice::{Event, Notice, Recipients, Subject};
pub use outcome::{Count, Now, Outcome};
pub use send::try_once;
pub use worker::Pace;

#[cfg(test)]
mod tests;
