//! Documents that the program itself writes.
//!
//! Answers: is this document a hand's? A plan's rules are named after it, what a plan has closed says so, and an instance
//! that a registry found names the registry. The one place that spells these names, for those who write such documents
//! and for those who must leave them alone. Never: whether one may be changed.

use std::fmt::{self, Display};

use super::text::{Syntax, Value, parse};
use crate::vocab::{DocumentId, Kind};

/// What the names of a plan's rules begin with.
const PLAN_RULES: &str = "plan.";
/// What a plan's reason begins with.
const PLAN_REASON: &str = "plan ";

/// Who writes a document, where that is no hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The plan of this name.
    Plan(String),
    /// The registry of this name.
    Registry(String),
}

impl Owner {
    /// The owner of a document with this text; one that cannot be read is a hand's.
    pub fn of(id: &DocumentId, text: Option<&[u8]>) -> Option<Owner> {
        match id.kind {
            Kind::Rule => {
                let rest = id.name.strip_prefix(PLAN_RULES)?;
                let part = rest.rsplit_once(".who-").or_else(|| rest.rsplit_once(".share"));
                Some(Owner::Plan(part.map_or(rest, |(plan, _)| plan).to_owned()))
            }
            Kind::Closure => {
                let because = first_level(text?, "because")?;
                let plan = because.strip_prefix(PLAN_REASON)?.split_whitespace().next()?;
                Some(Owner::Plan(plan.trim_matches(['`', ':', ',']).to_owned()))
            }
            Kind::Instance => first_level(text?, "by").map(Owner::Registry),
            _ => None,
        }
    }
}

impl Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Plan(name) => write!(f, "the plan `{name}`"),
            Owner::Registry(name) => write!(f, "the registry `{name}`"),
        }
    }
}

/// What the names of all rules of this plan begin with.
pub fn plan_rules(plan: &str) -> String {
    format!("{PLAN_RULES}{plan}.")
}

/// The reason of what this plan closes.
pub fn plan_reason(plan: &str, why: &str) -> String {
    format!("{PLAN_REASON}`{plan}`: {why}")
}

/// The text behind a key of a document's first level, however wrong the rest of the document is.
pub fn first_level(text: &[u8], key: &str) -> Option<String> {
    let node = parse(std::str::from_utf8(text).ok()?, Syntax::Yaml).ok()?;
    let Value::Map(entries) = node.value else { return None };
    let (_, found) = entries.into_iter().find(|(name, _)| name == key)?;
    match found.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_writes_is_told_from_what_hands_write() {
        let (plan, registry) = (Some("the plan `spring`"), Some("the registry `nacos`"));
        for (name, body, owner) in [
            ("rules/plan.spring.share", "split: {gray: 10}", plan),
            ("rules/plan.spring.who-1", "not even YAML: [", plan),
            ("rules/plan.spring.share.who-1", "version: gray", Some("the plan `spring.share`")),
            ("rules/planned", "version: gray", None),
            ("closures/s.gray", "{service: s, version: gray, because: 'plan `spring`: errors'}", plan),
            ("closures/s.gray", "{service: s, version: gray, because: by hand}", None),
            ("closures/s.gray", "{service: s, version: gray}", None),
            ("instances/s/1", "{address: '10.0.0.1:80', version: v1, by: nacos}", registry),
            (
                "instances/s/1",
                "{\"address\": \"10.0.0.1:80\", \"version\": \"v1\", \"by\": \"nacos\"}",
                registry,
            ),
            ("instances/s/1", "{address: '10.0.0.1:80', version: v1}", None),
            ("instances/s/1", "by: [nacos", None),
            ("plans/spring", "by: nacos", None),
            ("lists/plan.x", "a", None),
        ] {
            let id = DocumentId::parse(name).unwrap();
            let found = Owner::of(&id, Some(body.as_bytes())).map(|owner| owner.to_string());
            assert_eq!(found.as_deref(), owner, "{name}: {body}");
        }
    }

    #[test]
    fn what_a_plan_writes_is_its_own() {
        let rule = DocumentId::parse(&format!("rules/{}share", plan_rules("a.b"))).unwrap();
        assert_eq!(Owner::of(&rule, None), Some(Owner::Plan("a.b".to_owned())));
        let closure = DocumentId::parse("closures/s.gray").unwrap();
        let text = format!("service: s\nversion: gray\nbecause: \"{}\"\n", plan_reason("a.b", "errors"));
        assert_eq!(Owner::of(&closure, Some(text.as_bytes())), Some(Owner::Plan("a.b".to_owned())));
    }
}
