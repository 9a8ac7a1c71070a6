//! Plans of configuration as platforms ask for them, over the plans of this control plane.
//!
//! Owns: the body a plan was made of, which is kept beside its document; what clients measured; and the answers. Never:
//! states and steps: every action is one of the plan's.

use std::collections::BTreeMap;

use graygate_judge::plan::{Action, State};
use serde_json::{Map, Value, json};

use super::answers::{DetailShown, InstanceShown, LogShown, MeasureShown, MeasuredShown, MonitorShown};
use super::body::PlanBody;
use super::deeds::touch;
use super::given::{SEEN, Sighting};
use super::held::{config_of, items};
use super::item::ItemPlace;
use super::measures::{self, MEASURED, METRIC_BYTES, METRICS, Measured};
use crate::control::{
    ActionAsked, ActionDone, AuditQuery, Control, Done, Intent, PlanRead, Precondition, ProposalShown,
    rfc3339,
};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Via};
use crate::plans::Spec;
use crate::state::{Slot, StateError, Transaction, read_json, to_json};

/// The bodies, by plan.
const BODIES: &str = "gray-release/";
/// How often an action is tried again that met another one.
const RACES: usize = 50;
/// Records of the account that are told of one plan.
const LOGS: usize = 1_000;
/// Who rolls back when too much was measured.
const CONTROLLER: &str = "controller";

/// What became of a write.
#[derive(Debug)]
pub enum PlanDone {
    Written(Map<String, Value>),
    Removed,
    Waiting(Box<ProposalShown>),
}

/// A plan with its spec: one that moves values.
struct Found {
    read: PlanRead,
    spec: Spec,
    body: Option<Map<String, Value>>,
}

impl Found {
    fn state(&self) -> State {
        self.read.kept.progress.state
    }

    fn place(&self) -> Option<ItemPlace> {
        let config = config_of(&self.spec)?;
        Some(ItemPlace {
            app: config.app.clone(),
            environment: config.environment.clone(),
            group: config.group.clone(),
        })
    }

    /// The body it was made of; of a plan that was written as a document, the same in its words.
    fn shown(&self) -> Map<String, Value> {
        let mut body = self.body.clone().unwrap_or_else(|| self.described());
        body.insert("planId".to_owned(), json!(self.read.name));
        body.insert("status".to_owned(), json!(self.state().as_str()));
        body
    }

    fn described(&self) -> Map<String, Value> {
        let mut body = Map::new();
        if let Some(config) = config_of(&self.spec) {
            body.insert("appName".to_owned(), json!(config.app.as_str()));
            body.insert("environment".to_owned(), json!(config.environment.as_str()));
            body.insert("groupName".to_owned(), json!(config.group.as_str()));
            let values: BTreeMap<_, _> = config.values.iter().cloned().collect();
            body.insert("grayValues".to_owned(), json!(values));
        }
        if let Some(title) = &self.spec.plan.title {
            body.insert("planName".to_owned(), json!(title));
        }
        body
    }
}

impl Control {
    /// Makes a draft.
    pub async fn make_gray_plan(&self, who: &Principal, sent: Map<String, Value>) -> Result<PlanDone> {
        who.may_somewhere(Permission::Write)?;
        let body = PlanBody::read(sent)?;
        who.may(Permission::Write, &touch(&body.place))?;
        let id = format!("gray-{}", crate::people::short_id());
        let condition = Precondition { if_none_match: Some("*".to_owned()), ..Precondition::default() };
        self.write_gray_plan(who, &id, (body, condition)).await
    }

    /// Changes a draft.
    pub async fn change_gray_plan(
        &self,
        who: &Principal,
        id: &str,
        sent: Map<String, Value>,
    ) -> Result<PlanDone> {
        who.may_somewhere(Permission::Write)?;
        let found = self.found_gray_plan(id).await?;
        let body = PlanBody::read(sent)?;
        check_draft(&found)?;
        if let Some(place) = found.place() {
            who.may(Permission::Write, &touch(&place))?;
        }
        who.may(Permission::Write, &touch(&body.place))?;
        let condition = Precondition { if_match: Some(found.read.etag()), ..Precondition::default() };
        self.write_gray_plan(who, id, (body, condition)).await
    }

    async fn write_gray_plan(
        &self,
        who: &Principal,
        id: &str,
        (body, condition): (PlanBody, Precondition),
    ) -> Result<PlanDone> {
        let record = format!("{BODIES}{id}");
        let before = self.state.get(&Slot::record(&record)).await?;
        // Before the document: a plan without its body would lack the limits that roll it back.
        let mut transaction = Transaction::default();
        transaction.put(Slot::record(&record), to_json(&record, &body.sent)?);
        self.state.commit(transaction).await?;
        let intent = Intent::of("plan.put");
        let done = self.put_plan(who, (id, Some(body.document().into())), condition, intent).await;
        match done {
            Ok(Done::Waiting(proposal)) => Ok(PlanDone::Waiting(Box::new(proposal))),
            Ok(Done::Written(_) | Done::Shown(_)) => {
                Ok(PlanDone::Written(self.found_gray_plan(id).await?.shown()))
            }
            Err(error) => {
                let mut back = Transaction::default();
                match before {
                    Some(before) => back.put(Slot::record(&record), before.value),
                    None => back.delete(Slot::record(&record)),
                };
                self.state.commit(back).await?;
                Err(error)
            }
        }
    }

    /// Takes a draft away.
    pub async fn remove_gray_plan(&self, who: &Principal, id: &str) -> Result<PlanDone> {
        who.may_somewhere(Permission::Write)?;
        let found = self.found_gray_plan(id).await?;
        if let Some(place) = found.place() {
            who.may(Permission::Write, &touch(&place))?;
        }
        check_draft(&found)?;
        let condition = Precondition { if_match: Some(found.read.etag()), ..Precondition::default() };
        match self.put_plan(who, (id, None), condition, Intent::of("plan.delete")).await? {
            Done::Waiting(proposal) => return Ok(PlanDone::Waiting(Box::new(proposal))),
            Done::Written(_) | Done::Shown(_) => {}
        }
        let mut transaction = Transaction::default();
        transaction.delete(Slot::record(format!("{BODIES}{id}")));
        self.state.commit(transaction).await?;
        Ok(PlanDone::Removed)
    }

    pub async fn gray_plan(&self, who: &Principal, id: &str) -> Result<Map<String, Value>> {
        who.may_somewhere(Permission::Read)?;
        Ok(self.found_gray_plan(id).await?.shown())
    }

    /// The plans of values, by state and application.
    pub async fn gray_plans(
        &self,
        who: &Principal,
        (status, app): (Option<&str>, Option<&str>),
    ) -> Result<Vec<Map<String, Value>>> {
        let mut found = Vec::new();
        for shown in self.plans_shown(who, None).await? {
            let is_of_values =
                shown.services.is_empty() && shown.version.as_deref().unwrap_or_default().is_empty();
            if !is_of_values || status.is_some_and(|status| shown.state != status) {
                continue;
            }
            let plan = match self.found_gray_plan(&shown.name).await {
                Ok(plan) => plan,
                Err(Error::NotFound(_) | Error::Problems(_)) => continue,
                Err(error) => return Err(error),
            };
            let is_of_app = |app: &str| plan.place().is_some_and(|place| place.app.as_str() == app);
            if app.is_none_or(is_of_app) {
                found.push(plan.shown());
            }
        }
        Ok(found)
    }

    async fn found_gray_plan(&self, id: &str) -> Result<Found> {
        let read = self.read_plan(id).await?;
        let spec = if read.kept.has_run() { read.running()? } else { read.drafted()? };
        if !spec.is_of_values() {
            return Err(Error::NotFound(format!("the plan `{id}` moves no configuration values")));
        }
        let record = format!("{BODIES}{id}");
        let body = self.read::<Map<String, Value>>(&record).await?.map(|(body, _)| body);
        Ok(Found { read, spec, body })
    }

    /// Does what is asked, to the plan as it is in this moment: these calls know no ETag.
    pub async fn act_on_gray_plan(
        &self,
        who: &Principal,
        (id, action): (&str, Action),
        reason: Option<String>,
    ) -> Result<PlanDone> {
        who.may_somewhere(Permission::Move)?;
        let asked = ActionAsked { reason, ..ActionAsked::default() };
        for _ in 0..RACES {
            let found = self.found_gray_plan(id).await?;
            let etag = found.read.etag();
            match self.act_on_plan(who, (id, action), Some(&etag), &asked).await {
                Err(Error::PreconditionFailed { .. }) => {}
                Err(error) => return Err(error),
                Ok(ActionDone::Waiting(proposal)) => return Ok(PlanDone::Waiting(Box::new(proposal))),
                Ok(ActionDone::Moved(_) | ActionDone::RolledBack { .. }) => {
                    return Ok(PlanDone::Written(self.found_gray_plan(id).await?.shown()));
                }
            }
        }
        Err(Error::Away("others move it all the time; try again".to_owned()))
    }

    /// Each key of a plan.
    pub async fn gray_plan_details(&self, who: &Principal, id: &str) -> Result<Vec<DetailShown>> {
        who.may_somewhere(Permission::Read)?;
        let found = self.found_gray_plan(id).await?;
        let Some(config) = config_of(&found.spec) else { return Ok(Vec::new()) };
        let former = match found.state() {
            State::Completed => self.former_values(id, found.read.kept.run).await?,
            _ => BTreeMap::new(),
        };
        let mut details = Vec::new();
        for (item, value) in items(config)? {
            let original = match former.get(&item.record()) {
                Some(former) => former.clone(),
                None => self.configs.entry(&item).map(|entry| entry.value.to_string()),
            };
            details.push(DetailShown {
                config_key: item.key,
                gray_value: value.to_owned(),
                original_value: original,
                status: found.state().as_str().to_owned(),
            });
        }
        Ok(details)
    }

    /// What the account says of a plan, newest first.
    pub async fn gray_plan_logs(&self, who: &Principal, id: &str) -> Result<Vec<LogShown>> {
        who.may_somewhere(Permission::Read)?;
        self.found_gray_plan(id).await?;
        let object = format!("plans/{id}");
        let query = AuditQuery { what: Some(object.clone()), limit: LOGS, ..AuditQuery::default() };
        let (records, _) = self.audit(who, &query).await?;
        let shown = records.into_iter().filter(|record| record.object == object).map(|record| LogShown {
            time: record.time,
            action: record.action,
            operator: record.who,
            detail: record.reason.unwrap_or_default(),
        });
        Ok(shown.collect())
    }

    /// What instances were given last, over all control processes, newest first.
    pub async fn gray_plan_instances(&self, who: &Principal, id: &str) -> Result<Vec<InstanceShown>> {
        who.may_somewhere(Permission::Read)?;
        self.found_gray_plan(id).await?;
        let mut newest: BTreeMap<(String, String, String), Sighting> = BTreeMap::new();
        let mut take = |sighting: Sighting| {
            let key = (sighting.instance.clone(), sighting.address.clone(), sighting.key.clone());
            match newest.get(&key) {
                Some(known) if known.at >= sighting.at => {}
                _ => drop(newest.insert(key, sighting)),
            }
        };
        self.configs.given.sightings(id).into_iter().for_each(&mut take);
        for entry in self.all_records(&format!("{SEEN}{id}/")).await? {
            let seen: Vec<Sighting> = read_json(&entry.name, &entry.stored.value)?;
            seen.into_iter().for_each(&mut take);
        }
        let mut seen: Vec<Sighting> = newest.into_values().collect();
        seen.sort_by_key(|sighting| std::cmp::Reverse(sighting.at));
        let shown = seen.into_iter().map(|sighting| InstanceShown {
            instance_id: sighting.instance,
            instance_ip: sighting.address,
            config_key: sighting.key,
            gray: sighting.gray,
            last_seen: time_of(sighting.at),
        });
        Ok(shown.collect())
    }

    /// The figures of a plan.
    pub async fn gray_plan_monitor(&self, who: &Principal, id: &str) -> Result<MonitorShown> {
        who.may_somewhere(Permission::Read)?;
        let found = self.found_gray_plan(id).await?;
        let kept = &found.read.kept;
        let counted = self.config_counts(kept).await?;
        let measured = self.read::<Measured>(&format!("{MEASURED}{id}")).await?.map(|(measured, _)| measured);
        let measured = measured.filter(|measured| measured.run == kept.run).unwrap_or_default();
        let limits = limits(&found)?;
        let metrics = measured.metrics.into_iter().map(|(name, metric)| MeasureShown {
            limit: limits.get(&name).copied(),
            metric: name,
            last: metric.last,
            average: if metric.count == 0 { 0.0 } else { metric.sum / metric.count as f64 },
            max: metric.max,
            count: metric.count,
            above: metric.above,
            instance_id: metric.instance,
            last_seen: time_of(metric.at),
        });
        Ok(MonitorShown {
            plan_id: id.to_owned(),
            status: found.state().as_str().to_owned(),
            share: found.spec.share(kept.progress.begun).map(crate::plans::percent),
            gray_requests: counted.gray,
            release_requests: counted.release,
            metrics: metrics.collect(),
        })
    }

    /// Takes in what a client measured. Three values in a row above the limit roll the plan back.
    pub async fn measure_gray_plan(
        &self,
        who: &Principal,
        id: &str,
        (metric, value, instance): (&str, f64, &str),
    ) -> Result<MeasuredShown> {
        who.may_somewhere(Permission::Measure)?;
        if metric.is_empty() || metric.len() > METRIC_BYTES || metric.chars().any(char::is_control) {
            return Err(Error::Invalid(format!("a metric has a name of at most {METRIC_BYTES} bytes")));
        }
        if !value.is_finite() {
            return Err(Error::Invalid("`value` is a number".to_owned()));
        }
        let found = self.found_gray_plan(id).await?;
        if let Some(place) = found.place() {
            who.may(Permission::Measure, &touch(&place))?;
        }
        let kept = &found.read.kept;
        if !kept.runs() {
            let state = kept.progress.state.as_str();
            return Err(Error::Conflict(format!("the plan does not run: it is {state}")));
        }
        let limit = limits(&found)?.get(metric).copied();
        let at = i64::try_from(self.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let value = measures::Value { metric, value, instance, at };
        if self.keep_measured(id, kept.run, &value, limit).await? && self.is_watched(&found) {
            self.end_badly(&found, (metric, value.value, limit.unwrap_or_default())).await?;
        }
        let status = self.found_gray_plan(id).await?.state().as_str().to_owned();
        Ok(MeasuredShown { plan_id: id.to_owned(), status })
    }

    async fn keep_measured(
        &self,
        id: &str,
        run: u64,
        value: &measures::Value<'_>,
        limit: Option<f64>,
    ) -> Result<bool> {
        let record = format!("{MEASURED}{id}");
        for _ in 0..RACES {
            let found = self.read::<Measured>(&record).await?;
            let (mut measured, revision) = found.unwrap_or_default();
            if !measured.metrics.contains_key(value.metric)
                && measured.metrics.len() >= METRICS
                && measured.run == run
            {
                return Err(Error::Conflict(format!("a plan has at most {METRICS} metrics")));
            }
            let is_over = measured.take(run, value, limit);
            let mut transaction = Transaction::default();
            transaction.expect(Slot::record(&record), revision);
            transaction.put(Slot::record(&record), to_json(&record, &measured)?);
            match self.state.commit(transaction).await {
                Ok(_) => return Ok(is_over),
                Err(StateError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Away("others measure all the time; try again".to_owned()))
    }

    /// Guards look on until the watch behind the last step ends.
    fn is_watched(&self, found: &Found) -> bool {
        let since = found.read.kept.last.as_ref().map(|last| last.time);
        match (found.state(), since) {
            (State::Completed, Some(since)) => self.clock.now() - since < found.spec.plan.watch,
            _ => true,
        }
    }

    /// Rolls back, or pauses where the plan says so. Any process does: it only takes away.
    async fn end_badly(&self, found: &Found, (metric, value, limit): (&str, f64, f64)) -> Result<()> {
        use graygate_rules::documents::plan::OnRegression;
        let who = Principal::own(CONTROLLER, Via::Controller);
        let action = match found.spec.plan.on_regression {
            OnRegression::Rollback => Action::Rollback,
            OnRegression::Pause => Action::Pause,
        };
        let why = format!("`{metric}` was above {limit} three times in a row, at last {value}");
        match self.act_on_gray_plan(&who, (&found.read.name, action), Some(why)).await {
            // Another process was first.
            Ok(_) | Err(Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn limits(found: &Found) -> Result<BTreeMap<String, f64>> {
    match &found.body {
        Some(body) => Ok(PlanBody::read(body.clone())?.limits),
        None => Ok(BTreeMap::new()),
    }
}

fn check_draft(found: &Found) -> Result<()> {
    match found.state() {
        State::Draft => Ok(()),
        state => Err(Error::Conflict(format!(
            "only a draft can be changed or taken away: it is {}",
            state.as_str()
        ))),
    }
}

fn time_of(milliseconds: i64) -> String {
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000);
    time.map(rfc3339).unwrap_or_default()
}
