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
const LIMITS: Limits = Limits { few_rules: FEW_RULES, most: MOST_CHANGES };
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

/// A change of one rule, by its place at that moment.
#[derive(Clone, Copy, Debug)]
pub enum Edit<'r> {
    Replace(RuleId, KeyOf<'r>),
    Insert(RuleId, KeyOf<'r>),
    Remove(RuleId),
}

/// An index under edits: everything of it but the overlay's table.
struct Draft {
    base: Arc<Base>,
    base_rules: Vec<u32>,
    gone: usize,
    /// The overlay's, in the order they are asked.
    own: Vec<Own>,
    count: usize,
}

/// A rule of the overlay.
struct Own {
    at: u32,
    before: Rank,
    key: RuleKey,
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
        RuleIndex::next_within(LIMITS, known, rules, sets)
    }

    /// What edits make of it, one after the other, without a look at any other rule; `None` where it is to be made from
    /// all of them.
    pub fn edited(self: &Arc<Self>, edits: &[Edit<'_>], sets: &mut PatternSets) -> Option<Arc<RuleIndex>> {
        self.edited_within(LIMITS, edits, sets)
    }

    fn edited_within(
        self: &Arc<Self>,
        limits: Limits,
        edits: &[Edit<'_>],
        sets: &mut PatternSets,
    ) -> Option<Arc<RuleIndex>> {
        if edits.is_empty() {
            return Some(self.clone());
        }
        if self.count().min(self.base.active) < limits.few_rules {
            return None;
        }
        let mut draft = Draft::of(self);
        edits.iter().for_each(|edit| draft.apply(edit));
        draft.into_index(limits, sets).map(Arc::new)
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
    pub fn count(&self) -> usize {
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

impl Draft {
    fn of(index: &RuleIndex) -> Draft {
        let base = index.base.clone();
        let Some(overlay) = &index.overlay else {
            let keys = (0..).zip(base.table.keys());
            let base_rules = keys.map(|(rank, key)| if key.is_active() { rank } else { GONE }).collect();
            let count = base.table.keys().len();
            return Draft { base, base_rules, gone: 0, own: Vec::new(), count };
        };
        let own = overlay.rules.iter().zip(&overlay.before).zip(overlay.table.keys());
        let own = own.map(|((at, before), key)| Own { at: *at, before: *before, key: key.clone() });
        Draft {
            base_rules: overlay.base_rules.to_vec(),
            gone: overlay.gone,
            own: own.collect(),
            count: overlay.count,
            base,
        }
    }

    fn apply(&mut self, edit: &Edit<'_>) {
        // Every rule is a document in memory, so their number stays far below what a u32 counts.
        let place = |at: &RuleId| u32::try_from(*at).unwrap_or(GONE);
        match edit {
            Edit::Replace(at, key) => {
                self.take_out(place(at));
                self.put_in(place(at), *key);
            }
            Edit::Insert(at, key) => {
                let at = place(at);
                self.shift(at, 1);
                self.count += 1;
                self.put_in(at, *key);
            }
            Edit::Remove(at) => {
                let at = place(at);
                self.take_out(at);
                self.shift(at, u32::MAX);
                self.count = self.count.saturating_sub(1);
            }
        }
    }

    fn take_out(&mut self, at: u32) {
        let rank = self.first_behind(at);
        let there = self.base_rules.get_mut(rank..).unwrap_or_default();
        match there.iter_mut().find(|id| **id != GONE).filter(|id| **id == at) {
            Some(id) => {
                *id = GONE;
                self.gone += 1;
            }
            None => self.own.retain(|own| own.at != at),
        }
    }

    /// Nothing stands at this place.
    fn put_in(&mut self, at: u32, key: KeyOf<'_>) {
        if !key.is_active() {
            return;
        }
        let before = self.first_behind(at);
        if let Some(rank) = self.rank_of_old(&key, before) {
            self.put_back(at, rank);
            return;
        }
        let place = self.own.partition_point(|own| own.at < at);
        let before = Rank::try_from(before).unwrap_or(Rank::MAX);
        self.own.insert(place, Own { at, before, key: key.shared() });
    }

    /// The rank of a condition that is in the base and stands nowhere, if it fits there: `before` is the first rank of
    /// those behind it.
    fn rank_of_old(&self, key: &KeyOf<'_>, before: usize) -> Option<Rank> {
        let RuleKey::When(when) = key else { return None };
        let rank = *self.base.ranks.get(&address(when))?;
        let at = rank as usize;
        let between = self.base_rules.get(at.min(before)..before.max(at + 1))?;
        between.iter().all(|id| *id == GONE).then_some(rank)
    }

    /// Lets a rule of the base stand again. Those of the overlay that looked past its rank see it in its place.
    fn put_back(&mut self, at: u32, rank: Rank) {
        if let Some(id) = self.base_rules.get_mut(rank as usize) {
            *id = at;
            self.gone = self.gone.saturating_sub(1);
        }
        for own in &mut self.own {
            own.before = if own.at > at { own.before.max(rank + 1) } else { own.before.min(rank) };
        }
    }

    /// The first rank of the base whose rule stands at this place or behind it; those that are gone may stand in between.
    fn first_behind(&self, at: u32) -> usize {
        let (mut low, mut high) = (0, self.base_rules.len());
        while low < high {
            let middle = low.midpoint(high);
            let standing = self.base_rules.get(middle..high).unwrap_or_default();
            match (middle..).zip(standing).find(|(_, id)| **id != GONE) {
                Some((rank, id)) if *id < at => low = rank + 1,
                _ => high = middle,
            }
        }
        low
    }

    /// Moves all rules that stand at this place or behind it; steps wrap, so that one may lead back.
    fn shift(&mut self, at: u32, step: u32) {
        let behind = self.first_behind(at);
        for id in self.base_rules.get_mut(behind..).unwrap_or_default() {
            *id = if *id == GONE { GONE } else { id.wrapping_add(step) };
        }
        for own in self.own.iter_mut().filter(|own| own.at >= at) {
            own.at = own.at.wrapping_add(step);
        }
    }

    fn into_index(self, limits: Limits, sets: &mut PatternSets) -> Option<RuleIndex> {
        if self.gone.max(self.own.len()) > limits.most.min(self.base.active / 2) {
            return None;
        }
        let (rules, before) = self.own.iter().map(|own| (own.at, own.before)).unzip::<_, _, Vec<_>, Vec<_>>();
        let mut sets = Sets { patterns: sets, in_set: PATTERNS_IN_OVERLAY_SET };
        let keys = self.own.into_iter().map(|own| own.key).collect();
        let overlay = Overlay {
            table: RuleTable::build(keys, Some(&self.base.table), &mut sets),
            base_rules: self.base_rules.into(),
            gone: self.gone,
            rules: rules.into(),
            before: before.into(),
            count: self.count,
        };
        Some(RuleIndex { base: self.base, overlay: Some(overlay) })
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
    use crate::decide::rule::{
        Outcome, RuleEdit, RulePlan, Standing, index_keys, index_rules, reached, shown,
    };
    use crate::vocab::{Attribute, Chunks, Name};

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

        /// One edit; `old` keeps rules that were taken out, of which some come back.
        fn edit_one(&mut self, rules: &mut Vec<Arc<RulePlan>>, old: &mut Vec<Arc<RulePlan>>) -> RuleEdit {
            let at = self.below(rules.len());
            let known = |rules: &[Arc<RulePlan>], rule: &RulePlan| {
                let same = |a: &Arc<Indexed>, b: &Arc<Indexed>| Arc::ptr_eq(a, b);
                rules
                    .iter()
                    .any(|other| other.when.as_ref().zip(rule.when.as_ref()).is_some_and(|(a, b)| same(a, b)))
            };
            let came_back = old[self.below(old.len())].clone();
            let new = match self.below(3) {
                // No condition is there twice: the compiler makes each rule's own.
                0 if !known(rules, &came_back) => came_back,
                _ => Arc::new(self.rule()),
            };
            match self.below(8) {
                0 | 1 => {
                    rules.insert(at, new.clone());
                    RuleEdit { at, before: None, now: Some(new) }
                }
                2 | 3 if rules.len() > 3 => {
                    let gone = rules.remove(at);
                    old.push(gone.clone());
                    RuleEdit { at, before: Some(gone), now: None }
                }
                4..7 => {
                    let before = rules[at].clone();
                    let now = Arc::new(RulePlan {
                        name: before.name.clone(),
                        standing: if self.below(2) == 0 { Standing::Disabled } else { Standing::Active },
                        starts: before.starts,
                        ends: None,
                        when: before.when.clone(),
                        outcome: Outcome::Version(1),
                        mirror: None,
                    });
                    rules[at] = now.clone();
                    RuleEdit { at, before: Some(before), now: Some(now) }
                }
                _ => {
                    let before = std::mem::replace(&mut rules[at], new.clone());
                    old.push(before.clone());
                    RuleEdit { at, before: Some(before), now: Some(new) }
                }
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
            fields: (&headers).into(),
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

    /// Edits made to an index, rule by rule, against one that is made of all rules, and asked against one rule after
    /// another.
    #[test]
    fn edits_of_an_index_decide_in_the_rules_order() {
        let (mut met, mut edited, mut back) = (Met::default(), 0, 0);
        for seed in 0..SEEDS / 4 {
            let mut dice = Dice(seed);
            let limits = Limits { few_rules: dice.below(6), most: [2, 6, 1_000][dice.below(3)] };
            let mut rules: Vec<_> = (0..4 + dice.below(30)).map(|_| Arc::new(dice.rule())).collect();
            let mut sets = PatternSets::default();
            let mut index = Arc::new(index_rules(&rules, &mut sets));
            let mut old = vec![rules[0].clone()];
            for _ in 0..60 {
                let before: Chunks<Arc<RulePlan>> = rules.iter().cloned().collect();
                let edits: Vec<RuleEdit> =
                    (0..1 + dice.below(3)).map(|_| dice.edit_one(&mut rules, &mut old)).collect();
                let shown = shown(&index, &before, &edits);
                let next = shown.and_then(|shown| index.edited_within(limits, &shown, &mut sets));
                edited += usize::from(next.is_some());
                let gone = |index: &RuleIndex| index.overlay.as_ref().map_or(0, |overlay| overlay.gone);
                back += usize::from(next.as_ref().is_some_and(|next| gone(next) < gone(&index)));
                index = next.unwrap_or_else(|| {
                    RuleIndex::next_within(limits, [&index].into_iter(), &index_keys(&rules), &mut sets)
                });
                assert!(index.is_of(&index_keys(&rules)), "{edits:?}");
                assert_eq!(index.count(), reached(&rules));
                assert!(index.renewed(&mut sets).is_of(&index_keys(&rules)));
                for _ in 0..4 {
                    ask(&index, &rules, &mut dice, &mut met);
                }
            }
        }
        let least = [met.overlay, met.overlay_first, met.base_first, edited].into_iter().min();
        assert!(least > Some(SEEDS as usize) && back > 5, "{met:?} {edited} {back}");
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
