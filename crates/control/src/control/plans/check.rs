//! May a plan start?
//!
//! Owns: what forbids it beyond the table of states, and what is worth knowing before. Never: who may start it.

use std::sync::Arc;

use graygate_judge::plan::{Progress, State};
use graygate_rules::compile::notes;
use graygate_rules::decide::ServicePlan;
use graygate_rules::documents::DocumentId;
use graygate_rules::documents::owner::plan_rules;

use super::documents::{has_instance, label, service};
use crate::control::plane::Control;
use crate::control::view::{Changes, View};
use crate::error::{Error, Result};
use crate::plans::rules::rules;
use crate::plans::window::unknown_zones;
use crate::plans::{Kept, Spec, holder_record, plan_record};
use crate::state::{OPERATION_LIMIT, Revision, TRANSACTION_BYTES};

/// Writes of a rollback beside those of its documents: record, history, audit, notice.
const OTHER_WRITES: usize = 14;

/// Bytes of the same, and of names.
const OTHER_BYTES: usize = 96 << 10;

/// The record that says who moves a service, as it was found.
pub struct Holder {
    pub record: String,
    pub revision: Revision,
}

impl Control {
    /// Whether it may start, as far as other plans and documents go. The records of who moves what are written with the
    /// start, so that of two plans one wins.
    pub(super) async fn check_start(&self, spec: &Spec) -> Result<(Vec<Holder>, Vec<String>)> {
        let view = self.view();
        fits(spec)?;
        crate::configs::held::check_start(spec)?;
        let holders = self.holders(spec).await?;
        for name in &spec.services {
            let Some(found) = service(&view, name) else {
                return Err(Error::Conflict(format!("the service `{name}` does not exist")));
            };
            if !has_instance(&view, name, &label(found, &spec.version)) {
                let version = &spec.version;
                let detail = format!("no instance of `{name}` takes requests of the version `{version}`");
                return Err(Error::Conflict(detail));
            }
        }
        check_identities(&view, spec)?;
        if let Some(zone) = unknown_zones(&spec.plan.windows).first() {
            return Err(Error::Conflict(format!("no one knows the zone `{zone}` of its windows")));
        }
        let planned = spec.clone();
        let looked = tokio::task::spawn_blocking(move || beside_rules(&view, &planned)).await;
        let hidden = looked.map_err(|error| Error::Internal(error.to_string()))??;
        Ok((holders, hidden))
    }

    /// Whether any other plan moves one of the services.
    async fn holders(&self, spec: &Spec) -> Result<Vec<Holder>> {
        let mut holders = Vec::new();
        let values = crate::configs::held::holds(spec);
        for name in spec.services.iter().chain(&values) {
            let record = holder_record(name);
            let found = self.read::<String>(&record).await?;
            let (plan, revision) = found.unwrap_or_default();
            if !plan.is_empty() && plan != spec.name {
                let other = self.read::<Kept>(&plan_record(&plan)).await?;
                // Completed values are the items' own, and may be moved again.
                let holds = |other: &Kept| match spec.is_of_values() {
                    true => matches!(other.progress.state, State::Active | State::Paused),
                    false => other.runs(),
                };
                if let Some((other, _)) = other.filter(|(other, _)| holds(other)) {
                    let state = other.progress.state.as_str();
                    return Err(Error::Conflict(format!("the plan `{plan}` moves `{name}`: it is {state}")));
                }
            }
            holders.push(Holder { record, revision });
        }
        Ok(holders)
    }
}

/// Everything a rollback, or the last step, writes has to fit into one transaction: a plan that starts can be ended.
fn fits(spec: &Spec) -> Result<()> {
    let rules = spec.plan.steps.iter().filter(|step| step.who.is_some()).count() + 1;
    let writes = 2 * rules + 6 * spec.services.len() + OTHER_WRITES;
    if writes > OPERATION_LIMIT {
        return Err(Error::Conflict(format!(
            "{rules} rules and {} services do not fit into one transaction; join steps that say `who`, or make two plans",
            spec.services.len()
        )));
    }
    let bytes = most_bytes(spec)?;
    match bytes <= TRANSACTION_BYTES {
        true => Ok(()),
        false => Err(Error::Conflict(format!(
            "its text and its rules take {} KiB, and one transaction holds {}; name people in lists instead of in the plan",
            bytes >> 10,
            TRANSACTION_BYTES >> 10
        ))),
    }
}

/// What a transition may write at most: the record with the running copy and all rules, and the rules themselves.
fn most_bytes(spec: &Spec) -> Result<usize> {
    let all = Progress { state: State::Active, begun: spec.plan.steps.len(), ..Progress::draft() };
    let rules = rules(spec, &all, &Default::default())?;
    let quoted = |text: &str| serde_json::to_string(text).map_or(usize::MAX / 4, |text| text.len());
    let rules = rules.iter().map(|(name, text)| 3 * name.len() + quoted(name) + quoted(text) + text.len());
    Ok(quoted(&spec.text) + rules.sum::<usize>() + OTHER_BYTES)
}

fn check_identities(view: &View, spec: &Spec) -> Result<()> {
    if spec.plan.by.is_some() {
        return Ok(());
    }
    let said = |name: &String| {
        let identity = service(view, name).and_then(|service| service.identity.as_ref());
        identity.map(|attributes| attributes.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let first = spec.services.first().map(said);
    match spec.services.iter().find(|name| Some(said(name)) != first) {
        None => Ok(()),
        Some(name) => {
            let detail = format!("`{name}` hashes another identity than the other services; say `by`");
            Err(Error::Conflict(detail))
        }
    }
}

/// What the plan's rules are beside the others: an error where they would never be asked; else what they will hide.
fn beside_rules(view: &View, spec: &Spec) -> Result<Vec<String>> {
    let mut changes = Changes::new();
    let all = Progress { state: State::Active, begun: spec.plan.steps.len(), ..Progress::draft() };
    for (name, text) in rules(spec, &all, &Default::default())? {
        if let Some(id) = DocumentId::parse(&name) {
            changes.insert(id, Some(text.into()));
        }
    }
    let next = view.with(&changes);
    let prefix = plan_rules(&spec.name);
    let concerned = |plan: &&Arc<ServicePlan>| spec.services.iter().any(|name| plan.name.as_str() == name);
    for plan in next.compiled.snapshot.services.iter().filter(concerned) {
        let is_own = |name: &str| name.starts_with(&prefix);
        let before = plan.rules.iter().take_while(|rule| !is_own(rule.name.as_str()));
        if let Some(rule) = before.into_iter().find(|rule| rule.always_matches()) {
            return Err(Error::Conflict(format!(
                "the rule `{}` decides every request of `{}` before the plan's; give the plan a higher `priority`",
                rule.name, plan.name
            )));
        }
    }
    let known = notes(&view.compiled.snapshot, 0);
    let hidden = notes(&next.compiled.snapshot, 0).into_iter().filter(|note| !known.contains(note));
    let hidden = hidden
        .filter(|note| note.document().strip_prefix("rules/").is_some_and(|name| !name.starts_with(&prefix)));
    Ok(hidden.map(|note| format!("{}: {}", note.document(), note.message)).collect())
}
