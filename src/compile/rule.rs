//! Rules: in the order they are asked, each with its conditions, or inert with the reason.

use std::cmp::Reverse;
use std::sync::Arc;

use super::condition::{self, Dangling};
use super::kept::{Good, Memory};
use super::lists::Lists;
use super::problem;
use super::service::Services;
use crate::decide::{self, ValueSet};
use crate::documents::{Document, DocumentId, Kind, Rule};
use crate::vocab::{Label, Name, Problem};

/// A rule with everything resolved that does not depend on a service.
pub struct ReadyRule<'m> {
    pub name: Name,
    pub rule: &'m Rule,
    pub when: Option<Arc<decide::Condition>>,
    /// Why it takes no part; it is listed in explanations all the same.
    pub inert: Option<String>,
}

/// What a rule is made into once, as long as its own text and the lists it names stay.
#[derive(Clone, Debug)]
pub struct Prepared {
    name: Name,
    when: Option<Arc<decide::Condition>>,
    /// The lists its condition asks; held, so that no other list can have the same place in memory.
    lists: Arc<[(Label, Arc<ValueSet>)]>,
}

impl Prepared {
    /// Whether every list it asks is still the same set. A list's networks are made from it and stay as long as it does.
    pub fn is_current(&self, now: &Lists) -> bool {
        let same = |name: &Label, set| now.values(name).is_some_and(|now| Arc::ptr_eq(&now, set));
        self.lists.iter().all(|(name, set)| same(name, set))
    }
}

/// All rules, higher priority first, then by name in byte order.
pub fn gather<'m>(
    memory: &'m Memory,
    services: &Services<'_>,
    lists: &Lists,
    problems: &mut Vec<Problem>,
) -> Vec<ReadyRule<'m>> {
    let mut gathering = Gathering { services, lists, problems };
    let mut rules: Vec<ReadyRule<'m>> = memory
        .good(Kind::Rule)
        .filter_map(|(id, good)| match &*good.document {
            Document::Rule(rule) => gathering.ready(id, rule, good),
            _ => None,
        })
        .collect();
    // Stable, and they come in the order of their names.
    rules.sort_by_key(|rule| Reverse(rule.rule.priority));
    rules
}

/// What rules refer to, and where it is told that something is missing.
struct Gathering<'a> {
    services: &'a Services<'a>,
    lists: &'a Lists,
    problems: &'a mut Vec<Problem>,
}

impl Gathering<'_> {
    fn ready<'m>(&mut self, id: &DocumentId, rule: &'m Rule, good: &Good) -> Option<ReadyRule<'m>> {
        let mut dangling = self.missing_services(rule);
        let Prepared { name, when, .. } = match good.prepared.get() {
            Some(prepared) => prepared.clone(),
            None => self.prepare(id, rule, good, &mut dangling)?,
        };
        let inert = dangling.first().map(|first| first.message.clone());
        let inert_until = "the rule is inert until then";
        self.problems
            .extend(dangling.into_iter().map(|found| problem(id, &found.field, found.message, inert_until)));
        Some(ReadyRule { name, rule, when, inert })
    }

    fn missing_services(&self, rule: &Rule) -> Vec<Dangling> {
        let named = rule.services.iter().flatten().enumerate();
        let missing = named.filter(|(_, service)| !self.services.has(service));
        let dangling = missing.map(|(i, service)| Dangling {
            field: format!("services[{i}]"),
            message: format!("the service `{service}` does not exist"),
        });
        dangling.collect()
    }

    /// Makes it, and keeps it for the next time where everything it refers to is there.
    fn prepare(
        &self,
        id: &DocumentId,
        rule: &Rule,
        good: &Good,
        dangling: &mut Vec<Dangling>,
    ) -> Option<Prepared> {
        let name = Name::parse(&id.name)?;
        let when = rule.when.as_ref().map(|when| condition::compile(when, "when", self.lists)).transpose();
        let when = match when {
            Ok(when) => when.map(|when| {
                let before = good.before.as_ref().and_then(|before| before.when.as_ref());
                before.filter(|before| before.same(&when)).cloned().unwrap_or_else(|| Arc::new(when))
            }),
            Err(more) => {
                dangling.extend(more);
                return Some(Prepared { name, when: None, lists: Arc::new([]) });
            }
        };
        let named = rule.when.iter().flat_map(|when| when.lists());
        let lists = named.filter_map(|list| Some((list.label(), self.lists.values(list.as_str())?)));
        let prepared = Prepared { name, when, lists: lists.collect() };
        Some(good.prepared.get_or_init(|| prepared).clone())
    }
}
