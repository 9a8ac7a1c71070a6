//! What a push would write.
//!
//! Answers: how do the documents of a directory differ from those in the store, and in which transactions does
//! the store get there?
//! Owns: the comparison and its order. Never: talks to etcd; it works on a listing.

use super::split::{Part, owner, split};
use crate::commit::{CHANGE_LIMIT, Version, weight};
use crate::etcd::{Listing, Prefix, Slot};
use graygate_rules::documents::{Body, DocumentId, DocumentSet, Kind, Owner};
use graygate_rules::vocab::Problem;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Bytes of one transaction, keys and overhead included. etcd refuses requests above 1.5 MiB by default.
const BYTES: usize = 1 << 20;
/// Largest document but a list, which is split instead.
const DOCUMENT_LIMIT: usize = BYTES - (64 << 10);

/// Whether documents that are only in the store are removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Surplus {
    Keep,
    Prune,
}

/// What happens to one document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Difference {
    Added,
    Changed,
    Removed,
}

/// The stored documents, as a listing showed them.
pub(super) struct Stored {
    pub documents: BTreeMap<DocumentId, StoredDocument>,
    pub strays: Vec<Problem>,
}

pub(super) struct StoredDocument {
    pub body: Vec<u8>,
    pub version: Version,
    /// Lives as long as another process's lease: an instance that registered itself.
    pub leased: bool,
}

impl Stored {
    pub fn of(listing: Listing, prefix: &Prefix) -> Stored {
        let mut stored = Stored { documents: BTreeMap::new(), strays: Vec::new() };
        for listed in listing.keys {
            match prefix.slot(&listed.key) {
                Slot::Document(id) => {
                    let document = StoredDocument {
                        body: listed.value.unwrap_or_default(),
                        version: Version(u64::try_from(listed.mod_revision).unwrap_or(0)),
                        leased: listed.lease != 0,
                    };
                    stored.documents.insert(id, document);
                }
                Slot::Stray(problem) => stored.strays.push(problem),
                Slot::Reserved => {}
            }
        }
        stored
    }
}

/// One operation, which happens only if the key is still as it was seen.
#[derive(PartialEq, Debug)]
pub(super) struct Step {
    pub id: DocumentId,
    /// What the comparison saw.
    pub seen: Version,
    /// `None` removes it.
    pub body: Option<Body>,
}

impl Step {
    fn weight(&self, prefix: &Prefix) -> usize {
        weight(prefix, &self.id, self.body.as_ref().map_or(0, |body| body.len()))
    }
}

/// The difference between a directory and a store, ready to be written. Prints as operators read it.
pub struct Plan {
    pub(super) steps: Vec<Step>,
    /// What happens to which document, in the documents' order.
    pub differences: BTreeMap<DocumentId, Difference>,
    /// Documents that are only in the store and stay there.
    pub kept: Vec<DocumentId>,
    /// Documents of the directory that the program writes, here or in the store; they are never touched.
    pub owned: Vec<DocumentId>,
    /// Keys below the prefix that are no documents; they are never touched.
    pub strays: Vec<Problem>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The difference between `local` and `stored`, or every reason why `local` cannot be written.
    pub(super) fn of(local: &DocumentSet, stored: Stored, surplus: Surplus) -> Result<Plan, Vec<Problem>> {
        let (local, program) = hands_alone(local, &stored);
        let wanted = wanted(&local, &stored)?;
        let mut plan = Plan {
            steps: Vec::new(),
            differences: BTreeMap::new(),
            kept: Vec::new(),
            owned: program,
            strays: stored.strays,
        };
        let owned: BTreeSet<_> = stored.documents.keys().map(owner).collect();
        for (id, body) in &wanted {
            plan.put(id, body, stored.documents.get(id), &owned);
        }
        for (id, document) in &stored.documents {
            if !wanted.contains_key(id) && Owner::of(id, Some(&document.body)).is_none() {
                plan.surplus(id, document, &local, surplus);
            }
        }
        plan.steps.sort_by_key(|step| (step.body.is_none(), turn(step)));
        Ok(plan)
    }

    fn put(
        &mut self,
        id: &DocumentId,
        body: &Body,
        stored: Option<&StoredDocument>,
        owned: &BTreeSet<DocumentId>,
    ) {
        if stored.is_some_and(|stored| *stored.body == **body) {
            return;
        }
        let owner = owner(id);
        let difference = match owned.contains(&owner) {
            true => Difference::Changed,
            false => Difference::Added,
        };
        self.differences.insert(owner, difference);
        self.steps.push(Step {
            id: id.clone(),
            seen: stored.map_or(Version::NONE, |stored| stored.version),
            body: Some(body.clone()),
        });
    }

    /// A stored key that nothing local asks for.
    fn surplus(&mut self, id: &DocumentId, stored: &StoredDocument, local: &DocumentSet, surplus: Surplus) {
        let owner = owner(id);
        // A key of a document that is there locally is its old form: a part that emptied, or a list before it was
        // split. Left behind, its members would stay members.
        let old_form = local.documents.contains_key(&owner);
        let difference = match surplus {
            _ if old_form => Difference::Changed,
            // The holder of the lease put it there and takes it away.
            _ if stored.leased => return,
            Surplus::Prune => Difference::Removed,
            Surplus::Keep => {
                self.kept.push(owner);
                return self.kept.dedup();
            }
        };
        self.differences.insert(owner, difference);
        self.steps.push(Step { id: id.clone(), seen: stored.version, body: None });
    }

    /// The steps in as few transactions as etcd takes them.
    pub(super) fn transactions(&self, prefix: &Prefix) -> Vec<&[Step]> {
        let mut transactions = Vec::new();
        let mut rest = self.steps.as_slice();
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(CHANGE_LIMIT).take_while(|step| {
                bytes += step.weight(prefix);
                bytes <= BYTES
            });
            // A step that is too big alone was refused before, but a loop must not rest on that.
            let (now, later) = rest.split_at(fit.count().max(1).min(rest.len()));
            transactions.push(now);
            rest = later;
        }
        transactions
    }
}

/// The local documents without those that the program writes, and these: by what stands here, or by what stands in the
/// store under the same name.
fn hands_alone(local: &DocumentSet, stored: &Stored) -> (DocumentSet, Vec<DocumentId>) {
    let is_programs = |id: &DocumentId, body: &[u8]| {
        Owner::of(id, Some(body)).is_some()
            || stored.documents.get(id).is_some_and(|stored| Owner::of(id, Some(&stored.body)).is_some())
    };
    let mut hands = local.clone();
    hands.documents.retain(|id, raw| !is_programs(id, &raw.body));
    let program = local.documents.keys().filter(|id| !hands.documents.contains_key(id)).cloned().collect();
    (hands, program)
}

/// Every key the store should have, with its bytes.
fn wanted(local: &DocumentSet, stored: &Stored) -> Result<BTreeMap<DocumentId, Body>, Vec<Problem>> {
    let mut problems: Vec<_> = local.ambiguous.values().cloned().collect();
    let mut counts: BTreeMap<DocumentId, u32> = BTreeMap::new();
    for part in stored.documents.keys().filter_map(Part::parse) {
        let count = counts.entry(part.of).or_default();
        *count = part.count.max(*count);
    }
    let mut wanted = BTreeMap::new();
    for (id, raw) in &local.documents {
        let keys = match id.kind {
            Kind::List => split(id, &raw.body, counts.get(id).copied().unwrap_or(0)),
            _ => Ok(vec![(id.clone(), raw.body.clone())]),
        };
        match keys {
            Ok(keys) => problems.extend(keys.into_iter().filter_map(|(key, body)| {
                let big = (body.len() > DOCUMENT_LIMIT).then(|| too_big(id));
                let twice = wanted.insert(key, body).map(|_| taken_twice(id));
                big.or(twice)
            })),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(wanted),
        false => Err(problems),
    }
}

fn too_big(id: &DocumentId) -> Problem {
    Problem::at(
        id,
        "",
        format!("larger than {} KiB, the most etcd takes at once", DOCUMENT_LIMIT >> 10),
        "divide it, or move long enumerations into a list",
    )
}

fn taken_twice(id: &DocumentId) -> Problem {
    Problem::at(
        id,
        "",
        "another document has the name of one of its parts".to_owned(),
        "`split-<number>-of-<number>` is the name of a big list's part; rename the other",
    )
}

/// Between several transactions everything that is referred to comes before what refers to it, and leaves after.
fn turn(step: &Step) -> u8 {
    let turn = step.id.kind.turn();
    match step.body {
        Some(_) => turn,
        None => Kind::LAST_TURN - turn,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, difference) in &self.differences {
            let sign = match difference {
                Difference::Added => '+',
                Difference::Changed => '~',
                Difference::Removed => '-',
            };
            write!(f, "{sign} {id}")?;
            let keys = self.steps.iter().filter(|step| owner(&step.id) == *id).count();
            if keys > 1 {
                write!(f, " ({keys} keys)")?;
            }
            writeln!(f)?;
        }
        for id in &self.kept {
            writeln!(f, "  {id} is only in etcd and stays; --prune removes it")?;
        }
        for id in &self.owned {
            writeln!(f, "  {id} is written by the program and stays as it is in etcd")?;
        }
        for stray in &self.strays {
            writeln!(f, "  {stray}")?;
        }
        match self.is_empty() {
            true => writeln!(f, "nothing to write"),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use graygate_rules::documents::Raw;
    use std::sync::Arc;

    fn id(text: &str) -> DocumentId {
        DocumentId::parse(text).unwrap()
    }

    fn local(documents: &[(&str, &str)]) -> DocumentSet {
        let documents = documents.iter().map(|(name, body)| (id(name), Arc::new(Raw::yaml(*body))));
        DocumentSet { documents: documents.collect(), ..DocumentSet::default() }
    }

    fn stored(documents: &[(&str, &str)]) -> Stored {
        let documents = documents.iter().zip(10..).map(|((name, body), version)| {
            let leased = name.starts_with("instances/");
            let body = body.as_bytes().to_vec();
            (id(name), StoredDocument { body, version: Version(version), leased })
        });
        Stored { documents: documents.collect(), strays: Vec::new() }
    }

    fn told(plan: &Plan) -> String {
        plan.to_string().lines().map(str::trim).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn only_what_differs_is_written() {
        let here = local(&[("rules/a", "1"), ("rules/b", "2"), ("rules/c", "3")]);
        let there =
            || stored(&[("rules/a", "1"), ("rules/b", "old"), ("rules/z", "9"), ("instances/p/1", "x")]);
        let plan = Plan::of(&here, there(), Surplus::Keep).unwrap();
        assert_eq!(
            told(&plan),
            "~ rules/b; + rules/c; rules/z is only in etcd and stays; --prune removes it"
        );
        let steps: Vec<_> = plan.steps.iter().map(|step| (step.id.to_string(), step.seen.0)).collect();
        assert_eq!(steps, [("rules/b".to_owned(), 11), ("rules/c".to_owned(), 0)]);
        let plan = Plan::of(&here, there(), Surplus::Prune).unwrap();
        assert_eq!(told(&plan), "~ rules/b; + rules/c; - rules/z", "what has a lease is never pruned");
        let plan =
            Plan::of(&here, stored(&[("rules/a", "1"), ("rules/b", "2"), ("rules/c", "3")]), Surplus::Prune);
        assert_eq!(told(&plan.unwrap()), "nothing to write");
    }

    #[test]
    fn what_the_program_writes_is_never_touched() {
        const BY_REGISTRY: &str = "{address: '10.0.0.1:80', version: v1, by: nacos}";
        const BY_PLAN: &str = "{service: s, version: gray, because: 'plan `p`: errors'}";
        let there = || {
            stored(&[
                ("rules/plan.p.share", "split: {gray: 50}"),
                ("rules/z", "9"),
                ("closures/s.gray", BY_PLAN),
                ("closures/s.beta", "{service: s, version: beta}"),
                ("instances/s/1", BY_REGISTRY),
            ])
        };
        let plan = Plan::of(&local(&[]), there(), Surplus::Prune).unwrap();
        assert_eq!(told(&plan), "- rules/z; - closures/s.beta");
        // Neither an old copy of it nor a hand's document of the same name is written over it.
        let here = local(&[
            ("rules/plan.p.share", "split: {gray: 10}"),
            ("rules/plan.old.share", "split: {gray: 10}"),
            ("closures/s.gray", "{service: s, version: gray, because: by hand}"),
            ("instances/s/2", BY_REGISTRY),
        ]);
        let plan = Plan::of(&here, there(), Surplus::Keep).unwrap();
        assert_eq!(plan.steps, []);
        let owned: Vec<_> = plan.owned.iter().map(DocumentId::to_string).collect();
        assert_eq!(owned, ["rules/plan.old.share", "rules/plan.p.share", "instances/s/2", "closures/s.gray"]);
        assert!(told(&plan).contains("closures/s.gray is written by the program"), "{}", told(&plan));
    }

    #[test]
    fn what_is_referred_to_comes_first_and_leaves_last() {
        let here = local(&[("routes/a", ""), ("rules/a", ""), ("services/a", ""), ("lists/a", "")]);
        let there = stored(&[("routes/z", ""), ("rules/z", ""), ("services/z", ""), ("lists/z", "")]);
        let plan = Plan::of(&here, there, Surplus::Prune).unwrap();
        let order: Vec<_> = plan.steps.iter().map(|step| step.id.to_string()).collect();
        assert_eq!(
            order,
            ["services/a", "lists/a", "rules/a", "routes/a", "routes/z", "rules/z", "lists/z", "services/z"]
        );
    }

    #[test]
    fn transactions_are_few_and_within_the_limits() {
        let prefix = Prefix::new("/graygate");
        let names: Vec<_> = (0..250).map(|n| format!("rules/r{n:03}")).collect();
        let small: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let plan = Plan::of(&local(&small), stored(&[]), Surplus::Keep).unwrap();
        let sizes: Vec<_> = plan.transactions(&prefix).iter().map(|steps| steps.len()).collect();
        assert_eq!(sizes, [120, 120, 10]);
        let big = "x".repeat(400 << 10);
        let large: Vec<_> = names.iter().take(5).map(|name| (name.as_str(), big.as_str())).collect();
        let plan = Plan::of(&local(&large), stored(&[]), Surplus::Keep).unwrap();
        let sizes: Vec<_> = plan.transactions(&prefix).iter().map(|steps| steps.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }

    #[test]
    fn a_list_that_grows_into_parts_leaves_nothing_behind() {
        let big: String = (0..20_000).map(|n| format!("user-{n}\n")).collect();
        let plan =
            Plan::of(&local(&[("lists/pilot", &big)]), stored(&[("lists/pilot", "user-1\n")]), Surplus::Keep)
                .unwrap();
        assert_eq!(told(&plan), "~ lists/pilot (9 keys)");
        let last = plan.steps.last().unwrap();
        assert_eq!(
            (last.id.to_string().as_str(), &last.body),
            ("lists/pilot", &None),
            "the old form leaves last"
        );
        let other = stored(&[("lists/pilot/by-hand", "x")]);
        let plan = Plan::of(&local(&[("lists/pilot", &big)]), other, Surplus::Keep).unwrap();
        assert_eq!(
            plan.kept,
            [id("lists/pilot/by-hand")],
            "a part that another program wrote is a document of its own"
        );
    }

    #[test]
    fn what_etcd_would_refuse_is_told_before() {
        let big = "x".repeat(1 << 20);
        let mut here = local(&[("rules/a", &big), ("lists/line", &big)]);
        let two = Problem::at(&id("rules/b"), "", "two names", "");
        here.ambiguous.insert(id("rules/b"), two);
        let problems = Plan::of(&here, stored(&[]), Surplus::Keep).err().unwrap();
        let documents: Vec<_> = problems.iter().map(|problem| problem.document()).collect();
        assert_eq!(documents, ["rules/b", "rules/a", "lists/line"]);
    }
}
