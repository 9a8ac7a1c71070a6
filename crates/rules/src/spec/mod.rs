//! What compiled documents ask of the proxy that runs them: services, versions, instances, checks, transports.
//!
//! Answers: what is a service made of, and how are its instances reached?
//! Owns: plain values that compare, so that an unchanged service keeps its running pools. Certificates and keys are
//! bytes that were checked once, where they were read.
//! Never: state, connections, a framework. Start at [`ServiceSpec`].

mod messages;
mod service;
mod transport;

pub use messages::MessageGroup;
pub use service::{Balance, Check, HealthSpec, InstanceSpec, OutlierSpec, ServiceSpec, VersionSpec};
pub use transport::{Authorities, Identity, IdentityPart, TlsSpec, Transport, Wire};
