//! Sources against the real thing: an etcd of their own, and directories on disk.

#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod directory;
mod etcd;
mod following;
mod grpc_proxy;
mod push;
mod relay;
