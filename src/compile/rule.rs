//! Rules: in the order they are asked, each with its conditions, or inert with the reason.

use std::cmp::Reverse;
use std::sync::{Arc, OnceLock};

use super::condition::{self, Dangling};
use super::kept::Memory;
use super::lists::Lists;
use super::problem;
use super::service::Services;
use crate::decide;
use crate::documents::{Document, DocumentId, Kind, Rule};
use crate::vocab::{Name, Problem};

/// A rule with everything resolved that does not depend on a service.
pub struct ReadyRule<'m> {
    pub name: Name,
    pub rule: &'m Rule,
    pub when: Option<Arc<decide::Condition>>,
    /// Why it takes no part; it is listed in explanations all the same.
    pub inert: Option<String>,
}

/// What a rule is made into once and for all, as long as it names no list and its own text stays.
#[derive(Clone, Debug)]
pub struct Prepared {
    name: Name,
    when: Option<Arc<decide::Condition>>,
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
            Document::Rule(rule) => gathering.ready(id, rule, &good.prepared),
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
    fn ready<'m>(
        &mut self,
        id: &DocumentId,
        rule: &'m Rule,
        prepared: &OnceLock<Prepared>,
    ) -> Option<ReadyRule<'m>> {
        let mut dangling = self.missing_services(rule);
        let Prepared { name, when } = match prepared.get() {
            Some(prepared) => prepared.clone(),
            None => self.prepare(id, rule, prepared, &mut dangling)?,
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

    /// Makes it, and keeps it for the next time unless a change of a list would make it another one.
    fn prepare(
        &self,
        id: &DocumentId,
        rule: &Rule,
        kept: &OnceLock<Prepared>,
        dangling: &mut Vec<Dangling>,
    ) -> Option<Prepared> {
        let when = rule.when.as_ref().map(|when| condition::compile(when, "when", self.lists)).transpose();
        let when = when.unwrap_or_else(|more| {
            dangling.extend(more);
            None
        });
        let prepared = Prepared { name: Name::parse(&id.name)?, when: when.map(Arc::new) };
        match rule.when.as_ref().is_some_and(|when| !when.lists().is_empty()) {
            true => Some(prepared),
            false => Some(kept.get_or_init(|| prepared).clone()),
        }
    }
}
