//! The one way anything is written: the change and its audit records, in one transaction.

use std::time::Instant;

use time::OffsetDateTime;

use super::plane::Control;
use crate::audit::{Chain, Counted, Deed, Head, Outcome};
use crate::error::{Error, Result};
use crate::people::{Principal, Via};
use crate::state::{Reserve, Revision, Slot, StateError, Transaction};

/// How often a write is tried again that lost a race for the end of the chain alone.
const RACES: usize = 50;

/// What is to be written, and what it says in the audit.
#[derive(Clone, Debug)]
pub struct Plan {
    pub transaction: Transaction,
    pub deeds: Vec<Deed>,
}

impl Plan {
    pub fn new(deed: Deed) -> Plan {
        Plan { transaction: Transaction::default(), deeds: vec![deed] }
    }

    /// As one of those that are written when the store is nearly full, too.
    pub fn from_reserve(mut self) -> Plan {
        self.transaction.reserve = Reserve::Used;
        self
    }
}

/// What a write came to.
#[derive(Clone, Debug)]
pub struct Written {
    pub revision: Revision,
    /// The end of the audit's chain with it.
    pub head: Head,
    pub time: OffsetDateTime,
}

impl Control {
    /// Writes a change and its records, or nothing. A conflict names what another one changed meanwhile.
    pub async fn write(&self, plan: Plan) -> std::result::Result<Written, StateError> {
        let begun = Instant::now();
        let _turn = self.writer.lock().await;
        // A caller that waited while the store was found to be away would only find the same, after as long a wait.
        if let Some((_, why)) = self.failed.lock().as_ref().filter(|(at, _)| *at > begun) {
            return Err(StateError::Away(why.clone()));
        }
        let written = self.write_next(plan).await;
        if let Err(StateError::Away(why)) = &written {
            *self.failed.lock() = Some((Instant::now(), why.clone()));
        }
        written
    }

    async fn write_next(&self, plan: Plan) -> std::result::Result<Written, StateError> {
        for _ in 0..RACES {
            let chain = Chain::read(&*self.state).await?;
            let mut transaction = plan.transaction.clone();
            let time = self.clock.now();
            let head = chain.append(&plan.deeds, time, &mut transaction)?;
            match self.state.commit(transaction).await {
                Ok(revision) => return Ok(Written { revision, head, time }),
                // Another process wrote a record; what this one is about is as it was.
                Err(StateError::Conflict(slots)) if slots == [Chain::slot()] => {}
                Err(error) => return Err(error),
            }
        }
        Err(StateError::Away("other processes write all the time; try again".to_owned()))
    }

    /// Reads a record that is JSON, with its revision; 0 where there is none.
    pub async fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<(T, Revision)>> {
        match self.state.get(&Slot::record(name)).await? {
            None => Ok(None),
            Some(stored) => Ok(Some((crate::state::read_json(name, &stored.value)?, stored.revision))),
        }
    }

    /// Notes that something was refused, within the limits on such notes. What cannot be noted is only logged: a
    /// refusal must not turn into another answer.
    pub async fn refused(&self, who: &Principal, action: &str, object: &str, error: &Error) {
        if self.refusals.count(&who.name, self.clock.instant()) == Counted::Counted {
            return;
        }
        let deed =
            Deed::ok(who, action, object).with_reason(Some(error.to_string())).with_result(Outcome::Refused);
        if let Err(error) = self.write(Plan::new(deed)).await {
            tracing::warn!(%error, "a refusal could not be recorded");
        }
    }

    /// Records the counts of refusals that were too many for records of their own. To be called now and then.
    pub async fn sum_refusals(&self) {
        for (name, count) in self.refusals.ended(self.clock.instant()) {
            let who = Principal::own(&name, Via::Controller);
            let deed = Deed::ok(&who, "refusals", name.clone())
                .with_reason(Some(format!("{count} more refusals within a minute")))
                .with_result(Outcome::Refused);
            if let Err(error) = self.write(Plan::new(deed)).await {
                tracing::warn!(%error, name, count, "a count of refusals could not be recorded");
            }
        }
    }
}
