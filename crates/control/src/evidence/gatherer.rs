//! Asking every proxy what it counted.
//!
//! Owns: the question, deadlines, and what became of an answer. Never: what rows mean.

use std::collections::BTreeMap;
use std::time::Duration;

use graygate_judge::blocks::Row;

use super::cursors::Cursors;

/// What every proxy is asked.
///
/// Whoever looks after many runs asks once a second for the services of all of them, and leaves out of each run the rows
/// that its own cursors include ([`Cursors::oldest`], [`Cursors::include`]): a question a run would be as many more
/// answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub services: Vec<String>,
    /// What clients' hashes are made with.
    pub salt: String,
}

/// What one round of questions brought.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Ordered by proxy, and of each proxy as it told them: by second.
    pub rows: Vec<Row>,
    /// Each proxy's own clock, in seconds, by its id.
    pub nows: BTreeMap<String, u64>,
    /// Proxies that answered.
    pub read: usize,
    /// Proxies there are.
    pub of: usize,
    /// Who did not answer, and for how long that has been so.
    pub unreadable: Vec<(String, Duration)>,
    /// Seconds that were told later than two seconds after their end.
    pub late: u64,
    /// Seconds that were gone before they were asked for.
    pub lost: u64,
}

/// Asks proxies.
#[derive(Debug, Default)]
pub struct Gatherer {}

impl Gatherer {
    /// Asks every living proxy, at once; whoever has not answered by the deadline is not waited for.
    pub async fn gather(&self, _question: &Question, _cursors: &mut Cursors) -> Gathered {
        Gathered::default()
    }
}
