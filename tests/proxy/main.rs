//! The whole proxy from outside: the real binary, real sockets, a real etcd, and the contract sentence by sentence.

#[cfg(test)]
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod support;

#[cfg(test)]
#[path = "../support/harness.rs"]
#[expect(dead_code, reason = "each target uses a part of what they share")]
mod harness;

#[cfg(test)]
mod admin;
#[cfg(test)]
mod answers;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod etcd;
#[cfg(test)]
mod fallback;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod load;
#[cfg(test)]
mod log;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod routing;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod version;
