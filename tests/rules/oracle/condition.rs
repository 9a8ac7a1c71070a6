//! Conditions, one operator after the other, each as the contract's table says it.

use graygate_rules::documents::{Condition, Match, Operator};
use graygate_rules::vocab::{Attribute, Comparison};
use ipnet::IpNet;

use super::patterns::{bytes_pattern, pattern};
use super::{Oracle, Seen};

/// The number of attribute conditions.
pub fn count(condition: &Condition) -> usize {
    match condition {
        Condition::All(inner) | Condition::Any(inner) => inner.iter().map(count).sum(),
        Condition::Not(inner) => count(inner),
        Condition::Match(_) => 1,
    }
}

impl Oracle {
    /// Whether everything it names is there: a condition that names something missing is never asked.
    pub fn is_whole(&self, condition: &Condition) -> bool {
        match condition {
            Condition::All(inner) | Condition::Any(inner) => inner.iter().all(|one| self.is_whole(one)),
            Condition::Not(inner) => self.is_whole(inner),
            Condition::Match(Match { attribute, operator: Operator::InList(name), .. }) => {
                match self.list(name.as_str()) {
                    None => false,
                    Some(lines) if *attribute == Attribute::Ip => {
                        lines.iter().all(|line| network(line).is_some())
                    }
                    Some(_) => true,
                }
            }
            Condition::Match(_) => true,
        }
    }

    pub fn holds(&self, condition: &Condition, seen: &Seen<'_>, hidden: Option<&Attribute>) -> bool {
        match condition {
            Condition::All(inner) => !inner.iter().any(|one| !self.holds(one, seen, hidden)),
            Condition::Any(inner) => inner.iter().any(|one| self.holds(one, seen, hidden)),
            Condition::Not(inner) => !self.holds(inner, seen, hidden),
            Condition::Match(found) => {
                let values = match hidden == Some(&found.attribute) {
                    true => Vec::new(),
                    false => seen.values(&found.attribute),
                };
                match &found.operator {
                    Operator::Exists(wanted) => values.is_empty() != *wanted,
                    _ => values.iter().any(|value| self.accepts(found, value, seen)),
                }
            }
        }
    }

    fn accepts(&self, found: &Match, value: &[u8], seen: &Seen<'_>) -> bool {
        let flag = if found.ignore_case { "(?i)" } else { "" };
        let like = |before: &str, text: &str, after: &str| {
            let pattern = format!("{before}{flag}{}{after}", regex::escape(text));
            bytes_pattern(&pattern).is_match(value)
        };
        match &found.operator {
            Operator::Equals(text) => like("^", text, "$"),
            Operator::In(texts) => texts.iter().any(|text| like("^", text, "$")),
            Operator::Prefix(text) => like("^", text, ""),
            Operator::Suffix(text) => like("", text, "$"),
            Operator::Contains(text) => like("", text, ""),
            Operator::Regex(pattern) => {
                let whole = |end: &str| format!("^{flag}(?:{}{end})$", pattern.text);
                // A comment at a verbose pattern's end takes in the bracket, unless its line ends before.
                let verbose = pattern.text.contains("(?x") && regex::bytes::Regex::new(&whole("")).is_err();
                bytes_pattern(&whole(if verbose { "\n" } else { "" })).is_match(value)
            }
            Operator::InList(name) => {
                let lines = self.list(name.as_str()).unwrap_or_default();
                match found.attribute {
                    Attribute::Ip => lines
                        .iter()
                        .filter_map(|line| network(line))
                        .any(|net| net.contains(&seen.ask.client)),
                    _ => lines.iter().any(|line| line.as_bytes() == value),
                }
            }
            Operator::Cidr(nets) => nets.iter().any(|net| net.contains(&seen.ask.client)),
            Operator::Exists(wanted) => *wanted,
            Operator::Semver(range) => version(value).is_some_and(|version| range.matches(&version)),
            Operator::Compare(comparison, operand) => match (padded(value), padded(operand.as_bytes())) {
                (Some(value), Some(operand)) => match comparison {
                    Comparison::AtLeast => value >= operand,
                    Comparison::Above => value > operand,
                    Comparison::AtMost => value <= operand,
                    Comparison::Below => value < operand,
                },
                _ => false,
            },
        }
    }
}

fn network(line: &str) -> Option<IpNet> {
    line.parse::<IpNet>().ok().or_else(|| line.parse::<std::net::IpAddr>().ok().map(IpNet::from))
}

/// Digits each side of the point that the cases never exceed.
const WIDTH: usize = 40;

/// A number as text that orders as numbers do: padded with zeros, and for negative ones every digit turned around.
fn padded(value: &[u8]) -> Option<(bool, String)> {
    let text = std::str::from_utf8(value).ok()?;
    let shape = pattern(r"^([+-]?)([0-9]+)(?:\.([0-9]+))?$");
    let parts = shape.captures(text)?;
    let fraction = parts.get(3).map_or("", |fraction| fraction.as_str());
    let digits = format!("{:0>WIDTH$}{fraction:0<WIDTH$}", &parts[2]);
    match &parts[1] == "-" && digits.contains(|c| c != '0') {
        false => Some((true, digits)),
        true => {
            let turned = digits.bytes().map(|digit| char::from(b'0' + b'9' - digit)).collect();
            Some((false, turned))
        }
    }
}

/// A version written out in full before the `semver` crate reads it.
fn version(value: &[u8]) -> Option<semver::Version> {
    let text = std::str::from_utf8(value).ok()?;
    let shape = pattern(r"^v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?([-+].*)?$");
    let parts = shape.captures(text)?;
    let part = |i| parts.get(i).map_or("0", |part: regex::Match<'_>| part.as_str());
    let rest = parts.get(4).map_or("", |rest| rest.as_str());
    format!("{}.{}.{}{rest}", part(1), part(2), part(3)).parse().ok()
}
