//! A rule at run time: when it applies, and which version it gives.

use std::sync::Arc;

use super::condition::Remainder;
use super::index::{Edit, Indexed, PatternSets, RuleId, RuleIndex, RuleKey, Scratch};
use super::request::{Seen, Values};
use crate::vocab::{Attribute, Chunks, Mirror, Name, Share};

/// Index into [`ServicePlan::versions`](super::ServicePlan::versions).
pub type VersionId = usize;

/// `release` is the first version of every service.
pub const RELEASE: VersionId = 0;

#[derive(Debug)]
pub struct RulePlan {
    pub name: Name,
    pub standing: Standing,
    /// Nanoseconds since 1970; from `starts` on, and before `ends`.
    pub starts: Option<i128>,
    pub ends: Option<i128>,
    pub when: Option<Arc<Indexed>>,
    pub outcome: Outcome,
    /// Where copies of its requests go; rare, and so behind a pointer.
    pub mirror: Option<Box<Mirror>>,
}

/// Whether a rule takes part at all.
#[derive(Debug)]
pub enum Standing {
    Active,
    Disabled,
    /// Held out as a whole, and why.
    Inert(String),
}

#[derive(Debug)]
pub enum Outcome {
    Version(VersionId),
    Split {
        /// Each version with the bucket its range ends before; ranges are consecutive from 0.
        branches: Box<[(u16, VersionId)]>,
        /// The version that has everyone, identity or not.
        everyone: Option<VersionId>,
        by: Option<Box<[Attribute]>>,
        salt: Box<[u8]>,
    },
}

impl Outcome {
    /// The branches of a split in the order written.
    pub fn split(
        shares: impl IntoIterator<Item = (VersionId, Share)>,
        by: Option<Box<[Attribute]>>,
        salt: Box<[u8]>,
    ) -> Outcome {
        let mut end = 0;
        let mut everyone = None;
        let branches = shares
            .into_iter()
            .map(|(version, share)| {
                end += share.hundredths();
                everyone = everyone.or((share == Share::ALL).then_some(version));
                (end, version)
            })
            .collect();
        Outcome::Split { branches, everyone, by, salt }
    }

    /// What it gives the version it is about: of a split the first that is not `release`.
    pub fn share(&self) -> Share {
        match self {
            Outcome::Version(RELEASE) => Share::ZERO,
            Outcome::Version(_) => Share::ALL,
            Outcome::Split { branches, .. } => {
                let begins = [0].into_iter().chain(branches.iter().map(|(end, _)| *end));
                let mut shares = branches.iter().zip(begins).filter(|((_, version), _)| *version != RELEASE);
                let first = shares.next();
                first.map_or(Share::ZERO, |((end, _), begin)| {
                    Share::from_hundredths(end.saturating_sub(begin))
                })
            }
        }
    }

    /// Whether it draws, by what a request is hashed by.
    pub fn draws(&self) -> bool {
        matches!(self, Outcome::Split { everyone: None, .. })
    }

    /// What it hashes, where that is not the identity.
    pub fn by(&self) -> Option<&[Attribute]> {
        match self {
            Outcome::Split { by, .. } => by.as_deref(),
            Outcome::Version(_) => None,
        }
    }

    /// The versions it can give; a split may also give `release`.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        let (one, several) = match self {
            Outcome::Version(version) => (Some(*version), &[][..]),
            Outcome::Split { branches, .. } => (Some(RELEASE), &branches[..]),
        };
        one.into_iter().chain(several.iter().map(|(_, version)| *version))
    }
}

impl RulePlan {
    /// Whether the rule is in force now and its condition holds.
    pub(super) fn matches(&self, seen: Seen<'_>, values: &mut Values) -> bool {
        self.matches_beyond(Remainder::Everything, seen, values)
    }

    /// The same where only a part of the condition is still open.
    pub(super) fn matches_beyond(&self, remainder: Remainder, seen: Seen<'_>, values: &mut Values) -> bool {
        let now = seen.request.now;
        self.is_active()
            && self.starts.is_none_or(|starts| starts <= now)
            && self.ends.is_none_or(|ends| now < ends)
            && self.when.as_ref().is_none_or(|when| when.condition().holds_beyond(remainder, seen, values))
    }

    /// Whether it takes part.
    pub fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Active)
    }

    /// Whether it takes every request at any time.
    pub fn always_matches(&self) -> bool {
        self.is_active() && self.starts.is_none() && self.ends.is_none() && self.when.is_none()
    }

    /// Whether it matches, and why, in words. For people, so it may allocate.
    pub fn explain(&self, seen: Seen<'_>, scratch: &mut Scratch) -> (bool, String) {
        let values = &mut scratch.values;
        let now = seen.request.now;
        let because = match (&self.standing, &self.when) {
            (Standing::Disabled, _) => "the rule is disabled".into(),
            (Standing::Inert(why), _) => format!("the rule is inert: {why}"),
            _ if self.starts.is_some_and(|starts| now < starts) => "the rule has not started".into(),
            _ if self.ends.is_some_and(|ends| ends <= now) => "the rule has ended".into(),
            (Standing::Active, None) => "it has no condition".into(),
            (Standing::Active, Some(when)) => when.condition().because(seen, values),
        };
        (self.matches(seen, values), because)
    }

    /// Whether an index sees the same in both.
    fn is_asked_like(&self, other: &RulePlan) -> bool {
        let is_same_key = match (self.key(), other.key()) {
            (RuleKey::Out, RuleKey::Out) | (RuleKey::Open, RuleKey::Open) => true,
            (RuleKey::When(own), RuleKey::When(other)) => Arc::ptr_eq(own, other),
            _ => false,
        };
        is_same_key && self.always_matches() == other.always_matches()
    }

    /// What an index looks at of it.
    fn key(&self) -> RuleKey<&Arc<Indexed>> {
        match (&self.standing, &self.when) {
            (Standing::Disabled | Standing::Inert(_), _) => RuleKey::Out,
            (Standing::Active, None) => RuleKey::Open,
            (Standing::Active, Some(when)) => RuleKey::When(when),
        }
    }
}

/// One rule that is another now, by its place at that moment; `before` is `None` where it is new, `now` where it is gone.
#[derive(Clone, Debug)]
pub struct RuleEdit {
    pub at: RuleId,
    pub before: Option<Arc<RulePlan>>,
    pub now: Option<Arc<RulePlan>>,
}

impl RuleEdit {
    /// Whether an index sees the same in both.
    pub fn looks_like(&self, other: &RuleEdit) -> bool {
        let alike = |own: &Option<Arc<RulePlan>>, other: &Option<Arc<RulePlan>>| match (own, other) {
            (Some(own), Some(other)) => own.is_asked_like(other),
            (own, other) => own.is_none() && other.is_none(),
        };
        self.at == other.at && alike(&self.before, &other.before) && alike(&self.now, &other.now)
    }

    /// Whether an index need not know.
    fn is_unseen(&self) -> bool {
        self.before.as_ref().zip(self.now.as_ref()).is_some_and(|(before, now)| before.is_asked_like(now))
    }

    fn always_matches(&self) -> bool {
        self.before.iter().chain(&self.now).any(|rule| rule.always_matches())
    }

    fn shown(&self) -> Edit<'_> {
        let now = self.now.as_ref().map(|rule| rule.key());
        match (&self.before, now) {
            (None, now) => Edit::Insert(self.at, now.unwrap_or(RuleKey::Out)),
            (Some(_), Some(now)) => Edit::Replace(self.at, now),
            (Some(_), None) => Edit::Remove(self.at),
        }
    }
}

/// How many rules can be reached: behind one that always matches, none is asked.
pub fn reached<'r>(rules: impl IntoIterator<Item = &'r Arc<RulePlan>>) -> usize {
    index_keys(rules).len()
}

/// An index of rules in the order they are asked.
pub fn index_rules<'r>(
    rules: impl IntoIterator<Item = &'r Arc<RulePlan>>,
    sets: &mut PatternSets,
) -> RuleIndex {
    RuleIndex::build(&index_keys(rules), sets)
}

/// The index of these rules, from known ones as far as they go; see [`RuleIndex::next`].
pub fn index_from<'k>(
    known: impl Iterator<Item = &'k Arc<RuleIndex>> + Clone,
    rules: &Chunks<Arc<RulePlan>>,
    sets: &mut PatternSets,
) -> Arc<RuleIndex> {
    RuleIndex::next(known, &index_keys(rules), sets)
}

/// What edits make of the index of these rules, one after the other; `None` where it is to be made from the rules as
/// they are then.
pub fn index_edited(
    known: &Arc<RuleIndex>,
    rules: &Chunks<Arc<RulePlan>>,
    edits: &[RuleEdit],
    sets: &mut PatternSets,
) -> Option<Arc<RuleIndex>> {
    known.edited(&shown(known, rules, edits)?, sets)
}

/// Whether the last rule of an index always matches: what stands behind it is in no index.
pub fn is_closed(index: &RuleIndex, rules: &Chunks<Arc<RulePlan>>) -> bool {
    let last = index.count().checked_sub(1).and_then(|last| rules.get(last));
    last.is_some_and(|last| last.always_matches())
}

/// What the index of these rules has to know of edits.
pub(super) fn shown<'e>(
    known: &RuleIndex,
    rules: &Chunks<Arc<RulePlan>>,
    edits: &'e [RuleEdit],
) -> Option<Vec<Edit<'e>>> {
    let mut count = known.count();
    let hides = is_closed(known, rules);
    let mut shown = Vec::new();
    for edit in edits {
        if edit.is_unseen() || (hides && edit.at >= count) {
            continue;
        }
        if edit.always_matches() {
            return None;
        }
        count = count + usize::from(edit.now.is_some()) - usize::from(edit.before.is_some());
        shown.push(edit.shown());
    }
    Some(shown)
}

/// What an index looks at of the rules that can be reached.
pub(super) fn index_keys<'r>(
    rules: impl IntoIterator<Item = &'r Arc<RulePlan>>,
) -> Vec<RuleKey<&'r Arc<Indexed>>> {
    let mut keys = Vec::new();
    for rule in rules {
        keys.push(rule.key());
        if rule.always_matches() {
            break;
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_first_versions_that_is_not_release() {
        let split = |shares: &[(VersionId, &str)]| {
            let shares = shares.iter().map(|(version, share)| (*version, Share::parse(share).unwrap()));
            Outcome::split(shares, None, [].into())
        };
        for (outcome, expected) in [
            (Outcome::Version(RELEASE), "0"),
            (Outcome::Version(3), "100"),
            (split(&[(1, "2.5")]), "2.5"),
            (split(&[(RELEASE, "90"), (1, "0.01"), (2, "5")]), "0.01"),
            (split(&[(1, "100")]), "100"),
            (split(&[(RELEASE, "40")]), "0"),
        ] {
            assert_eq!(outcome.share().to_string(), expected, "{outcome:?}");
        }
    }
}
