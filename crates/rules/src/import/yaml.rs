//! A document on its way to its text: block style at the top, flow style below, quotes only where they are needed.

use std::fmt::{self, Write as _};

#[derive(Clone, PartialEq, Debug)]
pub enum Yaml {
    Text(String),
    /// As it is to be written.
    Number(String),
    Flag(bool),
    List(Vec<Yaml>),
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    pub fn map() -> Yaml {
        Yaml::Map(Vec::new())
    }

    pub fn text(text: impl Into<String>) -> Yaml {
        Yaml::Text(text.into())
    }

    pub fn number(number: impl fmt::Display) -> Yaml {
        Yaml::Number(number.to_string())
    }

    pub fn texts<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Yaml {
        Yaml::List(items.into_iter().map(Yaml::text).collect())
    }

    /// A map of one field, or the start of a larger one.
    pub fn of(key: &str, value: Yaml) -> Yaml {
        Yaml::Map(vec![(key.into(), value)])
    }

    /// The same map with one more field.
    #[must_use]
    pub fn with(mut self, key: &str, value: Yaml) -> Yaml {
        self.set(key, value);
        self
    }

    /// Sets a field of a map; what was there goes.
    pub fn set(&mut self, key: &str, value: Yaml) {
        if let Yaml::Map(entries) = self {
            match entries.iter_mut().find(|(found, _)| found == key) {
                Some((_, there)) => *there = value,
                None => entries.push((key.into(), value)),
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&Yaml> {
        match self {
            Yaml::Map(entries) => entries.iter().find(|(found, _)| found == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Appends to the list of a field, which is made where it is not there; what is in it already stays once.
    pub fn append(&mut self, key: &str, value: Yaml) {
        let mut items = match self.get(key) {
            Some(Yaml::List(items)) => items.clone(),
            _ => Vec::new(),
        };
        if !items.contains(&value) {
            items.push(value);
        }
        self.set(key, Yaml::List(items));
    }

    /// Sets a field of the map behind a field, which is made where it is not there.
    pub fn set_in(&mut self, key: &str, inner: &str, value: Yaml) {
        let map = self.get(key).cloned().unwrap_or_else(Yaml::map);
        self.set(key, map.with(inner, value));
    }

    /// The text of a document: each field on a line of its own.
    pub fn document(&self) -> String {
        let Yaml::Map(entries) = self else { return format!("{self}\n") };
        let mut out = String::new();
        for (key, value) in entries {
            match value {
                // One item a line, so that a later change of one is a change of one line.
                Yaml::List(items) if items.iter().any(|item| matches!(item, Yaml::Map(_))) => {
                    let _ = writeln!(out, "{key}:");
                    for item in items {
                        let _ = writeln!(out, "  - {item}");
                    }
                }
                value => {
                    let _ = writeln!(out, "{key}: {value}");
                }
            }
        }
        // A document is a map; an empty one is written as such.
        if out.is_empty() { "{}\n".into() } else { out }
    }
}

impl fmt::Display for Yaml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Yaml::Text(text) if is_plain(text) => f.write_str(text),
            Yaml::Text(text) => quoted(text, f),
            Yaml::Number(number) => f.write_str(number),
            Yaml::Flag(flag) => write!(f, "{flag}"),
            Yaml::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Yaml::Map(entries) => {
                f.write_str("{")?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    f.write_str(if i > 0 { ", " } else { "" })?;
                    if is_plain(key) {
                        f.write_str(key)?
                    } else {
                        quoted(key, f)?
                    }
                    write!(f, ": {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Whether the text reads as itself without quotes, wherever it stands.
fn is_plain(text: &str) -> bool {
    let first_fits = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let word = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
    );
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | ':');
    first_fits && !word && !text.ends_with(':') && text.chars().all(fits)
}

fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
