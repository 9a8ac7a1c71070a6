//! What is counted apart, and its counts.

use std::sync::Arc;

use graygate_rules::vocab::Share;

use super::edges::EDGES;

/// The rule of a version that came along with a request.
pub const INHERITED: &str = "inherited";

/// What a request is counted under.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub service: &'a str,
    pub route: &'a str,
    /// What decided; none where no rule did.
    pub rule: Option<&'a str>,
    /// What the rule gives the version it is about.
    pub share: Share,
    /// The decided version.
    pub version: &'a str,
}

/// The same, kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowKey {
    pub service: Box<str>,
    pub route: Box<str>,
    pub rule: Option<Box<str>>,
    pub share: Share,
    pub version: Box<str>,
    /// Unique in the process.
    pub number: u64,
}

impl RowKey {
    pub fn of(subject: &Subject<'_>, number: u64) -> RowKey {
        RowKey {
            number,
            service: subject.service.into(),
            route: subject.route.into(),
            rule: subject.rule.map(Box::from),
            share: subject.share,
            version: subject.version.into(),
        }
    }

    pub fn is(&self, subject: &Subject<'_>) -> bool {
        *self.version == *subject.version
            && self.share == subject.share
            && self.rule.as_deref() == subject.rule
            && *self.route == *subject.route
            && *self.service == *subject.service
    }
}

/// One row of a second that is not over.
#[derive(Debug)]
pub struct Row {
    pub key: Arc<RowKey>,
    pub counts: Counts,
    /// By how many edges were passed.
    passed: [u32; EDGES + 1],
    /// Different clients with an error.
    pub failing: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub requests: u32,
    pub timed: u32,
    pub undrawn: u32,
    pub errors: u32,
    pub fallbacks: u32,
}

impl Row {
    pub fn new(key: Arc<RowKey>) -> Row {
        Row { key, counts: Counts::default(), passed: [0; EDGES + 1], failing: Vec::new() }
    }

    pub fn time(&mut self, passed: usize) {
        self.counts.timed += 1;
        if let Some(count) = self.passed.get_mut(passed) {
            *count += 1;
        }
    }

    /// How many took longer than each edge, without zeros at the end.
    pub fn slower(&self) -> Box<[u32]> {
        let mut slower: Vec<u32> = self
            .passed
            .iter()
            .skip(1)
            .rev()
            .scan(0, |sum, count| {
                *sum += count;
                Some(*sum)
            })
            .skip_while(|sum| *sum == 0)
            .collect();
        slower.reverse();
        slower.into()
    }
}
