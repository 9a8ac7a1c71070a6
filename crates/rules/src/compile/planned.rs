//! What was made of the rules of a service, for the compile after that: almost all of them are the same again.
//!
//! Answers: which rules need not be planned anew? A plan follows from what a rule was prepared into and from the
//! numbers that versions have, so it stays while neither changes. Start at [`Planned::next`].

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::rule::{Prepared, ReadyRule};
use super::service::Words;
use crate::decide::{self, RuleIndex, RulePlan, Standing, VersionId};
use crate::documents::{Outcome, Rule};
use crate::vocab::Name;

/// How far behind the last rule the next one is looked for before all places are noted.
const NEAR: usize = 4;

/// The rules of a service at the last compile.
#[derive(Clone, Default, Debug)]
pub struct Planned {
    pub index: Option<Arc<RuleIndex>>,
    pub words: Words,
    /// In their order; without those whose plan may not be used again.
    rules: Vec<PlannedRule>,
}

#[derive(Clone, Debug)]
struct PlannedRule {
    /// Held, so that nothing else can have the same place in memory.
    prepared: Arc<Prepared>,
    plan: Arc<RulePlan>,
    /// A bit for each version it can give.
    versions: u64,
}

impl Planned {
    /// Plans the rules of now; `collect` gathers the versions of rules and a list of others.
    pub fn next(
        self,
        rules: &[&ReadyRule<'_>],
        collect: impl FnOnce(&mut dyn Iterator<Item = &Rule>, Vec<Name>) -> Words,
    ) -> (Box<[Arc<RulePlan>]>, Planned) {
        let mut known = Known { rules: self.rules.into_iter().map(Some).collect(), next: 0, places: None };
        let known: Vec<Option<PlannedRule>> = rules.iter().map(|rule| known.take(rule)).collect();
        let bits = known.iter().flatten().fold(0, |bits, rule| bits | rule.versions);
        let others = (0..u64::BITS).filter(|id| bits & 1 << id != 0);
        let others = others.filter_map(|id| self.words.get(id as VersionId).cloned()).collect();
        let mut unknown =
            rules.iter().zip(&known).filter(|(_, known)| known.is_none()).filter_map(|(rule, _)| rule.rule());
        let words = collect(&mut unknown, others);
        let same_words = words == self.words;
        let mut planned = Planned { index: None, words, rules: Vec::with_capacity(rules.len()) };
        let plans = rules.iter().zip(known).filter_map(|(rule, known)| match known.filter(|_| same_words) {
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

    fn plan(&mut self, ready: &ReadyRule<'_>) -> Option<Arc<RulePlan>> {
        let plan = Arc::new(plan(ready, ready.rule()?, &self.words));
        let bit = |id: VersionId| 1_u64.checked_shl(u32::try_from(id).ok()?);
        let versions = plan.outcome.versions().try_fold(0, |bits, id| Some(bits | bit(id)?));
        // What a rule waits for is no part of what it was prepared into.
        if let Some(versions) = versions.filter(|_| ready.inert.is_none()) {
            let prepared = ready.prepared.clone().into_owned();
            self.rules.push(PlannedRule { prepared, plan: plan.clone(), versions });
        }
        Some(plan)
    }
}

/// The rules of before, each taken once.
struct Known {
    rules: Vec<Option<PlannedRule>>,
    /// The one behind the last that was taken: rules keep their order, so the next is almost always there.
    next: usize,
    /// By what a rule was prepared into; noted when one is not.
    places: Option<HashMap<*const Prepared, usize, FixedState>>,
}

impl Known {
    fn take(&mut self, ready: &ReadyRule<'_>) -> Option<PlannedRule> {
        if ready.is_new || ready.inert.is_some() || self.rules.is_empty() {
            return None;
        }
        let prepared = &*ready.prepared;
        let is_it = |rule: &Option<PlannedRule>| {
            rule.as_ref().is_some_and(|rule| Arc::ptr_eq(&rule.prepared, prepared))
        };
        let near = self.rules.iter().skip(self.next).take(NEAR).position(is_it);
        let at = match near {
            Some(near) => self.next + near,
            None => *self.places().get(&Arc::as_ptr(prepared))?,
        };
        self.next = at + 1;
        self.rules.get_mut(at)?.take()
    }

    fn places(&mut self) -> &HashMap<*const Prepared, usize, FixedState> {
        let rules = self.rules.iter().enumerate();
        let places = rules.filter_map(|(at, rule)| Some((Arc::as_ptr(&rule.as_ref()?.prepared), at)));
        self.places.get_or_insert_with(|| places.collect())
    }
}

fn plan(ready: &ReadyRule<'_>, rule: &Rule, words: &Words) -> RulePlan {
    let Prepared { name, when, .. } = &**ready.prepared;
    let outcome = match &rule.outcome {
        Outcome::Version(version) => decide::Outcome::Version(words.id(version)),
        Outcome::Split(shares) => decide::Outcome::split(
            shares.iter().map(|(version, share)| (words.id(version), *share)),
            rule.by.clone().map(Into::into),
            rule.salt.as_deref().unwrap_or(name.as_str()).as_bytes().into(),
        ),
    };
    let standing = match (&ready.inert, rule.enabled) {
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
    }
}
