//! Big lists as many small keys.
//!
//! Answers: under which keys, with which bytes, does a list live in the store, and which list is a stored key of?
//! Owns: the rule that sends a line to a part. Never: talks to etcd.
//!
//! A line's part follows from its bytes alone and parts are sorted, so adding a line to ten million rewrites one
//! small key. The number of parts stays what it is in the store until it no longer fits by far.

use graygate_rules::documents::{Body, DocumentId, Kind};
use graygate_rules::vocab::Problem;
use std::collections::BTreeMap;

/// A list up to this size is one key.
const WHOLE_LIMIT: usize = 64 << 10;
/// The size of a part when a list is first split, in bytes.
const PART_TARGET: usize = 32 << 10;
/// The mean size of parts beyond which a list is split again: room to grow eightfold without moving a line.
const PART_LIMIT: usize = 256 << 10;
/// The mean size below which it is split again: it shrank thirtyfold.
const PART_FLOOR: usize = 1 << 10;
/// Most parts of a list; a power of two, as all their numbers are.
const COUNT_LIMIT: u32 = 1 << 16;

/// Where a stored key stands in its list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The document as it is in a directory.
    pub of: DocumentId,
    pub index: u32,
    pub count: u32,
}

impl Part {
    /// Reads the name of a part; `None` for every other document.
    pub fn parse(id: &DocumentId) -> Option<Part> {
        let tail = id.tail().filter(|_| id.kind == Kind::List)?;
        let (base, numbers) = match tail.rsplit_once(".split-") {
            Some((base, numbers)) => (Some(base), numbers),
            None => (None, tail.strip_prefix("split-")?),
        };
        let (index, count) = numbers.split_once("-of-")?;
        let (index, count) = (index.parse().ok()?, count.parse().ok()?);
        let of = match base {
            Some(base) => format!("{}/{base}", id.head()),
            None => id.head().to_owned(),
        };
        let of = DocumentId::of(Kind::List, &of)?;
        let part = Part { of, index, count };
        // Only what this file writes is a part; `split-1-of-2` may be an operator's name for something.
        let ours = count.is_power_of_two() && index < count && part.id().as_ref() == Some(id);
        ours.then_some(part)
    }

    /// The part of the same list that a line belongs to.
    pub fn of_line(&self, line: &[u8]) -> Option<DocumentId> {
        Part { of: self.of.clone(), index: bucket(line, self.count), count: self.count }.id()
    }

    /// The identity it is stored under; `None` where the name would be too long.
    fn id(&self) -> Option<DocumentId> {
        let numbers = format!("split-{:05}-of-{:05}", self.index, self.count);
        let tail = match self.of.tail() {
            Some(base) => format!("{base}.{numbers}"),
            None => numbers,
        };
        DocumentId::of(Kind::List, &format!("{}/{tail}", self.of.head()))
    }
}

/// The document a stored key belongs to: itself, or the list it is a part of.
pub fn owner(id: &DocumentId) -> DocumentId {
    Part::parse(id).map_or_else(|| id.clone(), |part| part.of)
}

/// The keys of a list. `stored` is the number of parts it has in the store now, 0 for none.
pub fn split(id: &DocumentId, body: &Body, stored: u32) -> Result<Vec<(DocumentId, Body)>, Problem> {
    let count = parts(body.len(), stored);
    if count == 1 {
        return Ok(vec![(id.clone(), body.clone())]);
    }
    let mut buckets: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
    for line in lines(body) {
        buckets.entry(bucket(line, count)).or_default().push(line);
    }
    let named = buckets.into_iter().map(|(index, mut lines)| {
        lines.sort_unstable();
        lines.dedup();
        let of = id.clone();
        let name = Part { of, index, count }.id().ok_or_else(|| too_long(id))?;
        Ok((name, joined(&lines)))
    });
    named.collect()
}

/// How many parts; 1 is a single key under the list's own name.
fn parts(bytes: usize, stored: u32) -> u32 {
    let mean = bytes / stored.max(1) as usize;
    match stored {
        2.. if (PART_FLOOR..=PART_LIMIT).contains(&mean) => stored,
        _ if bytes <= WHOLE_LIMIT => 1,
        _ => u32::try_from(bytes.div_ceil(PART_TARGET))
            .unwrap_or(COUNT_LIMIT)
            .next_power_of_two()
            .min(COUNT_LIMIT),
    }
}

/// The values of a list, and its comments, without what surrounds them.
fn lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(body)
        .split(|byte| *byte == b'\n')
        .map(trimmed)
        .filter(|line| !line.is_empty())
}

/// Without the spaces and tabs around it, and without the first half of a CR LF.
fn trimmed(line: &[u8]) -> &[u8] {
    let mut line = line.strip_suffix(b"\r").unwrap_or(line);
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

/// Part of the stored form: changing it moves every line of every split list.
fn bucket(line: &[u8], count: u32) -> u32 {
    // A checksum differs little between lines that differ little; the multiplication spreads that over the upper
    // bits, which are the ones taken.
    let spread = u64::from(crc32fast::hash(line).wrapping_mul(0x9E37_79B1));
    u32::try_from((spread * u64::from(count)) >> 32).unwrap_or(0)
}

fn joined(lines: &[&[u8]]) -> Body {
    let mut body = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        body.extend_from_slice(line);
        body.push(b'\n');
    }
    body.into()
}

fn too_long(id: &DocumentId) -> Problem {
    Problem::at(
        id,
        "",
        "the name is too long for a list of this size".to_owned(),
        "big lists are stored in parts, whose names are 22 characters longer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn id(text: &str) -> DocumentId {
        DocumentId::parse(text).unwrap()
    }

    fn list(members: usize) -> String {
        (0..members).map(|n| format!("user-{n:07}\n")).collect()
    }

    fn keys(text: &str, stored: u32) -> BTreeMap<DocumentId, Body> {
        let split = split(&id("lists/pilot"), &text.into(), stored).unwrap();
        split.into_iter().collect()
    }

    #[test]
    fn a_small_list_is_one_key_as_it_is() {
        let text = "# who\n b \n\na\n";
        assert_eq!(keys(text, 0), BTreeMap::from([(id("lists/pilot"), text.into())]));
    }

    #[test]
    fn adding_a_line_rewrites_one_small_part() {
        let before = keys(&list(100_000), 0);
        assert_eq!(before.len(), 64);
        assert!(before.values().all(|body| body.len() < 2 * PART_TARGET));
        let text = format!("{}user-new\n", list(100_000));
        let after = keys(&text, 64);
        let moved: Vec<_> = after.iter().filter(|(id, body)| before.get(id) != Some(body)).collect();
        assert_eq!(moved.len(), 1);
        assert_eq!(after.len(), 64);
    }

    #[test]
    fn order_and_spelling_of_a_file_make_no_difference() {
        let straight = list(10_000);
        let mut lines: Vec<_> = straight.lines().map(|line| format!(" {line}\t\r\n")).collect();
        lines.reverse();
        lines.push(lines[0].clone());
        assert_eq!(keys(&straight, 4), keys(&format!("\u{feff}{}", lines.concat()), 4));
    }

    #[test]
    fn nothing_is_lost_and_nothing_added() {
        let text = list(50_000);
        let parts = keys(&text, 0);
        let lines =
            parts.values().flat_map(|body| body.split(|b| *b == b'\n')).filter(|line| !line.is_empty());
        let members: Vec<_> = lines.collect();
        assert_eq!(members.len(), 50_000);
        let distinct: BTreeSet<_> = members.into_iter().collect();
        assert_eq!(distinct, text.lines().map(str::as_bytes).collect());
    }

    #[test]
    fn the_number_of_parts_stays_while_it_fits() {
        for (bytes, stored, expected) in [
            (1_000, 0, 1),
            (WHOLE_LIMIT, 0, 1),
            (WHOLE_LIMIT + 1, 0, 4),
            (120 << 20, 0, 4096),
            (16 << 20, 64, 64),
            (17 << 20, 64, 1024),
            (65 << 10, 64, 64),
            (63 << 10, 64, 1),
            (usize::MAX, 0, COUNT_LIMIT),
        ] {
            assert_eq!(parts(bytes, stored), expected, "{bytes} bytes in {stored}");
        }
    }

    #[test]
    fn part_names_read_what_they_print() {
        for (text, of) in [
            ("lists/pilot/split-00003-of-00008", Some("lists/pilot")),
            ("lists/pilot/p1.split-00003-of-00008", Some("lists/pilot/p1")),
            ("lists/pilot/split-3-of-8", None),
            ("lists/pilot/split-00008-of-00008", None),
            ("lists/pilot/split-00003-of-00007", None),
            ("lists/pilot/p1", None),
            ("lists/split-00003-of-00008", None),
            ("instances/a/split-00003-of-00008", None),
        ] {
            let part = Part::parse(&id(text));
            assert_eq!(part.map(|part| part.of.to_string()).as_deref(), of, "{text}");
        }
        let long = id(&format!("lists/pilot/{}", "x".repeat(120)));
        assert!(split(&long, &list(10_000).as_str().into(), 0).is_err());
    }
}
