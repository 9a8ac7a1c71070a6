//! Configuration values: what an application's instance is to work with, and who gets another value first.
//!
//! Answers: which value has this key for the caller, and what was an instance given last? Owns: items, the audiences of
//! plans with `config`, and the memory of who was given what. A request for a value is decided as any request is: it is
//! admitted by `Arrival::admit` and decided by the rules of its plan. Start at [`index::Configs`], then `deeds`.

mod answers;
mod audience;
mod body;
mod deeds;
pub mod given;
pub mod held;
pub mod index;
mod item;
mod measures;
mod moves;
mod release;

pub use answers::{
    DetailShown, InstanceShown, ItemShown, LogShown, MeasureShown, MeasuredShown, MonitorShown, ValueShown,
};
pub use audience::Asker;
pub use deeds::{ItemDone, ItemWrite, KeptItem};
pub use item::{ItemId, ItemName, ItemPlace};
pub use release::PlanDone;
