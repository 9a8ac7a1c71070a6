//! What the proxy tells about itself: metrics, the access log and the process log.
//!
//! Answers: how often, how long, how many; and which request ended how.
//! Owns: every counter, the Prometheus text, the access log's line and its writer thread, the set-up of `tracing`.
//! Never: any other room but `vocab`; a label value from a request; a lookup or an allocation to count a request.
//! Start with `Metrics` for what is counted and `AccessLog` for what is written.

mod access_log;
mod entry;
mod family;
mod instrument;
mod metrics;
mod process_log;
mod text;
mod version;

pub use access_log::{AccessLog, AccessLogSettings, LogPath};
pub use entry::{ClientText, Entry, ServedBy};
pub use instrument::{Counter, Gauge, Histogram, Occupied};
pub use metrics::{InstanceCounts, Metrics};
pub use process_log::{LogError, LogFormat, LogSettings, start_log};
pub use version::{InFlight, VersionMetrics};
