//! The gateway API of hospitals' platforms: their setting as lists and rules, and their questions as requests.
//!
//! Owns: what a setting means as documents, and what a question means as a request. Never: a decision of its own: every
//! question is decided as a proxy decides a request, and what is kept is ordinary documents.

mod deeds;
mod kept;
mod question;
pub mod settings;

pub use deeds::{Saved, SettingFields, SettingShown, Versions};
pub use kept::{Kept, Wanted};
pub use question::{Question, VersionTold};
