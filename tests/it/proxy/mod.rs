//! The whole proxy from outside: the real binary, real sockets, a real etcd, and the contract sentence by sentence.

mod admin;
mod answers;
mod assets;
mod documents;
mod ending;
mod etcd;
mod fallback;
mod handover;
mod limits;
mod load;
mod log;
mod mirrors;
mod observations;
mod paths;
mod places;
mod routing;
mod testers;
mod tls;
mod version;
