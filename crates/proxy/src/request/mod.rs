//! One request: from its head to its log line.
//!
//! Answers: what happens to a request between its first hook and its last? The hooks in `gate` read like a table of
//! contents; `intake` is the way to a verdict, `peer` to an instance, `attempt` says what became of a try, `rescue` who
//! else is asked for a file, `headers` who is told what (over a `head`, which the framework and the short path have one each of), `answer` writes what the proxy says itself, `report` the end,
//! `observed` what `observe` is told. `context` holds how far it has come.
//! Never: documents, compiling, connections. It reads the running generation once a request, through `live`.

mod answer;
mod attempt;
mod context;
mod gate;
mod head;
mod headers;
mod intake;
mod observed;
mod peer;
mod report;
mod rescue;
mod settings;
mod short;
mod trace;

pub use gate::Gate;
pub use settings::{RespondVersion, Settings, Way};
pub use short::{Asked, Framing, Short, find_response};
