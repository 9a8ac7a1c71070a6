//! Who counts: a proxy, and one process of it.

/// What answers are signed with.
#[derive(Clone, Debug)]
pub struct Identity {
    /// As the fleet's keys call it.
    pub proxy: String,
    /// Of this process alone; letters and digits.
    pub boot: String,
}
