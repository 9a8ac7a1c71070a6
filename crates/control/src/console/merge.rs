//! Two people's edits of one text: what fits together is put together, what does not is shown to both.
//!
//! Lines are compared, and documents have one field a line; so edits of different fields fit together. Never: a choice
//! between two edits of the same lines.

use std::ops::Range;

use similar::{DiffTag, TextDiff};

/// Lines that both changed, each in another way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contested {
    pub base: String,
    pub mine: String,
    pub theirs: String,
}

/// Both edits in one text; where they contradict each other, mine stands in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merge {
    pub text: String,
    pub contested: Vec<Contested>,
}

/// A change of some lines of the base.
#[derive(Clone, Debug)]
struct Hunk {
    base: Range<usize>,
    text: String,
}

pub fn merge(base: &str, mine: &str, theirs: &str) -> Merge {
    let lines: Vec<&str> = base.split_inclusive('\n').collect();
    let (mut mine, mut theirs) =
        (hunks(base, mine).into_iter().peekable(), hunks(base, theirs).into_iter().peekable());
    let mut merged = Merge { text: String::new(), contested: Vec::new() };
    let mut at = 0;
    loop {
        let start = match (mine.peek(), theirs.peek()) {
            (None, None) => break,
            (Some(one), None) | (None, Some(one)) => one.base.clone(),
            (Some(left), Some(right)) => first(&left.base, &right.base).clone(),
        };
        merged.text.push_str(&joined(&lines, at..start.start));
        let mut region = start;
        let (mut own, mut other) = (Vec::new(), Vec::new());
        // A change that reaches into the region makes it larger, and may let in one of the other side.
        loop {
            let before = own.len() + other.len();
            while let Some(hunk) = mine.next_if(|hunk| meets(&hunk.base, &region)) {
                region.end = region.end.max(hunk.base.end);
                own.push(hunk);
            }
            while let Some(hunk) = theirs.next_if(|hunk| meets(&hunk.base, &region)) {
                region.end = region.end.max(hunk.base.end);
                other.push(hunk);
            }
            if own.len() + other.len() == before {
                break;
            }
        }
        let (left, right) = (applied(&lines, &region, &own), applied(&lines, &region, &other));
        match (own.is_empty(), other.is_empty()) {
            (_, true) => merged.text.push_str(&left),
            (true, _) => merged.text.push_str(&right),
            _ if left == right => merged.text.push_str(&left),
            _ => {
                merged.text.push_str(&left);
                merged.contested.push(Contested {
                    base: joined(&lines, region.clone()),
                    mine: left,
                    theirs: right,
                });
            }
        }
        at = region.end;
    }
    merged.text.push_str(&joined(&lines, at..lines.len()));
    merged
}

/// The one that begins first; of two that begin together, the insertion.
fn first<'r>(left: &'r Range<usize>, right: &'r Range<usize>) -> &'r Range<usize> {
    if (left.start, left.end) <= (right.start, right.end) { left } else { right }
}

/// Whether two changes concern the same lines, or insert at the same place.
fn meets(one: &Range<usize>, region: &Range<usize>) -> bool {
    one == region || (one.start < region.end && region.start < one.end)
}

fn hunks(base: &str, other: &str) -> Vec<Hunk> {
    let new: Vec<&str> = other.split_inclusive('\n').collect();
    let diff = TextDiff::from_lines(base, other);
    let changed = diff.ops().iter().filter(|op| op.tag() != DiffTag::Equal);
    changed.map(|op| Hunk { base: op.old_range(), text: joined(&new, op.new_range()) }).collect()
}

fn joined(lines: &[&str], range: Range<usize>) -> String {
    lines.get(range).unwrap_or_default().concat()
}

fn applied(lines: &[&str], region: &Range<usize>, hunks: &[Hunk]) -> String {
    let mut text = String::new();
    let mut at = region.start;
    for hunk in hunks {
        text.push_str(&joined(lines, at..hunk.base.start));
        text.push_str(&hunk.text);
        at = hunk.base.end;
    }
    text + &joined(lines, at..region.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "version: gray\nservices: [patient]\npriority: 10\nenabled: true\n";

    #[test]
    fn edits_of_different_fields_fit_together() {
        let mine = BASE.replace("priority: 10", "priority: 20");
        let theirs = BASE.replace("enabled: true", "enabled: false");
        let merged = merge(BASE, &mine, &theirs);
        assert!(merged.contested.is_empty());
        assert_eq!(merged.text, "version: gray\nservices: [patient]\npriority: 20\nenabled: false\n");
        let added = format!("# why\n{BASE}");
        assert_eq!(merge(BASE, &added, &theirs).text, format!("# why\n{theirs}"));
    }

    #[test]
    fn a_contested_field_is_shown_to_both() {
        let mine = BASE.replace("priority: 10", "priority: 20");
        let theirs = BASE.replace("priority: 10", "priority: 30");
        let merged = merge(BASE, &mine, &theirs);
        let contested = Contested {
            base: "priority: 10\n".into(),
            mine: "priority: 20\n".into(),
            theirs: "priority: 30\n".into(),
        };
        assert_eq!(merged, Merge { text: mine.clone(), contested: vec![contested] });
        assert_eq!(merge(BASE, &mine, &mine), Merge { text: mine, contested: Vec::new() });
    }

    #[test]
    fn what_only_one_changed_is_taken() {
        for theirs in ["", "version: x\n", BASE] {
            assert_eq!(merge(BASE, BASE, theirs), Merge { text: theirs.to_owned(), contested: Vec::new() });
            assert_eq!(merge(BASE, theirs, BASE), Merge { text: theirs.to_owned(), contested: Vec::new() });
        }
        assert_eq!(merge("", "a\n", "b\n").contested.len(), 1, "two insertions at one place");
        assert_eq!(merge("a\nb\n", "", "a\nc\n").contested.len(), 1, "taken away here, changed there");
    }
}
