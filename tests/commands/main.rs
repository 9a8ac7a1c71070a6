//! The commands as typed: what they print, and their exit status.

#[cfg(test)]
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod support;

#[cfg(test)]
#[path = "../support/harness.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod harness;

#[cfg(test)]
mod demo;
#[cfg(test)]
mod explaining;
#[cfg(test)]
mod printing;
#[cfg(test)]
mod pushing;
#[cfg(test)]
mod running;
#[cfg(test)]
mod typed;
