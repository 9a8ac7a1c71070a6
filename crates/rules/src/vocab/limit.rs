//! How many requests are let through, as a route or a service says it.

use super::attribute::Attribute;
use super::quantity::Rate;

/// A rate, how many requests may come at once, and what tells one client from another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    pub rate: Rate,
    /// Requests that may come at once after a pause; 1 at least.
    pub burst: u32,
    /// The first one present is the key, and a request without any is not limited. `None`: all requests together.
    pub by: Option<Box<[Attribute]>>,
}

impl Limit {
    /// Most requests at once; more would be no limit.
    pub const BURST_LIMIT: u32 = 10_000_000;
}
