//! A prefix written into a directory.
//!
//! Owns: when that is safe. Files are replaced one by one, each in one rename. A directory that holds anything the
//! store does not hold is refused, because the outcome would be neither the one nor the other: empty it, or push
//! first. Instances under a lease are left out, as in a file they would outlive their lease, and so is
//! what the program writes, which would be what it was once.
//! Never: deletes a document.

use super::plan::Stored;
use super::split::owner;
use crate::directory::{self, extensions};
use crate::etcd::{Connection, EtcdSettings, Extent};
use crate::update::SourceError;
use graygate_rules::documents::{DocumentId, DocumentSet, Kind, Owner};
use graygate_rules::vocab::{Problem, Revision};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Documents that are named when a directory is refused.
const NAMED: usize = 5;

/// What a pull did.
#[derive(PartialEq, Eq, Debug)]
pub struct Pulled {
    /// The store's revision that the directory now shows.
    pub revision: Revision,
    pub written: Vec<DocumentId>,
    /// Documents that were there already, as they are in the store.
    pub unchanged: usize,
    /// Instances that live by a lease and were left out.
    pub leased: usize,
    /// Documents that the program writes and that were left out.
    pub owned: usize,
    /// Keys that are no documents and were left out.
    pub strays: Vec<Problem>,
}

/// Why nothing, or not everything, was pulled.
#[derive(thiserror::Error, Debug)]
pub enum PullError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{} holds {what}; pull into an empty directory", path.display())]
    NotOurs { path: PathBuf, what: String },
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

/// Writes the documents of the prefix into the directory, which is made if it is not there.
pub async fn pull(settings: &EtcdSettings, directory: &Path) -> Result<Pulled, PullError> {
    let prefix = settings.keys();
    let connection = Connection::any(settings).await?;
    let listing = connection.list(&prefix, Extent::KeysAndValues).await?;
    let revision = Revision::try_from(listing.revision).unwrap_or(0);
    let stored = Stored::of(listing, &prefix);
    let directory = directory.to_owned();
    let writing = tokio::task::spawn_blocking(move || write(&directory, stored, revision));
    writing.await.map_err(|error| SourceError::Internal(error.to_string()))?
}

fn write(directory: &Path, stored: Stored, revision: Revision) -> Result<Pulled, PullError> {
    let leased = stored.documents.values().filter(|document| document.leased).count();
    let strays = stored.strays;
    let lasting = stored.documents.into_iter().filter(|(_, document)| !document.leased);
    let (program, hands): (Vec<_>, Vec<_>) = lasting
        .map(|(id, document)| (id, document.body))
        .partition(|(id, body)| Owner::of(id, Some(body)).is_some());
    let owned = program.len();
    let documents = joined(hands.into_iter());
    let present = present(directory)?;
    refuse_others(directory, &present, &documents)?;
    let mut written = Vec::new();
    for (id, body) in &documents {
        let same = present.documents.get(id).is_some_and(|raw| *raw.body == **body);
        if !same {
            place(directory, id, body)?;
            written.push(id.clone());
        }
    }
    Ok(Pulled { revision, unchanged: documents.len() - written.len(), written, leased, owned, strays })
}

/// The documents as they are in a directory: the parts of a split list together are one file.
fn joined(keys: impl Iterator<Item = (DocumentId, Vec<u8>)>) -> BTreeMap<DocumentId, Vec<u8>> {
    let mut documents: BTreeMap<DocumentId, Vec<u8>> = BTreeMap::new();
    for (id, body) in keys {
        let whole = documents.entry(owner(&id)).or_default();
        if whole.last().is_some_and(|byte| *byte != b'\n') {
            whole.push(b'\n');
        }
        whole.extend(body);
    }
    documents
}

fn present(directory: &Path) -> Result<DocumentSet, PullError> {
    match directory.try_exists() {
        Ok(true) => Ok(directory::load(directory)?),
        Ok(false) => Ok(DocumentSet::default()),
        Err(error) => Err(failed(directory, error)),
    }
}

fn refuse_others(
    directory: &Path,
    present: &DocumentSet,
    documents: &BTreeMap<DocumentId, Vec<u8>>,
) -> Result<(), PullError> {
    let problems = present.strays.iter().chain(present.ambiguous.values());
    let only_here = present.documents.keys().filter(|id| !documents.contains_key(id));
    let all: Vec<_> = problems
        .map(|problem| format!("`{}` ({})", problem.document(), problem.message))
        .chain(only_here.map(|id| format!("`{id}`, which etcd does not")))
        .collect();
    if all.is_empty() {
        return Ok(());
    }
    let mut what = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(NAMED).filter(|more| *more > 0) {
        what = format!("{what} and {more} more");
    }
    Err(PullError::NotOurs { path: directory.to_owned(), what })
}

/// Writes one document under the file name it has, or under the usual one.
fn place(directory: &Path, id: &DocumentId, body: &[u8]) -> Result<(), PullError> {
    let path = |extension: &str| directory.join(format!("{id}{extension}"));
    let existing = extensions(id.kind)
        .iter()
        .map(|(extension, _)| *extension)
        .find(|extension| path(extension).exists());
    // A `.json` file promises JSON, which the store does not.
    let json = existing == Some(".json") && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let extension = match existing {
        Some(".json") if !json => ".yaml",
        Some(extension) => extension,
        None if id.kind == Kind::List => ".txt",
        None => ".yaml",
    };
    replace(&path(extension), body).map_err(|error| failed(&path(extension), error))?;
    match existing {
        Some(old) if old != extension => {
            fs::remove_file(path(old)).map_err(|error| failed(&path(old), error))
        }
        _ => Ok(()),
    }
}

fn replace(path: &Path, body: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    fs::create_dir_all(folder)?;
    // The dot keeps it from being taken for a document while it is written.
    let beside = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let mut file = File::create(&beside)?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn failed(path: &Path, error: io::Error) -> PullError {
    PullError::Io { path: path.to_owned(), error }
}
