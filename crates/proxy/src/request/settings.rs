//! What the process file says about the proxy.

use std::time::Duration;

use crate::edge::{Limits, Listener};
use graygate_rules::decide::Trust;

#[derive(Debug)]
pub struct Settings {
    /// Threads that serve requests.
    pub threads: usize,
    pub listen: Vec<Listener>,
    pub trust: Trust,
    pub respond_version: RespondVersion,
    pub limits: Limits,
    pub plain: Way,
    /// How long requests may take to finish after SIGTERM.
    pub grace: Duration,
}

/// Which way plain requests go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Past the framework's pipeline.
    Short,
    /// Through the framework's pipeline, as all others.
    Pipeline,
}

/// Whether the version and the reason are also put on the response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RespondVersion {
    Never,
    /// For peers that may set the version.
    Trusted,
    Always,
}
