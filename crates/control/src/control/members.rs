//! The text of lists: which part a member is in or goes to, and a part's text with it and without it.
//!
//! Owns: lines. Never: writes, or waits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use graygate_rules::documents::{DocumentId, Kind, Raw};
use sha2::{Digest as _, Sha256};

use super::view::{Changes, View};
use crate::error::{Error, Result};

/// Longest member.
const MEMBER_LIMIT: usize = 1_024;
/// Up to so many values are looked for one by one, more in one walk.
const FEW: usize = 8;

pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(format!("looking through a list ended early: {error}")))
}

pub fn list_id(list: &str) -> Result<DocumentId> {
    let id = DocumentId::of(Kind::List, list).filter(|id| id.tail().is_none() && !list.starts_with('.'));
    id.ok_or_else(|| Error::BadRequest(format!("`{list}` is not a name")))
}

pub fn check_member(value: &str) -> Result<()> {
    let wrong =
        |what: &str| Err(Error::Invalid(format!("`{}` cannot be a member: {what}", value.escape_debug())));
    match value {
        "" => wrong("it is empty"),
        _ if value.len() > MEMBER_LIMIT => wrong("it is too long"),
        _ if value.starts_with('#') => wrong("a line that begins with `#` is a comment"),
        _ if value.trim_matches([' ', '\t']) != value => wrong("spaces around it are not part of it"),
        _ if value.contains(['\n', '\r', '\0']) => wrong("it has a line break"),
        _ => Ok(()),
    }
}

pub fn difference(add: &[String], remove: &[String]) -> String {
    let lines = |sign: char, values: &[String]| {
        values.iter().map(|value| format!("{sign}{value}\n")).collect::<String>()
    };
    lines('+', add) + &lines('-', remove)
}

pub fn values(body: &[u8]) -> impl Iterator<Item = &str> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines =
        text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line).trim_matches([' ', '\t']));
    lines.filter(|value| !value.is_empty() && !value.starts_with('#'))
}

pub fn push_lines(text: &mut Vec<u8>, body: &[u8]) {
    text.extend_from_slice(body);
    if !body.is_empty() && body.last() != Some(&b'\n') {
        text.push(b'\n');
    }
}

pub fn tag(parts: &[(DocumentId, Arc<Raw>)]) -> String {
    let mut hasher = Sha256::new();
    for (id, raw) in parts {
        hasher.update(format!("{id} {}\n", raw.body.len()));
        hasher.update(&raw.body[..]);
    }
    let hash = hex::encode(hasher.finalize());
    format!("\"{}\"", hash.get(..24).unwrap_or(&hash))
}

/// The parts that hold each of these values.
pub fn found_in<'v>(parts: &[(DocumentId, Arc<Raw>)], wanted: &[&'v str]) -> Vec<(&'v str, DocumentId)> {
    let mut found = Vec::new();
    let set: HashSet<&str> = wanted.iter().copied().collect();
    for (id, raw) in parts {
        if wanted.len() <= FEW {
            let has = |value: &&&str| has_line(&raw.body, value);
            found.extend(wanted.iter().filter(has).map(|value| (*value, id.clone())));
        } else {
            let here: HashSet<&str> = values(&raw.body).filter(|value| set.contains(value)).collect();
            found.extend(
                wanted.iter().filter(|value| here.contains(**value)).map(|value| (*value, id.clone())),
            );
        }
    }
    found
}

/// Whether a value is a line of a list's text.
fn has_line(body: &[u8], value: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_none_or(|byte| matches!(byte, b'\n' | b'\r'));
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    memchr::memmem::find_iter(body, value).any(|at| {
        let before = body.get(..at).unwrap_or_default();
        let after = body.get(at + value.len()..).unwrap_or_default();
        let before = before.strip_prefix(b"\xef\xbb\xbf").unwrap_or(before);
        let left = before.iter().rev().find(|byte| !is_blank(byte));
        let right = after.iter().find(|byte| !is_blank(byte));
        is_edge(left) && is_edge(right)
    })
}

/// Which part each value goes to, or is in.
pub fn places(
    view: &View,
    list: &str,
    (values, is_addition): (&[String], bool),
    part_bytes: Option<usize>,
) -> BTreeMap<DocumentId, Vec<String>> {
    let parts = view.parts(list);
    let wanted: Vec<&str> = values.iter().map(String::as_str).collect();
    let found = found_in(&parts, &wanted);
    let mut places: BTreeMap<DocumentId, Vec<String>> = BTreeMap::new();
    if !is_addition {
        for (value, id) in found {
            places.entry(id).or_default().push(value.to_owned());
        }
        return places;
    }
    let there: HashSet<&str> = found.iter().map(|(value, _)| *value).collect();
    let mut once = HashSet::new();
    for value in wanted.iter().filter(|value| !there.contains(**value)) {
        if once.insert(*value)
            && let Some(id) = place(&parts, list, value, part_bytes)
        {
            places.entry(id).or_default().push((*value).to_owned());
        }
    }
    places
}

/// The part a new member goes to.
fn place(
    parts: &[(DocumentId, Arc<Raw>)],
    list: &str,
    value: &str,
    part_bytes: Option<usize>,
) -> Option<DocumentId> {
    let whole = DocumentId::of(Kind::List, list)?;
    if let Some(id) = spread::part_of(parts.iter().map(|(id, _)| id), value) {
        return Some(id);
    }
    let has_room = |raw: &Raw| part_bytes.is_none_or(|limit| raw.body.len() < limit);
    match parts.iter().find(|(id, _)| *id == whole).or_else(|| parts.first()) {
        None => Some(whole),
        Some((id, raw)) if has_room(raw) => Some(id.clone()),
        Some(_) => {
            // A large part that was not spread: beside it, in one of as many as a large list would have.
            let number = crc32fast::hash(value.as_bytes()) % 1_024;
            DocumentId::of(Kind::List, &format!("{list}/added-{number:04}"))
        }
    }
}

/// The changes that make a list this text.
pub fn replaced(view: &View, list: &str, text: &Bytes, part_bytes: Option<usize>) -> Result<Changes> {
    let whole = list_id(list)?;
    let parts = view.parts(list);
    let wanted = match part_bytes {
        Some(limit) if text.len() > limit => spread::spread(&whole, text, parts.iter().map(|(id, _)| id))
            .ok_or_else(|| {
                Error::Invalid(format!("the name `{list}` is too long for a list of this size"))
            })?,
        _ => vec![(whole, text.clone())],
    };
    let mut changes = Changes::new();
    let names: HashSet<DocumentId> = wanted.iter().map(|(id, _)| id.clone()).collect();
    for (id, text) in wanted {
        let is_same = view.set.documents.get(&id).is_some_and(|raw| raw.body[..] == text[..]);
        if !is_same {
            changes.insert(id, Some(text));
        }
    }
    for (id, _) in parts.into_iter().filter(|(id, _)| !names.contains(id)) {
        changes.insert(id, None);
    }
    Ok(changes)
}

/// A part's text with more members, and those that were not in it.
pub fn with(old: &[u8], add: &[String]) -> (Vec<u8>, Vec<String>) {
    let there: HashSet<&str> = if add.len() <= FEW { HashSet::new() } else { values(old).collect() };
    let is_new = |value: &&String| {
        if add.len() <= FEW { !has_line(old, value) } else { !there.contains(value.as_str()) }
    };
    let new: Vec<String> = add.iter().filter(is_new).cloned().collect();
    let mut text = Vec::with_capacity(old.len() + new.iter().map(|value| value.len() + 1).sum::<usize>() + 1);
    push_lines(&mut text, old);
    for value in &new {
        push_lines(&mut text, value.as_bytes());
    }
    (text, new)
}

/// A part's text with fewer members, and those that were in it. Comments and blank lines stay.
pub fn without(old: &[u8], remove: &[String]) -> (Vec<u8>, Vec<String>) {
    let set: HashSet<&str> = remove.iter().map(String::as_str).collect();
    let (mut text, mut gone) = (Vec::with_capacity(old.len()), BTreeSet::new());
    for line in old.split_inclusive(|byte| *byte == b'\n') {
        let found = values(line).next().filter(|value| set.contains(value));
        match found {
            Some(value) => drop(gone.insert(value.to_owned())),
            None => text.extend_from_slice(line),
        }
    }
    (text, gone.into_iter().collect())
}

mod spread {
    //! Big lists as many small keys, by the rule that `push` uses as well.

    use bytes::Bytes;
    use graygate_rules::documents::DocumentId;
    use graygate_store::push::split::{Part, split};

    /// The part of a list that was spread before which takes this value.
    pub fn part_of<'a>(mut parts: impl Iterator<Item = &'a DocumentId>, value: &str) -> Option<DocumentId> {
        parts.find_map(Part::parse)?.of_line(value.as_bytes())
    }

    /// A text as parts; none where the name is too long for it.
    pub fn spread<'a>(
        whole: &DocumentId,
        text: &Bytes,
        parts: impl Iterator<Item = &'a DocumentId>,
    ) -> Option<Vec<(DocumentId, Bytes)>> {
        let count = parts.filter_map(Part::parse).map(|part| part.count).max().unwrap_or(0);
        let spread = split(whole, &text[..].into(), count).ok()?;
        Some(spread.into_iter().map(|(id, body)| (id, Bytes::copy_from_slice(&body))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_whole_lines() {
        for (text, value, is) in [
            ("alice\nbob\n", "bob", true),
            ("alice\nbob", "bob", true),
            ("alice\n bob \t\r\n", "bob", true),
            ("bobby\n", "bob", false),
            ("abob\n", "bob", false),
            ("\u{feff}bob\n", "bob", true),
            ("a b\n", "b", false),
            ("#bob\n", "bob", false),
        ] {
            assert_eq!(has_line(text.as_bytes(), value), is, "{text:?} {value}");
        }
    }

    #[test]
    fn texts_gain_and_lose_members_and_keep_the_rest() {
        let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (text, added) = with(b"# pilots\nalice", &owned(&["bob", "alice"]));
        assert_eq!((&text[..], added), (&b"# pilots\nalice\nbob\n"[..], owned(&["bob"])));
        let (text, removed) = without(b"# pilots\nalice\n\nbob\nalice\n", &owned(&["alice", "zoe"]));
        assert_eq!((&text[..], removed), (&b"# pilots\n\nbob\n"[..], owned(&["alice"])));
    }

    #[test]
    fn what_cannot_be_a_member_is_told() {
        for value in ["", "#x", " x", "x ", "a\nb", "a\rb"] {
            assert!(check_member(value).is_err(), "{value:?}");
        }
        assert!(check_member("用户 1").is_ok());
    }
}
