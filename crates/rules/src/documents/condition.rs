//! Conditions: what has to hold for a route or a rule.

use std::str::FromStr;

use ipnet::IpNet;
use regex::bytes::{Regex, RegexBuilder};
use semver::VersionReq;

use super::fields::{Emptiness, Field, Map};
use crate::vocab::{Attribute, Comparison, Decimal, Name, canonical_net, did_you_mean};

/// A compiled pattern larger than this is a mistake or an attack, bytes. It is the limit that `regex` itself has: `\w`
/// is every letter of every script, and a tenth of it would refuse `\w{32}`.
const REGEX_SIZE_LIMIT: usize = 10 << 20;
/// Patterns in the condition, or in the paths, of one document: each may be asked by one request, and each takes memory of
/// its own. With the limit above this bounds what one document can take. There is no limit over all documents: it would
/// make whether one is good depend on the others.
pub(super) const PATTERNS: usize = 64;

#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Match(Match),
}

/// An attribute and exactly one operator.
#[derive(Clone, Debug)]
pub struct Match {
    pub attribute: Attribute,
    pub operator: Operator,
    pub ignore_case: bool,
}

#[derive(Clone, Debug)]
pub enum Operator {
    Equals(String),
    In(Vec<String>),
    InList(Name),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Pattern),
    Cidr(Vec<IpNet>),
    Exists(bool),
    Semver(VersionReq),
    Compare(Comparison, String),
}

/// A pattern that matches whole values only.
#[derive(Clone, Debug)]
pub struct Pattern {
    pub text: String,
    pub regex: Regex,
}

impl Pattern {
    pub fn parse(text: &str, ignore_case: bool) -> Result<Pattern, String> {
        // A flag in the text, not in the builder: the text alone then says what the pattern matches.
        let flag = if ignore_case { "(?i)" } else { "" };
        let build = |pattern: &str| {
            RegexBuilder::new(&format!("{flag}{pattern}")).size_limit(REGEX_SIZE_LIMIT).build()
        };
        // Alone first: `a)|(b` would otherwise become well-formed inside the group.
        build(text).map_err(|e| explain(&e))?;
        let whole = build(&format!(r"\A(?:{text})\z"))
            // In verbose mode a trailing comment would swallow the closing bracket.
            .or_else(|_| build(&format!("\\A(?:{text}\n)\\z")))
            .map_err(|e| explain(&e))?;
        Ok(Pattern { text: text.into(), regex: whole })
    }

    /// The names of its groups.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }
}

fn explain(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(limit) => format!("compiles to more than {limit} bytes"),
        // The last line says what is wrong; those before draw the pattern.
        other => {
            let text = other.to_string();
            let last = text.lines().last().unwrap_or_default();
            last.trim_start_matches("error: ").trim().to_string()
        }
    }
}

const FORMS: [&str; 4] = ["all", "any", "not", "attribute"];
const OPERATORS: [&str; 14] = [
    "equals", "in", "in_list", "prefix", "suffix", "contains", "regex", "cidr", "exists", "semver",
    "at_least", "above", "at_most", "below",
];
/// The operators `ignore_case` may stand beside.
const FOLDING: [&str; 6] = ["equals", "in", "prefix", "suffix", "contains", "regex"];

impl Condition {
    pub fn read(field: &Field<'_>) -> Option<Condition> {
        let mut map = field.map()?;
        map.know(&FORMS);
        map.know(&OPERATORS);
        map.know(&["ignore_case"]);
        let misspelt = map.note_unknown();
        match map.written(&FORMS).as_slice() {
            ["attribute"] => Match::read(&mut map, misspelt).map(Condition::Match),
            [form] => {
                for stray in map.written(&OPERATORS).into_iter().chain(map.written(&["ignore_case"])) {
                    map.wrong::<()>(format!("`{stray}` needs an `attribute` beside it"), "");
                }
                let inner = map.get(form)?;
                match *form {
                    "not" => Condition::read(&inner).map(|c| Condition::Not(Box::new(c))),
                    "all" => inner.list_of(Emptiness::Refused, Condition::read).map(Condition::All),
                    _ => inner.list_of(Emptiness::Refused, Condition::read).map(Condition::Any),
                }
            }
            // A misspelt key was noted already; what is missing is what was misspelt.
            [] if misspelt => None,
            [] => map.wrong("a condition is one of `all`, `any`, `not` or `attribute` with an operator", ""),
            _ => map.wrong("`all`, `any`, `not` and `attribute` exclude each other", "keep one of them"),
        }
    }

    /// Reads a document's `when`, whose patterns are limited.
    pub fn read_when(field: &Field<'_>) -> Option<Condition> {
        let when = Condition::read(field)?;
        match when.patterns() {
            0..=PATTERNS => Some(when),
            many => field.wrong(
                format!("{many} patterns in one `when`, and {PATTERNS} are the most"),
                "join them with `|`, use `in`, `prefix` or `contains`, or write several documents",
            ),
        }
    }

    fn patterns(&self) -> usize {
        match self {
            Condition::All(inner) | Condition::Any(inner) => inner.iter().map(Condition::patterns).sum(),
            Condition::Not(inner) => inner.patterns(),
            Condition::Match(found) => usize::from(matches!(found.operator, Operator::Regex(_))),
        }
    }

    /// How many attributes it looks at, those under `any` and `not` too.
    pub fn size(&self) -> usize {
        match self {
            Condition::All(inner) | Condition::Any(inner) => inner.iter().map(Condition::size).sum(),
            Condition::Not(inner) => inner.size(),
            Condition::Match(_) => 1,
        }
    }

    /// The lists it names.
    pub fn lists(&self) -> Vec<&Name> {
        match self {
            Condition::All(inner) | Condition::Any(inner) => {
                inner.iter().flat_map(Condition::lists).collect()
            }
            Condition::Not(inner) => inner.lists(),
            Condition::Match(Match { operator: Operator::InList(name), .. }) => vec![name],
            Condition::Match(_) => Vec::new(),
        }
    }
}

impl Match {
    fn read(map: &mut Map<'_>, misspelt: bool) -> Option<Match> {
        let attribute = map.get("attribute").and_then(|field| read_attribute(&field));
        let ignore_case = map.or("ignore_case", false, Field::boolean);
        let operator = match map.written(&OPERATORS).as_slice() {
            [name] => {
                if map.has("ignore_case") && !FOLDING.contains(name) {
                    map.wrong::<()>(format!("`ignore_case` cannot stand beside `{name}`"), "take it out");
                }
                map.get(name).and_then(|operand| Operator::read(name, &operand, ignore_case))
            }
            [] if misspelt => None,
            [] => map.wrong("an operator is missing", format!("one of {}", OPERATORS.join(", "))),
            several => map
                .wrong(format!("two operators: `{}`", several.join("`, `")), "combine conditions with `all`"),
        };
        let (attribute, operator) = (attribute?, operator?);
        if matches!(operator, Operator::Cidr(_)) && attribute != Attribute::Ip {
            return map.wrong(format!("`cidr` is for the attribute `ip`, not for `{attribute}`"), "");
        }
        Some(Match { attribute, operator, ignore_case })
    }
}

impl Operator {
    fn read(name: &str, operand: &Field<'_>, ignore_case: bool) -> Option<Operator> {
        let text = || operand.text().map(str::to_string);
        let compare = |comparison| {
            let number = operand.number()?;
            match Decimal::parse(number.as_bytes()) {
                Some(_) => Some(Operator::Compare(comparison, number.to_string())),
                None => operand.wrong(
                    format!("`{number}` is not a plain number"),
                    "write digits with an optional fraction",
                ),
            }
        };
        Some(match name {
            "equals" => Operator::Equals(text()?),
            "in" => {
                Operator::In(operand.list_of(Emptiness::Allowed, |item| item.text().map(str::to_string))?)
            }
            "in_list" => Operator::InList(operand.name()?),
            "prefix" => Operator::Prefix(text()?),
            "suffix" => Operator::Suffix(text()?),
            "contains" => Operator::Contains(text()?),
            "regex" => match Pattern::parse(operand.text()?, ignore_case) {
                Ok(pattern) => Operator::Regex(pattern),
                Err(message) => return operand.wrong(format!("the pattern is wrong: {message}"), ""),
            },
            "cidr" => Operator::Cidr(operand.list_of(Emptiness::Refused, |item| {
                item.parsed("an address or a CIDR like `10.0.0.0/8`", canonical_net)
            })?),
            "exists" => Operator::Exists(operand.boolean()?),
            "semver" => Operator::Semver(operand.parsed("a version range like `>=7.0.0, <8`", read_range)?),
            "at_least" => compare(Comparison::AtLeast)?,
            "above" => compare(Comparison::Above)?,
            "at_most" => compare(Comparison::AtMost)?,
            _ => compare(Comparison::Below)?,
        })
    }
}

/// A version range, each of whose versions may have a leading `v`.
fn read_range(text: &str) -> Option<VersionReq> {
    let plain: Vec<String> = text
        .split(',')
        .map(|comparator| {
            let trimmed = comparator.trim();
            let version = trimmed.trim_start_matches(['<', '>', '=', '~', '^', ' ']);
            let operator = trimmed.strip_suffix(version).unwrap_or_default();
            format!("{operator}{}", version.strip_prefix('v').unwrap_or(version))
        })
        .collect();
    VersionReq::from_str(&plain.join(",")).ok()
}

/// Reads a selector like `header:x-tenant`.
pub fn read_attribute(field: &Field<'_>) -> Option<Attribute> {
    let text = field.text()?;
    Attribute::parse(text).or_else(|| {
        let word = text.split(':').next().unwrap_or(text);
        let help = match did_you_mean(word, Attribute::WORDS).filter(|near| *near != word) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                "attributes are header:<name>, cookie:<name>, query:<name>, path, host, method, scheme, ip, \
                 geo:country, geo:region, geo:city and geo:asn"
                    .into()
            }
        };
        field.wrong(format!("`{text}` is not an attribute"), help)
    })
}
