//! graygate: an edge proxy that decides, for every request, which version of a service answers it.

pub mod compile;
pub mod decide;
pub mod documents;
pub mod live;
pub mod pools;
pub mod sources;
pub mod telemetry;
pub mod vocab;
