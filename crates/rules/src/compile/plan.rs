//! The stage that plans the rules of one service; plans are carried over from the last compile.
//!
//! Answers: which rules need not be planned again? A plan follows from what a rule was resolved into and from the
//! numbers that versions have, so it stays while neither changes. Start at [`Planned::next`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::resolve::ResolvedRule;
use super::resolved::Resolved;
use super::versions::VersionTable;
use crate::decide::{self, RELEASE, RulePlan, Standing, VersionId};
use crate::documents::{Outcome, Rule};
use crate::vocab::{Chunks, Name};

/// How far behind the last rule the next one is looked for before all places are noted.
const NEAR: usize = 4;

/// What was planned at the last compile, by service.
pub type Memory = BTreeMap<Name, Planned>;

/// The rules of a service at the last compile.
#[derive(Clone, Default, Debug)]
pub struct Planned {
    pub versions: VersionTable,
    /// In the order they are asked.
    rules: Vec<PlannedRule>,
    /// By version: how many rules can give it.
    givers: Vec<usize>,
}

#[derive(Clone, Debug)]
pub struct PlannedRule {
    /// Held, so that nothing else can have the same place in memory.
    resolved: Arc<Resolved>,
    pub plan: Arc<RulePlan>,
    /// A bit for each version it can give.
    versions: u64,
    pub priority: i32,
    /// Whether the plan may be used again.
    is_kept: bool,
}

impl Planned {
    /// Plans the rules of now; `collect` gathers the versions of rules and a list of others.
    pub fn next(
        self,
        rules: &[&ResolvedRule<'_>],
        collect: impl FnOnce(&mut dyn Iterator<Item = &Rule>, Vec<Name>) -> VersionTable,
    ) -> (Chunks<Arc<RulePlan>>, Planned) {
        let before = self.rules.into_iter().map(|rule| rule.is_kept.then_some(rule)).collect();
        let mut known = Carried { rules: before, next: 0, places: None };
        let known: Vec<Option<PlannedRule>> = rules.iter().map(|rule| known.take(rule)).collect();
        let bits = known.iter().flatten().fold(0, |bits, rule| bits | rule.versions);
        let others = (0..u64::BITS).filter(|id| bits & 1 << id != 0);
        let others = others.filter_map(|id| self.versions.get(id as VersionId).cloned()).collect();
        let mut unknown =
            rules.iter().zip(&known).filter(|(_, known)| known.is_none()).filter_map(|(rule, _)| rule.rule());
        let versions = collect(&mut unknown, others);
        let same = versions == self.versions;
        let mut planned = Planned { givers: vec![0; versions.count()], versions, rules: Vec::new() };
        let known = known.into_iter().map(|known| known.filter(|_| same));
        let of = |planned: &Planned, rule, known: Option<PlannedRule>| known.or_else(|| planned.plan(rule));
        planned.rules =
            rules.iter().zip(known).filter_map(|(rule, known)| of(&planned, rule, known)).collect();
        for rule in &planned.rules {
            rule.plan
                .outcome
                .versions()
                .for_each(|version| count(&mut planned.givers, version, Change::More));
        }
        (planned.rules.iter().map(|rule| rule.plan.clone()).collect(), planned)
    }

    /// What a rule is here; `None` where it names a version that has no number yet.
    pub fn plan(&self, rule: &ResolvedRule<'_>) -> Option<PlannedRule> {
        let written = rule.rule()?;
        let are_known = match &written.outcome {
            Outcome::Version(version) => self.versions.has(version),
            Outcome::Split(shares) => shares.iter().all(|(version, _)| self.versions.has(version)),
        };
        let plan = are_known.then(|| Arc::new(plan(rule, written, &self.versions)))?;
        let bit = |id: VersionId| 1_u64.checked_shl(u32::try_from(id).ok()?);
        let versions = plan.outcome.versions().try_fold(0, |bits, id| Some(bits | bit(id)?));
        Some(PlannedRule {
            resolved: rule.resolved.clone().into_owned(),
            plan,
            versions: versions.unwrap_or_default(),
            priority: rule.priority,
            // What a rule waits for is no part of what it was resolved into.
            is_kept: versions.is_some() && rule.inert.is_none(),
        })
    }

    /// Where a rule stands; the error is where it would.
    pub fn place(&self, priority: i32, name: &str) -> Result<usize, usize> {
        let place = (Reverse(priority), name);
        self.rules.binary_search_by(|rule| (Reverse(rule.priority), rule.plan.name.as_str()).cmp(&place))
    }

    pub fn insert(&mut self, at: usize, rule: PlannedRule) {
        rule.plan.outcome.versions().for_each(|version| count(&mut self.givers, version, Change::More));
        self.rules.insert(at, rule);
    }

    /// Puts another rule in the place of one, whose plan it returns.
    pub fn replace(&mut self, at: usize, rule: PlannedRule) -> Option<Arc<RulePlan>> {
        let there = self.rules.get_mut(at)?;
        rule.plan.outcome.versions().for_each(|version| count(&mut self.givers, version, Change::More));
        there.plan.outcome.versions().for_each(|version| count(&mut self.givers, version, Change::Fewer));
        Some(std::mem::replace(there, rule).plan)
    }

    /// The plan of the rule that stood there.
    pub fn remove(&mut self, at: usize) -> Arc<RulePlan> {
        let rule = self.rules.remove(at);
        rule.plan.outcome.versions().for_each(|version| count(&mut self.givers, version, Change::Fewer));
        rule.plan
    }

    /// Whether any rule can give a version; what no rule gives any more may be no version any more.
    pub fn gives(&self, version: VersionId) -> bool {
        version == RELEASE || self.givers.get(version).is_some_and(|givers| *givers > 0)
    }
}

#[derive(Clone, Copy)]
enum Change {
    More,
    Fewer,
}

fn count(givers: &mut [usize], version: VersionId, change: Change) {
    if let Some(givers) = givers.get_mut(version) {
        *givers = match change {
            Change::More => givers.saturating_add(1),
            Change::Fewer => givers.saturating_sub(1),
        };
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
