//! Registries, and instances that register themselves there by the clients of other languages.
//!
//! `make registry-tools` brings the servers and clients; each test starts its own on free ports of the loopback.

pub mod providers;
pub mod servers;
