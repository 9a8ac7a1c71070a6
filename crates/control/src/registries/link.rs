//! The one trait behind which each kind of registry stands, and what its client tells.
//!
//! Answers: what has a client to do, and how is it kept going? A client knows one link to one server at a time; here
//! a lost one is replaced by a link to the next server, after a pause that grows. Never: what is believed of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};

use super::entry::Answer;

/// Pauses after all servers were tried in vain: the first, and the longest. The contract gives a registry that came
/// back a second; more than one try in two seconds would trouble one that is starting.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// What is asked for: a service as the registry calls it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Query {
    pub name: String,
    /// For registries whose answers have none.
    pub port: Option<u16>,
}

pub type Wanted = Arc<BTreeSet<Query>>;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no answer within {} s: {what}", .limit.as_secs())]
    Timeout { what: &'static str, limit: Duration },
    #[error("refused: {0}")]
    Refused(String),
    #[error("cannot be understood: {0}")]
    Malformed(String),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("cannot read `{path}`: {why}")]
    File { path: String, why: String },
}

/// A client of one kind of registry.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// The addresses of its servers, at least one; the methods name them by their place.
    fn servers(&self) -> &[String];

    /// Keeps a link to one server until it is lost, and tells what it shows. A client says [`Line::up`] before its
    /// first answer, and must notice within seconds that the other side is silent.
    async fn link(&self, server: usize, line: &mut Line) -> LinkError;

    /// Asks once, by a connection of its own.
    async fn ask(&self, server: usize, query: &Query) -> Result<Answer, LinkError>;
}

/// What a client tells, in the order in which it happened.
#[derive(Debug)]
pub enum Told {
    Up {
        server: String,
    },
    Shows {
        query: Query,
        answer: Answer,
    },
    /// The registry works and says nothing about this service: no permission, no such name, an answer in pieces.
    Silent {
        query: Query,
        why: String,
    },
    Down {
        why: String,
    },
}

/// Where a client reads what is wanted and tells what it sees.
pub struct Line {
    wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Told>,
    server: String,
    is_up: bool,
}

impl Line {
    pub async fn up(&mut self) {
        self.is_up = true;
        let _ = self.told.send(Told::Up { server: self.server.clone() }).await;
    }

    pub async fn shows(&self, query: &Query, answer: Answer) {
        let _ = self.told.send(Told::Shows { query: query.clone(), answer }).await;
    }

    pub async fn silent(&self, query: &Query, why: impl Into<String>) {
        let _ = self.told.send(Told::Silent { query: query.clone(), why: why.into() }).await;
    }

    /// What is wanted now; what [`Line::wanted_changed`] waits for begins here.
    pub fn wanted(&mut self) -> Wanted {
        self.wanted.borrow_and_update().clone()
    }

    /// Waits until something else is wanted. Without anyone who could want something it waits for ever.
    pub async fn wanted_changed(&mut self) {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Keeps a registry linked until no one listens any more. `jitter` answers numbers from 0 to 1.
pub async fn keep(
    client: Arc<dyn Client>,
    wanted: watch::Receiver<Wanted>,
    told: mpsc::Sender<Told>,
    mut jitter: impl FnMut() -> f64,
) {
    let mut pause = PAUSES.0;
    let mut in_vain = 0;
    for server in (0..client.servers().len()).cycle() {
        let name = client.servers().get(server).cloned().unwrap_or_default();
        let mut line =
            Line { wanted: wanted.clone(), told: told.clone(), server: name.clone(), is_up: false };
        let lost = tokio::select! {
            lost = client.link(server, &mut line) => lost,
            () = told.closed() => return,
        };
        let _ = told.send(Told::Down { why: format!("{name}: {lost}") }).await;
        if line.is_up {
            (pause, in_vain) = (PAUSES.0, 0);
        } else {
            in_vain += 1;
        }
        // A link that was up is replaced after the shortest pause: servers that accept and hang up are no busy loop.
        if line.is_up || in_vain % client.servers().len() == 0 {
            tokio::time::sleep(pause.mul_f64(0.5 + jitter() / 2.0)).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

/// Runs one step of a conversation with a time limit.
pub async fn within<T>(
    limit: Duration,
    what: &'static str,
    step: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    tokio::time::timeout(limit, step).await.unwrap_or(Err(LinkError::Timeout { what, limit }))
}
