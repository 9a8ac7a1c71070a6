//! From bytes to a tree: YAML and JSON become the same nodes, each with its line.
//!
//! Parsing is the libraries' work; this file only keeps what they know and most loaders throw away:
//! the number as it was written, the line, and every key, so that a doubled one is noticed.
//! Never: the meaning of a field. Start at [`parse`].

use json_event_parser::{JsonEvent, LowLevelJsonParser};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// Nesting beyond this is no document a person wrote; it also bounds every recursion over a tree.
const DEPTH_LIMIT: usize = 64;
/// Nodes of one document, aliases counted each time they are used: stops "billion laughs" texts.
const NODE_LIMIT: usize = 1_000_000;
/// Keys of one map: far more than any document has, and few enough to look for doubles one by one.
const KEY_LIMIT: usize = 1_000;

/// One value of a document, with the line it starts on (from 1); in a map that is the line of its key.
#[derive(Clone, Debug)]
pub struct Node {
    pub line: usize,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Boolean(bool),
    /// As written, so that nothing is lost to floating point.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Value {
    /// What this is, in an operator's words.
    pub fn describe(&self) -> String {
        match self {
            Value::Null => "nothing".into(),
            Value::Boolean(b) => format!("`{b}` (true or false)"),
            Value::Number(n) => format!("the number `{n}`"),
            Value::Text(t) => format!("the text `{t}`"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Syntax {
    /// YAML; a body that is JSON by its standard is read as JSON.
    Yaml,
    Json,
}

/// Why a body is no tree.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    pub line: usize,
    pub message: String,
}

/// Reads one document.
pub fn parse(text: &str, syntax: Syntax) -> Result<Node, SyntaxError> {
    match syntax {
        Syntax::Json => parse_json(text),
        // JSON is nearly YAML, but not quite (surrogate pairs, tabs): what looks like JSON is tried as JSON first.
        Syntax::Yaml if text.trim_start().starts_with('{') => parse_json(text).or_else(|_| parse_yaml(text)),
        Syntax::Yaml => parse_yaml(text),
    }
}

fn failure(line: usize, message: impl Into<String>) -> SyntaxError {
    SyntaxError { line, message: message.into() }
}

/// Puts nodes together as a parser's events arrive.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    /// Anchored nodes by anchor number (YAML only).
    anchors: Vec<(usize, Node)>,
}

struct Open {
    line: usize,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    /// With the key whose value comes next, and its line.
    Map(Vec<(String, Node)>, Option<(usize, String)>),
}

impl Builder {
    fn start(&mut self, line: usize, anchor: usize, kind: OpenKind) -> Result<(), SyntaxError> {
        if let Some(Open { kind: OpenKind::Map(_, None), .. }) = self.open.last() {
            return Err(failure(line, "a key has to be text"));
        }
        if self.open.len() >= DEPTH_LIMIT {
            return Err(failure(line, format!("nested deeper than {DEPTH_LIMIT} levels")));
        }
        self.open.push(Open { line, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map(entries, _) => Value::Map(entries),
        };
        self.add(open.anchor, Node { line: open.line, value })
    }

    fn key(&mut self, line: usize, key: String) -> Result<(), SyntaxError> {
        if let Some(Open { kind: OpenKind::Map(entries, pending), .. }) = self.open.last_mut() {
            if entries.len() >= KEY_LIMIT {
                return Err(failure(line, format!("more than {KEY_LIMIT} keys in one map")));
            }
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(failure(line, format!("the key `{key}` is there twice")));
            }
            *pending = Some((line, key));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { kind: OpenKind::Map(_, None), .. }))
    }

    fn add(&mut self, anchor: usize, node: Node) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > NODE_LIMIT {
            return Err(failure(node.line, format!("more than {NODE_LIMIT} values")));
        }
        if anchor > 0 {
            self.anchors.push((anchor, node.clone()));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map(entries, pending)) => match pending.take() {
                Some((line, key)) => entries.push((key, Node { line, ..node })),
                None => return Err(failure(node.line, "a key has to be text")),
            },
        }
        Ok(())
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|(_, node)| count(node)).sum(),
        _ => 0,
    }
}

fn depth(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => entries.iter().map(|(_, node)| depth(node)).max().unwrap_or(0),
        _ => 0,
    }
}

fn parse_yaml(text: &str) -> Result<Node, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| failure(e.marker().line(), e.info().to_string()))?;
        let line = span.start.line();
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(failure(line, "a second document begins here; one document a file"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let value = match tag.as_deref() {
                    None => resolve(&text, style),
                    Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
                        Value::Text(text.into_owned())
                    }
                    Some(tag) => return Err(failure(line, format!("the tag `{tag}` is not supported"))),
                };
                match (builder.expects_key(), value) {
                    (true, Value::Text(key)) => builder.key(line, key)?,
                    (true, other) => {
                        let found = other.describe();
                        return Err(failure(
                            line,
                            format!("a key has to be text, and {found} is none; put it in quotes"),
                        ));
                    }
                    (false, value) => builder.add(anchor, Node { line, value })?,
                }
            }
            Event::SequenceStart(anchor, _) => {
                builder.start(line, anchor, OpenKind::List(Vec::new()))?;
            }
            Event::MappingStart(anchor, _) => {
                builder.start(line, anchor, OpenKind::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.end()?,
            Event::Alias(anchor) => {
                let found = builder.anchors.iter().find(|(id, _)| *id == anchor);
                let Some(node) = found.map(|(_, node)| node.clone()) else {
                    return Err(failure(line, "an alias names a value that is not complete yet"));
                };
                if builder.expects_key() || builder.open.len() + depth(&node) > DEPTH_LIMIT {
                    return Err(failure(line, "an alias cannot stand here"));
                }
                builder.nodes += count(&node);
                builder.add(0, node)?;
            }
            _ => {}
        }
    }
    builder.root.ok_or_else(|| failure(1, "the document is empty"))
}

/// The YAML 1.2 core schema: `on`, `yes` and `12:30` are text, as in JSON's spirit.
fn resolve(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Boolean(true),
        "false" | "False" | "FALSE" => Value::Boolean(false),
        _ if is_number(text) => Value::Number(text.into()),
        _ => Value::Text(text.into()),
    }
}

/// Whether the text, written without quotes, is read as itself and not as a number, a boolean or nothing.
pub(super) fn is_plain_text(text: &str) -> bool {
    matches!(resolve(text, ScalarStyle::Plain), Value::Text(_))
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    let radix = |prefix: &str, digits: fn(char) -> bool| {
        text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(digits))
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let decimal = all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|e| {
            let digits = e.strip_prefix(['+', '-']).unwrap_or(e);
            !digits.is_empty() && all_digits(digits)
        });
    special || decimal || radix("0x", |c| c.is_ascii_hexdigit()) || radix("0o", |c| ('0'..='7').contains(&c))
}

fn parse_json(text: &str) -> Result<Node, SyntaxError> {
    // The one of the library's parsers that says how much of the text an event took, and so on which line it ends.
    let mut parser = LowLevelJsonParser::new();
    let mut builder = Builder::default();
    let (mut rest, mut line) = (text.as_bytes(), 1);
    loop {
        let step = parser.parse_next(rest, true);
        let (taken, behind) = rest.split_at_checked(step.consumed_bytes).unwrap_or((rest, &[]));
        line += taken.iter().filter(|byte| **byte == b'\n').count();
        rest = behind;
        let Some(event) = step.event else { continue };
        let event =
            event.map_err(|e| failure(e.location().start.line as usize + 1, e.message().to_string()))?;
        let mut leaf = |value| builder.add(0, Node { line, value });
        match event {
            JsonEvent::Eof => break,
            JsonEvent::String(text) => leaf(Value::Text(text.into_owned()))?,
            JsonEvent::Number(text) => leaf(Value::Number(text.into_owned()))?,
            JsonEvent::Boolean(value) => leaf(Value::Boolean(value))?,
            JsonEvent::Null => leaf(Value::Null)?,
            JsonEvent::ObjectKey(key) => builder.key(line, key.into_owned())?,
            JsonEvent::StartArray => builder.start(line, 0, OpenKind::List(Vec::new()))?,
            JsonEvent::StartObject => builder.start(line, 0, OpenKind::Map(Vec::new(), None))?,
            JsonEvent::EndArray | JsonEvent::EndObject => builder.end()?,
        }
    }
    builder.root.ok_or_else(|| failure(1, "the document is empty"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Boolean(b) => b.to_string(),
            Value::Number(n) => format!("#{n}"),
            Value::Text(t) => format!("{t:?}"),
            Value::List(items) => {
                format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(","))
            }
            Value::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{k}:{}", show(v))).collect();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    fn check(text: &str, syntax: Syntax, expected: &str) {
        let found = match parse(text, syntax) {
            Ok(node) => show(&node),
            Err(e) => format!("error {e}"),
        };
        assert!(
            found == expected || (expected == "error" && found.starts_with("error")),
            "{text:?}: {found}, expected {expected}"
        );
    }

    #[test]
    fn yaml_and_json_become_the_same_tree() {
        for (text, expected) in [
            ("a: 1\nb: [x, 2.50, true, off]", "{a:#1,b:[\"x\",#2.50,true,\"off\"]}"),
            ("{\"a\": 1, \"b\": [\"x\", 1e3]}", "{a:#1,b:[\"x\",#1e3]}"),
            ("{a: 1, b: {c: d}}", "{a:#1,b:{c:\"d\"}}"),
            ("{\n\t\"a\": \"\\ud83d\\ude00\\/\"\n}", "{a:\"😀/\"}"),
            (
                "a: 7.0.1\nb: 10.0.0.1:8080\nc: '7'\nd: 2026-11-22T08:00:00+08:00",
                "{a:\"7.0.1\",b:\"10.0.0.1:8080\",c:\"7\",d:\"2026-11-22T08:00:00+08:00\"}",
            ),
            ("a:\nb: ~", "{a:null,b:null}"),
            ("a: &x [1]\nb: *x", "{a:[#1],b:[#1]}"),
            ("\u{feff}a: 1", "{a:#1}"),
            ("a: !!str 5", "{a:\"5\"}"),
            ("", "error"),
            ("# nothing\n", "error"),
            ("a: 1\na: 2", "error"),
            ("{\"a\": 1, \"a\": 2}", "error"),
            ("a: 1\n---\nb: 2", "error"),
            ("1: x", "error"),
            ("? [a]\n: b", "error"),
            ("a: [1", "error"),
            ("a: !foo 5", "error"),
            (&"[".repeat(100), "error"),
        ] {
            check(text, Syntax::Yaml, expected);
        }
    }

    #[test]
    fn a_json_file_is_json_by_its_standard() {
        for (text, expected) in [
            ("{\"a\": 1}", "{a:#1}"),
            ("a: 1", "error"),
            ("{a: 1}", "error"),
            ("{\"a\": 1,}", "error"),
            ("{\"a\": 01}", "error"),
            ("{\"a\": 1} x", "error"),
            ("{\"a\": 1} // no", "error"),
            ("", "error"),
        ] {
            check(text, Syntax::Json, expected);
        }
    }

    #[test]
    fn every_value_knows_its_line() {
        fn lines(node: &Node) -> Vec<(String, usize)> {
            let Value::Map(entries) = &node.value else { return Vec::new() };
            let of = |(key, node): &(String, Node)| [vec![(key.clone(), node.line)], lines(node)].concat();
            entries.iter().flat_map(of).collect()
        }
        for text in ["a:\n  b: 1\n# x\n  c:\n    d: e", "{\n\"a\":{\"b\":1,\n\n\"c\":\n{\"d\":\n2}}}"] {
            let found = lines(&parse(text, Syntax::Yaml).unwrap());
            let expected = if text.starts_with('{') { [2, 2, 4, 5] } else { [1, 2, 4, 5] };
            let expected: Vec<_> = ["a", "b", "c", "d"].into_iter().map(String::from).zip(expected).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..10 {
            let previous = vec![format!("*a{}", i - 1); 10].join(", ");
            text.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
        }
        check(&text, Syntax::Yaml, "error");
    }
}
