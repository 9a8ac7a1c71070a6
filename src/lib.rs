//! graygate: an edge proxy that decides, for every request, which version of a service answers it.

pub mod admin;
pub mod commands;
pub mod compile;
pub mod config;
pub mod decide;
pub mod documents;
pub mod live;
pub mod pools;
pub mod proxy;
pub mod sources;
pub mod telemetry;
pub mod vocab;
