//! What does a plan wait for?
//!
//! Owns the reasons, and how they are said. A plan that does not go on always has one.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Waiting {
    /// A guard says regression, and nothing follows from it by itself.
    Regression(Vec<String>),
    /// Someone changed what the plan stands on; a person has to look at it.
    Person(String),
    NoGrayInstance,
    /// Proxies that do not run the step's rules, named once that has taken long.
    Fleet {
        behind: usize,
        named: Vec<String>,
    },
    /// Proxies that cannot be asked what they saw.
    Unreadable(Vec<String>),
    Hold {
        left: Duration,
    },
    Requests {
        seen: u64,
        wanted: u64,
    },
    /// Guards that had nothing to compare.
    Evidence(Vec<String>),
    /// Of the step with this number, from 0.
    Approval {
        step: usize,
    },
    Window(String),
    Lists(Vec<String>),
    /// The last share is below 100.
    Complete,
    Watch {
        left: Duration,
    },
    Promote,
}

impl fmt::Display for Waiting {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regression(guards) => write!(to, "a person: {} says regression", names(guards)),
            Self::Person(why) => write!(to, "a person: {why}"),
            Self::NoGrayInstance => {
                to.write_str("an instance of the version that takes requests: there is none")
            }
            Self::Fleet { behind: 1, named } if named.is_empty() => to.write_str("1 proxy that is behind"),
            Self::Fleet { behind, named } if named.is_empty() => {
                write!(to, "{behind} proxies that are behind")
            }
            Self::Fleet { named, .. } => write!(to, "proxies that are behind for long: {}", names(named)),
            Self::Unreadable(proxies) => write!(to, "proxies that cannot be asked: {}", names(proxies)),
            Self::Hold { left } => write!(to, "{} more of the step's hold", spelled(*left)),
            Self::Requests { seen, wanted } => {
                write!(
                    to,
                    "{} more gray requests: {seen} of {wanted} were seen",
                    wanted.saturating_sub(*seen)
                )
            }
            Self::Evidence(guards) => write!(to, "something to compare for {}", names(guards)),
            Self::Approval { step } => write!(to, "approval of step {step}"),
            Self::Window(opens) => write!(to, "its window: {opens}"),
            Self::Lists(lists) => write!(to, "lists that are missing or have problems: {}", names(lists)),
            Self::Complete => to.write_str("`complete`: the last share is below 100"),
            Self::Watch { left } => write!(to, "{} more of the watch", spelled(*left)),
            Self::Promote => to.write_str("`promote`, or `rollback`"),
        }
    }
}

fn names(names: &[String]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// `1h 2m 3s`, rounded up: what is left is never said to be nothing.
fn spelled(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let said: Vec<_> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if said.is_empty() { "0s".into() } else { said.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sentences() {
        let cases = [
            (Waiting::Hold { left: Duration::from_millis(3_661_200) }, "1h 1m 2s more of the step's hold"),
            (Waiting::Requests { seen: 40, wanted: 100 }, "60 more gray requests: 40 of 100 were seen"),
            (Waiting::Fleet { behind: 1, named: vec![] }, "1 proxy that is behind"),
            (Waiting::Fleet { behind: 2, named: vec![] }, "2 proxies that are behind"),
            (
                Waiting::Fleet { behind: 1, named: vec!["edge-1".into()] },
                "proxies that are behind for long: `edge-1`",
            ),
            (Waiting::Approval { step: 2 }, "approval of step 2"),
        ];
        for (waiting, said) in cases {
            assert_eq!(waiting.to_string(), said);
        }
    }
}
