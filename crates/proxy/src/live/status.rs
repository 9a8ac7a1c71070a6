//! What the running generation says about itself, as `/status` prints it.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::generation::{Generation, Live};
use crate::mirror::Shadow;
use graygate_rules::compile::notes;
use graygate_rules::decide::{Outcome, RulePlan, ServicePlan};
use graygate_rules::vocab::{InstanceState, Label, Problem, Revision};

#[derive(Serialize)]
pub struct RevisionReport {
    pub offered: Revision,
    pub running: Revision,
    /// RFC 3339; null before anything runs.
    pub since: Option<String>,
}

#[derive(Serialize)]
pub struct ProblemReport {
    pub document: String,
    /// Of the document's text, from 1; absent where no single line is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    pub field: String,
    pub message: String,
    pub held_back_since: String,
}

#[derive(Serialize)]
pub struct ServiceReport {
    /// By the instances' label.
    pub versions: BTreeMap<String, VersionReport>,
    pub decision: DecisionReport,
    /// The rules that plans wrote, and the share each gives its version, in percent; null of one that decides nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub plan_rules: BTreeMap<String, Option<f64>>,
}

/// What deciding costs in this service.
#[derive(Serialize)]
pub struct DecisionReport {
    pub rules: usize,
    /// Rules with a condition that no table leads to.
    pub asked_one_by_one: usize,
    /// In lookups of some tens of nanoseconds; see [`graygate_rules::decide::RuleIndex::cost`].
    pub cost: usize,
}

/// What an operator may want to know of a document that is not wrong.
#[derive(Serialize)]
pub struct NoteReport {
    pub document: String,
    pub message: String,
}

#[derive(Serialize)]
pub struct VersionReport {
    pub instances: Vec<InstanceReport>,
}

#[derive(Serialize)]
pub struct InstanceReport {
    pub address: String,
    pub state: &'static str,
    pub weight: u32,
    pub tags: BTreeMap<String, String>,
}

/// A mirror and the copies on their way.
#[derive(Serialize)]
pub struct MirrorReport {
    /// The document that says it, and the service whose requests are copied.
    of: String,
    service: String,
    to: String,
    version: String,
    under_way: u32,
    max: u32,
}

/// Every mirror, in the order of their documents.
pub fn mirror_reports(generation: &Generation) -> Vec<MirrorReport> {
    let report = |shadow: &Shadow| {
        let (origin, mirror) = (shadow.origin(), shadow.mirror());
        MirrorReport {
            of: origin.document.to_string(),
            service: origin.service.to_string(),
            to: mirror.service.to_string(),
            version: mirror.version.to_string(),
            under_way: shadow.under_way(),
            max: mirror.max,
        }
    };
    let mut reports: Vec<MirrorReport> = generation.shadows.iter().map(report).collect();
    reports.sort_by(|a, b| (&a.of, &a.service).cmp(&(&b.of, &b.service)));
    reports
}

impl RevisionReport {
    pub fn of(live: &Live) -> RevisionReport {
        let running = live.running();
        RevisionReport {
            offered: live.offered(),
            running: running.as_ref().map_or(0, |generation| generation.revision),
            since: running.map(|generation| rfc3339(generation.since)),
        }
    }
}

impl Generation {
    pub fn problem_reports(&self) -> Vec<ProblemReport> {
        let report = |(problem, since): &(Problem, SystemTime)| ProblemReport {
            document: problem.document(),
            line: problem.line,
            field: problem.field.clone(),
            message: problem.sentence(),
            held_back_since: rfc3339(*since),
        };
        self.problems.iter().map(report).collect()
    }

    /// Rules that can never match from `now` on, and services whose rules cost more than others.
    pub fn note_reports(&self, now: SystemTime) -> Vec<NoteReport> {
        let now = OffsetDateTime::from(now).unix_timestamp_nanos();
        let report = |note: Problem| NoteReport { message: note.sentence(), document: note.document() };
        notes(&self.snapshot, now).into_iter().map(report).collect()
    }

    /// How many instances of each service and label are in each state, in the order of
    /// [`InstanceState::ALL`].
    pub fn instance_counts(&self, now: Instant) -> Vec<(Label, Label, [u64; 4])> {
        let mut counts = Vec::new();
        for service in &self.services {
            for (label, instances) in service.pools.labels() {
                let mut states = [0; 4];
                for instance in instances {
                    let state = instance.state(now);
                    for (count, known) in states.iter_mut().zip(InstanceState::ALL) {
                        *count += u64::from(*known == state);
                    }
                }
                counts.push((service.pools.name().label(), label.label(), states));
            }
        }
        counts
    }
}

/// Every service with its instances and their states.
pub fn service_reports(generation: &Generation, now: Instant) -> BTreeMap<String, ServiceReport> {
    let version = |instances: &[std::sync::Arc<crate::pools::Instance>]| VersionReport {
        instances: instances
            .iter()
            .map(|instance| InstanceReport {
                address: instance.address().to_string(),
                state: instance.state(now).as_str(),
                weight: instance.weight(),
                tags: instance.tags().iter().map(|(key, tag)| (key.to_string(), tag.to_string())).collect(),
            })
            .collect(),
    };
    let services = generation.services.iter().zip(&generation.snapshot.services).map(|(service, plan)| {
        let decision = DecisionReport {
            rules: plan.rules.len(),
            asked_one_by_one: plan.index.unindexed().len(),
            cost: plan.index.cost(),
        };
        let versions = service
            .pools
            .labels()
            .map(|(label, instances)| (label.to_string(), version(instances)))
            .collect();
        (service.pools.name().to_string(), ServiceReport { versions, decision, plan_rules: plan_rules(plan) })
    });
    services.collect()
}

/// What plans' rules of a service give.
fn plan_rules(plan: &ServicePlan) -> BTreeMap<String, Option<f64>> {
    let own = plan.rules.iter().filter(|rule| rule.name.as_str().starts_with("plan."));
    let share = |rule: &RulePlan| match &rule.outcome {
        _ if !rule.is_active() => None,
        Outcome::Version(_) => Some(100.0),
        Outcome::Split { branches, .. } => match &branches[..] {
            [(end, _)] => Some(f64::from(*end) / 100.0),
            _ => None,
        },
    };
    own.map(|rule| (rule.name.to_string(), share(rule))).collect()
}

/// A time of the clock on the wall, in UTC.
pub fn rfc3339(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}
