//! Which services a document concerns.

use std::collections::BTreeSet;

use graygate_rules::documents::owner::first_level;
use graygate_rules::documents::{
    self, Condition, Document, DocumentId, Kind, Operator, Raw, Route, Rule, Target,
};

use super::view::View;
use crate::people::Touch;

impl View {
    /// The services of a text; a text that cannot be understood may concern any.
    pub fn touch(&self, id: &DocumentId, text: &[u8]) -> Touch {
        match id.kind {
            Kind::List => self.touch_of_list(id.head()),
            Kind::Service => Touch::one(id.head()),
            Kind::Instance => Touch::one(id.head()),
            _ if matches!(id.kind.folder(), "closures" | "messages") => {
                first_level(text, "service").map_or(Touch::All, Touch::one)
            }
            _ if id.kind.folder() == "plans" => services_of(text),
            _ => {
                let raw = Raw { body: text.into(), format: self.format(id) };
                documents::parse(id, &raw).map_or(Touch::All, |document| touch(&document))
            }
        }
    }

    /// A list concerns whom the rules and routes that use it concern.
    pub fn touch_of_list(&self, list: &str) -> Touch {
        let rules = self.good(Kind::Rule).filter_map(|(_, document)| match document {
            Document::Rule(rule) if rule.when.as_ref().is_some_and(|when| uses(when, list)) => {
                Some(touch(document))
            }
            _ => None,
        });
        let routes = self.good(Kind::Route).filter_map(|(_, document)| match document {
            Document::Route(route) if route.when.as_ref().is_some_and(|when| uses(when, list)) => {
                Some(touch(document))
            }
            _ => None,
        });
        rules.chain(routes).fold(Touch::nothing(), Touch::and)
    }

    /// The lists that a text names, so that what is approved includes who is on them.
    pub fn lists_of(&self, id: &DocumentId, text: &[u8]) -> BTreeSet<String> {
        let raw = Raw { body: text.into(), format: self.format(id) };
        let when = match documents::parse(id, &raw) {
            Ok(Document::Rule(Rule { when, .. })) => when,
            Ok(Document::Route(route)) => route.when,
            _ => None,
        };
        let mut found = BTreeSet::new();
        if let Some(when) = &when {
            named(when, &mut found);
        }
        found
    }
}

/// The services a plan names; one of configuration values names its application.
fn services_of(text: &[u8]) -> Touch {
    use graygate_rules::documents::text::{Syntax, Value, parse};
    let node = std::str::from_utf8(text).ok().and_then(|text| parse(text, Syntax::Yaml).ok());
    let Some(Value::Map(entries)) = node.map(|node| node.value) else { return Touch::All };
    let of = |key: &str| entries.iter().find(|(name, _)| name == key).map(|(_, node)| &node.value);
    match (of("services"), of("config")) {
        (Some(Value::List(items)), _) => {
            let names = items.iter().filter_map(|item| match &item.value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            });
            Touch::Services(names.collect())
        }
        (None, Some(Value::Map(config))) => match config.iter().find(|(key, _)| key == "app") {
            Some((_, node)) => match &node.value {
                Value::Text(app) => Touch::one(app.as_str()),
                _ => Touch::All,
            },
            None => Touch::All,
        },
        _ => Touch::All,
    }
}

fn touch(document: &Document) -> Touch {
    match document {
        Document::Rule(rule) => match &rule.services {
            Some(services) => Touch::Services(services.iter().map(ToString::to_string).collect()),
            None => Touch::All,
        },
        Document::Route(route) => touch_of_route(route),
        _ => Touch::All,
    }
}

fn touch_of_route(route: &Route) -> Touch {
    match &route.target {
        Target::Service { name, .. } => Touch::one(name.as_str()),
        // Whose requests it takes away stands nowhere.
        Target::Redirect(_) => Touch::All,
    }
}

fn uses(condition: &Condition, list: &str) -> bool {
    let mut found = BTreeSet::new();
    named(condition, &mut found);
    found.contains(list)
}

pub(super) fn named(condition: &Condition, found: &mut BTreeSet<String>) {
    match condition {
        Condition::All(inner) | Condition::Any(inner) => inner.iter().for_each(|one| named(one, found)),
        Condition::Not(inner) => named(inner, found),
        Condition::Match(asked) => {
            if let Operator::InList(name) = &asked.operator {
                found.insert(name.to_string());
            }
        }
    }
}
