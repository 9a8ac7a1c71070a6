//! Which action is allowed in which state?
//!
//! Owns the table: five states times nine actions, each with what follows or why not.

use serde::{Deserialize, Serialize};

/// Where a plan's run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// May be edited; no one gets anything by it.
    Draft,
    Active,
    /// The audience stays as it is.
    Paused,
    /// Every user has the version.
    Completed,
    /// No one has it any more; final for the run.
    Rollback,
}

impl State {
    pub const ALL: [Self; 5] = [Self::Draft, Self::Active, Self::Paused, Self::Completed, Self::Rollback];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Active => "ACTIVE",
            Self::Paused => "PAUSED",
            Self::Completed => "COMPLETED",
            Self::Rollback => "ROLLBACK",
        }
    }
}

/// What a person may want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Start,
    Pause,
    Resume,
    Advance,
    Approve,
    Reject,
    Complete,
    Rollback,
    Promote,
}

impl Action {
    pub const ALL: [Self; 9] = [
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Advance,
        Self::Approve,
        Self::Reject,
        Self::Complete,
        Self::Rollback,
        Self::Promote,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Advance => "advance",
            Self::Approve => "approve",
            Self::Reject => "reject",
            Self::Complete => "complete",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
        }
    }
}

/// What an action comes to in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// That state, unless something more is in the way.
    To(State),
    /// The next step, or COMPLETED after the last one.
    NextStep,
    /// The next step, where the plan waits for approval of it.
    Approved,
    /// COMPLETED still, and the version is the release.
    Promoted,
    /// Nothing more; the first outcome is told again.
    Again,
    Refused(&'static str),
}

/// The table.
pub fn rule(state: State, action: Action) -> Rule {
    use Action::*;
    use Rule::{Again, Approved, NextStep, Promoted, Refused, To};
    match (state, action) {
        (State::Draft, Start) => To(State::Active),
        (State::Draft, Rollback) => Refused("the plan was never started: there is nothing to roll back"),
        (State::Draft, Pause | Resume | Advance | Approve | Reject | Complete | Promote) => {
            Refused("the plan was never started: start it first")
        }

        (State::Active, Start) => Refused("the plan is under way"),
        (State::Active, Pause) => To(State::Paused),
        (State::Active, Resume) => Refused("the plan is under way: it was not paused"),
        (State::Active, Advance) => NextStep,
        (State::Active, Approve) => Approved,
        (State::Active, Reject) => To(State::Paused),
        (State::Active, Complete) => To(State::Completed),
        (State::Active, Rollback) => To(State::Rollback),
        (State::Active, Promote) => Refused("the plan is under way: complete it first"),

        (State::Paused, Start) => {
            Refused("the plan is paused: resume it, or roll it back and start it again")
        }
        (State::Paused, Pause) => Refused("the plan is paused already"),
        (State::Paused, Resume) => To(State::Active),
        (State::Paused, Advance) => Refused("the plan is paused: resume it first"),
        (State::Paused, Approve | Reject) => Refused("the plan is paused: it waits for no approval"),
        (State::Paused, Complete) => To(State::Completed),
        (State::Paused, Rollback) => To(State::Rollback),
        (State::Paused, Promote) => Refused("the plan is paused: complete it first"),

        (State::Completed, Start) => Refused("the plan is complete: promote it or roll it back first"),
        (State::Completed, Pause | Resume | Advance | Approve | Reject) => {
            Refused("the plan is complete: every user has the version")
        }
        (State::Completed, Complete) => Refused("the plan is complete already"),
        (State::Completed, Rollback) => To(State::Rollback),
        (State::Completed, Promote) => Promoted,

        (State::Rollback, Start) => To(State::Active),
        (State::Rollback, Rollback) => Again,
        (State::Rollback, Pause | Resume | Advance | Approve | Reject | Complete | Promote) => {
            Refused("the plan was rolled back: that is final for its run; start a new one")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_documented_one() {
        let allowed: [(Action, &[State]); 9] = [
            (Action::Start, &[State::Draft, State::Rollback]),
            (Action::Pause, &[State::Active]),
            (Action::Resume, &[State::Paused]),
            (Action::Advance, &[State::Active]),
            (Action::Approve, &[State::Active]),
            (Action::Reject, &[State::Active]),
            (Action::Complete, &[State::Active, State::Paused]),
            (Action::Rollback, &[State::Active, State::Paused, State::Completed, State::Rollback]),
            (Action::Promote, &[State::Completed]),
        ];
        for (action, from) in allowed {
            for state in State::ALL {
                let refused = matches!(rule(state, action), Rule::Refused(_));
                assert_eq!(refused, !from.contains(&state), "{state:?} {action:?}");
            }
        }
    }

    #[test]
    fn only_a_start_leaves_a_rollback() {
        for action in Action::ALL {
            let leaves =
                matches!(rule(State::Rollback, action), Rule::To(_) | Rule::NextStep | Rule::Promoted);
            assert_eq!(leaves, action == Action::Start, "{action:?}");
        }
    }

    #[test]
    fn names_are_those_of_the_wire() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }
}
