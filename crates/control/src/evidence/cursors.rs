//! Up to where was each proxy heard?
//!
//! Owns: one cursor a proxy, as it is kept with a run, so that the next leader goes on from there. Never: what a
//! cursor's text means, which is its proxy's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use graygate_judge::blocks::Row;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Seconds; proxies keep two minutes, and clocks differ.
const FORGET_AFTER: u64 = 600;

/// Up to where every proxy was heard. Runs that hear the same at the same time share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursors(Arc<BTreeMap<String, Cursor>>);

/// Up to where one proxy was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The process that counted: its successor begins again.
    pub boot: String,
    /// What the proxy wants to hear next.
    pub text: String,
    /// Seconds before this one were told.
    pub told: u64,
}

impl Cursors {
    pub fn of(&self, proxy: &str) -> Option<&Cursor> {
        self.0.get(proxy)
    }

    pub fn note(&mut self, proxy: &str, cursor: Cursor) {
        Arc::make_mut(&mut self.0).insert(proxy.to_owned(), cursor);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets proxies that were not heard for so long that they keep nothing a cursor could leave out.
    pub fn forget_old(&mut self) {
        let newest = self.0.values().map(|cursor| cursor.told).max().unwrap_or(0);
        let is_old = |cursor: &Cursor| cursor.told.saturating_add(FORGET_AFTER) < newest;
        if self.0.values().any(is_old) {
            Arc::make_mut(&mut self.0).retain(|_, cursor| !is_old(cursor));
        }
    }

    /// Whether both are one.
    pub fn are(&self, other: &Cursors) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a row stands before its proxy's cursor: a caller that asks once for several runs leaves out of each what
    /// that run has heard.
    pub fn include(&self, row: &Row) -> bool {
        let teller = &row.key.teller;
        let cursor = self.0.get(&*teller.proxy);
        cursor.is_some_and(|cursor| *cursor.boot == *teller.boot && row.key.second < cursor.told)
    }

    /// The cursors that leave nothing out of any run: of each proxy the oldest, and none where one run never heard it.
    pub fn oldest<'a>(runs: impl IntoIterator<Item = &'a Cursors>) -> Cursors {
        let mut runs = runs.into_iter();
        let first = runs.next().cloned().unwrap_or_default();
        let mut oldest = first.clone();
        for run in runs.filter(|run| !run.are(&first)) {
            Arc::make_mut(&mut oldest.0).retain(|proxy, cursor| match run.of(proxy) {
                Some(other) if other.boot == cursor.boot => {
                    if other.told < cursor.told {
                        *cursor = other.clone();
                    }
                    true
                }
                _ => false,
            });
        }
        oldest
    }
}

impl Serialize for Cursors {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        BTreeMap::serialize(&self.0, to)
    }
}

impl<'de> Deserialize<'de> for Cursors {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(from).map(|cursors| Cursors(Arc::new(cursors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors(of: &[(&str, &str, u64)]) -> Cursors {
        let cursor = |boot: &str, told: u64| Cursor { boot: boot.into(), text: told.to_string(), told };
        let each = of.iter().map(|(proxy, boot, told)| ((*proxy).to_owned(), cursor(boot, *told)));
        Cursors(Arc::new(each.collect()))
    }

    #[test]
    fn the_oldest_cursor_leaves_nothing_out() {
        for (runs, expected) in [
            (vec![], cursors(&[])),
            (vec![cursors(&[("a", "1", 7)])], cursors(&[("a", "1", 7)])),
            (vec![cursors(&[("a", "1", 7)]), cursors(&[("a", "1", 5)])], cursors(&[("a", "1", 5)])),
            (vec![cursors(&[("a", "1", 7)]), cursors(&[("a", "2", 5)])], cursors(&[])),
            (vec![cursors(&[("a", "1", 7)]), cursors(&[])], cursors(&[])),
        ] {
            assert_eq!(Cursors::oldest(&runs), expected, "{runs:?}");
        }
    }

    #[test]
    fn cursors_of_proxies_that_are_long_gone_are_forgotten() {
        let mut known = cursors(&[("a", "1", 10_000), ("b", "1", 9_400), ("c", "1", 9_399)]);
        known.forget_old();
        assert_eq!(known, cursors(&[("a", "1", 10_000), ("b", "1", 9_400)]));
    }

    #[test]
    fn a_row_before_the_cursor_was_heard() {
        let row = |boot: &str, second: u64| {
            let line = format!(
                r#"{{"second":{second},"proxy":"a","boot":"{boot}","service":"s","route":"r","rule":null,"version":"gray","requests":1}}"#
            );
            match Row::read(line.as_bytes()).unwrap() {
                graygate_judge::blocks::Reading::Row(row) => row,
                other => panic!("{other:?}"),
            }
        };
        let cursors = cursors(&[("a", "1", 7)]);
        assert!(cursors.include(&row("1", 6)));
        assert!(!cursors.include(&row("1", 7)));
        assert!(!cursors.include(&row("2", 6)));
    }
}
