//! Conditions at run time: compiled once, asked for every request.
//!
//! An absent attribute makes every operator false except `exists: false`, and `not` turns that around.
//! Owns evaluation and the words that explain it. Never: parsing (documents) or building (compile).

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use semver::VersionReq;

use super::list::{NetworkSet, ValueSet};
use super::pattern::Pattern;
use super::request::{Seen, Values};
use super::text::fold;
use super::version::Version;
use crate::vocab::{Attribute, Comparison, Decimal};

#[derive(Debug)]
pub enum Condition {
    All(Box<[Condition]>),
    Any(Box<[Condition]>),
    Not(Box<Condition>),
    Is(Predicate),
}

/// One attribute and one test.
#[derive(Debug)]
pub struct Predicate {
    pub attribute: Attribute,
    pub test: Test,
    /// Values are compared with their case folded; the operands were folded when this was built.
    pub fold: bool,
    /// As the operator wrote it, for explanations: "equals `a`".
    pub words: String,
}

#[derive(Debug)]
pub enum Test {
    Exists(bool),
    Equals(Box<[u8]>),
    OneOf(HashSet<Box<[u8]>>),
    Member(Arc<ValueSet>),
    Prefix(Box<[u8]>),
    Suffix(Box<[u8]>),
    Contains(Box<[u8]>),
    Regex(Pattern),
    /// Of the client's address, whatever the attribute says as text.
    InNetworks(Arc<NetworkSet>),
    Semver(VersionReq),
    Compare(Comparison, Box<str>),
}

/// What is still to be asked of a condition once an index has found it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Remainder {
    Nothing,
    /// All but this part of an `all`.
    AllBut(u32),
    Everything,
}

impl Condition {
    /// Whether it holds for what is seen of a request.
    pub fn holds(&self, seen: Seen<'_>, values: &mut Values) -> bool {
        match self {
            Condition::All(inner) => inner.iter().all(|c| c.holds(seen, values)),
            Condition::Any(inner) => inner.iter().any(|c| c.holds(seen, values)),
            Condition::Not(inner) => !inner.holds(seen, values),
            Condition::Is(predicate) => predicate.holds(seen, values),
        }
    }

    /// Whether it holds, given that what `remainder` leaves out does.
    pub fn holds_beyond(&self, remainder: Remainder, seen: Seen<'_>, values: &mut Values) -> bool {
        match (remainder, self) {
            (Remainder::Nothing, _) => true,
            (Remainder::AllBut(known), Condition::All(parts)) => {
                let open = parts.iter().enumerate().filter(|(at, _)| *at != known as usize);
                open.map(|(_, part)| part).all(|part| part.holds(seen, values))
            }
            _ => self.holds(seen, values),
        }
    }

    /// Whether both say the same in the same words, so that they hold for the same requests.
    pub fn same(&self, other: &Condition) -> bool {
        let all_same =
            |a: &[Condition], b: &[Condition]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b));
        match (self, other) {
            (Condition::All(a), Condition::All(b)) | (Condition::Any(a), Condition::Any(b)) => all_same(a, b),
            (Condition::Not(a), Condition::Not(b)) => a.same(b),
            (Condition::Is(a), Condition::Is(b)) => {
                a.attribute == b.attribute && a.fold == b.fold && a.words == b.words && a.test.same(&b.test)
            }
            _ => false,
        }
    }

    /// Why it holds, or does not: the part that decided, in words. For people, so it may allocate.
    pub fn because(&self, seen: Seen<'_>, values: &mut Values) -> String {
        match self {
            Condition::Is(predicate) => predicate.because(seen, values),
            Condition::Not(inner) => inner.because(seen, values),
            Condition::All(inner) => match inner.iter().find(|c| !c.holds(seen, values)) {
                Some(failed) => failed.because(seen, values),
                None => join(inner, " and ", seen, values),
            },
            Condition::Any(inner) => match inner.iter().find(|c| c.holds(seen, values)) {
                Some(held) => held.because(seen, values),
                None => join(inner, ", ", seen, values),
            },
        }
    }
}

fn join(inner: &[Condition], separator: &str, seen: Seen<'_>, values: &mut Values) -> String {
    let words: Vec<String> = inner.iter().map(|c| c.because(seen, values)).collect();
    words.join(separator)
}

impl Predicate {
    pub fn new(attribute: Attribute, test: Test, fold: bool, words: String) -> Predicate {
        Predicate { attribute, test, fold, words }
    }

    fn holds(&self, seen: Seen<'_>, values: &mut Values) -> bool {
        if seen.hides(&self.attribute) {
            return matches!(self.test, Test::Exists(false));
        }
        match &self.test {
            Test::InNetworks(networks) => networks.contains(seen.request.client),
            Test::Exists(wanted) => seen.any_value(&self.attribute, values, &mut |_, _| true) == *wanted,
            test => seen.any_value(&self.attribute, values, &mut |value, folded| {
                if !self.fold {
                    return test.accepts(value);
                }
                fold(value, folded);
                test.accepts(folded)
            }),
        }
    }

    fn because(&self, seen: Seen<'_>, values: &mut Values) -> String {
        let mut value = None;
        seen.any_value(&self.attribute, values, &mut |found, _| {
            value = Some(String::from_utf8_lossy(found).into_owned());
            true
        });
        let holds = self.holds(seen, values);
        match (value, &self.test) {
            (None, _) if seen.hides(&self.attribute) => {
                format!("{} is not believed from an untrusted address", self.attribute)
            }
            (None, _) => format!("{} is absent", self.attribute),
            (Some(_), Test::Exists(_)) => format!("{} is there", self.attribute),
            (Some(value), _) if holds => format!("{} `{value}` {}", self.attribute, self.words),
            (Some(value), _) => format!("{} `{value}` is not: {}", self.attribute, self.words),
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.attribute, self.words)
    }
}

impl Test {
    fn same(&self, other: &Test) -> bool {
        match (self, other) {
            (Test::Exists(a), Test::Exists(b)) => a == b,
            (Test::Equals(a), Test::Equals(b))
            | (Test::Prefix(a), Test::Prefix(b))
            | (Test::Suffix(a), Test::Suffix(b))
            | (Test::Contains(a), Test::Contains(b)) => a == b,
            (Test::OneOf(a), Test::OneOf(b)) => a == b,
            (Test::Member(a), Test::Member(b)) => Arc::ptr_eq(a, b),
            (Test::InNetworks(a), Test::InNetworks(b)) => Arc::ptr_eq(a, b) || a == b,
            (Test::Regex(a), Test::Regex(b)) => a.regex.as_str() == b.regex.as_str(),
            (Test::Semver(a), Test::Semver(b)) => a == b,
            (Test::Compare(a, x), Test::Compare(b, y)) => a == b && x == y,
            _ => false,
        }
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match self {
            Test::Exists(wanted) => *wanted,
            Test::Equals(text) => value == &**text,
            Test::OneOf(texts) => texts.contains(value),
            Test::Member(list) => list.contains(value),
            Test::Prefix(text) => value.starts_with(text),
            Test::Suffix(text) => value.ends_with(text),
            Test::Contains(text) => contains(value, text),
            Test::Regex(pattern) => pattern.is_match(value),
            Test::InNetworks(_) => false,
            Test::Semver(range) => Version::read(value).is_some_and(|version| version.is_in(range)),
            Test::Compare(comparison, operand) => {
                let operand = Decimal::parse(operand.as_bytes());
                let value = Decimal::parse(value);
                value.zip(operand).is_some_and(|(v, o)| comparison.accepts(v.compare(&o)))
            }
        }
    }
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    text.is_empty() || value.windows(text.len()).any(|window| window == text)
}
