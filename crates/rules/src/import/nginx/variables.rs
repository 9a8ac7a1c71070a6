//! What a variable can be, and for whom: `map`, `split_clients`, `geo`, `set` and `if` as one list of choices.

use std::collections::BTreeMap;

use super::super::condition::Condition;
use super::super::pattern::found_anywhere;
use super::super::terms::attribute_of;
use super::super::yaml::Yaml;
use super::syntax::Directive;

/// Variables that lead to variables: more than any operator writes.
const DEPTH_LIMIT: usize = 16;
/// Choices of one variable, multiplied through the variables it is made of.
const CHOICE_LIMIT: usize = 2_000;

/// What a variable is for those who reach this choice.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(String),
    Split(Split),
}

/// A share of users for each text, in order; who is left gets `rest`.
#[derive(Clone, PartialEq, Debug)]
pub struct Split {
    pub by: Vec<String>,
    /// The variable that is drawn: what is hashed under different ones is drawn again.
    pub salt: String,
    /// Hundredths of a percent.
    pub shares: Vec<(u64, String)>,
    pub rest: String,
    pub differences: Vec<String>,
}

/// The first choice whose condition holds counts; the last one always holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Choices(pub Vec<(Condition, Value)>);

impl Choices {
    /// Without what no variable reaches.
    fn of(choices: impl IntoIterator<Item = (Condition, Value)>) -> Choices {
        let mut kept = Vec::new();
        for choice in choices {
            let is_last = choice.0 == Condition::Always;
            if choice.0 != Condition::Never {
                kept.push(choice);
            }
            if is_last {
                break;
            }
        }
        Choices(kept)
    }

    pub fn text(text: &str) -> Choices {
        Choices(vec![(Condition::Always, Value::Text(text.into()))])
    }

    /// The same, with one more choice before all.
    #[must_use]
    pub fn unless(self, when: &Condition, chosen: Choices) -> Choices {
        let guarded =
            chosen.0.into_iter().map(|(inner, value)| (Condition::all([when.clone(), inner]), value));
        Choices::of(guarded.chain(self.0))
    }

    /// The condition under which the text is one that `fits`.
    fn condition(&self, fits: &dyn Fn(&str) -> bool) -> Result<Condition, String> {
        let mut holds = Condition::Never;
        for (when, value) in self.0.iter().rev() {
            let Value::Text(text) = value else {
                return Err("a share cannot be asked for in an `if`".into());
            };
            holds = match fits(text) {
                true => Condition::any([when.clone(), holds]),
                false => Condition::all([when.clone().negated(), holds]),
            };
        }
        Ok(holds)
    }

    /// Every text run through a table.
    fn through(self, table: &Table, source: &str) -> Choices {
        let is_source = |found: &str| matches!((&*parts(found), &*parts(source)), ([Part::Variable(a)], [Part::Variable(b)]) if a == b);
        let look = |text: &str| match table.text(text) {
            // The table gives what it was asked about back.
            found if is_source(&found) => text.to_string(),
            found => found,
        };
        let each = self.0.into_iter().map(|(when, value)| match value {
            Value::Text(text) => (when, Value::Text(look(&text))),
            Value::Split(split) => {
                let shares = split.shares.iter().map(|(share, text)| (*share, look(text))).collect();
                (when, Value::Split(Split { shares, rest: look(&split.rest), ..split }))
            }
        });
        Choices(each.collect())
    }
}

/// Where variables are defined.
#[derive(Clone, Default)]
pub struct Variables<'d> {
    /// `map`, `split_clients` and `geo`, by the variable they define.
    defined: BTreeMap<String, &'d Directive>,
    /// What `set` gave, as far as the text was read.
    set: BTreeMap<String, Choices>,
}

impl<'d> Variables<'d> {
    pub fn define(&mut self, directive: &'d Directive) {
        let variable = match directive.name.as_str() {
            // The address to look at may be named before.
            "geo" => directive.arguments.last(),
            _ => directive.arguments.get(1),
        };
        if let Some(name) = variable.and_then(|variable| variable.strip_prefix('$')) {
            self.defined.insert(name.into(), directive);
        }
    }

    /// `set $name text` under a condition.
    pub fn set(&mut self, name: &str, text: &str, when: &Condition) -> Result<(), String> {
        let chosen = self.text(text, 0)?;
        let name = name.trim_start_matches('$').to_string();
        let before = self.set.remove(&name).unwrap_or_else(|| Choices::text(""));
        self.set.insert(name, before.unless(when, chosen));
        Ok(())
    }

    /// What a text with variables in it can be.
    pub fn text(&self, text: &str, depth: usize) -> Result<Choices, String> {
        let mut found = Choices::text("");
        for part in parts(text) {
            let next = match part {
                Part::Literal(literal) => Choices::text(&literal),
                Part::Variable(name) => self.variable(&name, depth)?,
            };
            found = joined(&found, &next)?;
        }
        Ok(found)
    }

    fn variable(&self, name: &str, depth: usize) -> Result<Choices, String> {
        if depth > DEPTH_LIMIT {
            return Err(format!("`${name}` leads through too many variables"));
        }
        if let Some(choices) = self.set.get(name) {
            return Ok(choices.clone());
        }
        let Some(directive) = self.defined.get(name) else {
            return Err(match attribute_of(&format!("${name}")) {
                Some(_) => {
                    format!("`${name}` is what the client writes, and cannot choose where a request goes")
                }
                None => {
                    format!("`${name}` is not defined by `map`, `split_clients`, `geo` or `set` in the files")
                }
            });
        };
        match directive.name.as_str() {
            "split_clients" => split(name, directive),
            "geo" => self.geo(directive, depth),
            _ => self.map(directive, depth),
        }
    }

    fn map(&self, directive: &Directive, depth: usize) -> Result<Choices, String> {
        let table = Table::read(directive)?;
        let source = directive.first();
        // A map of what is computed is computed; one of what clients write is asked.
        if let Ok(computed) = self.text(source, depth + 1) {
            let through = computed.through(&table, source);
            return self.expanded(through, depth);
        }
        let attribute = match parts(source).as_slice() {
            [Part::Variable(name)] => attribute_of(&format!("${name}")),
            _ => None,
        };
        let attribute = attribute.ok_or(format!("`{source}` is no single attribute of a request"))?;
        let mut found = Vec::new();
        for (key, value) in &table.exact {
            let when = match key.as_str() {
                "" => Condition::is_empty(&attribute),
                key => Condition::equals(&attribute, key).ignoring_case(),
            };
            found.push((when, Value::Text(value.clone())));
        }
        for (pattern, value) in &table.patterns {
            found.push((pattern_condition(&attribute, pattern)?, Value::Text(value.clone())));
        }
        found.push((Condition::Always, Value::Text(table.default.clone())));
        self.expanded(Choices(found), depth)
    }

    /// Values that are variables themselves.
    fn expanded(&self, choices: Choices, depth: usize) -> Result<Choices, String> {
        let mut found = Vec::new();
        for (when, value) in choices.0 {
            match value {
                Value::Text(text) if text.contains('$') => {
                    let inner = self.text(&text, depth + 1)?;
                    found.extend(
                        inner
                            .0
                            .into_iter()
                            .map(|(inner, value)| (Condition::all([when.clone(), inner]), value)),
                    );
                }
                Value::Split(split)
                    if split.rest.contains('$')
                        || split.shares.iter().any(|(_, text)| text.contains('$')) =>
                {
                    return Err("a share leads to a variable".into());
                }
                value => found.push((when, value)),
            }
            if found.len() > CHOICE_LIMIT {
                return Err(format!("it has more than {CHOICE_LIMIT} choices"));
            }
        }
        Ok(Choices::of(found))
    }

    fn geo(&self, directive: &Directive, depth: usize) -> Result<Choices, String> {
        if directive.arguments.len() > 1 && attribute_of(directive.first()).as_deref() != Some("ip") {
            return Err("`geo` looks at another address than the client's".into());
        }
        let mut default = String::new();
        let mut nets: BTreeMap<u8, Vec<(String, Vec<String>)>> = BTreeMap::new();
        for entry in directive.inside() {
            let value = entry.first().to_string();
            match entry.name.as_str() {
                "default" => default = value,
                "ranges" | "include" | "proxy" | "proxy_recursive" | "delete" => {
                    return Err(format!("`{}` in `geo` has no meaning here", entry.name));
                }
                net => {
                    let length =
                        net.split_once('/').and_then(|(_, length)| length.parse().ok()).unwrap_or(128);
                    let same = nets.entry(length).or_default();
                    match same.iter_mut().find(|(known, _)| *known == value) {
                        Some((_, nets)) => nets.push(net.into()),
                        None => same.push((value, vec![net.into()])),
                    }
                }
            }
        }
        // The longest prefix counts.
        let each = nets.into_values().rev().flatten();
        let each =
            each.map(|(value, nets)| (Condition::test("ip", "cidr", Yaml::texts(nets)), Value::Text(value)));
        let all = each.chain([(Condition::Always, Value::Text(default))]).collect();
        self.expanded(Choices(all), depth)
    }

    /// The condition of an `if`.
    pub fn condition(&self, arguments: &[String]) -> Result<Condition, String> {
        let text = arguments.join(" ");
        let inside = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')).unwrap_or(&text).trim();
        let (left, operator, right) = split_condition(inside);
        let name = left.trim_start_matches('$').trim_matches(['{', '}']);
        let computed = self.text(left, 0);
        let attribute =
            || attribute_of(&format!("${name}")).ok_or(format!("`{left}` is no attribute of a request"));
        let negated = operator.starts_with('!');
        let found = match (operator.trim_start_matches('!'), &computed) {
            ("", Ok(computed)) => computed.condition(&|text| !matches!(text, "" | "0"))?,
            ("", Err(_)) => {
                let attribute = attribute()?;
                let zero = Condition::equals(&attribute, "0");
                Condition::any([Condition::is_empty(&attribute), zero]).negated()
            }
            ("=", Ok(computed)) => computed.condition(&|text| text == right)?,
            ("=", Err(_)) if right.is_empty() => Condition::is_empty(&attribute()?),
            ("=", Err(_)) => Condition::equals(&attribute()?, right),
            ("~" | "~*", Ok(_)) => return Err("a pattern is asked of a computed variable".into()),
            (mark, Err(_)) => pattern_condition(&attribute()?, &format!("{mark}{right}"))?,
            (other, Ok(_)) => return Err(format!("`{other}` is no condition that has a meaning here")),
        };
        Ok(if negated { found.negated() } else { found })
    }
}

/// `$x = value`, `$x ~* pattern` or `$x` alone.
fn split_condition(text: &str) -> (&str, &str, &str) {
    let Some((left, rest)) = text.split_once(char::is_whitespace) else { return (text, "", "") };
    let rest = rest.trim();
    let (operator, right) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    (left, operator, right.trim().trim_matches(['"', '\'']))
}

/// `~pattern` or `~*pattern`.
fn pattern_condition(attribute: &str, pattern: &str) -> Result<Condition, String> {
    let (pattern, ignoring) = match pattern.strip_prefix("~*") {
        Some(pattern) => (pattern, true),
        None => (pattern.trim_start_matches('~'), false),
    };
    let found = Condition::test(attribute, "regex", Yaml::text(found_anywhere(pattern)?));
    Ok(if ignoring { found.ignoring_case() } else { found })
}

/// The table of a `map`.
struct Table {
    exact: Vec<(String, String)>,
    /// With their marks, in order.
    patterns: Vec<(String, String)>,
    default: String,
}

impl Table {
    fn read(directive: &Directive) -> Result<Table, String> {
        let mut table = Table { exact: Vec::new(), patterns: Vec::new(), default: String::new() };
        for entry in directive.inside() {
            let value = entry.first().to_string();
            match entry.name.as_str() {
                "default" => table.default = value,
                "volatile" => {}
                "hostnames" | "include" => {
                    return Err(format!("`{}` in `map` has no meaning here", entry.name));
                }
                key if key.starts_with('~') => table.patterns.push((key.into(), value)),
                // A backslash keeps a key from being a word or a pattern.
                key => table.exact.push((key.strip_prefix('\\').unwrap_or(key).into(), value)),
            }
        }
        Ok(table)
    }

    fn text(&self, text: &str) -> String {
        let exact = self.exact.iter().find(|(key, _)| key.eq_ignore_ascii_case(text)).map(|(_, value)| value);
        let fits = |pattern: &str| {
            let (pattern, flag) = match pattern.strip_prefix("~*") {
                Some(pattern) => (pattern, "(?i)"),
                None => (pattern.trim_start_matches('~'), ""),
            };
            regex::Regex::new(&format!("{flag}{pattern}")).is_ok_and(|regex| regex.is_match(text))
        };
        let found = exact.or_else(|| self.patterns.iter().find(|(key, _)| fits(key)).map(|(_, value)| value));
        found.unwrap_or(&self.default).clone()
    }
}

/// Variables that are another one in every request.
const RANDOM: [&str; 5] = ["request_id", "msec", "connection", "connection_requests", "pid"];

fn split(name: &str, directive: &Directive) -> Result<Choices, String> {
    let mut by = Vec::new();
    let mut differences = vec!["another hash: who is in a share changes once, and then stays".to_string()];
    let mut unknown = Vec::new();
    for part in parts(directive.first()) {
        let Part::Variable(variable) = part else { continue };
        match attribute_of(&format!("${variable}")) {
            _ if RANDOM.contains(&variable.as_str()) => by.push("header:x-request-id".to_string()),
            Some(attribute) => by.push(attribute),
            None => unknown.push(variable),
        }
    }
    by.dedup();
    if by.is_empty() {
        return Err(format!("`{}` has nothing that can be hashed here", directive.first()));
    }
    if by.len() > 1 || !unknown.is_empty() {
        let first = by.first().cloned().unwrap_or_default();
        differences.push(format!("hashed by `{first}` and not by all of `{}`", directive.first()));
        by.truncate(1);
    }
    let (mut shares, mut rest) = (Vec::new(), String::new());
    for entry in directive.inside() {
        let value = entry.first().to_string();
        match entry.name.strip_suffix('%') {
            None if entry.name == "*" => rest = value,
            None => return Err(format!("`{}` is no share", entry.name)),
            Some(share) => {
                let (whole, fraction) = share.split_once('.').unwrap_or((share, ""));
                let hundredths =
                    format!("{whole}{fraction:0<2}").parse().map_err(|_| format!("`{share}` is no share"))?;
                shares.push((hundredths, value));
            }
        }
    }
    let split = Split { by, salt: name.into(), shares, rest, differences };
    Ok(Choices(vec![(Condition::Always, Value::Split(split))]))
}

/// Every choice of one beside every choice of the other; at most one of them may be a share.
fn joined(left: &Choices, right: &Choices) -> Result<Choices, String> {
    if left.0.len() * right.0.len() > CHOICE_LIMIT {
        return Err(format!("it has more than {CHOICE_LIMIT} choices"));
    }
    let mut found = Vec::new();
    for (left_when, left) in &left.0 {
        for (right_when, right) in &right.0 {
            let value = match (left, right) {
                (Value::Text(left), Value::Text(right)) => Value::Text(format!("{left}{right}")),
                (Value::Text(text), Value::Split(split)) => {
                    Value::Split(split.with(|inner| format!("{text}{inner}")))
                }
                (Value::Split(split), Value::Text(text)) => {
                    Value::Split(split.with(|inner| format!("{inner}{text}")))
                }
                _ => return Err("it is drawn twice".into()),
            };
            found.push((Condition::all([left_when.clone(), right_when.clone()]), value));
        }
    }
    Ok(Choices::of(found))
}

impl Split {
    fn with(&self, change: impl Fn(&str) -> String) -> Split {
        let shares = self.shares.iter().map(|(share, text)| (*share, change(text))).collect();
        Split { shares, rest: change(&self.rest), ..self.clone() }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    Literal(String),
    Variable(String),
}

/// A text, taken apart where variables stand in it.
pub fn parts(text: &str) -> Vec<Part> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            found.push(Part::Literal(before.into()));
        }
        let (name, behind) = match after.strip_prefix('{').and_then(|inside| inside.split_once('}')) {
            Some(both) => both,
            None => {
                let end =
                    after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(after.len());
                after.split_at_checked(end).unwrap_or((after, ""))
            }
        };
        match name {
            "" => found.push(Part::Literal("$".into())),
            name => found.push(Part::Variable(name.into())),
        }
        rest = behind;
    }
    if !rest.is_empty() {
        found.push(Part::Literal(rest.into()));
    }
    found
}
