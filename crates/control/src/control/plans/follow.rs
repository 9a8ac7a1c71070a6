//! Transitions, told by every control process, no matter who made them.

use serde_json::json;

use crate::control::events::EventKind;
use crate::control::plane::Control;
use crate::error::Result;
use crate::plans::{Kept, PLANS, SIGHTS, Sight, Transition, begun_step, plan_record, transition_record};
use crate::state::{Range, StateError, read_json};

/// Between two looks at the records: a burst of writes is one look.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(50);

impl Control {
    /// Follows the records of plans until it is dropped.
    pub async fn follow_plans(&self) {
        let mut changes = self.state.changes();
        loop {
            changes.borrow_and_update();
            match self.look_at_plans().await {
                Ok(()) => self.plans.loaded(),
                Err(error) => tracing::debug!(%error, "the plans cannot be read for now"),
            }
            if changes.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(SETTLE).await;
        }
    }

    pub(super) async fn look_at_plans(&self) -> Result<()> {
        for entry in self.records(PLANS).await? {
            let kept: Kept = read_json(&entry.name, &entry.stored.value)?;
            self.take_plan(&kept).await?;
        }
        for entry in self.records(SIGHTS).await? {
            let sight: Sight = read_json(&entry.name, &entry.stored.value)?;
            self.plans.see(entry.name.trim_start_matches(SIGHTS), sight);
        }
        Ok(())
    }

    /// All records below a prefix.
    pub(in crate::control) async fn records(
        &self,
        prefix: &str,
    ) -> std::result::Result<Vec<crate::state::Entry>, StateError> {
        let mut found = Vec::new();
        let mut range = Range::all(prefix);
        loop {
            let page = self.state.list(&range).await?;
            let is_full = page.len() >= range.limit;
            range.after = page.last().map(|entry| entry.name.clone());
            found.extend(page);
            if !is_full {
                return Ok(found);
            }
        }
    }

    /// Tells what is new in a record here.
    pub(in crate::control) async fn take_plan(&self, kept: &Kept) -> Result<()> {
        for number in self.plans.take(kept) {
            let newest = kept.last.clone().filter(|last| last.number == number);
            let transition = match newest {
                Some(newest) => Some(newest),
                None => self.transition(&kept.plan, number).await?,
            };
            if let Some(transition) = transition {
                self.plans.count(&kept.plan, &transition);
                self.tell_plan(&kept.plan, &transition);
            }
        }
        Ok(())
    }

    /// One that is no longer the newest: it stands below the run it belongs to.
    async fn transition(&self, plan: &str, number: u64) -> Result<Option<Transition>> {
        let found = self.read::<Kept>(&plan_record(plan)).await?;
        let newest = found.map_or(0, |(kept, _)| kept.run);
        for run in (1..=newest).rev() {
            let record = transition_record(plan, run, number);
            if let Some((transition, _)) = self.read(&record).await? {
                return Ok(Some(transition));
            }
        }
        Ok(None)
    }

    fn tell_plan(&self, plan: &str, transition: &Transition) {
        let body = json!({
            "plan": plan,
            "run": transition.run,
            "to": transition.to,
            "state": transition.state,
            "step": begun_step(transition.begun),
            "by": transition.by,
            "why": transition.why,
        });
        self.events.tell(EventKind::Plan, body);
    }
}
