//! Commits in a directory: every file is replaced in one rename, in the order the caller gives.
//!
//! Owns: which file is which document, temporary files beside them, and the lock that keeps two writers of this kind
//! apart. What an editor writes between the look and the rename is noticed up to the last moment, and kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::change::{Change, Commit, CommitError, Committed, Order, Slot, Stored, Version};
use crate::directory::extensions;
use crate::update::SourceError;
use graygate_rules::documents::DocumentId;

/// Holds writers apart; the dot keeps it from being taken for a document.
const LOCK: &str = ".graygate-commit.lock";

/// A directory of documents that is written.
#[derive(Clone, Debug)]
pub struct DirectoryStore {
    root: Arc<Path>,
}

/// A change whose new text lies beside its file.
struct Staged {
    slot: Slot,
    target: PathBuf,
    /// `None`: the file is to be removed.
    beside: Option<PathBuf>,
    before: Version,
    after: Version,
}

impl DirectoryStore {
    pub fn new(root: &Path) -> DirectoryStore {
        DirectoryStore { root: root.into() }
    }

    pub async fn read(&self, slot: &Slot) -> Result<Option<Stored>, CommitError> {
        let (own, slot) = (self.clone(), slot.clone());
        blocking(move || own.look(&slot)).await
    }

    pub async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        let own = self.clone();
        blocking(move || own.write(&commit)).await
    }

    fn look(&self, slot: &Slot) -> Result<Option<Stored>, CommitError> {
        let path = self.path(slot)?;
        let found = read(&path).map_err(|error| failed(&path, error))?;
        Ok(found.map(|bytes| Stored { version: version(&bytes), body: bytes.into() }))
    }

    fn write(&self, commit: &Commit) -> Result<Committed, CommitError> {
        let lock = self.root.join(LOCK);
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(|error| failed(&lock, error))?;
        if !commit.term.iter().all(|term| term.is_held()) {
            return Err(CommitError::TermOver);
        }
        let mut conflicts = Vec::new();
        for guard in &commit.guards {
            let found = self.look(&guard.slot)?.map_or(Version::NONE, |stored| stored.version);
            if found != guard.version {
                conflicts.push(guard.slot.clone());
            }
        }
        if !conflicts.is_empty() {
            return Err(CommitError::Conflict(conflicts));
        }
        let staged = self.stage(commit)?;
        apply(&staged, commit.order).inspect_err(|_| staged.iter().for_each(Staged::discard))?;
        Ok(Committed { revision: None, versions: staged.iter().map(|staged| staged.after).collect() })
    }

    /// Puts every new text beside its file: what cannot be written is known before anything is replaced.
    fn stage(&self, commit: &Commit) -> Result<Vec<Staged>, CommitError> {
        let mut staged: Vec<Staged> = Vec::new();
        for change in &commit.changes {
            match self.stage_one(change, staged.len()) {
                Ok(one) => staged.push(one),
                Err(error) => {
                    staged.iter().for_each(Staged::discard);
                    return Err(error);
                }
            }
        }
        Ok(staged)
    }

    fn stage_one(&self, change: &Change, number: usize) -> Result<Staged, CommitError> {
        let slot = change.slot().clone();
        let target = self.path(&slot)?;
        let old = read(&target).map_err(|error| failed(&target, error))?;
        let before = old.as_deref().map_or(Version::NONE, version);
        let Change::Put(_, body) = change else {
            return Ok(Staged { slot, target, beside: None, before, after: Version::NONE });
        };
        let beside = beside(&target, number);
        lay(&beside, &target, body).map_err(|error| {
            // Whatever happened to it, half a file is of no use.
            let _ = fs::remove_file(&beside);
            failed(&beside, error)
        })?;
        Ok(Staged { slot, target, beside: Some(beside), before, after: version(body) })
    }

    /// The file of a document, or the one it would get. Behind a link: the link stays one.
    fn path(&self, slot: &Slot) -> Result<PathBuf, CommitError> {
        let unwritable =
            |because: &str| CommitError::Unwritable { slot: slot.clone(), because: because.into() };
        let Slot::Document(id) = slot else {
            return Err(unwritable("a directory holds documents and nothing else"));
        };
        let candidates = candidates(&self.root, id);
        let mut existing = candidates.iter().filter(|path| path.symlink_metadata().is_ok());
        match (existing.next(), existing.next()) {
            (None, _) => {
                candidates.first().cloned().ok_or_else(|| unwritable("it has no place in a directory"))
            }
            (Some(path), None) => fs::canonicalize(path).map_err(|error| failed(path, error)),
            (Some(_), Some(_)) => Err(unwritable("there are two files of this name")),
        }
    }
}

fn candidates(root: &Path, id: &DocumentId) -> Vec<PathBuf> {
    let extensions = extensions(id.kind).iter();
    extensions.map(|(extension, _)| root.join(format!("{id}{extension}"))).collect()
}

/// A name beside the target that no walk takes for a document.
fn beside(target: &Path, number: usize) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}-{number}", std::process::id()))
}

fn lay(beside: &Path, target: &Path, body: &[u8]) -> io::Result<()> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create(beside)?;
    if let Ok(old) = fs::metadata(target) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(body)?;
    file.sync_all()
}

fn apply(staged: &[Staged], order: Order) -> Result<(), CommitError> {
    let (additions, removals): (Vec<_>, Vec<_>) = staged.iter().partition(|staged| staged.beside.is_some());
    let (first, then) = match order {
        Order::AdditionsFirst => (additions, removals),
        Order::RemovalsFirst => (removals, additions),
    };
    let mut written = Vec::new();
    for half in [first, then] {
        for one in &half {
            match one.apply() {
                Ok(()) => written.push(one.slot.clone()),
                Err(error) if written.is_empty() => return Err(error),
                Err(error) => return Err(CommitError::Partial { written, error: error.to_string() }),
            }
        }
        // The renames of one half last before those of the other begin, or a power cut could turn the order round.
        for one in &half {
            if let Err(error) = one.settle() {
                return Err(CommitError::Partial { written, error: error.to_string() });
            }
        }
    }
    Ok(())
}

impl Staged {
    fn apply(&self) -> Result<(), CommitError> {
        let found = read(&self.target).map_err(|error| failed(&self.target, error))?;
        if found.as_deref().map_or(Version::NONE, version) != self.before {
            return Err(CommitError::Conflict(vec![self.slot.clone()]));
        }
        let done = match &self.beside {
            Some(beside) => fs::rename(beside, &self.target),
            None if self.before == Version::NONE => Ok(()),
            None => fs::remove_file(&self.target),
        };
        done.map_err(|error| failed(&self.target, error))
    }

    fn settle(&self) -> Result<(), CommitError> {
        let Some(folder) = self.target.parent() else { return Ok(()) };
        match File::open(folder).and_then(|folder| folder.sync_all()) {
            // Removing what was not there needs no folder.
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder, error)),
            _ => Ok(()),
        }
    }

    fn discard(&self) {
        if let Some(beside) = &self.beside {
            // One that was renamed already is gone as well.
            let _ = fs::remove_file(beside);
        }
    }
}

/// A hash of the bytes; never that of nothing.
fn version(bytes: &[u8]) -> Version {
    // Reading from memory does not fail; 0 would only make a guard refuse.
    let hash = murmur3::murmur3_x64_128(&mut io::Cursor::new(bytes), 0).unwrap_or(0);
    Version(((hash >> 64) as u64).max(1))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failed(path: &Path, error: io::Error) -> CommitError {
    CommitError::Source(SourceError::Io { path: path.to_owned(), error })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommitError> + Send + 'static,
) -> Result<T, CommitError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(SourceError::Internal(error.to_string()).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an editor writes in the last moment stays, and what was renamed before it tells the order.
    #[test]
    fn the_order_of_files_is_the_callers_and_a_foreign_text_stays() {
        let slot = |name: &str| Slot::Document(DocumentId::parse(name).unwrap());
        for (order, foreign, expected) in
            [(Order::AdditionsFirst, "old", ["rules/new"]), (Order::RemovalsFirst, "new", ["rules/old"])]
        {
            let root = tempfile::tempdir().unwrap();
            let file = |name: &str| root.path().join(format!("rules/{name}.yaml"));
            fs::create_dir(root.path().join("rules")).unwrap();
            fs::write(file("old"), "o").unwrap();
            let store = DirectoryStore::new(root.path());
            let staged = store
                .stage(&Commit::default().delete(slot("rules/old")).put(slot("rules/new"), "n"))
                .unwrap();
            fs::write(file(foreign), "by hand").unwrap();
            match apply(&staged, order) {
                Err(CommitError::Partial { written, .. }) => assert_eq!(written, expected.map(slot)),
                other => panic!("{order:?}: {other:?}"),
            }
            assert_eq!(fs::read_to_string(file(foreign)).unwrap(), "by hand");
        }
    }
}
