//! The ways to reach a route: pairs of a host and a path, in the order the contract gives them.

use regex::bytes::Regex;

/// Index into [`Routes::routes`](super::Routes::routes).
pub type RouteId = usize;

/// One way to reach a route.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub route: RouteId,
    pub host: HostMatch,
    pub path: PathMatch,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostMatch {
    Exact(String),
    /// With its leading dot.
    Suffix(String),
    Any,
}

#[derive(Clone, Debug)]
pub enum PathMatch {
    Exact(String),
    /// Without a trailing slash.
    Prefix(String),
    Regex(Regex),
    Any,
}

impl HostMatch {
    pub(super) fn accepts(&self, host: &str) -> bool {
        match self {
            HostMatch::Exact(name) => name == host,
            HostMatch::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            HostMatch::Any => true,
        }
    }

    /// Exact, then the longest wildcard, then any.
    pub fn rank(&self) -> (u8, usize) {
        match self {
            HostMatch::Exact(_) => (2, 0),
            HostMatch::Suffix(suffix) => (1, suffix.len()),
            HostMatch::Any => (0, 0),
        }
    }
}

impl PathMatch {
    pub(super) fn accepts(&self, path: &str) -> bool {
        match self {
            PathMatch::Exact(exact) => exact == path,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            PathMatch::Regex(regex) => regex.is_match(path.as_bytes()),
            PathMatch::Any => true,
        }
    }

    /// Exact, then the longest prefix, then a pattern, then any.
    pub fn rank(&self) -> (u8, usize) {
        match self {
            PathMatch::Exact(_) => (3, 0),
            PathMatch::Prefix(prefix) => (2, prefix.len()),
            PathMatch::Regex(_) => (1, 0),
            PathMatch::Any => (0, 0),
        }
    }
}
