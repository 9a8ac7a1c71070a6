//! graygate: an edge proxy that decides, for every request, which version of a service answers it.
//!
#![doc = include_str!("../../../docs/inside/map.md")]

pub mod compile;
pub mod decide;
pub mod documents;
pub mod explain;
pub mod import;
pub mod replay;
pub mod spec;
pub mod vocab;
