//! The stage that follows references: rules in the order they are asked, each with its condition, or inert with the
//! reason.
//!
//! Answers: what does a rule mean among these lists and services? A rule that names something missing is inert as a
//! whole. Never: what a rule means to one service; that is `plan`.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

use super::condition::{self, Dangling};
use super::findings::Findings;
use super::lists::Lists;
use super::parse::{self, Order, Parsed};
use super::resolved::Resolved;
use super::route::NO_SHADOW;
use crate::decide::Indexed;
use crate::documents::{Document, DocumentId, Kind, Rule};
use crate::vocab::Name;

/// A rule with everything resolved that does not depend on a service.
pub struct ResolvedRule<'m> {
    parsed: &'m Parsed,
    pub services: Option<&'m [Name]>,
    pub resolved: Cow<'m, Arc<Resolved>>,
    /// Whether nothing can have been made from it before this compile.
    pub is_new: bool,
    /// Why it takes no part; it is listed in explanations all the same.
    pub inert: Option<String>,
    pub priority: i32,
}

impl<'m> ResolvedRule<'m> {
    pub fn rule(&self) -> Option<&'m Rule> {
        rule(self.parsed)
    }
}

fn rule(parsed: &Parsed) -> Option<&Rule> {
    match &*parsed.document {
        Document::Rule(rule) => Some(rule),
        _ => None,
    }
}

/// All rules, higher priority first, then by name in byte order.
pub fn rules<'m>(parsed: &'m parse::Memory, mut resolver: Resolver<'_>) -> Vec<ResolvedRule<'m>> {
    let rules = parsed.in_force(Kind::Rule);
    let mut rules: Vec<_> = rules.filter_map(|(id, found)| resolver.rule(id, found)).collect();
    // Stable, and they come in the order of their names.
    rules.sort_by_key(|rule| Reverse(rule.priority));
    rules
}

/// Forgets what rules were resolved into from lists that have changed.
pub fn forget_outdated(parsed: &mut parse::Memory, lists: &Lists) {
    if lists.are_as_before() {
        return;
    }
    parsed.rules_mut().for_each(|(_, found)| forget_if_outdated(found, lists));
}

/// The same of one rule.
pub fn forget_if_outdated(found: &mut Parsed, lists: &Lists) {
    if found.resolved.get().is_some_and(|resolved| !is_current(resolved, lists)) {
        found.resolved.take();
    }
    found.before = found.before.take().filter(|before| is_current(before, lists));
}

/// Whether every list it asks is still the same set. A list's networks are made from it and stay as long as it does.
fn is_current(resolved: &Resolved, now: &Lists) -> bool {
    let same = |name, set| now.values(name).is_some_and(|now| Arc::ptr_eq(&now, set));
    resolved.lists.iter().all(|(name, set)| same(name, set))
}

/// What rules refer to, and where it is reported that something is missing.
pub struct Resolver<'a> {
    pub has_service: &'a dyn Fn(&Name) -> bool,
    pub lists: &'a Lists,
    pub findings: &'a mut Findings,
}

impl Resolver<'_> {
    pub fn rule<'m>(&mut self, id: &DocumentId, parsed: &'m Parsed) -> Option<ResolvedRule<'m>> {
        let Order { priority, names_services, has_mirror, .. } = parsed.order?;
        let services = if names_services { rule(parsed)?.services.as_deref() } else { None };
        let mut dangling = self.missing_services(services);
        let (resolved, is_new) = match parsed.resolved.get() {
            Some(resolved) => (Cow::Borrowed(resolved), false),
            None => (self.resolve(id, parsed, &mut dangling)?, true),
        };
        let shadow = if has_mirror { self.missing_shadow(rule(parsed)?) } else { None };
        let inert = dangling.first().map(|first| first.message.clone());
        let mut findings = self.findings.of(id);
        for found in dangling {
            findings.add(&found.field, found.message, "the rule is inert until then");
        }
        if let Some(message) = shadow {
            findings.add("mirror.service", message, NO_SHADOW);
        }
        Some(ResolvedRule { parsed, services, resolved, is_new, inert, priority })
    }

    /// What is wrong with a mirror; the rule decides all the same.
    fn missing_shadow(&self, rule: &Rule) -> Option<String> {
        let service = &rule.mirror.as_ref()?.service;
        (!(self.has_service)(service)).then(|| format!("the service `{service}` does not exist"))
    }

    fn missing_services(&self, services: Option<&[Name]>) -> Vec<Dangling> {
        let named = services.into_iter().flatten().enumerate();
        let missing = named.filter(|(_, service)| !(self.has_service)(service));
        let dangling = missing.map(|(i, service)| Dangling {
            field: format!("services[{i}]"),
            message: format!("the service `{service}` does not exist"),
        });
        dangling.collect()
    }

    /// Makes it, and keeps it for the next time where everything it refers to is there.
    fn resolve<'m>(
        &self,
        id: &DocumentId,
        parsed: &'m Parsed,
        dangling: &mut Vec<Dangling>,
    ) -> Option<Cow<'m, Arc<Resolved>>> {
        let rule = rule(parsed)?;
        let name = Name::parse(&id.name)?;
        let when = rule.when.as_ref().map(|when| condition::compile(when, "when", self.lists)).transpose();
        let when = match when {
            Ok(when) => when.map(|when| {
                let before = parsed.before.as_ref().and_then(|before| before.when.as_ref());
                let same = before.filter(|before| before.condition().same(&when)).cloned();
                same.unwrap_or_else(|| Arc::new(Indexed::of(when)))
            }),
            Err(more) => {
                dangling.extend(more);
                return Some(Cow::Owned(Arc::new(Resolved { name, when: None, lists: Box::default() })));
            }
        };
        let named = rule.when.iter().flat_map(|when| when.lists());
        let lists = named.filter_map(|list| Some((list.label(), self.lists.values(list.as_str())?)));
        let resolved = Resolved { name, when, lists: lists.collect() };
        Some(Cow::Borrowed(parsed.resolved.get_or_init(|| Arc::new(resolved))))
    }
}
