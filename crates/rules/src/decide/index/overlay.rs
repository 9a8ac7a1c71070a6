//! Index over a service's rules that survives edits: a large immutable base and a small overlay of what changed.
//!
//! Answers: which rule matches first, and what is left of an index when the rules are others? A table (`table`) is
//! expensive to build for thousands of rules, so it stays as the *base* while rules change: those of its rules that are
//! still there, in an order that agrees with its own, are found in it, all others in the *overlay*, a table of its own.
//! Both return their first match in the order of the rules, and the earlier one of the two is the answer. Any base
//! is as right as any other, because the overlay follows from comparing it with the rules. Start at [`RuleIndex::next`].

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::patterns::{PATTERNS_IN_SET, PatternSets};
use super::postings::Rank;
use super::scratch::Scratch;
use super::table::{Bound, RuleKey, RuleTable, Sets};
use super::ways::Indexed;
use crate::decide::condition::Remainder;
use crate::decide::request::{Seen, Values};

/// A place among the rules an index was built from.
pub type RuleId = usize;

/// The key of a rule of now.
type KeyOf<'r> = RuleKey<&'r Arc<Indexed>>;

/// Fewer rules than this are indexed in less time than it takes to notice.
const FEW_RULES: usize = 256;
/// Rules of the overlay, or rules gone from the base, beyond which an index is stale: to be built again when there is
/// time.
const STALE: usize = 64;
/// Beyond this many, or half of the base, it is built again at once: an overlay costs every decision a few lookups and
/// every change its rebuilding.
const MOST_CHANGES: usize = 512;
/// Patterns of an overlay in one set, about: each change builds a set of them again.
const PATTERNS_IN_OVERLAY_SET: usize = 32;
/// A rule of the base that stands nowhere any more.
const GONE: u32 = u32::MAX;

/// Which rules of a service to ask for a request.
#[derive(Default, Debug)]
pub struct RuleIndex {
    base: Arc<Base>,
    /// `None`: the base is of just these rules.
    overlay: Option<Overlay>,
}

/// A table that stays while rules change.
#[derive(Default, Debug)]
struct Base {
    table: RuleTable,
    /// The rank of each condition, by its place in memory.
    ranks: HashMap<usize, Rank, FixedState>,
    /// Rules that take part.
    active: usize,
}

/// What became of the base's rules, and the rules that it does not have.
#[derive(Debug)]
struct Overlay {
    table: RuleTable,
    /// By rank of the base: where the rule stands among the rules, or [`GONE`]. Ascending but for those.
    base_rules: Box<[u32]>,
    /// How many of them are gone.
    gone: usize,
    /// By rank of the overlay: where the rule stands. Ascending.
    rules: Box<[u32]>,
    /// By rank of the overlay: the first rank of the base that stands behind.
    before: Box<[Rank]>,
    /// How many rules there are.
    count: usize,
}

/// When an index is built again.
#[derive(Clone, Copy)]
struct Limits {
    few_rules: usize,
    /// Rules of the overlay, or gone from the base, with which it still stays.
    most: usize,
}

impl RuleIndex {
    /// Indexes rules in the order they are asked; those that can never be reached are left out by the caller.
    pub fn build(rules: &[KeyOf<'_>], sets: &mut PatternSets) -> RuleIndex {
        RuleIndex::whole(rules.iter().map(|rule| rule.shared()).collect(), sets)
    }

    /// The index of these rules: one of the known ones, if it was built from the same conditions in the same order, or
    /// what changes make of the first one. What else changed about a rule, its share for instance, does not affect the
    /// index.
    pub fn next<'k>(
        known: impl Iterator<Item = &'k Arc<RuleIndex>> + Clone,
        rules: &[KeyOf<'_>],
        sets: &mut PatternSets,
    ) -> Arc<RuleIndex> {
        let limits = Limits { few_rules: FEW_RULES, most: MOST_CHANGES };
        RuleIndex::next_within(limits, known, rules, sets)
    }

    fn next_within<'k>(
        limits: Limits,
        known: impl Iterator<Item = &'k Arc<RuleIndex>> + Clone,
        rules: &[KeyOf<'_>],
        sets: &mut PatternSets,
    ) -> Arc<RuleIndex> {
        let same = known.clone().find(|known| known.is_of(rules));
        if let Some(same) = same {
            same.keep(sets);
            return same.clone();
        }
        let changed = known.into_iter().find_map(|known| known.base.changed(limits, rules, sets));
        Arc::new(changed.unwrap_or_else(|| RuleIndex::build(rules, sets)))
    }

    /// How many rules are not in its base, or gone from there.
    pub fn drift(&self) -> usize {
        self.overlay.as_ref().map_or(0, |overlay| overlay.gone.max(overlay.rules.len()))
    }

    /// Whether it is worth being [built again](RuleIndex::renewed) beside the changes.
    pub fn is_stale(&self) -> bool {
        self.drift() > STALE
    }

    /// Whether both are changes of the same base.
    pub fn shares_base(&self, other: &RuleIndex) -> bool {
        Arc::ptr_eq(&self.base, &other.base)
    }

    /// The same rules in one table.
    pub fn renewed(&self, sets: &mut PatternSets) -> RuleIndex {
        let mut keys = vec![RuleKey::Out; self.count()];
        for (id, found) in self.active() {
            if let Some(key) = keys.get_mut(id) {
                *key = found.clone();
            }
        }
        RuleIndex::whole(keys.into(), sets)
    }

    fn whole(keys: Box<[RuleKey]>, sets: &mut PatternSets) -> RuleIndex {
        let table = RuleTable::build(keys, None, &mut Sets { patterns: sets, in_set: PATTERNS_IN_SET });
        RuleIndex { base: Arc::new(Base::of(table)), overlay: None }
    }

    /// How many rules there are, with those that take no part.
    fn count(&self) -> usize {
        self.overlay.as_ref().map_or(self.base.table.keys().len(), |overlay| overlay.count)
    }

    fn is_of(&self, rules: &[KeyOf<'_>]) -> bool {
        let mut known = 0;
        let is_there = |(id, key): (RuleId, &RuleKey)| {
            known += 1;
            rules.get(id).is_some_and(|rule| key.is(rule))
        };
        // No rule is known twice: where all that are known are there, and as many, they are the same.
        self.count() == rules.len()
            && self.active().all(is_there)
            && known == rules.iter().filter(|rule| rule.is_active()).count()
    }

    /// The rules that take part, with all that is known of them.
    fn active(&self) -> impl Iterator<Item = (RuleId, &RuleKey)> {
        let of_base = (0..).zip(self.base.table.keys()).filter(|(_, key)| key.is_active());
        let of_base = of_base.filter_map(|(rank, key)| Some((self.base_rule(rank)?, key)));
        let of_overlay = self.overlay.iter().flat_map(|overlay| {
            (0..).zip(overlay.table.keys()).map(move |(rank, key)| (overlay.rule(rank), key))
        });
        of_base.chain(of_overlay.filter_map(|(id, key)| Some((id?, key))))
    }

    fn base_rule(&self, rank: Rank) -> Option<RuleId> {
        match &self.overlay {
            None => Some(rank as RuleId),
            Some(overlay) => overlay.base_rule(rank),
        }
    }

    /// Keeps the sets of patterns for the compile after this one, as if they had been asked for.
    fn keep(&self, sets: &mut PatternSets) {
        self.base.table.keep(sets);
        if let Some(overlay) = &self.overlay {
            overlay.table.keep(sets);
        }
    }

    /// The rules with a condition that are asked one by one, by every request or by every one with their attribute.
    pub fn unindexed(&self) -> Vec<RuleId> {
        self.rules(RuleTable::unindexed)
    }

    /// The rules that no request can match: every key they could be found by is one of an empty list.
    pub fn impossible(&self) -> Vec<RuleId> {
        self.rules(RuleTable::impossible)
    }

    /// What a decision costs at most before a candidate is asked, in lookups of some tens of nanoseconds.
    pub fn cost(&self) -> usize {
        self.base.table.cost() + self.overlay.as_ref().map_or(0, |overlay| overlay.table.cost())
    }

    fn rules(&self, of: impl Fn(&RuleTable) -> &[Rank]) -> Vec<RuleId> {
        let of_base = of(&self.base.table).iter().filter_map(|rank| self.base_rule(*rank));
        let of_overlay = self
            .overlay
            .iter()
            .flat_map(|overlay| of(&overlay.table).iter().filter_map(|rank| overlay.rule(*rank)));
        let mut rules: Vec<RuleId> = of_base.chain(of_overlay).collect();
        rules.sort_unstable();
        rules
    }

    /// The first rule for which `matches` returns true, of those that may match.
    pub fn find(
        &self,
        seen: Seen<'_>,
        scratch: &mut Scratch,
        matches: impl Fn(RuleId, Remainder, &mut Values) -> bool,
    ) -> Option<RuleId> {
        let Some(overlay) = &self.overlay else {
            let all = Bound {
                limit: Rank::MAX,
                matches: |rank, remainder, values: &mut Values| matches(rank as RuleId, remainder, values),
            };
            return self.base.table.find(&all, seen, scratch).map(|rank| rank as RuleId);
        };
        let all = Bound {
            limit: Rank::MAX,
            matches: |rank, remainder, values: &mut Values| {
                overlay.rule(rank).is_some_and(|id| matches(id, remainder, values))
            },
        };
        let found = overlay.table.find(&all, seen, scratch);
        // The overlay goes first, so that the base is not asked about rules behind the one that was found there.
        let earlier = Bound {
            limit: found.map_or(Rank::MAX, |rank| overlay.before(rank)),
            matches: |rank, remainder, values: &mut Values| {
                overlay.base_rule(rank).is_some_and(|id| matches(id, remainder, values))
            },
        };
        match self.base.table.find(&earlier, seen, scratch) {
            Some(rank) => overlay.base_rule(rank),
            None => overlay.rule(found?),
        }
    }
}

impl Base {
    fn of(table: RuleTable) -> Base {
        let conditions = (0..).zip(table.keys()).filter_map(|(rank, key)| match key {
            RuleKey::When(when) => Some((address(when), rank)),
            RuleKey::Out | RuleKey::Open => None,
        });
        let ranks = conditions.collect();
        let active = table.keys().iter().filter(|key| key.is_active()).count();
        Base { table, ranks, active }
    }

    /// What changes make of this base; `None` where it is to be built again.
    fn changed(
        self: &Arc<Base>,
        limits: Limits,
        rules: &[KeyOf<'_>],
        sets: &mut PatternSets,
    ) -> Option<RuleIndex> {
        if rules.len().min(self.active) < limits.few_rules {
            return None;
        }
        let mut base_rules = vec![GONE; self.table.keys().len()];
        let (mut stay, mut next) = (0, 0);
        let (mut left, mut before, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        for (id, (rule, rank)) in (0..).zip(rules.iter().zip(in_order(&self.ranks(rules)))) {
            match rank {
                Some(rank) => {
                    if let Some(place) = base_rules.get_mut(rank as usize) {
                        *place = id;
                    }
                    (stay, next) = (stay + 1, rank + 1);
                }
                None if rule.is_active() => {
                    left.push(id);
                    before.push(next);
                    keys.push(rule.shared());
                }
                None => {}
            }
        }
        let gone = self.active.saturating_sub(stay);
        if gone.max(left.len()) > limits.most.min(self.active / 2) {
            return None;
        }
        self.table.keep(sets);
        let mut sets = Sets { patterns: sets, in_set: PATTERNS_IN_OVERLAY_SET };
        let table = RuleTable::build(keys.into(), Some(&self.table), &mut sets);
        let overlay = Overlay {
            table,
            base_rules: base_rules.into(),
            gone,
            rules: left.into(),
            before: before.into(),
            count: rules.len(),
        };
        Some(RuleIndex { base: self.clone(), overlay: Some(overlay) })
    }

    /// The rank of each rule, as far as it has one. Rules keep their order, so the next is almost always there.
    fn ranks(&self, rules: &[KeyOf<'_>]) -> Vec<Option<Rank>> {
        let keys = self.table.keys();
        // One rule without a condition is as good as another.
        let mut open = (0..).zip(keys).filter(|(_, key)| matches!(key, RuleKey::Open)).map(|(rank, _)| rank);
        let mut next: Rank = 0;
        let ranks = rules.iter().map(|rule| {
            let rank = match rule {
                RuleKey::Out => None,
                RuleKey::Open => open.next(),
                RuleKey::When(_) if keys.get(next as usize).is_some_and(|key| key.is(rule)) => Some(next),
                RuleKey::When(when) => self.ranks.get(&address(when)).copied(),
            };
            next = rank.map_or(next, |rank| rank + 1);
            rank
        });
        ranks.collect()
    }
}

impl Overlay {
    fn base_rule(&self, rank: Rank) -> Option<RuleId> {
        self.base_rules.get(rank as usize).filter(|id| **id != GONE).map(|id| *id as RuleId)
    }

    fn rule(&self, rank: Rank) -> Option<RuleId> {
        self.rules.get(rank as usize).map(|id| *id as RuleId)
    }

    fn before(&self, rank: Rank) -> Rank {
        self.before.get(rank as usize).copied().unwrap_or_default()
    }
}

/// Where a condition is in memory.
fn address(when: &Arc<Indexed>) -> usize {
    Arc::as_ptr(when).addr()
}

/// As many of the ranks as there are in one ascending order, the others taken out: a rule that has moved is one that
/// does not fit, and not all those it has passed. By the shortest ends of ascending orders of each length.
fn in_order(ranks: &[Option<Rank>]) -> Vec<Option<Rank>> {
    let rank = |at: &usize| ranks.get(*at).copied().flatten();
    let mut ends: Vec<usize> = Vec::new();
    let mut earlier: Vec<Option<usize>> = vec![None; ranks.len()];
    for (at, found) in ranks.iter().enumerate().filter(|(_, rank)| rank.is_some()) {
        let length = match ends.last().map(rank) {
            Some(last) if last < *found => ends.len(),
            _ => ends.partition_point(|end| rank(end) < *found),
        };
        let before = length.checked_sub(1).and_then(|last| ends.get(last).copied());
        if let Some(place) = earlier.get_mut(at) {
            *place = before;
        }
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut kept = vec![None; ranks.len()];
    let mut next = ends.last().copied();
    while let Some(at) = next {
        if let Some(place) = kept.get_mut(at) {
            *place = rank(&at);
        }
        next = earlier.get(at).copied().flatten();
    }
    kept
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::decide::condition::{Condition, Predicate, Test};
    use crate::decide::path::Path;
    use crate::decide::pattern::Pattern;
    use crate::decide::request::Request;
    use crate::decide::rule::{Outcome, RulePlan, Standing, index_keys, index_rules, reached};
    use crate::vocab::{Attribute, Name};

    const SEEDS: u64 = 100;

    /// SplitMix64.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % limit as u64) as usize
        }

        fn text(&mut self) -> Box<[u8]> {
            format!("t{}", self.below(4)).into_bytes().into()
        }

        /// Conditions that overlap, so that their order decides.
        fn condition(&mut self, depth: usize) -> Condition {
            let several =
                |dice: &mut Dice| (0..1 + dice.below(3)).map(|_| dice.condition(depth - 1)).collect();
            match self.below(if depth == 0 { 9 } else { 14 }) {
                9..12 => return Condition::All(several(self)),
                12 => return Condition::Any(several(self)),
                13 => return Condition::Not(Box::new(self.condition(depth - 1))),
                _ => {}
            }
            let attribute = ["header:x-a", "header:x-b", "path"][self.below(3)];
            let test = match self.below(8) {
                0..3 => Test::Equals(self.text()),
                3 => Test::OneOf([self.text(), self.text()].into()),
                4 => Test::Prefix(self.text()),
                5 => Test::Contains(self.text()),
                6 => {
                    let pattern = format!("t[{}-9]|[a-z]*{}", self.below(4), self.below(4));
                    Test::Regex(Pattern::of(
                        regex::bytes::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap(),
                    ))
                }
                _ => Test::Exists(self.below(3) > 0),
            };
            Condition::Is(Predicate::new(Attribute::parse(attribute).unwrap(), test, false, String::new()))
        }

        fn rule(&mut self) -> RulePlan {
            let when = (self.below(12) > 0).then(|| Arc::new(Indexed::of(self.condition(2))));
            let starts = (when.is_none() || self.below(8) == 0).then(|| self.below(4) as i128);
            RulePlan {
                name: Name::release(),
                standing: if self.below(12) == 0 { Standing::Disabled } else { Standing::Active },
                // One in many takes every request and hides what is behind it.
                starts: starts.filter(|_| self.below(20) > 0),
                ends: None,
                when,
                outcome: Outcome::Version(0),
                mirror: None,
            }
        }

        fn edit(&mut self, rules: &mut Vec<Arc<RulePlan>>) {
            let from = self.below(rules.len());
            let to = self.below(rules.len());
            let again = |rule: &RulePlan| RulePlan {
                name: rule.name.clone(),
                standing: Standing::Active,
                starts: rule.starts,
                ends: rule.ends,
                when: rule.when.clone(),
                outcome: Outcome::Version(1),
                mirror: None,
            };
            match self.below(16) {
                0..4 => rules[from] = Arc::new(self.rule()),
                4 | 5 => rules[from] = Arc::new(again(&rules[from])),
                6 => rules[from] = Arc::new(RulePlan { standing: Standing::Disabled, ..again(&rules[from]) }),
                7..10 => {
                    let moved = rules.remove(from);
                    rules.insert(to, moved);
                }
                10 => rules.swap(from, to),
                11 => rules[from.min(to)..].rotate_left(1),
                12 | 13 => rules.insert(to, Arc::new(self.rule())),
                14 if rules.len() > 4 => drop(rules.remove(from)),
                // Two rules with the same condition in memory are none of the compiler's making.
                15 if self.below(4) == 0 => rules.insert(to, Arc::new(again(&rules[from]))),
                _ => {}
            }
        }

        fn headers(&mut self) -> HeaderMap {
            let mut headers = HeaderMap::new();
            for name in ["x-a", "x-a", "x-b"] {
                if self.below(3) > 0 {
                    headers.append(name, String::from_utf8(self.text().into()).unwrap().parse().unwrap());
                }
            }
            headers
        }
    }

    /// What the searches of a test met, so that it says something.
    #[derive(Default, Debug)]
    struct Met {
        /// Searches an overlay answered, and those in which the base had a later answer.
        overlay: usize,
        overlay_first: usize,
        /// Searches the base answered although the overlay had an answer.
        base_first: usize,
        /// Indexes by how they came.
        same: usize,
        whole: usize,
        gone: usize,
        hidden: usize,
    }

    fn ask(index: &RuleIndex, rules: &[Arc<RulePlan>], dice: &mut Dice, met: &mut Met) {
        let headers = dice.headers();
        let path = format!("t{}", dice.below(4));
        let hidden = Attribute::parse("header:x-b").filter(|_| dice.below(6) == 0);
        let request = Request {
            method: "GET",
            scheme: "https",
            host: "a.test",
            port: None,
            path: Path { view: &path, upstream: &path },
            query: None,
            headers: &headers,
            client: "10.0.0.1".parse().unwrap(),
            pins_trusted: false,
            inherited: None,
            now: dice.below(4) as i128,
            tester: None,
            places: None,
            fresh_identity: None,
        };
        let seen = Seen { request: &request, hidden: hidden.as_ref() };
        let mut scratch = Scratch::default();
        let mut holds = |rule: &RulePlan| rule.matches(seen, &mut scratch.values);
        let all: Vec<RuleId> = (0..rules.len()).filter(|id| holds(&rules[*id])).collect();
        let found = index.find(seen, &mut scratch, |id, remainder, values| {
            rules[id].matches_beyond(remainder, seen, values)
        });
        assert_eq!(found, all.first().copied(), "{index:#?}");
        if let (Some(overlay), Some(first)) = (&index.overlay, found) {
            let in_overlay = |id: &RuleId| overlay.rules.contains(&(*id as u32));
            met.overlay += usize::from(in_overlay(&first));
            met.overlay_first += usize::from(in_overlay(&first) && !all.iter().all(in_overlay));
            met.base_first += usize::from(!in_overlay(&first) && all.iter().any(in_overlay));
        }
    }

    /// Edits one after the other, each index made from the one before, from an older one or from one built again beside
    /// the changes, and asked against one rule after another.
    #[test]
    fn what_changes_make_of_an_index_decides_in_the_rules_order() {
        let mut met = Met::default();
        for seed in 0..SEEDS {
            let mut dice = Dice(seed);
            let limits = Limits { few_rules: dice.below(6), most: [2, 6, 1_000][dice.below(3)] };
            let mut rules: Vec<_> = (0..4 + dice.below(30)).map(|_| Arc::new(dice.rule())).collect();
            let mut sets = PatternSets::default();
            let mut known = vec![Arc::new(index_rules(&rules, &mut sets))];
            for _ in 0..40 {
                for _ in 0..dice.below(4) {
                    dice.edit(&mut rules);
                }
                let last = known.len() - 1;
                let base = match dice.below(6) {
                    0 => known[dice.below(known.len())].clone(),
                    1 => Arc::new(known[dice.below(known.len())].renewed(&mut sets)),
                    _ => known[last].clone(),
                };
                let index =
                    RuleIndex::next_within(limits, [&base].into_iter(), &index_keys(&rules), &mut sets);
                sets.turn();
                met.same += usize::from(Arc::ptr_eq(&base, &index));
                met.whole += usize::from(!Arc::ptr_eq(&base.base, &index.base));
                met.gone += index.overlay.as_ref().map_or(0, |overlay| overlay.gone);
                met.hidden += usize::from(reached(&rules) < rules.len());
                assert!(index.is_of(&index_keys(&rules)));
                assert!(index.renewed(&mut sets).is_of(&index_keys(&rules)));
                for _ in 0..8 {
                    ask(&index, &rules, &mut dice, &mut met);
                }
                known.push(index);
            }
        }
        let Met { overlay, overlay_first, base_first, same, whole, gone, hidden } = met;
        let least = [overlay, overlay_first, base_first, same, whole, gone, hidden].into_iter().min();
        assert!(least > Some(SEEDS as usize), "{met:?}");
    }

    #[test]
    fn one_rule_that_moves_is_one_change() {
        let some = |ranks: &[i64]| -> Vec<Option<Rank>> {
            ranks.iter().map(|rank| Rank::try_from(*rank).ok()).collect()
        };
        for (ranks, expected) in [
            (&[][..], &[][..]),
            (&[0, 1, 2], &[0, 1, 2]),
            (&[4, 0, 1, 2, 3], &[-1, 0, 1, 2, 3]),
            (&[1, 2, 3, 4, 0], &[1, 2, 3, 4, -1]),
            (&[0, 7, 8, 1, 2, 3, 9], &[0, -1, -1, 1, 2, 3, 9]),
            (&[-1, 5, -1, 5, 6], &[-1, -1, -1, 5, 6]),
            (&[3, 2, 1], &[-1, -1, 1]),
        ] {
            assert_eq!(in_order(&some(ranks)), some(expected), "{ranks:?}");
        }
    }
}
