//! What operators write, as types.

mod set;

pub use set::*;
