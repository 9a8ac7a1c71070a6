//! How a process tells about itself: metrics, the access log and the process log.
//!
//! Owns: what counts and how it is printed, the access log's line and its writer thread, the set-up of `tracing`.
//! Never: what is counted, which is declared where it happens; a label value from a request; a lookup or an allocation
//! to count one. Start with `Registry` for what is counted and `AccessLog` for what is written.

mod access_log;
mod entry;
mod family;
mod instrument;
mod line;
mod process_log;
mod registry;
mod sharded;
mod text;

pub use access_log::{AccessLog, AccessLogSettings, LogPath};
pub use entry::{ClientText, Entry, ServedBy};
pub use family::{Family, Series, Table, View};
pub use instrument::{Counter, Distribution, Gauge, Histogram, Occupied};
pub use process_log::{LogError, LogFormat, LogSettings, start_log};
pub use registry::{Computed, Registry};
pub use sharded::Sharded;
pub use text::Kind as FamilyKind;
