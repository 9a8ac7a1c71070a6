//! Rules: in the order they are asked, each with its conditions, or inert with the reason.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use super::condition::{self, Dangling};
use super::kept::{Good, Memory, Order};
use super::lists::Lists;
use super::problem;
use super::service::Services;
use crate::decide::{Indexed, ValueSet};
use crate::documents::{Document, DocumentId, Kind, Rule};
use crate::vocab::{Label, Name, Problem};

/// A rule with everything resolved that does not depend on a service.
pub struct ReadyRule<'m> {
    good: &'m Good,
    pub services: Option<&'m [Name]>,
    pub prepared: Cow<'m, Arc<Prepared>>,
    /// Whether nothing can have been made from it before this compile.
    pub is_new: bool,
    /// Why it takes no part; it is listed in explanations all the same.
    pub inert: Option<String>,
    priority: i32,
}

impl<'m> ReadyRule<'m> {
    pub fn rule(&self) -> Option<&'m Rule> {
        rule(self.good)
    }
}

fn rule(good: &Good) -> Option<&Rule> {
    match &*good.document {
        Document::Rule(rule) => Some(rule),
        _ => None,
    }
}

/// What a rule is made into once, as long as its own text and the lists it names stay.
#[derive(Debug)]
pub struct Prepared {
    pub name: Name,
    pub when: Option<Arc<Indexed>>,
    /// The lists its condition asks; held, so that no other list can have the same place in memory.
    lists: Box<[(Label, Arc<ValueSet>)]>,
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
    let rules = memory.good(Kind::Rule);
    let mut rules: Vec<ReadyRule<'m>> = rules.filter_map(|(id, good)| gathering.ready(id, good)).collect();
    // Stable, and they come in the order of their names.
    rules.sort_by_key(|rule| Reverse(rule.priority));
    rules
}

/// What rules refer to, and where it is told that something is missing.
struct Gathering<'a> {
    services: &'a Services<'a>,
    lists: &'a Lists,
    problems: &'a mut Vec<Problem>,
}

impl Gathering<'_> {
    fn ready<'m>(&mut self, id: &DocumentId, good: &'m Good) -> Option<ReadyRule<'m>> {
        let Order { priority, names_services } = good.order?;
        let services = if names_services { rule(good)?.services.as_deref() } else { None };
        let mut dangling = self.missing_services(services);
        let (prepared, is_new) = match good.prepared.get() {
            Some(prepared) => (Cow::Borrowed(prepared), false),
            None => (self.prepare(id, good, &mut dangling)?, true),
        };
        let inert = dangling.first().map(|first| first.message.clone());
        let inert_until = "the rule is inert until then";
        self.problems
            .extend(dangling.into_iter().map(|found| problem(id, &found.field, found.message, inert_until)));
        Some(ReadyRule { good, services, prepared, is_new, inert, priority })
    }

    fn missing_services(&self, services: Option<&[Name]>) -> Vec<Dangling> {
        let named = services.into_iter().flatten().enumerate();
        let missing = named.filter(|(_, service)| !self.services.has(service));
        let dangling = missing.map(|(i, service)| Dangling {
            field: format!("services[{i}]"),
            message: format!("the service `{service}` does not exist"),
        });
        dangling.collect()
    }

    /// Makes it, and keeps it for the next time where everything it refers to is there.
    fn prepare<'m>(
        &self,
        id: &DocumentId,
        good: &'m Good,
        dangling: &mut Vec<Dangling>,
    ) -> Option<Cow<'m, Arc<Prepared>>> {
        let rule = rule(good)?;
        let name = Name::parse(&id.name)?;
        let when = rule.when.as_ref().map(|when| condition::compile(when, "when", self.lists)).transpose();
        let when = match when {
            Ok(when) => when.map(|when| {
                let before = good.before.as_ref().and_then(|before| before.when.as_ref());
                let same = before.filter(|before| before.condition().same(&when)).cloned();
                same.unwrap_or_else(|| Arc::new(Indexed::of(when)))
            }),
            Err(more) => {
                dangling.extend(more);
                return Some(Cow::Owned(Arc::new(Prepared { name, when: None, lists: Box::default() })));
            }
        };
        let named = rule.when.iter().flat_map(|when| when.lists());
        let lists = named.filter_map(|list| Some((list.label(), self.lists.values(list.as_str())?)));
        let prepared = Prepared { name, when, lists: lists.collect() };
        Some(Cow::Borrowed(good.prepared.get_or_init(|| Arc::new(prepared))))
    }
}
