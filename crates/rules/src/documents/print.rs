//! A tree as YAML: what is read from it is the same tree.
//!
//! Small values stand in one line, in brackets; larger ones a line an entry. Texts are quoted where they could be read
//! as something else.

use std::fmt::Write as _;

use super::text::{Node, Value, is_plain_text};

/// A value that would make a line longer than this stands on lines of its own.
const WIDTH: usize = 100;
const STEP: usize = 2;

/// A whole document.
pub(super) fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Map(entries) if !entries.is_empty() => print_map(entries, 0, &mut out),
        other => {
            out.push_str(&in_line(other));
            out.push('\n');
        }
    }
    out
}

/// What stands behind a key's colon whose map begins at column `indent`: in one line, or on lines of its own below.
pub(super) fn print_behind_key(value: &Value, indent: usize, taken: usize) -> String {
    let line = in_line(value);
    let mut out = String::new();
    match value {
        Value::Map(entries) if taken + line.len() > WIDTH && !entries.is_empty() => {
            out.push('\n');
            print_map(entries, indent + STEP, &mut out);
        }
        Value::List(items) if taken + line.len() > WIDTH && !items.is_empty() => {
            out.push('\n');
            print_list(items, indent + STEP, &mut out);
        }
        _ => {
            let _ = writeln!(out, " {line}");
        }
    }
    out
}

fn print_map(entries: &[(String, Node)], indent: usize, out: &mut String) {
    for (key, node) in entries {
        let key = scalar(key);
        let _ = write!(out, "{:indent$}{key}:", "");
        out.push_str(&print_behind_key(&node.value, indent, indent + key.len() + 2));
    }
}

fn print_list(items: &[Node], indent: usize, out: &mut String) {
    for item in items {
        let line = in_line(&item.value);
        let _ = write!(out, "{:indent$}- ", "");
        match &item.value {
            Value::Map(entries) if indent + line.len() + 2 > WIDTH => {
                let mut below = String::new();
                print_map(entries, indent + STEP, &mut below);
                // The first entry stands behind the dash.
                out.push_str(below.trim_start_matches(' '));
            }
            _ => {
                out.push_str(&line);
                out.push('\n');
            }
        }
    }
}

/// The value in one line.
pub(super) fn in_line(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(value) => value.to_string(),
        Value::Number(number) => number.clone(),
        Value::Text(text) => scalar(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| in_line(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entry = |(key, node): &(String, Node)| format!("{}: {}", scalar(key), in_line(&node.value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// The value in one line, as JSON; a number stays as it is written, which may be one that JSON does not have.
pub(super) fn in_json(value: &Value) -> String {
    match value {
        Value::Text(text) => json_text(text),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(|item| in_json(&item.value)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Map(entries) => {
            let entry =
                |(key, node): &(String, Node)| format!("{}: {}", json_text(key), in_json(&node.value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        other => in_line(other),
    }
}

pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text as it is, or in quotes where it could be read as something else.
pub(super) fn scalar(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | '+' | '%' | '@');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'));
    if starts && text.chars().all(plain) && !text.ends_with(':') && is_plain_text(text) {
        return text.into();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // Line separators, byte order marks and their like would be read as something else, or not at all.
            _ if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
