//! What an operator may want to know of documents that are not wrong: rules that can never match, and rules that cost
//! more than others.
//!
//! Only what is certain is said. Notes are no problems: nothing is held back, and no exit status follows from them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::decide::{Condition, RuleId, RulePlan, ServicePlan, Snapshot, reached};
use crate::vocab::{DocumentId, Kind, Name, Problem};

/// Fewer rules than this that are asked one by one cost less than one lookup of an index.
const ASKED_ONE_BY_ONE: usize = 16;
/// How many of them a note names.
const NAMED: usize = 3;

/// Notes on a generation, in the order of the documents; `now` in nanoseconds since 1970.
pub fn notes(snapshot: &Snapshot, now: i128) -> Vec<Problem> {
    let mut never: BTreeMap<&Name, Never> = BTreeMap::new();
    for service in &snapshot.services {
        let mut reasons = never_matching(service, now);
        for (id, rule) in service.rules.iter().enumerate() {
            never.entry(&rule.name).or_default().take(reasons.remove(&id));
        }
    }
    told(never, snapshot.services.iter())
}

/// Those of the notes that are on these documents: a change of one rule among ten thousand looks at one.
pub fn notes_on(snapshot: &Snapshot, now: i128, documents: &[&DocumentId]) -> Vec<Problem> {
    let of_kind =
        |kind, name: &Name| documents.iter().any(|id| id.kind == kind && *id.name == *name.as_str());
    let mut never: BTreeMap<&Name, Never> = BTreeMap::new();
    for service in &snapshot.services {
        let rules = service.rules.iter().enumerate();
        let asked: Vec<_> = rules.filter(|(_, rule)| of_kind(Kind::Rule, &rule.name)).collect();
        if asked.is_empty() {
            continue;
        }
        let looked = Looked::at(service, now);
        for (id, rule) in asked {
            let reason = looked.reason(id, rule).or_else(|| looked.hidden(id, rule));
            never.entry(&rule.name).or_default().take(reason);
        }
    }
    told(never, snapshot.services.iter().filter(|service| of_kind(Kind::Service, &service.name)))
}

fn told<'s>(
    never: BTreeMap<&Name, Never>,
    services: impl Iterator<Item = &'s Arc<ServicePlan>>,
) -> Vec<Problem> {
    // A rule of several services may be hidden in one and needed in another.
    let useless = never.into_iter().filter(|(_, found)| found.services == found.never);
    let useless = useless.map(|(name, found)| note(Kind::Rule, name.as_str(), found.reason));
    useless.chain(services.filter_map(|service| one_by_one(service))).collect()
}

#[derive(Default)]
struct Never {
    /// The services that have the rule, and those in which it never matches.
    services: usize,
    never: usize,
    reason: String,
}

fn note(kind: Kind, name: &str, message: String) -> Problem {
    let id = DocumentId { kind, name: name.into() };
    Problem::at(&id, "", message, "")
}

impl Never {
    /// Takes in what is so in one more service.
    fn take(&mut self, reason: Option<String>) {
        self.services += 1;
        if let Some(reason) = reason {
            self.never += 1;
            self.reason = reason;
        }
    }
}

/// What all rules of a service are looked at beside.
struct Looked<'s> {
    service: &'s ServicePlan,
    reached: usize,
    impossible: Vec<RuleId>,
    now: i128,
}

impl<'s> Looked<'s> {
    fn at(service: &'s ServicePlan, now: i128) -> Looked<'s> {
        Looked { service, reached: reached(&service.rules), impossible: service.index.impossible(), now }
    }

    /// Why a rule matches no request from now on, but for other rules of the same condition.
    fn reason(&self, id: RuleId, rule: &RulePlan) -> Option<String> {
        if !rule.is_active() {
            return None;
        }
        if rule.ends.is_some_and(|ends| ends <= self.now) {
            return Some("it has ended and never matches again".into());
        }
        if id >= self.reached {
            let before = self.reached.checked_sub(1).and_then(|last| self.service.rules.get(last))?;
            return Some(format!("`{}` takes every request before it", before.name));
        }
        let is_impossible = self.impossible.binary_search(&id).is_ok();
        is_impossible.then(|| "it never matches: it asks for a member of an empty list".into())
    }

    /// Whether another rule of the same condition is asked before this one.
    fn hidden(&self, id: RuleId, rule: &RulePlan) -> Option<String> {
        let when = rule.when.as_ref().filter(|_| rule.is_active())?.condition();
        let mut earlier = self.service.rules.iter().enumerate().take(id);
        let (_, other) = earlier.find(|(at, other)| {
            hides(other)
                && other.when.as_ref().is_some_and(|other| other.condition().same(when))
                && self.reason(*at, other).is_none()
        })?;
        Some(same_before(other))
    }
}

/// Whether a rule is asked at any time, so that one of the same condition behind it never is.
fn hides(rule: &RulePlan) -> bool {
    rule.is_active() && rule.starts.is_none() && rule.ends.is_none()
}

fn same_before(other: &RulePlan) -> String {
    format!("`{}` has the same condition and is asked before it", other.name)
}

/// The rules of a service that match no request from now on, and why.
fn never_matching(service: &ServicePlan, now: i128) -> HashMap<RuleId, String> {
    let looked = Looked::at(service, now);
    let mut reasons = HashMap::new();
    let mut earlier: HashMap<String, Vec<&RulePlan>> = HashMap::new();
    for (id, rule) in service.rules.iter().enumerate().filter(|(_, rule)| rule.is_active()) {
        if let Some(reason) = looked.reason(id, rule) {
            reasons.insert(id, reason);
        } else if let Some(when) = &rule.when {
            let alike = earlier.entry(words(when.condition())).or_default();
            let is_same = |other: &&&RulePlan| {
                other.when.as_ref().is_some_and(|other| other.condition().same(when.condition()))
            };
            match alike.iter().find(is_same) {
                Some(other) => drop(reasons.insert(id, same_before(other))),
                None if hides(rule) => alike.push(rule),
                None => {}
            }
        }
    }
    reasons
}

/// The condition in short: conditions that are the same have the same words.
fn words(when: &Condition) -> String {
    let join = |inner: &[Condition]| inner.iter().map(words).collect::<Vec<_>>().join(", ");
    match when {
        Condition::All(inner) => format!("all({})", join(inner)),
        Condition::Any(inner) => format!("any({})", join(inner)),
        Condition::Not(inner) => format!("not({})", words(inner)),
        Condition::Is(predicate) => predicate.to_string(),
    }
}

fn one_by_one(service: &ServicePlan) -> Option<Problem> {
    let slow = service.index.unindexed();
    if slow.len() < ASKED_ONE_BY_ONE {
        return None;
    }
    let named: Vec<String> = slow
        .iter()
        .take(NAMED)
        .filter_map(|id| Some(format!("`{}`", service.rules.get(*id)?.name)))
        .collect();
    let message = format!(
        "{} of its {} rules are asked one by one ({}, ...), which costs time with every request",
        slow.len(),
        service.rules.len(),
        named.join(", ")
    );
    let help = "any operator but `exists` that must hold, outside `not`, lets a rule be looked up";
    Some(Problem { help: help.into(), ..note(Kind::Service, service.name.as_str(), message) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{good, show};
    use super::*;

    #[test]
    fn rules_that_never_match_are_told() {
        let a = "version: gray\nwhen: {attribute: header:a, equals: x}";
        let regex = "version: gray\nwhen: {attribute: path, regex: '/a'}";
        for (documents, expected) in [
            (vec![("rules/1", a), ("rules/2", regex)], vec![]),
            (
                vec![("rules/1", a), ("rules/2", a)],
                vec!["rules/2: : `1` has the same condition and is asked before it"],
            ),
            (
                vec![
                    ("rules/1", regex),
                    ("rules/2", "version: b\nwhen: {attribute: path, regex: '/a', ignore_case: true}"),
                ],
                vec![],
            ),
            (
                vec![("rules/1", "version: gray"), ("rules/2", a)],
                vec!["rules/2: : `1` takes every request before it"],
            ),
            (vec![("rules/1", "version: gray\nstarts: 2026-01-01T00:00:00Z"), ("rules/2", a)], vec![]),
            (
                vec![("rules/1", "version: gray\nends: 1970-01-01T00:00:00Z"), ("rules/2", a)],
                vec!["rules/1: : it has ended and never matches again"],
            ),
            (
                vec![("lists/l", "#"), ("rules/1", "version: gray\nwhen: {attribute: path, in_list: l}")],
                vec!["rules/1: : it never matches: it asks for a member of an empty list"],
            ),
            (vec![("rules/1", "version: gray\nservices: [s]"), ("rules/2", a), ("services/t", "{}")], vec![]),
            (vec![("rules/1", a), ("rules/2", "version: gray\nenabled: false")], vec![]),
            (
                vec![("rules/1", a), ("rules/2", a), ("rules/3", a)],
                vec![
                    "rules/2: : `1` has the same condition and is asked before it",
                    "rules/3: : `1` has the same condition and is asked before it",
                ],
            ),
            (
                vec![
                    (
                        "rules/1",
                        "version: gray\nstarts: 2026-01-01T00:00:00Z\nwhen: {attribute: header:a, equals: x}",
                    ),
                    ("rules/2", a),
                    ("rules/3", a),
                ],
                vec!["rules/3: : `2` has the same condition and is asked before it"],
            ),
            (
                vec![
                    ("rules/1", "version: gray\nenabled: false\nwhen: {attribute: header:a, equals: x}"),
                    ("rules/2", a),
                ],
                vec![],
            ),
        ] {
            let documents: Vec<_> = [("services/s", "{}")].into_iter().chain(documents).collect();
            let compiled = good(&documents);
            assert_eq!(show(&notes(&compiled.snapshot, 1)), expected, "{documents:?}");
            let ids: Vec<_> = documents.iter().filter_map(|(name, _)| DocumentId::parse(name)).collect();
            let on: Vec<_> = ids.iter().flat_map(|id| notes_on(&compiled.snapshot, 1, &[id])).collect();
            assert_eq!(show(&on), expected, "one by one: {documents:?}");
        }
    }

    #[test]
    fn many_rules_without_a_key_are_told() {
        let slow = "version: gray\nwhen: {not: {attribute: path, contains: t";
        let names: Vec<_> = (10..40).map(|i| (format!("rules/{i}"), format!("{slow}{i}}}}}"))).collect();
        let documents = names.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        let documents: Vec<_> = documents.chain([("services/s", "{}")]).collect();
        let told = show(&notes(&good(&documents).snapshot, 0));
        assert_eq!(
            told,
            [
                "services/s: : 30 of its 30 rules are asked one by one (`10`, `11`, `12`, ...), which costs time with \
              every request"
            ]
        );
    }
}
