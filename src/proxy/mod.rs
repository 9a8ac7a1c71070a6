//! Requests: from a client's connection to an upstream's answer.
//!
//! Answers: what happens to a request between accept and log line? The hooks in `gate` read like a table of contents;
//! `edge` owns connections, `h2` theirs and `stream` one request of them, `waits` how long a request waits, `intake` the way to a verdict, `upstream` the way to an instance, `report` the end.
//! Never: documents, compiling or sources. It reads the running generation once a request, through `live`.

mod answer;
mod certificates;
mod client;
mod context;
mod edge;
mod frames;
mod front;
mod gate;
mod h2;
mod head;
mod intake;
mod listener;
mod places;
mod proxy_protocol;
mod report;
mod settings;
mod stream;
mod trace;
mod upstream;
mod waits;

pub use certificates::HeldBack;
pub use edge::Edge;
pub use gate::Gate;
pub use head::HEADERS_LIMIT;
pub use listener::CertificateSets;
pub use settings::{Limits, Listener, RespondVersion, Settings, Tls, TlsVersion};
