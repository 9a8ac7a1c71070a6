//! Plans: how a version's audience grows by itself, and what takes it back.
//!
//! Answers: where is a plan's run, which documents belong to that, and what comes next? Owns: the records of runs, what a
//! plan's text says in the words of the judge, the rules and closures it writes, and the next move, all as pure functions.
//! The table of states and the verdicts are the judge's. Never: a store, a clock, or a proxy; `control::plans` acts.
//! Start at [`Kept`] and [`rules`].

mod answers;
pub mod fleet;
mod name;
mod record;
pub mod rules;
mod spec;
mod trial;
pub mod window;

pub use answers::{
    PlanShown, RequestsShown, RollbackShown, RunShown, RunningShown, Shown, StepShown, TransitionShown,
    begun_step, share,
};
pub use name::document_of;
pub use record::{
    GuardShown, HOLDERS, Kept, OUTCOMES, PLANS, Promoted, RUNS, SIGHTS, Sight, StandsFor, Transition,
    holder_record, outcome_record, plan_record, run_prefix, sight_record, transition_record,
};
pub use spec::{Spec, guards, hash, percent};
pub use trial::Trial;
