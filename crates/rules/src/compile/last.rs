//! What a compile came to, kept for the next: where little has changed, most of it stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::service::CompiledService;
use crate::decide::Snapshot;
use crate::documents::{DocumentSet, Kind};
use crate::spec::MessageGroup;
use crate::vocab::{Label, Problem};

/// Cheap to clone but for its problems, of which there are few.
#[derive(Clone, Debug)]
pub struct Last {
    pub set: DocumentSet,
    pub snapshot: Snapshot,
    pub services: Arc<[CompiledService]>,
    pub messages: Arc<[MessageGroup]>,
    pub problems: Vec<Problem>,
    /// Those of files that documents name, among the others.
    pub of_files: Vec<Problem>,
    pub counts: Counts,
}

/// How many documents are in force, and the members of each list.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Counts {
    pub documents: BTreeMap<Kind, usize>,
    pub list_members: Vec<(Label, u64)>,
}

impl Counts {
    /// A list is one thing to its operator, however many parts it has.
    pub(super) fn set_lists(&mut self, members: Vec<(Label, u64)>) {
        self.documents.insert(Kind::List, members.len());
        self.list_members = members;
    }
}
