//! The control plane: who may change what, and what moves by itself.
//!
//! Never: the proxy. What runs changes through documents alone.

pub mod api;
pub mod audit;
pub mod certificates;
pub mod config;
pub mod control;
pub mod error;
pub mod metrics;
pub mod people;
pub mod registries;
pub mod run;
pub mod serve;
pub mod state;

pub use error::{Error, Mistake};
