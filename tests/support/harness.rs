//! What tests of the running program share: the process, its upstreams, and a client that writes every byte itself.

#[path = "proxy.rs"]
pub mod proxy;
#[path = "upstream.rs"]
pub mod upstream;
#[path = "wire.rs"]
pub mod wire;
