//! One instance that may be chosen, as choosing sees it, and the numbers that spread keys over instances.

/// An available instance.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    /// Index into the pool's members.
    pub member: u32,
    /// Weight in recovery steps, reduced by the common divisor.
    pub weight: u64,
    /// The instance's id and hash key, copied so that choosing touches one piece of memory.
    pub id: u64,
    pub key: u64,
}

/// A well-mixed number from any other: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
pub(super) fn scatter(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
