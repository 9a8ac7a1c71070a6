//! One process of several leads, and what it writes is bound to that.
//!
//! Answers: does this process lead, and since when? Owns: the election, the lease behind it, and the loss of both, which
//! is told at the latest when the lease may have ended by this process's own monotonic clock. A process that was stopped
//! past that and goes on finds out late: therefore every write of a leader carries its [`Term`], and the store refuses
//! those of a term that is over. Never: what a leader does. Start at [`Election`].

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::etcd::{Backoff, Connection, EtcdSettings};
use super::update::{Shutdown, SourceError, ended};

/// How long a leader that died without a word still counts as one. At least this: etcd counts in seconds, and below two
/// of them a busy store takes leases away from the living.
pub const LEASE: Duration = Duration::from_secs(5);
/// So much of the lease passes between two renewals: two may be lost before the lease is.
const RENEW_SHARE: u32 = 4;
/// So much of the lease is left when a leader gives up that could not renew it: its last writes have to be over.
const MARGIN_SHARE: u32 = 5;
/// Between two looks of a process that does not lead.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long giving the lead away may take at the end of the process; the lease ends by itself afterwards.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// A time in which one process leads.
#[derive(Clone, Debug)]
pub enum Term {
    /// The key exists since this revision: a later leader has one that was created later.
    Etcd { key: String, created: i64 },
    /// A locked file, and where it lies.
    Lock(Arc<LockFile>),
}

impl Term {
    /// What a transaction has to compare; nothing for a lock, which no store knows of.
    pub(super) fn comparison(&self) -> Option<Compare> {
        match self {
            Term::Etcd { key, created } => {
                Some(Compare::create_revision(key.as_str(), CompareOp::Equal, *created))
            }
            Term::Lock(_) => None,
        }
    }

    /// Whether it lasts, as far as can be told without a store.
    pub(super) fn is_held(&self) -> bool {
        match self {
            // A directory cannot ask etcd. Such a pair is a mistake of the wiring, and writes nothing.
            Term::Etcd { .. } => false,
            Term::Lock(file) => file.is_in_place(),
        }
    }
}

/// A locked file: the system lets go of it when the process ends, however it ends, and never before.
#[derive(Debug)]
pub struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Whether the locked file is still the one that others would lock.
    fn is_in_place(&self) -> bool {
        let same = |own: std::fs::Metadata, there: std::fs::Metadata| {
            (own.dev(), own.ino()) == (there.dev(), there.ino())
        };
        match (self.file.metadata(), std::fs::metadata(&self.path)) {
            (Ok(own), Ok(there)) => same(own, there),
            _ => false,
        }
    }
}

/// Where processes meet to find out who leads.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one of them")]
pub enum Election {
    Etcd {
        settings: EtcdSettings,
        /// The key that the leader holds.
        key: String,
        /// Who this process is, for those who look.
        name: String,
        lease: Duration,
    },
    /// One process a file, on one machine.
    Lock(PathBuf),
}

impl Election {
    /// Stands until the shutdown, again after each loss. The channel holds the term while this process leads.
    pub async fn stand(self, term: watch::Sender<Option<Term>>, shutdown: Shutdown) {
        match self {
            Election::Etcd { settings, key, name, lease } => {
                let mut candidate = Candidate { settings, key, name, lease, term, held: None };
                tokio::select! {
                    () = candidate.stand() => {}
                    () = ended(shutdown) => {}
                }
                candidate.leave().await;
            }
            Election::Lock(path) => {
                tokio::select! {
                    () = lock(&path, &term) => ended(shutdown).await,
                    () = ended(shutdown.clone()) => {}
                }
                term.send_replace(None);
            }
        }
    }
}

/// Returns once this process has the lock, which is never taken away from it.
async fn lock(path: &Path, term: &watch::Sender<Option<Term>>) {
    let mut is_told = false;
    loop {
        match try_lock(path) {
            Ok(Some(file)) => {
                let file = LockFile { file, path: path.to_owned() };
                term.send_replace(Some(Term::Lock(Arc::new(file))));
                return;
            }
            Ok(None) => {}
            Err(error) if !is_told => {
                tracing::warn!(path = %path.display(), %error, "the lock of the leader cannot be taken");
                is_told = true;
            }
            Err(_) => {}
        }
        sleep(LOOK_EVERY).await;
    }
}

/// `None` where another process has it.
fn try_lock(path: &Path) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// A process that stands for an election in etcd.
struct Candidate {
    settings: EtcdSettings,
    key: String,
    name: String,
    lease: Duration,
    term: watch::Sender<Option<Term>>,
    /// What has to be given back.
    held: Option<(Connection, i64)>,
}

/// A lease, and until when it holds at least.
struct Lease {
    id: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// By the monotonic clock, counted from before the request was sent.
    until: Instant,
}

impl Candidate {
    async fn stand(&mut self) {
        let mut backoff = Backoff::default();
        let mut is_told = false;
        loop {
            match self.attempt().await {
                Ok(()) => {
                    backoff.reset();
                    is_told = false;
                }
                Err(error) if !is_told => {
                    tracing::warn!(%error, "who leads cannot be found out; trying on");
                    is_told = true;
                }
                Err(_) => {}
            }
            sleep(backoff.next(rand::random())).await;
        }
    }

    /// Waits until no process leads, leads, and returns once it no longer does.
    async fn attempt(&mut self) -> Result<(), SourceError> {
        let connection = Connection::any(&self.settings).await?;
        while self.holder(&connection).await?.is_some() {
            sleep(LOOK_EVERY.min(self.lease / RENEW_SHARE)).await;
        }
        let mut lease = self.grant(&connection).await?;
        self.held = Some((connection.clone(), lease.id));
        let Some(created) = self.claim(&connection, lease.id).await? else {
            // Another process was faster.
            return self.give_back().await;
        };
        tracing::info!(key = self.key, "this process leads");
        self.term.send_replace(Some(Term::Etcd { key: self.key.clone(), created }));
        let end = self.lead(&connection, &mut lease, created).await;
        self.term.send_replace(None);
        tracing::warn!(key = self.key, error = %end, "this process no longer leads");
        // Where it fails the lease ends by itself.
        let _ = self.give_back().await;
        Ok(())
    }

    /// The revision the leader's key was created at; `None` where no process leads.
    async fn holder(&self, connection: &Connection) -> Result<Option<i64>, SourceError> {
        let mut kv = connection.kv.clone();
        let options = GetOptions::new().with_keys_only();
        let found = connection.request(kv.get(self.key.as_str(), Some(options))).await?;
        Ok(found.kvs().first().map(|pair| pair.create_revision()))
    }

    async fn grant(&self, connection: &Connection) -> Result<Lease, SourceError> {
        let asked = Instant::now();
        let mut client = connection.lease.clone();
        let seconds = i64::try_from(self.lease.as_secs().max(1)).unwrap_or(i64::MAX);
        let id = connection.request(client.grant(seconds, None)).await?.id();
        let (keeper, answers) = connection.request(client.keep_alive(id)).await?;
        Ok(Lease { id, keeper, answers, until: asked + self.safe() })
    }

    /// How long a lease that was just renewed may be relied upon.
    fn safe(&self) -> Duration {
        self.lease - self.lease / MARGIN_SHARE
    }

    /// Creates the key, if it is not there; the revision at which.
    async fn claim(&self, connection: &Connection, lease: i64) -> Result<Option<i64>, SourceError> {
        let free = Compare::create_revision(self.key.as_str(), CompareOp::Equal, 0);
        let options = PutOptions::new().with_lease(lease);
        let put = TxnOp::put(self.key.as_str(), self.name.as_str(), Some(options));
        let mut kv = connection.kv.clone();
        let answer = connection.request(kv.txn(Txn::new().when([free]).and_then([put]))).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok(answer.succeeded().then_some(revision))
    }

    /// Renews the lease and looks whether the key is still this term's, until one of the two fails.
    async fn lead(&self, connection: &Connection, lease: &mut Lease, created: i64) -> SourceError {
        loop {
            sleep(self.lease / RENEW_SHARE).await;
            let asked = Instant::now();
            match timeout_at(lease.until, self.confirm(connection, lease, created)).await {
                Ok(Ok(())) => lease.until = asked + self.safe(),
                Ok(Err(error)) => return error,
                Err(_) => return connection.failed("the lease could not be renewed in time"),
            }
        }
    }

    async fn confirm(
        &self,
        connection: &Connection,
        lease: &mut Lease,
        created: i64,
    ) -> Result<(), SourceError> {
        if !lease.renew(connection).await? {
            return Err(connection.failed("the lease was lost"));
        }
        match self.holder(connection).await? {
            Some(holder) if holder == created => Ok(()),
            _ => Err(connection.failed("the leader's key was taken away")),
        }
    }

    /// Gives the lease back, and with it the key, so that no process has to wait for its end.
    async fn give_back(&mut self) -> Result<(), SourceError> {
        let Some((connection, lease)) = self.held.take() else { return Ok(()) };
        let mut client = connection.lease.clone();
        let revoked = timeout(LEAVE_LIMIT, connection.request(client.revoke(lease))).await;
        revoked.map_err(|_| connection.failed("the lease could not be given back"))?.map(drop)
    }

    async fn leave(&mut self) {
        self.term.send_replace(None);
        // Where it fails the lease ends by itself.
        let _ = self.give_back().await;
    }
}

impl Lease {
    /// Whether it lives.
    async fn renew(&mut self, connection: &Connection) -> Result<bool, SourceError> {
        connection.request(self.keeper.keep_alive()).await?;
        let answer = connection.request(self.answers.message()).await?;
        Ok(answer.is_some_and(|answer| answer.ttl() > 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_process_a_lock_and_the_next_when_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leader.lock");
        let stand = || {
            let (term, told) = watch::channel(None);
            let (end, ended) = watch::channel(false);
            tokio::spawn(Election::Lock(path.clone()).stand(term, ended));
            (told, end)
        };
        let (mut first, first_end) = stand();
        let term = first.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert!(term.is_held());
        let (mut second, _second_end) = stand();
        assert!(timeout(Duration::from_millis(50), second.wait_for(Option::is_some)).await.is_err());
        first_end.send_replace(true);
        first.wait_for(Option::is_none).await.unwrap();
        drop(term);
        second.wait_for(Option::is_some).await.unwrap();
    }

    #[test]
    fn a_lock_whose_file_was_replaced_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leader.lock");
        let file = try_lock(&path).unwrap().unwrap();
        let term = Term::Lock(Arc::new(LockFile { file, path: path.clone() }));
        assert!(term.is_held());
        std::fs::remove_file(&path).unwrap();
        assert!(!term.is_held());
        std::fs::write(&path, "").unwrap();
        assert!(!term.is_held(), "another process could have locked this one");
        let elsewhere = Term::Etcd { key: "k".into(), created: 1 };
        assert!(!elsewhere.is_held(), "a directory cannot ask etcd");
    }
}
