//! A rule at run time: when it applies, and which version it gives.

use std::sync::Arc;

use super::condition::Remainder;
use super::index::{Indexed, PatternSets, RuleIndex, RuleKey, Scratch};
use super::request::{Seen, Values};
use crate::vocab::{Attribute, Mirror, Name, Share};

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

    /// What an index looks at of it.
    fn key(&self) -> RuleKey<&Arc<Indexed>> {
        match (&self.standing, &self.when) {
            (Standing::Disabled | Standing::Inert(_), _) => RuleKey::Out,
            (Standing::Active, None) => RuleKey::Open,
            (Standing::Active, Some(when)) => RuleKey::When(when),
        }
    }
}

/// How many rules can be reached: behind one that always matches, none is asked.
pub fn reached(rules: &[Arc<RulePlan>]) -> usize {
    rules.iter().position(|rule| rule.always_matches()).map_or(rules.len(), |at| at + 1)
}

/// An index of rules in the order they are asked.
pub fn index_rules(rules: &[Arc<RulePlan>], sets: &mut PatternSets) -> RuleIndex {
    RuleIndex::build(&index_keys(rules), sets)
}

/// The index of these rules, from known ones as far as they go; see [`RuleIndex::next`].
pub fn index_from<'k>(
    known: impl Iterator<Item = &'k Arc<RuleIndex>> + Clone,
    rules: &[Arc<RulePlan>],
    sets: &mut PatternSets,
) -> Arc<RuleIndex> {
    RuleIndex::next(known, &index_keys(rules), sets)
}

/// What an index looks at of the rules that can be reached.
pub(super) fn index_keys(rules: &[Arc<RulePlan>]) -> Vec<RuleKey<&Arc<Indexed>>> {
    rules.iter().take(reached(rules)).map(|rule| rule.key()).collect()
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
