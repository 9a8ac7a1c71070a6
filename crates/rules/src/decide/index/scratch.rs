//! Buffers of one thread: a decision allocates nothing once they have grown.

use super::patterns::Hits;
use super::postings::Queue;
use super::words::Found;
use crate::decide::request::Values;

#[derive(Default, Debug)]
pub struct Scratch {
    pub values: Values,
    /// What is asked next.
    pub(super) queue: Queue,
    /// What a set of patterns found.
    pub(super) hits: Hits,
    /// Which words were found already.
    pub(super) words: Found,
}
