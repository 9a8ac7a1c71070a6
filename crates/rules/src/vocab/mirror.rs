//! Where copies of requests go, as a route or a rule says it.

use super::name::Name;
use super::quantity::{ByteSize, Share};

/// A pool that gets copies, and how many of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    pub service: Name,
    pub version: Name,
    /// Of the requests, each by itself.
    pub share: Share,
    /// Requests with a longer body are not copied.
    pub body: ByteSize,
    /// Copies under way at a time; what comes beyond is not sent.
    pub max: u32,
}

impl Mirror {
    pub const BODY: ByteSize = ByteSize(64 << 10);
    /// Longest body that may be asked for: with [`Mirror::MAX_LIMIT`] copies it bounds what copies hold of memory.
    pub const BODY_LIMIT: ByteSize = ByteSize(1 << 20);
    pub const MAX: u32 = 64;
    pub const MAX_LIMIT: u32 = 1024;
}
