//! Rules: in the order they are asked, each with its conditions, or inert with the reason.

use std::cmp::Reverse;
use std::sync::Arc;

use super::condition::{self, Dangling};
use super::kept::Memory;
use super::lists::Lists;
use super::problem;
use super::service::Services;
use crate::decide;
use crate::documents::{Document, DocumentId, Rule};
use crate::vocab::{Name, Problem};

/// A rule with everything resolved that does not depend on a service.
pub struct ReadyRule<'m> {
    pub name: Name,
    pub rule: &'m Rule,
    pub when: Option<Arc<decide::Condition>>,
    /// Why it takes no part; it is listed in explanations all the same.
    pub inert: Option<String>,
}

/// All rules, higher priority first, then by name in byte order.
pub fn gather<'m>(
    memory: &'m Memory,
    services: &Services<'_>,
    lists: &Lists,
    problems: &mut Vec<Problem>,
) -> Vec<ReadyRule<'m>> {
    let mut rules: Vec<ReadyRule<'m>> = memory
        .good()
        .filter_map(|(id, document)| match &**document {
            Document::Rule(rule) => Some(ready(id, rule, services, lists, problems)),
            _ => None,
        })
        .flatten()
        .collect();
    rules.sort_by(|a, b| (Reverse(a.rule.priority), &a.name).cmp(&(Reverse(b.rule.priority), &b.name)));
    rules
}

fn ready<'m>(
    id: &DocumentId,
    rule: &'m Rule,
    services: &Services<'_>,
    lists: &Lists,
    problems: &mut Vec<Problem>,
) -> Option<ReadyRule<'m>> {
    let name = Name::parse(&id.name)?;
    let mut dangling: Vec<Dangling> = Vec::new();
    for (i, service) in rule.services.iter().flatten().enumerate() {
        if !services.has(service) {
            let message = format!("the service `{service}` does not exist");
            dangling.push(Dangling { field: format!("services[{i}]"), message });
        }
    }
    let when = match rule.when.as_ref().map(|when| condition::compile(when, "when", lists)) {
        None => None,
        Some(Ok(when)) => Some(Arc::new(when)),
        Some(Err(more)) => {
            dangling.extend(more);
            None
        }
    };
    let inert = dangling.first().map(|first| first.message.clone());
    problems.extend(
        dangling
            .into_iter()
            .map(|found| problem(id, &found.field, found.message, "the rule is inert until then")),
    );
    Some(ReadyRule { name, rule, when, inert })
}

impl ReadyRule<'_> {
    pub fn concerns(&self, service: &Name) -> bool {
        self.rule.services.as_ref().is_none_or(|services| services.contains(service))
    }
}
