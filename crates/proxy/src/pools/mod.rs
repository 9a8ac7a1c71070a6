//! Instances by service and version, and which of them takes a request.
//!
//! Answers: who serves this decided version now, and who after a failure? Reads a request only as
//! a [`Walk`]: version, pin, hash key, retries. Owns the state that outlives generations, keyed by
//! (service, version, address), so a relabelled instance is a new one.
//! Never: documents, decisions, or a Pingora session. Time comes in as an argument; only
//! `prober` reads a clock. Start reading at [`ServicePools::pick`].
//!
//! Of the framework's balancer the checks are used, and not the balancer: it has no versions, so two of one address would
//! be one backend; it writes a weight as so many repeated slots; and it counts an instance as healthy before it was asked.

mod budget;
mod candidate;
mod instance;
mod maglev;
mod peer;
mod pool;
mod probe;
mod prober;
mod registry;
mod rotation;
mod schedule;
mod service;
mod vitals;
mod walk;

pub use instance::{InFlight, Instance};
pub use peer::PeerTemplate;
pub use prober::run_checks;
pub use registry::Registry;
pub use service::ServicePools;
pub use vitals::{EJECTION_LIMIT, EJECTION_STANDS, RECOVERY};
pub use walk::{NoInstance, Picked, RETRIES_LIMIT, Retry, Walk};

#[cfg(test)]
mod tests;
