//! The keeper for one machine: SQLite for records, a directory for documents.
//!
//! Owns: the tables, the lock that keeps a second process out, and the journal that finishes a half-done write of files
//! after a crash. Documents have revisions here as well: the write that put their text there, or the look that first
//! saw a stranger's. Never: what a record means.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use tokio::sync::watch;

use super::files::{Applied, Files, Staged, TextHash, hash};
use super::keeper::{
    Entry, Expect, OPERATION_LIMIT, Order, PAGE_LIMIT, Range, Revision, Slot, State, StateError, Stored,
    Transaction, Write, behind,
};

/// The database below the state's directory.
const DATABASE: &str = "control.sqlite";
const LOCK: &str = "control.lock";
/// How long a write waits for another process's, a command's beside the running one: an answer is due within 2 s.
const BUSY: Duration = Duration::from_millis(1_500);
/// How often another process's writes are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS records (
        name TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS documents (
        name TEXT PRIMARY KEY, hash BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS staged (
        place INTEGER PRIMARY KEY, target TEXT NOT NULL UNIQUE, temporary TEXT, before BLOB, after BLOB);
    CREATE TABLE IF NOT EXISTS counter (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL);
    INSERT OR IGNORE INTO counter VALUES (1, 0);
";

/// Who opens the state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holder {
    /// The one process that serves it.
    Service,
    /// A command beside it, which is done in a moment.
    Command,
}

/// Records in a database below a directory; with documents in another one.
pub struct Sqlite {
    inner: Arc<Mutex<Inner>>,
    /// Another connection, so that reading does not wait for a write that waits for the disk or another process.
    reader: Arc<Mutex<Connection>>,
    files: Option<Files>,
    changes: watch::Sender<u64>,
}

struct Inner {
    database: Connection,
    files: Option<Files>,
    /// Held as long as the service lives; the system lets go of it with the process.
    _lock: Option<File>,
}

impl Sqlite {
    /// Opens the state, and finishes what a crash left half done.
    pub fn open(directory: &Path, documents: Option<&Path>, holder: Holder) -> Result<Sqlite, StateError> {
        make_private(directory)?;
        let lock = match holder {
            Holder::Service => Some(lock(directory)?),
            Holder::Command => None,
        };
        let database = Connection::open(directory.join(DATABASE)).map_err(|error| away(&error))?;
        database.busy_timeout(BUSY).map_err(|error| away(&error))?;
        // Every write reaches the disk before it is answered: an audit record must not be lost with the power.
        let begun = database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;");
        begun.and_then(|()| database.execute_batch(TABLES)).map_err(|error| away(&error))?;
        let files = documents.map(|path| Files::new(path.to_owned()));
        let mut inner = Inner { database, files: files.clone(), _lock: lock };
        if holder == Holder::Service {
            inner.finish()?;
        }
        let reader = Connection::open(directory.join(DATABASE)).map_err(|error| away(&error))?;
        reader.busy_timeout(BUSY).map_err(|error| away(&error))?;
        Ok(Sqlite {
            inner: Arc::new(Mutex::new(inner)),
            reader: Arc::new(Mutex::new(reader)),
            files,
            changes: watch::Sender::new(0),
        })
    }

    /// Looks for writes of other processes for as long as anyone else holds the store: a start may look before the first
    /// of those who want to know of changes has asked for them.
    pub async fn follow(store: Weak<Sqlite>) {
        let mut seen = None;
        while let Some(held) = store.upgrade() {
            let version = held.run(|inner| inner.version()).await.ok();
            if version.is_some() && seen.is_some() && version != seen {
                held.changes.send_modify(|count| *count += 1);
            }
            drop(held);
            seen = version.or(seen);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn look<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let reader = self.reader.clone();
        let done = tokio::task::spawn_blocking(move || work(&reader.lock())).await;
        done.unwrap_or_else(|error| {
            Err(StateError::Away(format!("a look into the store ended early: {error}")))
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Inner) -> Result<T, StateError> + Send + 'static,
    ) -> Result<T, StateError> {
        let inner = self.inner.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut inner.lock())).await;
        done.unwrap_or_else(|error| {
            Err(StateError::Away(format!("a look into the store ended early: {error}")))
        })
    }
}

#[async_trait]
impl State for Sqlite {
    async fn get(&self, slot: &Slot) -> Result<Option<Stored>, StateError> {
        let name = match slot {
            Slot::Record(name) => {
                let name = name.clone();
                return self.look(move |reader| record(reader, &name).map_err(|error| away(&error))).await;
            }
            Slot::Document(name) => name.clone(),
        };
        let (files, asked) = (self.files.clone(), name.clone());
        match self.look(move |reader| known_document(reader, files.as_ref(), &asked)).await? {
            Seen::Known(found) => Ok(found),
            // Written by another program, or in this moment.
            Seen::Other => self.run(move |inner| inner.document(&name)).await,
        }
    }

    async fn list(&self, range: &Range) -> Result<Vec<Entry>, StateError> {
        let range = range.clone();
        self.look(move |reader| list(reader, &range)).await
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, StateError> {
        let revision = self.run(move |inner| inner.commit(&transaction)).await?;
        self.changes.send_modify(|count| *count += 1);
        Ok(revision)
    }

    fn part_bytes(&self) -> Option<usize> {
        None
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Inner {
    fn version(&self) -> Result<i64, StateError> {
        let asked = self.database.query_row("PRAGMA data_version", [], |row| row.get(0));
        asked.map_err(|error| away(&error))
    }

    /// A document as it lies there now. A text that no one here wrote gets a revision of its own when it is first seen.
    fn document(&mut self, name: &str) -> Result<Option<Stored>, StateError> {
        let Some(files) = self.files.clone() else { return Err(no_documents()) };
        let Some(value) = files.read(name).map_err(|error| io(name, &error))? else { return Ok(None) };
        let text = hash(&value);
        let known = known(&self.database, name).map_err(|error| away(&error))?;
        let revision = match known {
            Some((known, revision)) if known == text => revision,
            _ => self.adopt(name, &text).map_err(|error| away(&error))?,
        };
        Ok(Some(Stored { value, revision }))
    }

    fn adopt(&mut self, name: &str, text: &TextHash) -> rusqlite::Result<Revision> {
        let write = self.database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let revision = next_revision(&write)?;
        keep_document(&write, name, text, revision)?;
        write.commit()?;
        Ok(revision)
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<Revision, StateError> {
        if transaction.writes.len() > OPERATION_LIMIT {
            return Err(StateError::TooLarge(format!("more than {OPERATION_LIMIT} writes")));
        }
        self.finish()?;
        let files = self.files.clone();
        let write = self
            .database
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| away(&error))?;
        let mut conflicts = Vec::new();
        for expect in &transaction.expects {
            if !holds(&write, files.as_ref(), expect)? {
                conflicts.push(expect.slot.clone());
            }
        }
        if !conflicts.is_empty() {
            return Err(StateError::Conflict(conflicts));
        }
        let revision = next_revision(&write).map_err(|error| away(&error))?;
        let staged = stage(files.as_ref(), &transaction.writes, revision)?;
        let written = write_all(&write, &transaction.writes, &staged, revision).and_then(|()| write.commit());
        if let Err(error) = written {
            staged.iter().for_each(Staged::discard);
            return Err(away(&error));
        }
        if !staged.is_empty() {
            self.finish()?;
        }
        Ok(revision)
    }

    /// Puts the texts of written transactions in their places.
    fn finish(&mut self) -> Result<(), StateError> {
        for staged in journal(&self.database).map_err(|error| away(&error))? {
            let target = staged.target.display().to_string();
            match staged.apply().map_err(|error| io(&target, &error))? {
                Applied::Done => {}
                Applied::Foreign => tracing::warn!(
                    file = target,
                    "another one wrote this file while it was being written; theirs stays"
                ),
            }
            let done = self.database.execute("DELETE FROM staged WHERE target = ?1", [&target]);
            done.map_err(|error| away(&error))?;
        }
        Ok(())
    }
}

/// What the reader knows of a document.
enum Seen {
    /// As it was last written or adopted.
    Known(Option<Stored>),
    Other,
}

fn known_document(database: &Connection, files: Option<&Files>, name: &str) -> Result<Seen, StateError> {
    let files = files.ok_or_else(no_documents)?;
    let Some(value) = files.read(name).map_err(|error| io(name, &error))? else {
        return Ok(Seen::Known(None));
    };
    let known = known(database, name).map_err(|error| away(&error))?;
    Ok(match known {
        Some((text, revision)) if text == hash(&value) => Seen::Known(Some(Stored { value, revision })),
        _ => Seen::Other,
    })
}

fn list(database: &Connection, range: &Range) -> Result<Vec<Entry>, StateError> {
    let limit = i64::try_from(range.limit.min(PAGE_LIMIT)).unwrap_or(i64::MAX);
    let end = behind(&range.prefix).map(|end| String::from_utf8_lossy(&end).into_owned());
    let end = end.unwrap_or_else(|| "\u{10ffff}".to_owned());
    let (text, first, last) = match range.order {
        Order::Ascending => (
            "SELECT name, value, revision FROM records WHERE name > ?1 AND name >= ?2 AND name < ?3 \
             ORDER BY name LIMIT ?4",
            range.after.clone().unwrap_or_default(),
            end,
        ),
        Order::Descending => (
            "SELECT name, value, revision FROM records WHERE name < ?1 AND name >= ?2 AND name < ?3 \
             ORDER BY name DESC LIMIT ?4",
            range.after.clone().unwrap_or_else(|| end.clone()),
            end,
        ),
    };
    let read = || {
        let mut asked = database.prepare_cached(text)?;
        let found = asked.query_map(params![first, range.prefix, last, limit], |row| {
            let value: Vec<u8> = row.get(1)?;
            let stored = Stored { value: value.into(), revision: row.get::<_, i64>(2)?.unsigned_abs() };
            Ok(Entry { name: row.get(0)?, stored })
        })?;
        found.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(|error| away(&error))
}

fn record(database: &Connection, name: &str) -> rusqlite::Result<Option<Stored>> {
    let mut asked = database.prepare_cached("SELECT value, revision FROM records WHERE name = ?1")?;
    asked
        .query_row([name], |row| {
            let value: Vec<u8> = row.get(0)?;
            Ok(Stored { value: value.into(), revision: row.get::<_, i64>(1)?.unsigned_abs() })
        })
        .optional()
}

/// What was last known of a document's text.
fn known(database: &Connection, name: &str) -> rusqlite::Result<Option<(TextHash, Revision)>> {
    let mut asked = database.prepare_cached("SELECT hash, revision FROM documents WHERE name = ?1")?;
    asked.query_row([name], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))).optional()
}

fn keep_document(
    database: &Connection,
    name: &str,
    text: &TextHash,
    revision: Revision,
) -> rusqlite::Result<()> {
    let mut kept = database.prepare_cached("INSERT OR REPLACE INTO documents VALUES (?1, ?2, ?3)")?;
    kept.execute(params![name, text, i64::try_from(revision).unwrap_or(i64::MAX)]).map(drop)
}

fn next_revision(database: &Connection) -> rusqlite::Result<Revision> {
    let text = "UPDATE counter SET revision = revision + 1 RETURNING revision";
    database.prepare_cached(text)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

fn holds(database: &Connection, files: Option<&Files>, expect: &Expect) -> Result<bool, StateError> {
    match &expect.slot {
        Slot::Record(name) => {
            let found = record(database, name).map_err(|error| away(&error))?;
            Ok(found.map_or(0, |stored| stored.revision) == expect.revision)
        }
        Slot::Document(name) => {
            let files = files.ok_or_else(no_documents)?;
            let Some(text) = files.read(name).map_err(|error| io(name, &error))? else {
                return Ok(expect.revision == 0);
            };
            let known = known(database, name).map_err(|error| away(&error))?;
            Ok(known.is_some_and(|(known, revision)| revision == expect.revision && known == hash(&text)))
        }
    }
}

fn stage(files: Option<&Files>, writes: &[Write], revision: Revision) -> Result<Vec<Staged>, StateError> {
    let mut staged: Vec<Staged> = Vec::new();
    for write in writes {
        let (Write::Put(Slot::Document(name), _) | Write::Delete(Slot::Document(name))) = write else {
            continue;
        };
        let text = match write {
            Write::Put(_, text) => Some(text),
            Write::Delete(_) => None,
        };
        let files = files.ok_or_else(no_documents)?;
        match files.stage(name, text, revision) {
            Ok(one) => staged.push(one),
            Err(error) => {
                staged.iter().for_each(Staged::discard);
                return Err(io(name, &error));
            }
        }
    }
    Ok(staged)
}

fn write_all(
    database: &Connection,
    writes: &[Write],
    staged: &[Staged],
    revision: Revision,
) -> rusqlite::Result<()> {
    for write in writes {
        match write {
            Write::Put(Slot::Record(name), value) => {
                let text = "INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3)";
                let revision = i64::try_from(revision).unwrap_or(i64::MAX);
                database.prepare_cached(text)?.execute(params![name, &value[..], revision])?;
            }
            Write::Delete(Slot::Record(name)) => {
                database.prepare_cached("DELETE FROM records WHERE name = ?1")?.execute([name])?;
            }
            Write::Put(Slot::Document(name), text) => keep_document(database, name, &hash(text), revision)?,
            Write::Delete(Slot::Document(name)) => {
                database.prepare_cached("DELETE FROM documents WHERE name = ?1")?.execute([name])?;
            }
        }
    }
    for one in staged {
        let temporary = one.temporary.as_ref().map(|path| path.display().to_string());
        let text = "INSERT OR REPLACE INTO staged (target, temporary, before, after) VALUES (?1, ?2, ?3, ?4)";
        let target = one.target.display().to_string();
        database.prepare_cached(text)?.execute(params![target, temporary, one.before, one.after])?;
    }
    Ok(())
}

fn journal(database: &Connection) -> rusqlite::Result<Vec<Staged>> {
    let mut asked =
        database.prepare_cached("SELECT target, temporary, before, after FROM staged ORDER BY place")?;
    let found = asked.query_map([], |row| {
        Ok(Staged {
            target: PathBuf::from(row.get::<_, String>(0)?),
            temporary: row.get::<_, Option<String>>(1)?.map(PathBuf::from),
            before: row.get(2)?,
            after: row.get(3)?,
        })
    })?;
    found.collect()
}

/// Makes the directory of the state, for no other to read: it holds hashes of passwords.
fn make_private(directory: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let shown = directory.display().to_string();
    if !directory.is_dir() {
        let mut made = fs::DirBuilder::new();
        made.recursive(true).mode(0o700).create(directory).map_err(|error| io(&shown, &error))?;
    }
    let file = directory.join(DATABASE);
    if !file.exists() {
        File::create(&file).map_err(|error| io(&file.display().to_string(), &error))?;
        // A file system without modes keeps the directory's protection.
        let _ = fs::set_permissions(&file, fs::Permissions::from_mode(0o600));
    }
    Ok(())
}

fn lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| io(&path.display().to_string(), &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            let shown = directory.display();
            Err(StateError::Taken(format!(
                "another control process uses the state `{shown}`; one state is for one process"
            )))
        }
    }
}

fn away(error: &rusqlite::Error) -> StateError {
    use rusqlite::ErrorCode::DiskFull;
    match error.sqlite_error_code() {
        Some(DiskFull) => StateError::Full("the disk has no room".to_owned()),
        _ => StateError::Away(error.to_string()),
    }
}

fn io(name: &str, error: &std::io::Error) -> StateError {
    StateError::Away(format!("{name}: {error}"))
}

fn no_documents() -> StateError {
    StateError::Away("this state has no directory of documents".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_of_another_process_is_noticed_by_who_asks_late_and_the_store_is_let_go_of() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(folder.path(), None, Holder::Service).unwrap());
        let following = tokio::spawn(Sqlite::follow(Arc::downgrade(&store)));
        // It looks before any receiver is there.
        tokio::time::sleep(LOOK_EVERY * 2).await;
        let mut changes = store.changes();
        let beside = Sqlite::open(folder.path(), None, Holder::Command).unwrap();
        let mut transaction = Transaction::default();
        transaction.put(Slot::record("users/li"), "x");
        beside.commit(transaction).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), changes.changed()).await.unwrap().unwrap();
        drop(store);
        tokio::time::timeout(Duration::from_secs(30), following).await.unwrap().unwrap();
    }
}
