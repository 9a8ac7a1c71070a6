//! What is done with plans, by people and by the leader.
//!
//! Owns: every write of a plan's record, with the rules, the audit record, the notice and the transition of it in the same
//! transaction; what an action has to find; and the answers. Never: what comes next, which `crate::plans` and the judge
//! say as pure functions. Start at [`Control::act_on_plan`](super::Control::act_on_plan).

mod act;
pub mod board;
mod check;
mod documents;
mod fleet;
mod follow;
mod keep;
mod lead;
mod measure;
mod promote;
mod read;
mod rollback;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod tick;
mod values;
mod write;

pub use act::{ActionAsked, ActionDone};
pub use read::PlanRead;
