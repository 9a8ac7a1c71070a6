//! Reading a tree field by field: every mistake is noted with its place, and none is passed over.
//!
//! A reader asks a [`Map`] for the keys it knows; what was not asked for is an unknown field. Readers return
//! `Option`: `None` means that a mistake was noted, so a document is good exactly when nothing was noted.

use std::cell::RefCell;
use std::time::Duration;

use super::text::{Node, Value};
use crate::vocab::{ByteSize, Name, Place, Problem, Share, did_you_mean, parse_duration};

/// Where mistakes of one document are noted.
#[derive(Debug)]
pub struct Notes {
    place: Place,
    problems: RefCell<Vec<Problem>>,
}

impl Notes {
    pub fn of(place: impl Into<Place>) -> Notes {
        Notes { place: place.into(), problems: RefCell::default() }
    }

    /// Notes a mistake of the document as a whole.
    pub fn note(&self, field: &str, message: impl Into<String>, help: impl Into<String>) {
        self.note_on(None, field, message, help);
    }

    /// Notes a mistake on a line.
    pub fn note_on(
        &self,
        line: Option<usize>,
        field: &str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let problem = Problem::at(self.place.clone(), field, message, help);
        self.problems.borrow_mut().push(Problem { line, ..problem });
    }

    pub fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    pub fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }
}

/// One value and its place.
#[derive(Clone)]
pub struct Field<'n> {
    pub path: String,
    pub node: &'n Node,
    notes: &'n Notes,
}

impl<'n> Field<'n> {
    pub fn root(node: &'n Node, notes: &'n Notes) -> Field<'n> {
        Field { path: String::new(), node, notes }
    }

    /// The same value, spoken of by a place below it.
    pub fn below(&self, path: &str) -> Field<'n> {
        let path = if path.is_empty() { self.path.clone() } else { join(&self.path, path) };
        Field { path, ..self.clone() }
    }

    /// Notes a mistake at this place.
    pub fn wrong<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.notes.note_on(Some(self.node.line), &self.path, message, help);
        None
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        let help = match &self.node.value {
            Value::Number(_) | Value::Boolean(_) if what.contains("text") || what.contains("name") => {
                "put it in quotes"
            }
            _ => "",
        };
        self.wrong(format!("expected {what}, found {}", self.node.value.describe()), help)
    }

    pub fn text(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.expected("text"),
        }
    }

    /// Text that is read by `read`; `what` says what was expected.
    pub fn parsed<T>(&self, what: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        match &self.node.value {
            Value::Text(text) => match read(text) {
                Some(value) => Some(value),
                None => self.wrong(format!("`{text}` is not {what}"), ""),
            },
            _ => self.expected(what),
        }
    }

    pub fn name(&self) -> Option<Name> {
        let text = match &self.node.value {
            Value::Text(text) => text,
            _ => return self.expected("a name"),
        };
        Name::parse(text).or_else(|| {
            self.wrong(format!("`{text}` is not a name"), "names are 1 to 128 of A-Z a-z 0-9 . _ -")
        })
    }

    pub fn boolean(&self) -> Option<bool> {
        match &self.node.value {
            Value::Boolean(value) => Some(*value),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number between `low` and `high`.
    pub fn integer(&self, low: i64, high: i64) -> Option<i64> {
        let what = format!("a whole number from {low} to {high}");
        match &self.node.value {
            Value::Number(text) => match text.parse::<i64>() {
                Ok(number) if (low..=high).contains(&number) => Some(number),
                _ => self.wrong(format!("expected {what}, found `{text}`"), ""),
            },
            _ => self.expected(&what),
        }
    }

    /// A signed 32-bit number.
    pub fn priority(&self) -> Option<i32> {
        let number = self.integer(i64::from(i32::MIN), i64::from(i32::MAX))?;
        i32::try_from(number).ok()
    }

    /// A number as it was written.
    pub fn number(&self) -> Option<&'n str> {
        match &self.node.value {
            Value::Number(text) => Some(text),
            _ => self.expected("a number"),
        }
    }

    pub fn share(&self) -> Option<Share> {
        let what = "a share from 0 to 100 with up to two decimals";
        match &self.node.value {
            Value::Number(text) => match Share::parse(text) {
                Some(share) => Some(share),
                None => self.wrong(format!("`{text}` is not {what}"), ""),
            },
            Value::Text(text) if text.ends_with('%') => {
                self.wrong(format!("expected {what}, found the text `{text}`"), "write it without `%`")
            }
            _ => self.expected(what),
        }
    }

    pub fn percent(&self) -> Option<Share> {
        self.parsed("a percentage like `50%`", Share::parse_percent)
    }

    /// A duration that is not zero.
    pub fn duration(&self) -> Option<Duration> {
        let what = "a duration like `250ms`, `5s`, `2m`, `1h` or `30d`";
        match self.parsed(what, parse_duration)? {
            Duration::ZERO => self.wrong("a duration has to be longer than zero", ""),
            duration => Some(duration),
        }
    }

    pub fn size(&self) -> Option<ByteSize> {
        self.parsed("a size like `64KiB` or `10MiB`", ByteSize::parse)
    }

    /// The items of a list; an empty one is a mistake unless `may_be_empty`.
    pub fn list(&self, emptiness: Emptiness) -> Option<Vec<Field<'n>>> {
        let Value::List(items) = &self.node.value else {
            return self.expected("a list");
        };
        if items.is_empty() && emptiness == Emptiness::Refused {
            return self.wrong("an empty list", "leave the field out, or name at least one");
        }
        let field = |(i, node)| Field { path: format!("{}[{i}]", self.path), node, notes: self.notes };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// A list of values that `read` reads; all mistakes are noted, not only the first.
    pub fn list_of<T>(&self, emptiness: Emptiness, read: impl Fn(&Field<'n>) -> Option<T>) -> Option<Vec<T>> {
        let items = self.list(emptiness)?;
        let read: Vec<Option<T>> = items.iter().map(read).collect();
        read.into_iter().collect()
    }

    pub fn map(&self) -> Option<Map<'n>> {
        let Value::Map(entries) = &self.node.value else {
            return self.expected("a map of fields");
        };
        let line = self.node.line;
        Some(Map { path: self.path.clone(), line, entries, notes: self.notes, known: Vec::new() })
    }

    /// A map whose keys are the operator's own, each with its field.
    pub fn entries(&self) -> Option<Vec<(&'n str, Field<'n>)>> {
        let Value::Map(entries) = &self.node.value else {
            return self.expected("a map");
        };
        Some(
            entries
                .iter()
                .map(|(key, node)| {
                    (key.as_str(), Field { path: join(&self.path, key), node, notes: self.notes })
                })
                .collect(),
        )
    }

    pub fn is_text(&self, text: &str) -> bool {
        matches!(&self.node.value, Value::Text(found) if found == text)
    }

    pub fn is_number(&self) -> bool {
        matches!(self.node.value, Value::Number(_))
    }

    pub fn is_list(&self) -> bool {
        matches!(&self.node.value, Value::List(_))
    }

    /// The word of a fixed set.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let what = format!("one of {}", quoted(&names));
        let text = match &self.node.value {
            Value::Text(text) => text,
            _ => return self.expected(&what),
        };
        let found = words.iter().find(|(word, _)| word == text).map(|(_, value)| *value);
        found.or_else(|| self.wrong(format!("`{text}` is not {what}"), suggestion(text, &names)))
    }
}

/// Whether a list may be empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Emptiness {
    Allowed,
    Refused,
}

/// The fields of a map, asked for by name.
pub struct Map<'n> {
    pub path: String,
    line: usize,
    entries: &'n [(String, Node)],
    notes: &'n Notes,
    known: Vec<&'static str>,
}

impl<'n> Map<'n> {
    /// The field, if it is written. A key with nothing behind it is a mistake, never a default.
    pub fn get(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.known.push(key);
        let (_, node) = self.entries.iter().find(|(found, _)| found == key)?;
        let field = Field { path: join(&self.path, key), node, notes: self.notes };
        match node.value {
            Value::Null => {
                field.wrong("nothing stands behind this key", "give it a value or take the key out")
            }
            _ => Some(field),
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(found, _)| found == key)
    }

    /// The field, which has to be there.
    pub fn required(&mut self, key: &'static str) -> Option<Field<'n>> {
        if !self.has(key) {
            self.known.push(key);
            if !self.is_misspelt(&[key]) {
                self.notes.note_on(Some(self.line), &self.path, format!("the field `{key}` is missing"), "");
            }
            return None;
        }
        self.get(key)
    }

    /// The field read by `read`, or `default` where it is not written.
    pub fn or<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Field<'n>) -> Option<T>) -> T {
        self.get(key).and_then(|field| read(&field)).unwrap_or(default)
    }

    /// Notes a mistake of the map as a whole.
    pub fn wrong<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.notes.note_on(Some(self.line), &self.path, message, help);
        None
    }

    /// Says that these keys have a meaning, whether they are asked for or not.
    pub fn know(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Those of `keys` that are written.
    pub fn written(&self, keys: &[&'static str]) -> Vec<&'static str> {
        keys.iter().copied().filter(|key| self.has(key)).collect()
    }

    /// Notes every field no reader asked for, and says whether there was one. To be called when all known ones were.
    pub fn note_unknown(&self) -> bool {
        let unknown = |key: &str| !self.known.contains(&key);
        for (key, node) in self.entries.iter().filter(|(key, _)| unknown(key)) {
            self.notes.note_on(
                Some(node.line),
                &join(&self.path, key),
                format!("unknown field `{key}`"),
                suggestion(key, &self.known),
            );
        }
        self.entries.iter().any(|(key, _)| unknown(key))
    }

    /// Whether a written key is nearly one of `keys`: as an unknown field it says more than "missing" would.
    fn is_misspelt(&self, keys: &[&'static str]) -> bool {
        let known = |key: &str| self.known.contains(&key);
        self.entries.iter().any(|(key, _)| !known(key) && did_you_mean(key, keys.iter().copied()).is_some())
    }

    /// The first of `keys` that is written, and a mistake where there is more than one.
    pub fn one_of(&mut self, keys: &[&'static str]) -> Option<(&'static str, Field<'n>)> {
        self.know(keys);
        match self.written(keys).as_slice() {
            [] if self.is_misspelt(keys) => None,
            [] => self.wrong(format!("one of {} is missing", quoted(keys)), ""),
            [key] => self.get(key).map(|field| (*key, field)),
            several => self.wrong(format!("{} exclude each other", quoted(several)), "keep one of them"),
        }
    }
}

fn suggestion(word: &str, known: &[&str]) -> String {
    did_you_mean(word, known.iter().copied())
        .map(|near| format!("did you mean `{near}`?"))
        .unwrap_or_default()
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.into(),
        false => format!("{path}.{key}"),
    }
}
