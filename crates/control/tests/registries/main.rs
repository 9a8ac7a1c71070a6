//! The clients against real servers, registered to by clients of other languages.
//!
//! `make registry-tools` brings the servers and clients; each test starts its own on free ports of the loopback.

#![cfg(test)]

mod dns;
mod engine;
mod eureka;
mod nacos;
mod plane;
mod tls;
mod watch;
mod zookeeper;
