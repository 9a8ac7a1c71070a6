//! The data plane: one request from its first byte to its log line, and what it needs to be answered.
//!
//! Answers: who is asked, over which connection, and what does the client read?
//! Owns: pools of instances, the running generation, connections, the framework's hooks, the admin address.
//! Never: the control plane. It works with the documents it has if every control process is gone.
//! Start at [`request`].

pub mod admin;
pub mod edge;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod mirror;
pub mod observe;
pub mod pools;
pub mod request;
pub mod responses;
