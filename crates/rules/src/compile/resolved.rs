//! What a rule is resolved into once, as long as its own text and the lists it names stay.

use std::sync::Arc;

use crate::decide::{Indexed, ValueSet};
use crate::vocab::{Label, Name};

#[derive(Debug)]
pub struct Resolved {
    pub name: Name,
    pub when: Option<Arc<Indexed>>,
    /// The lists its condition asks; held, so that no other list can have the same place in memory.
    pub lists: Box<[(Label, Arc<ValueSet>)]>,
}
