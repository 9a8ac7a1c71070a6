//! Conditions: operands folded, lists looked up, words kept for explanations.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use super::lists::Lists;
use crate::decide::{self, NetworkSet, Predicate, Test, fold};
use crate::documents::{self, Match, Operator};
use crate::vocab::{Attribute, Comparison};

/// A reference that leads nowhere: the field it stands in, and what is wrong.
#[derive(Clone, Debug)]
pub struct Dangling {
    pub field: String,
    pub message: String,
}

/// Compiles a condition; every reference that leads nowhere is an error.
pub fn compile(
    condition: &documents::Condition,
    field: &str,
    lists: &Lists,
) -> Result<decide::Condition, Vec<Dangling>> {
    use documents::Condition as Written;
    match condition {
        Written::All(inner) => several(inner, &format!("{field}.all"), lists).map(decide::Condition::All),
        Written::Any(inner) => several(inner, &format!("{field}.any"), lists).map(decide::Condition::Any),
        Written::Not(inner) => {
            compile(inner, &format!("{field}.not"), lists).map(|c| decide::Condition::Not(Box::new(c)))
        }
        Written::Match(found) => {
            predicate(found, field, lists).map(decide::Condition::Is).map_err(|dangling| vec![dangling])
        }
    }
}

fn several(
    inner: &[documents::Condition],
    field: &str,
    lists: &Lists,
) -> Result<Box<[decide::Condition]>, Vec<Dangling>> {
    let mut compiled = Vec::with_capacity(inner.len());
    let mut dangling = Vec::new();
    for (i, condition) in inner.iter().enumerate() {
        match compile(condition, &format!("{field}[{i}]"), lists) {
            Ok(condition) => compiled.push(condition),
            Err(more) => dangling.extend(more),
        }
    }
    if dangling.is_empty() { Ok(compiled.into()) } else { Err(dangling) }
}

fn predicate(found: &Match, field: &str, lists: &Lists) -> Result<Predicate, Dangling> {
    // A pattern ignores case by itself.
    let fold = found.ignore_case && !matches!(found.operator, Operator::Regex(_));
    let text = |text: &str| bytes(text, fold);
    let whole = |text: &str| bytes(&canonical(&found.attribute, text), fold);
    let test = match &found.operator {
        Operator::Equals(operand) => Test::Equals(whole(operand)),
        Operator::In(operands) => Test::OneOf(operands.iter().map(|operand| whole(operand)).collect()),
        Operator::InList(name) => list_test(&found.attribute, name.as_str(), lists)
            .map_err(|message| Dangling { field: format!("{field}.in_list"), message })?,
        Operator::Prefix(operand) => Test::Prefix(text(operand)),
        Operator::Suffix(operand) => Test::Suffix(text(operand)),
        Operator::Contains(operand) => Test::Contains(text(operand)),
        Operator::Regex(pattern) => Test::Regex(decide::Pattern::of(pattern.regex.clone())),
        Operator::Cidr(nets) => Test::InNetworks(Arc::new(nets.iter().copied().collect::<NetworkSet>())),
        Operator::Exists(wanted) => Test::Exists(*wanted),
        Operator::Semver(range) => Test::Semver(range.clone()),
        Operator::Compare(comparison, number) => Test::Compare(*comparison, number.as_str().into()),
    };
    Ok(Predicate::new(found.attribute.clone(), test, fold, words(found)))
}

fn list_test(attribute: &Attribute, name: &str, lists: &Lists) -> Result<Test, String> {
    let missing = || format!("the list `{name}` does not exist");
    match attribute {
        Attribute::Ip => match lists.networks(name).ok_or_else(missing)? {
            Ok(networks) => Ok(Test::InNetworks(networks)),
            Err(why) => Err(format!("the list `{name}` is used for addresses, and {why}")),
        },
        _ => lists.values(name).map(Test::Member).ok_or_else(missing),
    }
}

/// An address has many spellings, of which the request's is always the canonical one.
fn canonical<'t>(attribute: &Attribute, text: &'t str) -> Cow<'t, str> {
    match (attribute, text.parse::<IpAddr>()) {
        (Attribute::Ip, Ok(address)) => address.to_canonical().to_string().into(),
        _ => text.into(),
    }
}

fn bytes(text: &str, folded: bool) -> Box<[u8]> {
    let mut out = text.as_bytes().to_vec();
    if folded {
        fold(text.as_bytes(), &mut out);
    }
    out.into()
}

/// Operands of more than this many are counted instead of named.
const NAMED_OPERANDS: usize = 5;

fn words(found: &Match) -> String {
    let named = |operands: Vec<String>| match operands.len() {
        0..=NAMED_OPERANDS => format!("[{}]", operands.join(", ")),
        many => format!("one of {many}"),
    };
    let words = match &found.operator {
        Operator::Equals(text) => format!("equals `{text}`"),
        Operator::In(texts) => format!("in {}", named(texts.clone())),
        Operator::InList(name) => format!("in_list `{name}`"),
        Operator::Prefix(text) => format!("prefix `{text}`"),
        Operator::Suffix(text) => format!("suffix `{text}`"),
        Operator::Contains(text) => format!("contains `{text}`"),
        Operator::Regex(pattern) => format!("regex `{}`", pattern.text),
        Operator::Cidr(nets) => format!("cidr {}", named(nets.iter().map(ToString::to_string).collect())),
        Operator::Exists(wanted) => format!("exists {wanted}"),
        Operator::Semver(range) => format!("semver `{range}`"),
        Operator::Compare(Comparison::AtLeast, number) => format!("at_least {number}"),
        Operator::Compare(Comparison::Above, number) => format!("above {number}"),
        Operator::Compare(Comparison::AtMost, number) => format!("at_most {number}"),
        Operator::Compare(Comparison::Below, number) => format!("below {number}"),
    };
    if found.ignore_case { format!("{words} (ignoring case)") } else { words }
}
