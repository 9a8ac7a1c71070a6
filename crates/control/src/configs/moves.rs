//! What a transition of a plan does to items: completion makes the values their own, a rollback behind it takes that back.
//!
//! Owns: the former values, which are kept with the run. Never: the transition itself, or whether it may happen.

use std::collections::BTreeMap;

use graygate_judge::plan::State;
use serde::{Deserialize, Serialize};

use super::deeds::value_of;
use super::held::{config_of, items};
use super::item::{Item, ItemId};
use crate::audit::{Deed, Text};
use crate::control::{Control, Plan};
use crate::error::{Error, Result};
use crate::people::Principal;
use crate::plans::{Kept, Spec};
use crate::state::{Slot, StateError, to_json};

/// Former values, by plan.
const FORMER: &str = "config-former/";
/// What items were before a plan was completed; none where there was no item.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Former {
    pub run: u64,
    /// By record.
    pub values: BTreeMap<String, Option<String>>,
}

impl Control {
    /// Adds what a transition writes of items to its write.
    pub async fn add_config_writes(
        &self,
        (who, reason): (&Principal, Option<&str>),
        (spec, before, next): (&Spec, State, &Kept),
        plan: &mut Plan,
    ) -> std::result::Result<(), StateError> {
        let Some(config) = config_of(spec) else { return Ok(()) };
        let broken =
            |error: Error| StateError::Broken { name: spec.name.clone(), message: error.to_string() };
        let given = items(config).map_err(broken)?;
        let now = next.progress.state;
        let mut wanted: Vec<(ItemId, Option<String>)> = Vec::new();
        match (before, now) {
            (State::Active | State::Paused, State::Completed) => {
                let mut former = Former { run: next.run, values: BTreeMap::new() };
                for (id, value) in given {
                    let stored = self.state.get(&Slot::record(id.record())).await?;
                    let value_now =
                        stored.map(|stored| value_of(&id, &stored)).transpose().map_err(broken)?;
                    former.values.insert(id.record(), value_now);
                    wanted.push((id, Some(value.to_owned())));
                }
                let record = format!("{FORMER}{}", spec.name);
                plan.transaction.put(Slot::record(&record), to_json(&record, &former)?);
            }
            (State::Completed, State::Rollback) => {
                let former = self.former_values(&spec.name, next.run).await.map_err(broken)?;
                for (id, value) in given {
                    let stored = self.state.get(&Slot::record(id.record())).await?;
                    let value_now =
                        stored.map(|stored| value_of(&id, &stored)).transpose().map_err(broken)?;
                    // What a hand wrote since stays.
                    if value_now.as_deref() == Some(value)
                        && let Some(before) = former.get(&id.record())
                    {
                        wanted.push((id, before.clone()));
                    }
                }
            }
            _ => return Ok(()),
        }
        let names = wanted.iter().map(|(id, _)| id.record()).collect();
        for (id, value) in wanted {
            let slot = Slot::record(id.record());
            let stored = self.state.get(&slot).await?;
            plan.transaction.expect(slot.clone(), stored.as_ref().map_or(0, |stored| stored.revision));
            let old = stored.map(|stored| value_of(&id, &stored)).transpose().map_err(broken)?;
            let action = if value.is_some() { "config.put" } else { "config.delete" };
            let said = reason.map_or_else(|| format!("plan `{}`", spec.name), str::to_owned);
            let deed = Deed::ok(who, action, id.record()).with_reason(Some(said));
            plan.deeds.push(deed.changing(old.map(Text::of), value.clone().map(Text::of)));
            match value {
                Some(value) => plan.transaction.put(slot, to_json(&id.record(), &Item { value })?),
                None => plan.transaction.delete(slot),
            };
        }
        self.log_config_write(&mut plan.transaction, names).await
    }

    /// The former values of a completed run.
    pub(super) async fn former_values(
        &self,
        plan: &str,
        run: u64,
    ) -> Result<BTreeMap<String, Option<String>>> {
        let former = self.read::<Former>(&format!("{FORMER}{plan}")).await?;
        Ok(former
            .filter(|(former, _)| former.run == run)
            .map(|(former, _)| former.values)
            .unwrap_or_default())
    }
}
