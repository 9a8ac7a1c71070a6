//! What an operator may want to know of documents that are not wrong: rules that can never match, and rules that cost
//! more than others.
//!
//! Only what is certain is said. Notes are no problems: nothing is held back, and no exit status follows from them.

use std::collections::{BTreeMap, HashMap};

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
            let found = never.entry(&rule.name).or_default();
            found.services += 1;
            if let Some(reason) = reasons.remove(&id) {
                found.never += 1;
                found.reason = reason;
            }
        }
    }
    // A rule of several services may be hidden in one and needed in another.
    let useless = never.into_iter().filter(|(_, found)| found.services == found.never);
    let useless = useless.map(|(name, found)| note(Kind::Rule, name.as_str(), found.reason));
    useless.chain(snapshot.services.iter().filter_map(one_by_one)).collect()
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

/// The rules of a service that match no request from now on, and why.
fn never_matching(service: &ServicePlan, now: i128) -> HashMap<RuleId, String> {
    let reached = reached(&service.rules);
    let mut reasons = HashMap::new();
    let mut earlier: HashMap<String, Vec<&RulePlan>> = HashMap::new();
    let impossible = service.index.impossible();
    for (id, rule) in service.rules.iter().enumerate().filter(|(_, rule)| rule.is_active()) {
        if rule.ends.is_some_and(|ends| ends <= now) {
            reasons.insert(id, "it has ended and never matches again".into());
        } else if id >= reached {
            let before = reached.checked_sub(1).and_then(|last| service.rules.get(last));
            reasons.extend(
                before.map(|before| (id, format!("`{}` takes every request before it", before.name))),
            );
        } else if impossible.binary_search(&id).is_ok() {
            reasons.insert(id, "it never matches: it asks for a member of an empty list".into());
        } else if let Some(when) = &rule.when {
            let alike = earlier.entry(words(when.condition())).or_default();
            let hides = |other: &&&RulePlan| {
                other.when.as_ref().is_some_and(|other| other.condition().same(when.condition()))
            };
            match alike.iter().find(hides) {
                Some(other) => {
                    let reason = format!("`{}` has the same condition and is asked before it", other.name);
                    reasons.insert(id, reason);
                }
                None if rule.starts.is_none() && rule.ends.is_none() => alike.push(rule),
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
        ] {
            let documents: Vec<_> = [("services/s", "{}")].into_iter().chain(documents).collect();
            let compiled = good(&documents);
            assert_eq!(show(&notes(&compiled.snapshot, 1)), expected, "{documents:?}");
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
