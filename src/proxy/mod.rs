//! Requests: from a client's connection to an upstream's answer.
//!
//! Answers: what happens to a request between accept and log line? The hooks in `gate` read like a table of contents;
//! `edge` owns connections, `intake` the way to a verdict, `upstream` the way to an instance, `report` the end.
//! Never: documents, compiling or sources. It reads the running generation once a request, through `live`.

mod answer;
mod client;
mod context;
mod edge;
mod gate;
mod head;
mod intake;
mod report;
mod settings;
mod trace;
mod upstream;

pub use edge::Edge;
pub use gate::Gate;
pub use head::HEADERS_LIMIT;
pub use settings::{Limits, RespondVersion, Settings};
