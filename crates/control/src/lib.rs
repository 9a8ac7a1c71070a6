//! The control plane: who may change what, and what moves by itself.
//!
//! Never: the proxy. What runs changes through documents alone.

pub mod api;
pub mod audit;
pub mod certificates;
pub mod client;
pub mod configs;
pub mod console;
pub mod control;
pub mod error;
pub mod evidence;
pub mod gateway;
pub mod metrics;
pub mod notices;
pub mod oidc;
pub mod people;
pub mod plans;
pub mod registries;
pub mod report;
pub mod run;
pub mod serve;
pub mod settings;
pub mod state;
pub mod told;

pub use error::{Error, Mistake};
