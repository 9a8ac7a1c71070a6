//! A consumer group whose messages have lanes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::vocab::Label;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MessageGroup {
    pub group: Label,
    pub topics: Vec<Label>,
    pub lanes: Vec<Label>,
    /// How long a lane has no client before base takes its messages.
    pub takeover: Duration,
    /// The versions of the service's instances; an address with several versions is not there.
    pub addresses: BTreeMap<IpAddr, Label>,
}
