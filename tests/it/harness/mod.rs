//! What tests of the running program share: the process, its upstreams, and a client that writes every byte itself.

pub mod ports;
pub mod proxy;
pub mod sample;
pub mod strict;
pub mod upstream;
pub mod wire;
