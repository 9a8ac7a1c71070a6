//! What may be done with a plan, and what does it do by itself?
//!
//! Owns a plan's states and actions as one table ([`rule`]), what a person's action comes to ([`act`](fn@act)), and what the plan does
//! next or waits for ([`decide`](fn@decide)). Pure functions of what is written, what has happened, and what is seen. Never: rules,
//! lists or instances themselves, people and their roles, a clock; held time comes in.

mod act;
mod decide;
mod seen;
mod table;
mod waiting;
mod written;

pub use act::{Done, Refusal, act};
pub use decide::{Because, Decision, decide};
pub use seen::{Disturbance, Instances, Observed, Progress, Window};
pub use table::{Action, Rule, State, rule};
pub use waiting::Waiting;
pub use written::{Audience, OnRegression, OnUnknown, Plan, Promotion, Step};

#[cfg(test)]
mod tests;
