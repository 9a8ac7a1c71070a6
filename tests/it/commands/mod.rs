//! The commands as typed: what they print, and their exit status.

mod demo;
mod explaining;
mod importing;
mod judging;
mod parity;
mod printing;
mod pushing;
mod replaying;
mod running;
pub mod typed;
