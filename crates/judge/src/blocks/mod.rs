//! Which rows enter, and what is compared with what?
//!
//! Owns the row of a proxy's count and its limits ([`row`]), the names that rows share ([`names`]), which rows are left out ([`intake`]), and the blocks of the
//! three strata ([`strata`]). Never: odds; nothing here knows what a regression is.

mod edges;
mod figures;
mod intake;
mod names;
mod row;
mod strata;

pub use edges::Edges;
pub use intake::{Intake, MOST_ROWS};
pub use names::{Names, Naming, Series, Teller};
pub use row::{Counts, Entry, Key, Reading, Row, Unreadable};
pub use strata::{Block, Failing, Origins, Seen, Side, Stratum, Total};
