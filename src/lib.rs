//! graygate: an edge proxy that decides, for every request, which version of a service answers it.

pub mod documents;
pub mod sources;
pub mod vocab;
