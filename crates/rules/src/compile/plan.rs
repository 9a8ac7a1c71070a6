//! The stage that plans the rules of one service; plans are carried over from the last compile.
//!
//! Answers: which rules need not be planned again? A plan follows from what a rule was resolved into and from the
//! numbers that versions have, so it stays while neither changes. Start at [`Planned::next`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::resolve::ResolvedRule;
use super::resolved::Resolved;
use super::versions::VersionTable;
use crate::decide::{self, RulePlan, Standing, VersionId};
use crate::documents::{Outcome, Rule};
use crate::vocab::Name;

/// How far behind the last rule the next one is looked for before all places are noted.
const NEAR: usize = 4;

/// What was planned at the last compile, by service.
pub type Memory = BTreeMap<Name, Planned>;

/// The rules of a service at the last compile.
#[derive(Clone, Default, Debug)]
pub struct Planned {
    pub versions: VersionTable,
    /// In their order; without those whose plan may not be used again.
    rules: Vec<PlannedRule>,
}

#[derive(Clone, Debug)]
struct PlannedRule {
    /// Held, so that nothing else can have the same place in memory.
    resolved: Arc<Resolved>,
    plan: Arc<RulePlan>,
    /// A bit for each version it can give.
    versions: u64,
}

impl Planned {
    /// Plans the rules of now; `collect` gathers the versions of rules and a list of others.
    pub fn next(
        self,
        rules: &[&ResolvedRule<'_>],
        collect: impl FnOnce(&mut dyn Iterator<Item = &Rule>, Vec<Name>) -> VersionTable,
    ) -> (Box<[Arc<RulePlan>]>, Planned) {
        let mut known = Carried { rules: self.rules.into_iter().map(Some).collect(), next: 0, places: None };
        let known: Vec<Option<PlannedRule>> = rules.iter().map(|rule| known.take(rule)).collect();
        let bits = known.iter().flatten().fold(0, |bits, rule| bits | rule.versions);
        let others = (0..u64::BITS).filter(|id| bits & 1 << id != 0);
        let others = others.filter_map(|id| self.versions.get(id as VersionId).cloned()).collect();
        let mut unknown =
            rules.iter().zip(&known).filter(|(_, known)| known.is_none()).filter_map(|(rule, _)| rule.rule());
        let versions = collect(&mut unknown, others);
        let same = versions == self.versions;
        let mut planned = Planned { versions, rules: Vec::with_capacity(rules.len()) };
        let plans = rules.iter().zip(known).filter_map(|(rule, known)| match known.filter(|_| same) {
            Some(known) => Some(planned.keep(known)),
            None => planned.plan(rule),
        });
        (plans.collect(), planned)
    }

    fn keep(&mut self, rule: PlannedRule) -> Arc<RulePlan> {
        let plan = rule.plan.clone();
        self.rules.push(rule);
        plan
    }

    fn plan(&mut self, rule: &ResolvedRule<'_>) -> Option<Arc<RulePlan>> {
        let plan = Arc::new(plan(rule, rule.rule()?, &self.versions));
        let bit = |id: VersionId| 1_u64.checked_shl(u32::try_from(id).ok()?);
        let versions = plan.outcome.versions().try_fold(0, |bits, id| Some(bits | bit(id)?));
        // What a rule waits for is no part of what it was resolved into.
        if let Some(versions) = versions.filter(|_| rule.inert.is_none()) {
            let resolved = rule.resolved.clone().into_owned();
            self.rules.push(PlannedRule { resolved, plan: plan.clone(), versions });
        }
        Some(plan)
    }
}

/// The rules of before, each taken once.
struct Carried {
    rules: Vec<Option<PlannedRule>>,
    /// The one behind the last that was taken: rules keep their order, so the next is almost always there.
    next: usize,
    /// By what a rule was resolved into; noted when one is not.
    places: Option<HashMap<*const Resolved, usize, FixedState>>,
}

impl Carried {
    fn take(&mut self, rule: &ResolvedRule<'_>) -> Option<PlannedRule> {
        if rule.is_new || rule.inert.is_some() || self.rules.is_empty() {
            return None;
        }
        let resolved = &*rule.resolved;
        let is_it = |rule: &Option<PlannedRule>| {
            rule.as_ref().is_some_and(|rule| Arc::ptr_eq(&rule.resolved, resolved))
        };
        let near = self.rules.iter().skip(self.next).take(NEAR).position(is_it);
        let at = match near {
            Some(near) => self.next + near,
            None => *self.places().get(&Arc::as_ptr(resolved))?,
        };
        self.next = at + 1;
        self.rules.get_mut(at)?.take()
    }

    fn places(&mut self) -> &HashMap<*const Resolved, usize, FixedState> {
        let rules = self.rules.iter().enumerate();
        let places = rules.filter_map(|(at, rule)| Some((Arc::as_ptr(&rule.as_ref()?.resolved), at)));
        self.places.get_or_insert_with(|| places.collect())
    }
}

fn plan(resolved: &ResolvedRule<'_>, rule: &Rule, versions: &VersionTable) -> RulePlan {
    let Resolved { name, when, .. } = &**resolved.resolved;
    let outcome = match &rule.outcome {
        Outcome::Version(version) => decide::Outcome::Version(versions.id(version)),
        Outcome::Split(shares) => decide::Outcome::split(
            shares.iter().map(|(version, share)| (versions.id(version), *share)),
            rule.by.clone().map(Into::into),
            rule.salt.as_deref().unwrap_or(name.as_str()).as_bytes().into(),
        ),
    };
    let standing = match (&resolved.inert, rule.enabled) {
        (Some(why), _) => Standing::Inert(why.clone()),
        (None, false) => Standing::Disabled,
        (None, true) => Standing::Active,
    };
    RulePlan {
        name: name.clone(),
        standing,
        starts: rule.starts.map(|time| time.unix_timestamp_nanos()),
        ends: rule.ends.map(|time| time.unix_timestamp_nanos()),
        when: when.clone(),
        outcome,
        mirror: rule.mirror.clone().map(Box::new),
    }
}
