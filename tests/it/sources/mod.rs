//! Sources against the real thing: an etcd of their own, and directories on disk.

mod commit;
mod directory;
mod etcd;
mod following;
mod grpc_proxy;
mod leader;
mod push;
pub mod relay;
