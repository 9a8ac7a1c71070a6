//! What runs right now: the one cell, the generation in it, and the single publisher that writes it.
//!
//! Answers: which state of the documents decides requests at this moment, and what does it say about itself?
//! Owns generations, publishing and the status report. Never: a framework's request, or a second cell.
//! Start at [`Live`] to read, at [`Publisher`] to follow a change.

mod generation;
mod guard;
mod limits;
mod mirrors;
mod publisher;
mod status;

pub use generation::{Generation, Live, ServiceRuntime};
pub use guard::{Admitted, Guard};
pub use limits::RouteLimit;
pub use publisher::Publisher;
pub use status::{
    DecisionReport, InstanceReport, MirrorReport, NoteReport, ProblemReport, RevisionReport, ServiceReport,
    VersionReport, mirror_reports, rfc3339, service_reports,
};
