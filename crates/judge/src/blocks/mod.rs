//! Which rows enter, and what is compared with what?
//!
//! Owns the row of a proxy's count and its limits ([`row`]), which rows are left out ([`intake`]), and the blocks of the
//! three strata ([`strata`]). Never: odds; nothing here knows what a regression is.

mod edges;
mod figures;
mod intake;
mod row;
mod strata;

pub use edges::Edges;
pub use intake::{Intake, MOST_ROWS};
pub use row::{Counts, Key, Reading, Row, Teller, Unreadable};
pub use strata::{Block, Failing, Origins, Seen, Side, Stratum, Total};
