//! The commands as typed: what they print, and their exit status.

#![cfg(test)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod support;

#[path = "../support/harness.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod harness;

mod demo;
mod explaining;
mod importing;
mod judging;
mod parity;
mod printing;
mod pushing;
mod replaying;
mod running;
mod typed;
