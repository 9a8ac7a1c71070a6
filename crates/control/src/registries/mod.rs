//! Instances from the registries people have: Nacos, ZooKeeper, Eureka and DNS.
//!
//! Answers: which instances does a registry show for the services that `discover` them, what of it is believed, and
//! what has to be written or taken away. Never: the proxy, and documents that a hand wrote. Start at `belief`.

pub mod belief;
pub mod clients;
pub mod config;
pub mod engine;
pub mod entry;
mod hosts;
mod http;
pub mod link;
pub mod mapping;
pub mod reconcile;
pub mod settings;
pub mod status;
pub mod store;
