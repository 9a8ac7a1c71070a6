//! What became of each notice on each channel, as it is kept for people to read.
//!
//! Owns: one record for a notice and a channel, with every try counted in it. Never: what the other side said.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::notice::{Event, Notice};
use super::outcome::Outcome;
use crate::state::{Slot, State, StateError, Transaction, read_json, to_json};

/// Records of deliveries, by notice and channel; they sort by time.
pub const DELIVERIES: &str = "deliveries/";

/// One try of one notice on one channel, or its end.
#[derive(Clone, PartialEq, Debug)]
pub struct Tried {
    pub notice: String,
    pub channel: String,
    pub event: Event,
    pub plan: Option<String>,
    pub link: String,
    pub at: OffsetDateTime,
    pub outcome: Outcome,
    /// Why it did not get there, in words of this program.
    pub why: Option<String>,
}

impl Tried {
    pub fn of(notice: &Notice, channel: &str, (at, outcome): (OffsetDateTime, Outcome)) -> Tried {
        Tried {
            notice: notice.id.clone(),
            channel: channel.to_owned(),
            event: notice.event,
            plan: notice.plan.clone(),
            link: notice.link.clone(),
            at,
            outcome,
            why: None,
        }
    }

    pub fn because(mut self, why: impl ToString) -> Tried {
        self.why = Some(why.to_string());
        self
    }
}

/// All tries of one notice on one channel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Tries {
    pub notice: String,
    pub channel: String,
    pub event: Event,
    pub plan: Option<String>,
    pub link: String,
    #[serde(with = "time::serde::rfc3339")]
    pub first: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub last: OffsetDateTime,
    /// How often it was sent.
    pub attempts: u32,
    pub outcome: Outcome,
    pub why: Option<String>,
}

impl Tries {
    /// The record as it is after one more try.
    pub fn after(before: Option<Tries>, tried: &Tried) -> Tries {
        let is_try = matches!(tried.outcome, Outcome::Delivered | Outcome::Failed);
        let (first, attempts) = before.as_ref().map_or((tried.at, 0), |tries| (tries.first, tries.attempts));
        let was_given_up = before.as_ref().is_some_and(|tries| tries.outcome == Outcome::GivenUp);
        // A try that was under way when it was given up, and failed as well, changes nothing of that.
        let outcome = match tried.outcome {
            Outcome::Failed if was_given_up => Outcome::GivenUp,
            outcome => outcome,
        };
        // What is given up keeps the reason why the last try failed.
        let why = tried.why.clone().or_else(|| match tried.outcome {
            Outcome::GivenUp => before.and_then(|tries| tries.why),
            _ => None,
        });
        Tries {
            notice: tried.notice.clone(),
            channel: tried.channel.clone(),
            event: tried.event,
            plan: tried.plan.clone(),
            link: tried.link.clone(),
            first,
            last: tried.at,
            attempts: attempts + u32::from(is_try),
            outcome,
            why,
        }
    }

    pub fn record(notice: &str, channel: &str) -> String {
        format!("{DELIVERIES}{notice}.{channel}")
    }
}

/// Notes these tries in a transaction that is bound to what was noted before.
pub async fn note(
    state: &dyn State,
    tried: &[Tried],
    mut transaction: Transaction,
) -> Result<(), StateError> {
    let mut noted: Vec<(String, Tries, u64)> = Vec::new();
    for each in tried {
        let record = Tries::record(&each.notice, &each.channel);
        if let Some((_, tries, _)) = noted.iter_mut().find(|(name, ..)| *name == record) {
            *tries = Tries::after(Some(tries.clone()), each);
            continue;
        }
        let stored = state.get(&Slot::record(&record)).await?;
        let revision = stored.as_ref().map_or(0, |stored| stored.revision);
        let before = stored.map(|stored| read_json::<Tries>(&record, &stored.value)).transpose()?;
        noted.push((record, Tries::after(before, each), revision));
    }
    for (record, tries, revision) in &noted {
        transaction.expect(Slot::record(record), *revision);
        transaction.put(Slot::record(record), to_json(record, tries)?);
    }
    state.commit(transaction).await.map(|_| ())
}
