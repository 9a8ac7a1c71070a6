//! What is shown of a run: the charts, and its report.
//!
//! Owns: drawing. The console's pages and the report show the same charts. Never: reads the store, or decides anything.

pub mod charts;
mod language;
mod run;

pub use language::Language;
pub use run::{DeedTold, Figure, GuardTold, Measured, StepTold, Story, policy};
