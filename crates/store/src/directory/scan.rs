//! One complete walk through a document directory.
//!
//! Answers: which documents does the directory hold at this moment?
//! Owns: the walk, its limits, and the memory of unchanged files, which keep their bodies from walk to walk.
//! Never: waits for changes (see `mod.rs`) or decides what a path means (see `layout.rs`).

use super::layout::{Place, place};
use crate::strays::{capped, stray};
use crate::update::SourceError;
use graygate_rules::documents::{DocumentId, DocumentSet, Format, Raw};
use graygate_rules::vocab::Problem;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Largest document that is not a list; the largest seen in the field are far below a tenth of it.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// Largest file of a list: ten million members of 25 bytes.
const LIST_LIMIT: u64 = 256 << 20;
/// Deepest folder that is walked. Documents live three deep; below that there are only strays to name.
const DEPTH_LIMIT: usize = 16;
/// Most files and folders of one walk, so that a link to `/` ends in an error and not in a walk without end.
const FILE_LIMIT: usize = 1_000_000;
/// A file changed this recently may change again within the same tick of the file system's clock without any
/// visible difference, so it is read again instead of believed. Covers file systems that count in whole seconds.
const RACY: Duration = Duration::from_secs(2);

/// A folder or file, whatever its name: device and inode.
pub(super) type Identity = (u64, u64);

/// What one walk found.
pub(super) struct Scan {
    /// Complete but for the revision, which is the watcher's to give.
    pub set: DocumentSet,
    /// Every folder that was entered, for those who want to hear of changes in it.
    pub folders: BTreeMap<PathBuf, Identity>,
}

/// Walks a directory again and again, reading only what changed.
pub(super) struct Scanner {
    root: PathBuf,
    known: HashMap<String, Known>,
}

/// A file as it was last read.
struct Known {
    stamp: Stamp,
    /// Whether an equal stamp proves equal bytes.
    settled: bool,
    id: DocumentId,
    raw: Arc<Raw>,
}

/// Everything a change of the bytes would change, short of the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    identity: Identity,
}

impl Stamp {
    fn of(meta: &Metadata) -> Stamp {
        Stamp {
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            size: meta.size(),
            identity: identity(meta),
        }
    }

    /// Whether the last change lies far enough back for the stamp to be trusted.
    fn settled(&self, now: SystemTime) -> bool {
        let since = now.checked_sub(RACY).and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let Some(limit) = since.and_then(|since| i64::try_from(since.as_secs()).ok()) else {
            return false;
        };
        self.changed.0 < limit && self.modified.0 < limit
    }
}

pub(super) fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

impl Scanner {
    pub fn new(root: PathBuf) -> Scanner {
        Scanner { root, known: HashMap::new() }
    }

    /// Walks the whole directory. `now` is the wall clock, which file times are compared with.
    ///
    /// Fails only when the directory itself cannot be read; everything inside is a document or a problem.
    pub fn scan(&mut self, now: SystemTime) -> Result<Scan, SourceError> {
        let failed = |error| SourceError::Io { path: self.root.clone(), error };
        let meta = fs::metadata(&self.root).map_err(failed)?;
        let listing = fs::read_dir(&self.root).map_err(failed)?;
        let mut walk = Walk {
            before: &self.known,
            now,
            known: HashMap::new(),
            candidates: BTreeMap::new(),
            strays: Vec::new(),
            folders: BTreeMap::new(),
            files: 0,
            ancestors: vec![identity(&meta)],
        };
        walk.folders.insert(self.root.clone(), identity(&meta));
        walk.entries(&self.root, "", listing);
        if walk.files > FILE_LIMIT {
            return Err(SourceError::TooManyFiles { path: self.root.clone(), limit: FILE_LIMIT });
        }
        let Walk { known, candidates, strays, folders, .. } = walk;
        self.known = known;
        Ok(Scan { set: assemble(candidates, strays), folders })
    }
}

/// One walk under way.
struct Walk<'a> {
    before: &'a HashMap<String, Known>,
    now: SystemTime,
    known: HashMap<String, Known>,
    candidates: BTreeMap<DocumentId, Vec<Candidate>>,
    strays: Vec<Problem>,
    folders: BTreeMap<PathBuf, Identity>,
    files: usize,
    /// The folders between the root and here; meeting one of them again is a loop of links.
    ancestors: Vec<Identity>,
}

/// One file that could be the document of its identity.
struct Candidate {
    path: String,
    content: Result<Arc<Raw>, Problem>,
}

impl Walk<'_> {
    fn entries(&mut self, folder: &Path, relative: &str, listing: fs::ReadDir) {
        for entry in listing {
            let name = match entry {
                Ok(entry) => entry.file_name(),
                Err(error) => return self.unreadable_folder(relative, &error),
            };
            let text = name.to_string_lossy();
            if text.starts_with('.') {
                continue;
            }
            self.files += 1;
            if self.files > FILE_LIMIT {
                return;
            }
            let below = match relative.is_empty() {
                true => text.into_owned(),
                false => format!("{relative}/{text}"),
            };
            self.entry(&folder.join(&name), &below);
        }
    }

    fn entry(&mut self, path: &Path, relative: &str) {
        // `metadata` follows links, which is how mounted configuration maps publish their files.
        match fs::metadata(path) {
            Ok(meta) if meta.is_dir() => self.folder(path, relative, &meta),
            Ok(meta) if meta.is_file() => self.file(path, relative, &meta),
            // A pipe would block the reader for ever, so what is no file is never opened.
            Ok(_) => self.strays.push(stray(relative, "not a regular file", "")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_link(path) => {
                // Removed since the folder was listed.
            }
            Err(error) => self.broken(relative, describe(&error)),
        }
    }

    fn folder(&mut self, path: &Path, relative: &str, meta: &Metadata) {
        let identity = identity(meta);
        if self.ancestors.contains(&identity) {
            return self.strays.push(stray(
                relative,
                "a link that leads back to a folder above it",
                "remove it",
            ));
        }
        if self.ancestors.len() > DEPTH_LIMIT {
            return self.strays.push(stray(
                relative,
                "a folder nested too deep",
                "documents live at most three deep",
            ));
        }
        self.folders.insert(path.to_owned(), identity);
        match fs::read_dir(path) {
            Ok(listing) => {
                self.ancestors.push(identity);
                self.entries(path, relative, listing);
                self.ancestors.pop();
            }
            Err(error) => self.unreadable_folder(relative, &error),
        }
    }

    /// What was known below a folder that cannot be listed stays: not being allowed to look is not a deletion.
    fn unreadable_folder(&mut self, relative: &str, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        self.strays.push(stray(relative, format!("the folder cannot be read: {}", describe(error)), ""));
        let below = format!("{relative}/");
        for (path, known) in self.before.iter().filter(|(path, _)| path.starts_with(&below)) {
            if self.known.contains_key(path) {
                continue;
            }
            self.candidates
                .entry(known.id.clone())
                .or_default()
                .push(Candidate { path: path.clone(), content: Ok(known.raw.clone()) });
            self.known.insert(
                path.clone(),
                Known { id: known.id.clone(), raw: known.raw.clone(), settled: false, ..*known },
            );
        }
    }

    fn file(&mut self, path: &Path, relative: &str, meta: &Metadata) {
        let (id, format) = match place(relative) {
            Place::Document(id, format) => (id, format),
            Place::Stray(problem) => return self.strays.push(problem),
        };
        let stamp = Stamp::of(meta);
        let before = self.before.get(relative);
        let content = match before {
            Some(known) if known.settled && known.stamp == stamp => Ok((known.raw.clone(), true)),
            _ => self.read(path, format, stamp).map(|(raw, settled)| match before {
                Some(known) if *known.raw == raw => (known.raw.clone(), settled),
                _ => (Arc::new(raw), settled),
            }),
        };
        match content {
            Ok((raw, settled)) => {
                self.known
                    .insert(relative.to_owned(), Known { stamp, settled, id: id.clone(), raw: raw.clone() });
                self.candidate(id, relative, Ok(raw));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.broken(relative, describe(&error)),
        }
    }

    /// The bytes, and whether the stamp stands for them.
    fn read(&self, path: &Path, format: Format, stamp: Stamp) -> io::Result<(Raw, bool)> {
        let limit = match format {
            Format::List => LIST_LIMIT,
            Format::Yaml | Format::Json => DOCUMENT_LIMIT,
        };
        let file = File::open(path)?;
        let mut body = Vec::with_capacity(usize::try_from(stamp.size.min(limit)).unwrap_or(0));
        (&file).take(limit + 1).read_to_end(&mut body)?;
        if body.len() as u64 > limit {
            let message = format!("larger than {} MiB", limit >> 20);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        // A writer at work shows as a stamp that moved while the bytes were read.
        let still = Stamp::of(&file.metadata()?) == stamp;
        let body = body.into();
        Ok((Raw { body, format }, still && stamp.settled(self.now)))
    }

    /// A file that is there and cannot be had: a document is held back, anything else is a stray.
    fn broken(&mut self, relative: &str, message: String) {
        match place(relative) {
            Place::Document(id, _) => {
                let problem = Problem::at(&id, "", format!("`{relative}` cannot be read: {message}"), "");
                self.candidate(id, relative, Err(problem));
            }
            Place::Stray(_) => {
                let message = format!("cannot be read: {message}");
                self.strays.push(stray(relative, message, ""));
            }
        }
    }

    fn candidate(&mut self, id: DocumentId, path: &str, content: Result<Arc<Raw>, Problem>) {
        let path = path.to_owned();
        self.candidates.entry(id).or_default().push(Candidate { path, content });
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// The operating system's words, without its numbers, in the style of problems.
fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

/// One document an identity: a single good file is taken, anything else is held back.
fn assemble(candidates: BTreeMap<DocumentId, Vec<Candidate>>, strays: Vec<Problem>) -> DocumentSet {
    let mut set = DocumentSet { strays: capped(strays), ..DocumentSet::default() };
    for (id, mut files) in candidates {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if files.len() > 1 {
            let problem = two_names(&id, &files);
            set.ambiguous.insert(id, problem);
            continue;
        }
        match files.pop().map(|file| file.content) {
            Some(Ok(raw)) => drop(set.documents.insert(id, raw)),
            Some(Err(problem)) => drop(set.ambiguous.insert(id, problem)),
            None => {}
        }
    }
    set
}

fn two_names(id: &DocumentId, files: &[Candidate]) -> Problem {
    let names: Vec<_> = files.iter().map(|file| format!("`{}`", file.path)).collect();
    let message = format!("one document under {} file names: {}", files.len(), names.join(", "));
    Problem::at(id, "", message, "keep one of them")
}
