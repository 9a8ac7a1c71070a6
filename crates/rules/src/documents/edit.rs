//! One field of an existing text set or taken out; comments, order and spelling of everything else stay.
//!
//! Answers: what does this text look like with that field changed? The result is read again and compared with what it
//! has to say, so that an edit is right or is refused. Never: writes a whole document; that is `write`. Start at [`set`].

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::print::{in_json, in_line, json_text, print_behind_key, scalar};
use super::text::{self, Node, Syntax, Value};

/// Why a text cannot be edited.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CannotEdit {
    #[error("the text cannot be read: {0}")]
    Unreadable(String),
    #[error("there is no field without a name")]
    Nameless,
    #[error("the document is not a map")]
    NotMapAtAll,
    #[error("`{0}` is not a map")]
    NotMap(String),
    #[error("the text is written in a way that `{0}` cannot be changed in place; edit it by hand")]
    Unclear(String),
}

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Sets the field at `path`, keys from the document's root on, to `value`, and takes it out where that is `None`. Maps on
/// the way that are not there are made; one that loses its last field stays as an empty one. JSON stays JSON. Comments
/// inside a value that is replaced or taken out go with it.
pub fn set(body: &str, path: &[&str], value: Option<&Value>) -> Result<String, CannotEdit> {
    if let Some(rest) = body.strip_prefix(BYTE_ORDER_MARK) {
        return set(rest, path, value).map(|edited| format!("{BYTE_ORDER_MARK}{edited}"));
    }
    if path.is_empty() {
        return Err(CannotEdit::Nameless);
    }
    let (before, syntax) = match text::parse(body, Syntax::Json) {
        Ok(node) => (node, Syntax::Json),
        Err(_) => match text::parse(body, Syntax::Yaml) {
            Ok(node) => (node, Syntax::Yaml),
            Err(error) => return Err(CannotEdit::Unreadable(error.to_string())),
        },
    };
    let mut expected = before.clone();
    change(&mut expected, path, value).map_err(|left| not_map(path, left))?;
    if same(&before, &expected) {
        return Ok(body.into());
    }
    let unclear = || CannotEdit::Unclear(path.join("."));
    let places = Places::read(body, syntax).ok_or_else(unclear)?;
    let edited = places.edit(&before, path, value).ok_or_else(unclear)?;
    let after = text::parse(&edited, syntax).map_err(|_| unclear())?;
    if same(&after, &expected) { Ok(edited) } else { Err(unclear()) }
}

/// What is no map, when `left` keys of the path were still to be followed.
fn not_map(path: &[&str], left: usize) -> CannotEdit {
    match path.get(..path.len().saturating_sub(left)) {
        None | Some([]) => CannotEdit::NotMapAtAll,
        Some(followed) => CannotEdit::NotMap(followed.join(".")),
    }
}

/// Changes a tree; the error is how many keys were left at what is no map.
fn change(node: &mut Node, path: &[&str], value: Option<&Value>) -> Result<(), usize> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    let Value::Map(entries) = &mut node.value else { return Err(path.len()) };
    let at = entries.iter().position(|(known, _)| known == key);
    match (at.and_then(|at| entries.get_mut(at)), rest, value) {
        (Some((_, inner)), [], Some(value)) => *inner = fresh(value),
        (Some(_), [], None) => entries.retain(|(known, _)| known != key),
        (Some((_, inner)), rest, value) => return change(inner, rest, value),
        (None, _, None) => {}
        (None, rest, Some(value)) => entries.push((key.to_string(), fresh(&nested(rest, value)))),
    }
    Ok(())
}

/// The value inside maps of one field each.
fn nested(path: &[&str], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| Value::Map(vec![(key.to_string(), fresh(&inner))]))
}

fn fresh(value: &Value) -> Node {
    Node { line: 0, value: value.clone() }
}

/// Whether both say the same, wherever they say it.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Null, Value::Null) => true,
        (Value::Boolean(a), Value::Boolean(b)) => a == b,
        (Value::Number(a), Value::Number(b)) | (Value::Text(a), Value::Text(b)) => a == b,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let alike =
                |((a, left), (b, right)): (&(String, Node), &(String, Node))| a == b && same(left, right);
            a.len() == b.len() && a.iter().zip(b).all(alike)
        }
        _ => false,
    }
}

/// Where in a text its values are: byte ranges, and the column of what begins a map's first key.
struct Places<'t> {
    text: &'t str,
    syntax: Syntax,
    root: Place,
}

#[derive(Clone, Debug)]
struct Place {
    start: usize,
    /// Behind the last byte that belongs to it: of a block, of its last value.
    end: usize,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Leaf,
    List,
    Map { is_flow: bool, column: usize, entries: Vec<Entry> },
}

#[derive(Clone, Debug)]
struct Entry {
    key: Place,
    value: Place,
}

impl<'t> Places<'t> {
    /// `None` where the text has what is not followed here: anchors and aliases.
    fn read(text: &'t str, syntax: Syntax) -> Option<Places<'t>> {
        let offsets: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
        let mut events = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.ok()?;
            match event {
                Event::Alias(_) => return None,
                Event::Scalar(_, _, anchor, _)
                | Event::SequenceStart(anchor, _)
                | Event::MappingStart(anchor, _)
                    if anchor > 0 =>
                {
                    return None;
                }
                Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::MappingStart(..)
                | Event::SequenceEnd
                | Event::MappingEnd => events.push((event, span)),
                _ => {}
            }
        }
        let mut reader = PlaceReader { text, offsets, events: events.into_iter() };
        let (event, span) = reader.events.next()?;
        let root = reader.place(&event, span)?;
        Some(Places { text, syntax, root })
    }

    /// The text with the field changed; `None` where that cannot be done in place.
    fn edit(&self, before: &Node, path: &[&str], value: Option<&Value>) -> Option<String> {
        let (mut place, mut node) = (&self.root, before);
        let mut rest = path;
        while let [key, deeper @ ..] = rest {
            let (Shape::Map { entries, .. }, Value::Map(known)) = (&place.shape, &node.value) else {
                return None;
            };
            let at = known.iter().position(|(name, _)| name == key);
            let found = at.and_then(|at| Some((at, entries.get(at)?, &known.get(at)?.1)));
            match (found, deeper, value) {
                (None, deeper, Some(value)) => return self.insert(place, key, &nested(deeper, value)),
                (None, ..) => return None,
                (Some((_, entry, _)), [], Some(value)) => return self.replace(place, entry, value),
                (Some((at, ..)), [], None) => return self.remove(place, at),
                (Some((_, entry, inner)), ..) => (place, node) = (&entry.value, inner),
            }
            rest = deeper;
        }
        None
    }

    fn line(&self, value: &Value) -> String {
        match self.syntax {
            Syntax::Json => in_json(value),
            Syntax::Yaml => in_line(value),
        }
    }

    fn key(&self, key: &str) -> String {
        match self.syntax {
            Syntax::Json => json_text(key),
            Syntax::Yaml => scalar(key),
        }
    }

    fn with(&self, from: usize, to: usize, new: &str) -> Option<String> {
        Some([self.text.get(..from)?, new, self.text.get(to..)?].concat())
    }

    fn line_start(&self, at: usize) -> usize {
        self.text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1)
    }

    /// Behind the line break of the line that `at` is in; a place that ends with one is at its line's start already.
    fn line_end(&self, at: usize) -> usize {
        if at > 0 && self.text.as_bytes().get(at - 1) == Some(&b'\n') {
            return at;
        }
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find('\n').map_or(self.text.len(), |found| at + found + 1)
    }

    fn replace(&self, map: &Place, entry: &Entry, value: &Value) -> Option<String> {
        let (key, old) = (&entry.key, &entry.value);
        let colon = key.end + self.text.get(key.end..)?.find(':')?;
        if !self.text.get(key.end..colon)?.trim().is_empty() {
            return None;
        }
        let is_scalar = !matches!(value, Value::List(_) | Value::Map(_));
        let written = self.text.get(old.start..old.end)?;
        if is_scalar && matches!(old.shape, Shape::Leaf) && !written.is_empty() && !written.contains('\n') {
            return self.with(old.start, old.end, &self.line(value));
        }
        let end = old.end.max(colon + 1);
        let behind = self.text.get(end..)?;
        let comment = self.key_comment(colon, old)?;
        let new = match &map.shape {
            Shape::Map { is_flow: false, column, .. } if comment.is_empty() => {
                print_behind_key(value, *column, column + (colon - key.start) + 2)
            }
            _ => format!(" {}{comment}\n", self.line(value)),
        };
        if end == self.line_start(end) {
            return self.with(colon + 1, end, &new);
        }
        // What stands behind the value in its last line, a comment perhaps, stays there.
        let new = new.trim_end_matches('\n');
        if new.contains('\n') && !behind.is_empty() && !behind.starts_with('\n') {
            return self.with(colon + 1, end, &format!(" {}", self.line(value)));
        }
        self.with(colon + 1, end, new)
    }

    /// The comment in a key's line whose value is written below it, with a space before it; empty where there is none.
    fn key_comment(&self, colon: usize, value: &Place) -> Option<String> {
        let line = self.text.get(colon + 1..)?.lines().next()?;
        let starts_below = value.start > colon + 1 + line.len();
        let is_block = self.text.get(value.start..)?.starts_with(['|', '>']);
        let comment = line.find('#').and_then(|at| line.get(at..)).filter(|_| starts_below || is_block);
        Some(comment.map(|comment| format!(" {}", comment.trim_end())).unwrap_or_default())
    }

    fn insert(&self, map: &Place, key: &str, value: &Value) -> Option<String> {
        let Shape::Map { is_flow, column, entries } = &map.shape else { return None };
        let key = self.key(key);
        let Some(last) = entries.last().filter(|_| !*is_flow) else {
            let entry = format!("{key}: {}", self.line(value));
            return match entries.last() {
                Some(last) => self.with(last.value.end, last.value.end, &format!(", {entry}")),
                // Between the braces of an empty map.
                None => self.with(map.start + 1, map.start + 1, &entry),
            };
        };
        let end = self.line_end(last.value.end);
        let break_before = if self.text.get(..end)?.ends_with('\n') { "" } else { "\n" };
        let behind = print_behind_key(value, *column, column + key.len() + 2);
        self.with(end, end, &format!("{break_before}{:column$}{key}:{behind}", ""))
    }

    fn remove(&self, map: &Place, at: usize) -> Option<String> {
        let Shape::Map { is_flow, entries, .. } = &map.shape else { return None };
        let entry = entries.get(at)?;
        if entries.len() == 1 {
            return if *is_flow {
                self.with(map.start, map.end, "{}")
            } else {
                self.with_empty_map(map, entry)
            };
        }
        if *is_flow {
            return self.remove_between_commas(entries, at);
        }
        let (start, end) = (entry.key.start, self.line_end(entry.value.end));
        let line = self.line_start(start);
        let is_alone = self.text.get(line..start)?.trim().is_empty();
        if is_alone { self.with(line, end, "") } else { None }
    }

    /// With the comma before it, or behind it where it is the first.
    fn remove_between_commas(&self, entries: &[Entry], at: usize) -> Option<String> {
        let entry = entries.get(at)?;
        let (from, to) = match at.checked_sub(1).and_then(|before| entries.get(before)) {
            Some(before) => (before.value.end, entry.value.end),
            None => (entry.key.start, entries.get(at + 1)?.key.start),
        };
        // Comments of its neighbours would go with it.
        let outside = [self.text.get(from..entry.key.start)?, self.text.get(entry.value.end..to)?];
        if outside.iter().any(|text| text.contains('#')) { None } else { self.with(from, to, "") }
    }

    /// The only entry of a block taken out: braces stand in its place, in the line of the block's own key.
    fn with_empty_map(&self, map: &Place, entry: &Entry) -> Option<String> {
        let end = entry.value.end;
        let before = self.text.get(..map.start)?;
        let trimmed = before.trim_end_matches([' ', '\n', '\r']);
        let last_line = trimmed.get(self.line_start(trimmed.len())..)?;
        if trimmed.ends_with(':') && !last_line.contains('#') {
            return self.with(trimmed.len(), self.line_end(end), " {}\n");
        }
        let braces = if end == self.line_start(end) { "{}\n" } else { "{}" };
        self.with(map.start, end, braces)
    }
}

struct PlaceReader<'t, I> {
    text: &'t str,
    /// By character, its first byte.
    offsets: Vec<usize>,
    events: I,
}

impl<'e, I: Iterator<Item = (Event<'e>, Span)>> PlaceReader<'_, I> {
    fn bytes(&self, span: Span) -> Option<(usize, usize)> {
        Some((*self.offsets.get(span.start.index())?, *self.offsets.get(span.end.index())?))
    }

    fn place(&mut self, event: &Event<'_>, span: Span) -> Option<Place> {
        let (start, end) = self.bytes(span)?;
        match event {
            Event::Scalar(_, style, ..) => {
                let end = self.scalar_end(start, end, *style)?;
                Some(Place { start, end, shape: Shape::Leaf })
            }
            Event::SequenceStart(..) => self.list(start, end),
            Event::MappingStart(..) => self.map(start, end, span.start.col()),
            _ => None,
        }
    }

    /// Where the parser's scalar really ends: it counts the blanks and the comment behind a quote, and below a block
    /// the empty lines and the next line's indentation.
    fn scalar_end(&self, start: usize, end: usize, style: ScalarStyle) -> Option<usize> {
        let written = self.text.get(start..end)?;
        Some(match style {
            ScalarStyle::Plain => end,
            ScalarStyle::SingleQuoted => start + single_quoted(written)?,
            ScalarStyle::DoubleQuoted => start + double_quoted(written)?,
            ScalarStyle::Literal | ScalarStyle::Folded => {
                let last = start + written.trim_end().len();
                let line_break = self.text.get(last..)?.find('\n');
                line_break.map_or(self.text.len(), |at| last + at + 1)
            }
        })
    }

    fn list(&mut self, start: usize, end: usize) -> Option<Place> {
        let is_flow = self.text.as_bytes().get(start) == Some(&b'[');
        let mut last = end;
        loop {
            let (event, span) = self.events.next()?;
            if let Event::SequenceEnd = event {
                let end = if is_flow { self.behind_bracket(span)? } else { last };
                return Some(Place { start, end, shape: Shape::List });
            }
            last = self.place(&event, span)?.end;
        }
    }

    fn map(&mut self, start: usize, end: usize, column: usize) -> Option<Place> {
        let is_flow = self.text.as_bytes().get(start) == Some(&b'{');
        let (mut last, mut entries) = (end, Vec::<Entry>::new());
        loop {
            let (event, span) = self.events.next()?;
            if let Event::MappingEnd = event {
                let end = if is_flow { self.behind_bracket(span)? } else { last };
                let first = entries.first().map_or(start, |entry| entry.key.start);
                let start = if is_flow { start } else { first };
                return Some(Place { start, end, shape: Shape::Map { is_flow, column, entries } });
            }
            let key = self.place(&event, span)?;
            let (event, span) = self.events.next()?;
            let value = match &event {
                Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() => {
                    self.nothing_behind(key.end)?
                }
                _ => self.place(&event, span)?,
            };
            last = value.end;
            entries.push(Entry { key, value });
        }
    }

    /// The parser counts what stands behind a bracket to it.
    fn behind_bracket(&self, span: Span) -> Option<usize> {
        Some(self.bytes(span)?.0 + 1)
    }

    /// A value that is not written stands behind its colon; the parser says it is where the next thing begins.
    fn nothing_behind(&self, key_end: usize) -> Option<Place> {
        let rest = self.text.get(key_end..)?;
        let blanks = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        let has_colon = rest.get(blanks..)?.starts_with(':');
        let at = if has_colon { key_end + blanks + 1 } else { key_end };
        Some(Place { start: at, end: at, shape: Shape::Leaf })
    }
}

/// The length of the text in single quotes that begins here; two of them in a row stand for one.
fn single_quoted(text: &str) -> Option<usize> {
    let mut rest = text.strip_prefix('\'')?;
    loop {
        rest = rest.split_once('\'')?.1;
        match rest.strip_prefix('\'') {
            Some(behind) => rest = behind,
            None => return Some(text.len() - rest.len()),
        }
    }
}

/// The length of the text in double quotes that begins here.
fn double_quoted(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(usize::from(text.starts_with('"')));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
