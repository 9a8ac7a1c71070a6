//! Where the watch reports to: updates for those who run documents, a status for those who look.
//!
//! Owns: when a line is logged about the store, which is once a change of its state and not once an attempt.
//! Never: talks to etcd.

use crate::status::SourceStatus;
use crate::update::{Update, UpdateSender};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

/// Different complaints that are logged during one outage; a cluster's members may fail in different ways.
const COMPLAINT_LIMIT: usize = 8;

pub(super) struct WatchOutlet {
    updates: UpdateSender,
    status: Arc<SourceStatus>,
    complaints: BTreeSet<String>,
}

impl WatchOutlet {
    pub fn new(updates: UpdateSender, status: Arc<SourceStatus>) -> WatchOutlet {
        WatchOutlet { updates, status, complaints: BTreeSet::new() }
    }

    pub fn publish(&self, update: Update) {
        let set = &update.set;
        tracing::debug!(revision = set.revision, documents = set.documents.len(), "the documents changed");
        self.status.set_from_cache(false);
        self.updates.send_replace(Some(update));
    }

    pub fn reached(&mut self, endpoint: &str, revision: i64) {
        if self.status.reached(Instant::now()) {
            tracing::info!(endpoint, revision, "the documents are read from etcd and watched");
        }
        self.complaints.clear();
    }

    pub fn touch(&self, now: Instant) {
        self.status.touch(now);
    }

    pub fn lost(&mut self, error: &str) {
        self.status.lost();
        if self.complaints.len() < COMPLAINT_LIMIT && self.complaints.insert(error.to_owned()) {
            tracing::warn!(error, "etcd cannot be followed; the last documents stay, and attempts go on");
        }
    }

    pub fn count_mismatches(&self, count: usize) {
        self.status.count_mismatches(count as u64);
    }
}
