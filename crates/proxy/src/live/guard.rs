//! Whether an offered set may take what runs away.
//!
//! Answers: is this what the operators want, or did the source lose their documents?
//! Owns: the one case that a broken document is not, a source whose routes or services are gone all at once: an
//! unmounted directory, an etcd that starts again with nothing. Never: compiles, or reads a clock.

use std::sync::Arc;

use graygate_rules::documents::{DocumentId, DocumentSet, Kind};
use graygate_rules::vocab::{Counting, Place, Problem, Revision};

/// A set without any of these cannot serve a single request.
const NEEDED: [Kind; 2] = [Kind::Route, Kind::Service];

/// What is to run after an offer.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub set: Arc<DocumentSet>,
    /// The revision that was offered; larger or smaller than the set's where the offer is held back.
    pub offered: Revision,
    pub is_held_back: bool,
}

impl Admitted {
    /// A set that nothing stands against.
    pub fn as_offered(set: Arc<DocumentSet>) -> Admitted {
        Admitted { offered: set.revision, set, is_held_back: false }
    }
}

/// Remembers what runs.
#[derive(Debug)]
pub struct Guard {
    count: Counting,
    admitted: Option<Arc<DocumentSet>>,
    /// Whether the last offer was held back: until something is offered that serves, nothing else is believed.
    holding: bool,
}

impl Guard {
    pub fn new(count: Counting) -> Guard {
        Guard { count, admitted: None, holding: false }
    }

    /// The set that is to run now: the offered one, or, where that would take everything away and no operator can have
    /// meant it, the one before with the reason as a problem.
    pub fn admit(&mut self, offered: Arc<DocumentSet>) -> Admitted {
        let revision = offered.revision;
        let before = self.admitted.clone().filter(|before| self.is_loss(before, &offered));
        self.holding = before.is_some();
        let Some(before) = before else {
            self.admitted = Some(offered.clone());
            return Admitted::as_offered(offered);
        };
        let mut held = DocumentSet::clone(&before);
        held.strays.push(self.problem());
        held.strays.sort();
        Admitted { set: Arc::new(held), offered: revision, is_held_back: true }
    }

    fn is_loss(&self, before: &DocumentSet, offered: &DocumentSet) -> bool {
        let lost = lost(before, offered).count();
        match self.count {
            // An operator may well delete the one service or the one route there was, but hardly both by hand.
            Counting::Own => lost > 0 && !NEEDED.into_iter().any(|kind| has(offered, kind)),
            // Data that was replaced is filled again step by step, services before routes.
            Counting::Stored => lost > 0 && (self.holding || offered.revision < before.revision),
        }
    }

    fn problem(&self) -> Problem {
        let (place, cause) = match self.count {
            Counting::Own => ("directory", "it was emptied or is not mounted"),
            Counting::Stored => ("etcd", "its data was replaced"),
        };
        let message = format!("the routes or services are gone, all at once: {cause}");
        Problem::at(Place::Source(place), "", message, "what ran before goes on until there are some again")
    }
}

/// What the set before has and the offered one has none of.
fn lost(before: &DocumentSet, offered: &DocumentSet) -> impl Iterator<Item = Kind> {
    NEEDED.into_iter().filter(move |kind| has(before, *kind) && !has(offered, *kind))
}

fn has(set: &DocumentSet, kind: Kind) -> bool {
    let first = DocumentId { kind, name: "".into() };
    let next = set.documents.range(first..).next();
    next.is_some_and(|(id, _)| id.kind == kind) || set.ambiguous.keys().any(|id| id.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use graygate_rules::documents::Raw;

    fn set(revision: Revision, documents: &str) -> Arc<DocumentSet> {
        let ids = documents.split_whitespace().map(|text| DocumentId::parse(text).unwrap());
        let documents = ids.map(|id| (id, Arc::new(Raw::yaml("x")))).collect();
        Arc::new(DocumentSet { revision, documents, ..DocumentSet::default() })
    }

    /// Offers sets one after the other; a held back one is marked.
    fn check(count: Counting, offers: &[(Revision, &str)], expected: &[bool]) {
        let mut guard = Guard::new(count);
        let mut runs = set(0, "");
        for ((revision, documents), held_back) in offers.iter().zip(expected) {
            let offered = set(*revision, documents);
            let admitted = guard.admit(offered.clone());
            assert_eq!(admitted.is_held_back, *held_back, "{documents} at {revision} in {offers:?}");
            assert_eq!(admitted.offered, *revision);
            if !held_back {
                runs = offered;
            }
            assert_eq!(admitted.set.documents, runs.documents);
            assert_eq!(admitted.set.strays.len(), usize::from(*held_back));
            assert_eq!(admitted.set.revision, runs.revision);
        }
    }

    const SERVING: &str = "routes/a services/a rules/a";

    #[test]
    fn an_emptied_directory_is_held_back_until_it_serves_again() {
        check(
            Counting::Own,
            &[
                (1, SERVING),
                (2, ""),
                (3, "rules/a"),
                (4, "routes/b"),
                (5, "services/b"),
                (6, ""),
                (7, SERVING),
            ],
            &[false, true, true, false, false, true, false],
        );
    }

    #[test]
    fn a_wiped_store_is_held_back_and_a_deletion_is_not() {
        check(Counting::Stored, &[(9, SERVING), (10, ""), (11, SERVING)], &[false, false, false]);
        check(
            Counting::Stored,
            &[(9, SERVING), (1, ""), (2, "instances/a/1"), (30, "services/a"), (31, SERVING), (40, "")],
            &[false, true, true, true, false, false],
        );
        check(Counting::Stored, &[(9, SERVING), (3, "routes/b services/b")], &[false, false]);
    }

    #[test]
    fn nothing_is_missed_where_nothing_was() {
        for count in [Counting::Own, Counting::Stored] {
            check(count, &[(3, ""), (2, "rules/a"), (1, "")], &[false, false, false]);
        }
    }
}
