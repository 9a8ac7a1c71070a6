//! A change before it is made: what would be wrong, what would differ, whom it concerns, and its hash.

use std::collections::BTreeMap;
use std::sync::Arc;

use graygate_rules::compile::notes_on;
use graygate_rules::documents::{DocumentId, Kind};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use similar::TextDiff;
use utoipa::ToSchema;

use super::plane::Control;
use super::view::{Changes, View, mistake};
use crate::error::{Error, Mistake, Result};
use crate::people::Touch;
use crate::state::{Slot, Stored};

/// Largest document; etcd takes no larger value than this, with what goes along.
pub const DOCUMENT_LIMIT: usize = 1 << 20;
/// Longest text whose difference is shown line by line.
const DIFF_LIMIT: usize = 256 << 10;
/// Lines around a difference.
const DIFF_CONTEXT: usize = 3;

/// What a change would come to.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct DryRun {
    pub problems: Vec<Mistake>,
    /// What is not wrong, but worth knowing.
    pub notes: Vec<Mistake>,
    /// Line by line, as `diff -u` tells it.
    pub diff: String,
    /// Of the difference; a write that sends it along does exactly this. Missing where there are problems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// A change that was looked at.
pub struct Draft {
    pub changes: Changes,
    pub before: BTreeMap<DocumentId, Option<Stored>>,
    pub problems: Vec<Mistake>,
    pub notes: Vec<Mistake>,
    pub hash: String,
    pub touch: Touch,
    /// What it was looked at beside, and what it would make of it.
    pub base: Arc<View>,
    pub next: View,
}

impl Control {
    /// Looks at a change, and changes nothing.
    pub async fn draft(&self, changes: Changes) -> Result<Draft> {
        self.check_ready()?;
        for (id, text) in &changes {
            if let Some(text) = text.as_ref().filter(|text| text.len() > DOCUMENT_LIMIT) {
                let detail = format!("`{id}` has {} KiB; a document has at most 1 MiB", text.len() >> 10);
                return Err(Error::TooLarge(detail));
            }
        }
        let mut before = BTreeMap::new();
        for id in changes.keys() {
            before.insert(id.clone(), self.state.get(&Slot::document(id.to_string())).await?);
        }
        let base = self.view();
        let now = self.clock.now().unix_timestamp_nanos();
        let looked = tokio::task::spawn_blocking(move || {
            let next = base.with(&changes);
            let problems = next.problems_of(changes.keys());
            let notes = told(&base, &next, &changes, now);
            let hash = hash(&changes, &before);
            let touch = touches(&base, &next, &changes, &before);
            Draft { changes, before, problems, notes, hash, touch, base, next }
        });
        looked.await.map_err(|error| Error::Internal(format!("looking at a change ended early: {error}")))
    }
}

impl Draft {
    pub fn dry_run(&self) -> DryRun {
        DryRun {
            problems: self.problems.clone(),
            notes: self.notes.clone(),
            diff: self.diff(),
            hash: self.problems.is_empty().then(|| self.hash.clone()),
        }
    }

    pub fn diff(&self) -> String {
        let mut diff = String::new();
        for (id, after) in &self.changes {
            let before = self.before.get(id).and_then(Option::as_ref).map(|stored| &stored.value[..]);
            diff.push_str(&difference(&id.to_string(), before, after.as_deref()));
        }
        diff
    }
}

fn difference(name: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> String {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (old, new) = (text(before), text(after));
    if old.len() + new.len() > DIFF_LIMIT {
        return format!("--- {name}\n+++ {name}\n@@ {} bytes, {} bytes before @@\n", new.len(), old.len());
    }
    let mark = |is_there: bool| if is_there { name } else { "/dev/null" };
    TextDiff::from_lines(&old, &new)
        .unified_diff()
        .context_radius(DIFF_CONTEXT)
        .header(mark(before.is_some()), mark(after.is_some()))
        .to_string()
}

/// Of what was there and what will be, in the documents' order.
fn hash(changes: &Changes, before: &BTreeMap<DocumentId, Option<Stored>>) -> String {
    let mark = |bytes: Option<&[u8]>| {
        bytes.map_or_else(|| "-".to_owned(), |bytes| hex::encode(Sha256::digest(bytes)))
    };
    let mut hasher = Sha256::new();
    for (id, after) in changes {
        let old = before.get(id).and_then(Option::as_ref).map(|stored| &stored.value[..]);
        hasher.update(format!("{id} {} {}\n", mark(old), mark(after.as_deref())));
    }
    hex::encode(hasher.finalize())
}

fn touches(
    base: &View,
    next: &View,
    changes: &Changes,
    before: &BTreeMap<DocumentId, Option<Stored>>,
) -> Touch {
    let mut touch = Touch::nothing();
    for (id, after) in changes {
        if let Some(stored) = before.get(id).and_then(Option::as_ref) {
            touch = touch.and(base.touch(id, &stored.value));
        }
        if let Some(after) = after {
            touch = touch.and(next.touch(id, after));
        }
    }
    touch
}

/// What the change would break elsewhere, and what is odd about the documents it writes.
fn told(base: &View, next: &View, changes: &Changes, now: i128) -> Vec<Mistake> {
    let names: Vec<String> = changes.keys().map(ToString::to_string).collect();
    let is_new = |problem: &&graygate_rules::vocab::Problem| {
        !names.contains(&problem.document()) && base.compiled.problems.binary_search(problem).is_err()
    };
    let mut told: Vec<Mistake> = next.compiled.problems.iter().filter(is_new).map(mistake).collect();
    // Only rules are ever odd.
    if changes.keys().any(|id| id.kind == Kind::Rule) {
        let written: Vec<_> = changes.keys().collect();
        told.extend(notes_on(&next.compiled.snapshot, now, &written).iter().map(mistake));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_line_by_line() {
        let diff = difference("rules/x", Some(b"a: 1\nb: 2\n"), Some(b"a: 1\nb: 3\n"));
        assert_eq!(diff, "--- rules/x\n+++ rules/x\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n");
        assert!(difference("rules/x", None, Some(b"a: 1\n")).starts_with("--- /dev/null\n+++ rules/x\n"));
        assert_eq!(difference("rules/x", Some(b"a: 1\n"), Some(b"a: 1\n")), "");
    }
}
