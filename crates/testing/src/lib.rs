//! What tests of several packages share: real servers as child processes, and clients of them.
//!
//! Answers: what does a test run against? Owns: starting, killing and starting again. Never: shipped; only
//! `[dev-dependencies]` name this package. A server that does not start fails the test, with its log.

pub mod bytes;
pub mod mail;
pub mod messages;
pub mod registries;
