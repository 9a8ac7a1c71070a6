//! A small set of keys that several processes keep together: some last, some end with the process that wrote them.
//!
//! Answers: what stands there now, and is what this process wrote still its own? Owns: one lease for all of a process's
//! keys, its renewal, guarded writes, and the same on one machine without a store. Never: what the keys mean.
//! A process reads everything at once, often; the keys are few. Start at [`Board`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions, Txn, TxnOp,
};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use super::etcd::{Connection, EtcdSettings};
use super::update::SourceError;

/// How long what a process wrote outlives it.
const LEASE: Duration = Duration::from_secs(10);
/// Two renewals may be lost before the lease is.
const RENEW: Duration = Duration::from_secs(2);
/// So much of the lease is left when a process no longer relies on it: what it began with it has to be over.
const MARGIN: Duration = Duration::from_secs(2);
/// A store that does not answer within this is away: what stands on the board is asked for several times a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most keys: lanes times gateways, and a few.
const KEY_LIMIT: i64 = 10_000;
/// Without a store nothing takes a process's keys away.
const FOREVER: Duration = Duration::from_secs(3_600);
/// How long giving the keys back may take at the end of the process.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);

/// What stands behind a key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub value: String,
    /// When it was written first, and last: revisions that no other write has.
    pub created: i64,
    pub modified: i64,
}

/// By key.
pub type Entries = BTreeMap<String, Entry>;

/// A change, and on what condition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Ends with this process.
    Leased { key: String, value: String },
    /// Lasts; only where the key is not there.
    Create { key: String, value: String },
    /// Lasts; only where it was not changed since.
    Replace { key: String, value: String, modified: i64 },
    /// Only where it was not changed since.
    Remove { key: String, modified: i64 },
    /// Whatever stands there.
    Delete { key: String },
}

/// Where the keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Below a prefix beside that of the documents.
    Etcd(EtcdSettings),
    /// One process; what lasts is in a file.
    File(PathBuf),
}

/// The keys, and this process's hold on its own. One that failed is opened again.
#[expect(clippy::large_enum_variant, reason = "a process has one of them")]
pub enum Board {
    Etcd(Leased),
    File(Filed),
}

impl Board {
    pub async fn open(place: &Place) -> Result<Board, SourceError> {
        match place {
            Place::Etcd(settings) => Leased::open(settings).await.map(Board::Etcd),
            Place::File(path) => Filed::open(path.clone()).map(Board::File),
        }
    }

    /// Everything that stands there.
    pub async fn read(&mut self) -> Result<Entries, SourceError> {
        match self {
            Board::Etcd(leased) => leased.read().await,
            Board::File(filed) => Ok(filed.entries.clone()),
        }
    }

    /// Whether the change was made: another process may have been faster.
    pub async fn write(&mut self, write: Write) -> Result<bool, SourceError> {
        match self {
            Board::Etcd(leased) => leased.write(write).await,
            Board::File(filed) => filed.write(write),
        }
    }

    /// Until when this process's keys are its own, at least.
    pub fn holds_until(&self) -> Instant {
        match self {
            Board::Etcd(leased) => leased.until,
            Board::File(_) => Instant::now() + FOREVER,
        }
    }

    /// Gives this process's keys back.
    pub async fn leave(self) {
        if let Board::Etcd(mut leased) = self {
            // Where it fails the lease ends by itself.
            let _ = timeout(LEAVE_LIMIT, leased.connection.lease.revoke(leased.id)).await;
        }
    }
}

/// Keys in etcd, under a lease.
pub struct Leased {
    connection: Connection,
    prefix: String,
    id: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    renewed: Instant,
    until: Instant,
}

/// Beside the documents' prefix: a watch of documents must not see these keys change all the time.
pub fn prefix(settings: &EtcdSettings) -> String {
    format!("{}-lanes/", settings.prefix.trim_end_matches('/'))
}

/// Reads the keys without holding any.
pub async fn look(settings: &EtcdSettings) -> Result<Entries, SourceError> {
    let connection = Connection::any(settings).await?;
    list(&connection, &prefix(settings)).await
}

async fn list(connection: &Connection, prefix: &str) -> Result<Entries, SourceError> {
    let mut kv = connection.kv.clone();
    let options = GetOptions::new().with_prefix().with_limit(KEY_LIMIT);
    let mut found = within(connection, connection.request(kv.get(prefix, Some(options)))).await?;
    let mut entries = Entries::new();
    for pair in found.take_kvs() {
        let (created, modified) = (pair.create_revision(), pair.mod_revision());
        let (key, value) = pair.into_key_value();
        let key = String::from_utf8_lossy(&key).into_owned();
        if let (Some(key), Ok(value)) = (key.strip_prefix(prefix), String::from_utf8(value)) {
            entries.insert(key.to_owned(), Entry { value, created, modified });
        }
    }
    Ok(entries)
}

async fn within<T>(
    connection: &Connection,
    request: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    timeout(PATIENCE, request).await.unwrap_or_else(|_| Err(connection.failed("no answer within 2 seconds")))
}

impl Leased {
    async fn open(settings: &EtcdSettings) -> Result<Leased, SourceError> {
        let connection = Connection::any(settings).await?;
        let asked = Instant::now();
        let mut client = connection.lease.clone();
        let seconds = i64::try_from(LEASE.as_secs()).unwrap_or(i64::MAX);
        let id = connection.request(client.grant(seconds, None)).await?.id();
        let (keeper, answers) = connection.request(client.keep_alive(id)).await?;
        let until = asked + LEASE - MARGIN;
        Ok(Leased { connection, prefix: prefix(settings), id, keeper, answers, renewed: asked, until })
    }

    /// Reads after the lease was seen to live: what is read then has this process's keys in it.
    async fn read(&mut self) -> Result<Entries, SourceError> {
        if self.renewed.elapsed() >= RENEW {
            self.renew().await?;
        }
        if Instant::now() >= self.until {
            return Err(self.connection.failed("the lease may have ended"));
        }
        list(&self.connection, &self.prefix).await
    }

    async fn renew(&mut self) -> Result<(), SourceError> {
        let asked = Instant::now();
        let Leased { connection, keeper, answers, .. } = self;
        let beat = async {
            connection.request(keeper.keep_alive()).await?;
            connection.request(answers.message()).await
        };
        match within(connection, beat).await? {
            Some(answer) if answer.ttl() > 0 => {
                self.renewed = asked;
                self.until = asked + LEASE - MARGIN;
                Ok(())
            }
            _ => Err(self.connection.failed("the lease was lost")),
        }
    }

    async fn write(&mut self, write: Write) -> Result<bool, SourceError> {
        let at = |key: &str| format!("{}{key}", self.prefix);
        let since = |key: &str, modified: i64| Compare::mod_revision(at(key), CompareOp::Equal, modified);
        let (conditions, operation) = match write {
            Write::Leased { key, value } => {
                let options = PutOptions::new().with_lease(self.id);
                (Vec::new(), TxnOp::put(at(&key), value, Some(options)))
            }
            Write::Create { key, value } => (
                vec![Compare::create_revision(at(&key), CompareOp::Equal, 0)],
                TxnOp::put(at(&key), value, None),
            ),
            Write::Replace { key, value, modified } => {
                (vec![since(&key, modified)], TxnOp::put(at(&key), value, None))
            }
            Write::Remove { key, modified } => (vec![since(&key, modified)], TxnOp::delete(at(&key), None)),
            Write::Delete { key } => (Vec::new(), TxnOp::delete(at(&key), None)),
        };
        let mut kv = self.connection.kv.clone();
        let asked = kv.txn(Txn::new().when(conditions).and_then([operation]));
        let answer = within(&self.connection, self.connection.request(asked)).await?;
        Ok(answer.succeeded())
    }
}

/// Keys of one process, of which a file keeps those that last.
pub struct Filed {
    path: PathBuf,
    entries: Entries,
    /// Keys that end with the process.
    leased: Vec<String>,
    revision: i64,
}

/// What is in the file.
#[derive(Default, Serialize, Deserialize)]
struct Lasting {
    revision: i64,
    entries: Entries,
}

impl Filed {
    fn open(path: PathBuf) -> Result<Filed, SourceError> {
        let lasting = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| SourceError::Io {
                path: path.clone(),
                error: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Lasting::default(),
            Err(error) => return Err(SourceError::Io { path, error }),
        };
        Ok(Filed { path, entries: lasting.entries, leased: Vec::new(), revision: lasting.revision })
    }

    fn write(&mut self, write: Write) -> Result<bool, SourceError> {
        let modified = |entries: &Entries, key: &str| entries.get(key).map_or(0, |entry| entry.modified);
        match write {
            Write::Leased { key, value } => {
                self.put(key.clone(), value);
                self.leased.push(key);
                return Ok(true);
            }
            Write::Create { key, .. } if self.entries.contains_key(&key) => return Ok(false),
            Write::Replace { key, modified: since, .. } | Write::Remove { key, modified: since }
                if modified(&self.entries, &key) != since =>
            {
                return Ok(false);
            }
            Write::Create { key, value } | Write::Replace { key, value, .. } => self.put(key, value),
            Write::Remove { key, .. } | Write::Delete { key } => {
                self.entries.remove(&key);
                self.leased.retain(|leased| *leased != key);
            }
        }
        self.save().map(|()| true)
    }

    fn put(&mut self, key: String, value: String) {
        self.revision += 1;
        let created = self.entries.get(&key).map_or(self.revision, |entry| entry.created);
        self.entries.insert(key, Entry { value, created, modified: self.revision });
    }

    /// A file that is there whole, or as it was.
    fn save(&self) -> Result<(), SourceError> {
        let mut entries = self.entries.clone();
        entries.retain(|key, _| !self.leased.contains(key));
        let bytes = serde_json::to_vec(&Lasting { revision: self.revision, entries }).unwrap_or_default();
        let next = self.path.with_extension("next");
        let written = std::fs::write(&next, bytes).and_then(|()| std::fs::rename(&next, &self.path));
        written.map_err(|error| SourceError::Io { path: self.path.clone(), error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_lasts_is_there_again_and_no_revision_twice() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::File(folder.path().join("lanes.json"));
        let mut board = Board::open(&place).await.unwrap();
        let create = || Write::Create { key: "record/g/l".into(), value: "1".into() };
        assert!(board.write(create()).await.unwrap());
        assert!(!board.write(create()).await.unwrap(), "it is there");
        assert!(board.write(Write::Leased { key: "live/x".into(), value: "1".into() }).await.unwrap());
        let entry = board.read().await.unwrap()["record/g/l"].clone();
        let replace = |modified| Write::Replace { key: "record/g/l".into(), value: "2".into(), modified };
        assert!(board.write(replace(entry.modified)).await.unwrap());
        assert!(!board.write(replace(entry.modified)).await.unwrap(), "changed since");
        drop(board);
        let mut again = Board::open(&place).await.unwrap();
        let entries = again.read().await.unwrap();
        assert_eq!(entries.keys().collect::<Vec<_>>(), ["record/g/l"]);
        let (created, modified) = (entries["record/g/l"].created, entries["record/g/l"].modified);
        assert_eq!(created, entry.created);
        assert!(again.write(Write::Remove { key: "record/g/l".into(), modified }).await.unwrap());
        assert!(again.write(create()).await.unwrap());
        assert!(again.read().await.unwrap()["record/g/l"].created > modified);
    }
}
