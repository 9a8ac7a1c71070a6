//! The whole proxy from outside: the real binary, real sockets, a real etcd, and the contract sentence by sentence.

#![cfg(test)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod support;

#[path = "../support/harness.rs"]
mod harness;

mod admin;
mod answers;
mod documents;
mod ending;
mod etcd;
mod fallback;
mod handover;
mod load;
mod log;
mod paths;
mod routing;
mod sample;
mod testers;
mod tls;
mod version;
