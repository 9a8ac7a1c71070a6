//! Conditions on their way to a document, with what is always or never true folded away.

use super::yaml::Yaml;

#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    Always,
    Never,
    Is(Yaml),
}

impl Condition {
    /// One attribute and one operator.
    pub fn test(attribute: &str, operator: &str, operand: Yaml) -> Condition {
        Condition::Is(Yaml::of("attribute", Yaml::text(attribute)).with(operator, operand))
    }

    pub fn equals(attribute: &str, text: &str) -> Condition {
        Condition::test(attribute, "equals", Yaml::text(text))
    }

    pub fn exists(attribute: &str) -> Condition {
        Condition::test(attribute, "exists", Yaml::Flag(true))
    }

    /// Absent or empty, which other gateways do not tell apart.
    pub fn is_empty(attribute: &str) -> Condition {
        let absent = Condition::test(attribute, "exists", Yaml::Flag(false));
        Condition::any([absent, Condition::equals(attribute, "")])
    }

    #[must_use]
    pub fn ignoring_case(self) -> Condition {
        match self {
            Condition::Is(test) => Condition::Is(test.with("ignore_case", Yaml::Flag(true))),
            other => other,
        }
    }

    pub fn all(parts: impl IntoIterator<Item = Condition>) -> Condition {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Condition::Always => {}
                Condition::Never => return Condition::Never,
                Condition::Is(part) => match part.get("all") {
                    Some(Yaml::List(inner)) => kept.extend(inner.iter().cloned()),
                    _ => kept.push(part),
                },
            }
        }
        Condition::joined("all", kept, Condition::Always)
    }

    pub fn any(parts: impl IntoIterator<Item = Condition>) -> Condition {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Condition::Never => {}
                Condition::Always => return Condition::Always,
                Condition::Is(part) => match part.get("any") {
                    Some(Yaml::List(inner)) => kept.extend(inner.iter().cloned()),
                    _ => kept.push(part),
                },
            }
        }
        Condition::joined("any", kept, Condition::Never)
    }

    fn joined(word: &str, mut parts: Vec<Yaml>, empty: Condition) -> Condition {
        match (parts.len(), parts.pop()) {
            (_, None) => empty,
            (1, Some(part)) => Condition::Is(part),
            (_, Some(last)) => {
                parts.push(last);
                Condition::Is(Yaml::of(word, Yaml::List(parts)))
            }
        }
    }

    #[must_use]
    pub fn negated(self) -> Condition {
        match self {
            Condition::Always => Condition::Never,
            Condition::Never => Condition::Always,
            Condition::Is(part) => match part.get("not") {
                Some(inner) => Condition::Is(inner.clone()),
                None => Condition::Is(Yaml::of("not", part)),
            },
        }
    }

    /// Sets `when`, which is left out where it says nothing. A condition that never holds is no rule at all: the caller
    /// asks for that before.
    pub fn put(&self, document: &mut Yaml) {
        if let Condition::Is(when) = self {
            document.set("when", when.clone());
        }
    }
}
