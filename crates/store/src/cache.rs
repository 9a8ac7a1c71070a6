//! The last good documents on disk, for a start without a source.
//!
//! Answers: what ran before this process began?
//! Owns: one file, its format and its checksum. Never: decides what is good; callers store a set that ran.
//! A file is believed as a whole or not at all: it is replaced in one rename, and one that is torn or corrupt is
//! put aside.
//!
//! The file: `graygate-cache 1`, a line with checksum and length, then the payload: a line with revision, count and
//! origin, and for each document a line with its format, length and identity, its bytes, and a line's end.

use super::behind::behind_requests;
use super::update::{Shutdown, ended};
use graygate_rules::documents::{DocumentId, DocumentSet, Documents, Format, Raw};
use graygate_rules::vocab::Revision;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const MAGIC: &str = "graygate-cache";
const VERSION: u32 = 1;
const FILE: &str = "documents.cache";
/// Corrupt files that are kept for a look; the next one takes the last's place.
const CORRUPT_KEPT: u32 = 5;
/// Longest line outside of bodies: two names, three numbers, an origin.
const LINE_LIMIT: u64 = 4 << 10;
/// Largest file that is read: far above ten million list members.
const CACHE_LIMIT: u64 = 4 << 30;
/// Buffer of the sequential reads and writes.
const BUFFER: usize = 1 << 18;
/// Between two writes: at least this, and so many times as long as the last one took, so that frequent changes to
/// big sets do not keep the disk busy.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_SHARE: u32 = 20;

/// What is kept: the documents that ran, at the revision they were of. Cheap to clone.
#[derive(Clone, PartialEq, Debug)]
pub struct Good {
    pub revision: Revision,
    pub documents: Documents,
}

/// Why the cache cannot be read or written.
#[derive(thiserror::Error, Debug)]
pub enum CacheError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{}: the cache has format {found}, and this program reads format {VERSION} only", path.display())]
    Format { path: PathBuf, found: String },
}

/// The cache directory of one source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    directory: PathBuf,
    origin: String,
}

/// Why a file is not believed.
enum Fault {
    Io(io::Error),
    Format(String),
    Corrupt(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        match error.kind() {
            // The file ends before it says it does, or a line is not text: torn or overwritten.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => Fault::Corrupt(error.to_string()),
            _ => Fault::Io(error),
        }
    }
}

impl Cache {
    /// A cache in this directory. `origin` names what the documents are of (a prefix, not an endpoint): a cache of
    /// something else is not loaded.
    pub fn new(directory: impl Into<PathBuf>, origin: &str) -> Cache {
        Cache { directory: directory.into(), origin: origin.replace(char::is_whitespace, " ") }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Whether documents could be stored here: creates the directory and writes into it. Blocks.
    pub fn check(&self) -> Result<(), CacheError> {
        fs::create_dir_all(&self.directory).map_err(|error| self.failed(error))?;
        let probe = self.directory.join(format!(".probe-{}", std::process::id()));
        File::create(&probe).map_err(|error| self.failed(error))?;
        fs::remove_file(&probe).map_err(|error| self.failed(error))
    }

    /// What was stored last. `None` when nothing was, when it is of another origin, or when the file was torn or
    /// corrupt and has been put aside. Blocks.
    pub fn load(&self) -> Result<Option<DocumentSet>, CacheError> {
        self.sweep();
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        match read(file, &self.origin) {
            Ok(found) => Ok(found),
            Err(Fault::Io(error)) => Err(self.failed(error)),
            Err(Fault::Format(found)) => Err(CacheError::Format { path, found }),
            Err(Fault::Corrupt(reason)) => {
                let aside = self.put_aside()?;
                tracing::error!(file = %path.display(), aside = %aside.display(), reason, "the cache is corrupt; it was put aside and is not used");
                Ok(None)
            }
        }
    }

    /// Stores documents in place of what was stored before, durably. Blocks.
    pub fn store(&self, good: &Good) -> Result<(), CacheError> {
        self.replace(good).map_err(|error| self.failed(error))
    }

    fn replace(&self, good: &Good) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        let beside = self.directory.join(format!(".{FILE}.{}", std::process::id()));
        let written = write(&beside, good, &self.origin).and_then(|()| fs::rename(&beside, self.path()));
        if written.is_err() {
            // Whatever happened to it, half a file is of no use.
            let _ = fs::remove_file(&beside);
        }
        written?;
        // The rename itself lasts only once the directory is on disk.
        File::open(&self.directory)?.sync_all()
    }

    /// Removes what processes left behind that died while writing. One that still writes fails once for it, which
    /// costs nothing: it is being replaced by the caller.
    fn sweep(&self) {
        let unfinished = format!(".{FILE}.");
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&unfinished) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn put_aside(&self) -> Result<PathBuf, CacheError> {
        let numbered = |n| self.directory.join(format!("{FILE}.corrupt-{n}"));
        let free = (1..CORRUPT_KEPT).find(|n| !numbered(*n).exists());
        let aside = numbered(free.unwrap_or(CORRUPT_KEPT));
        fs::rename(self.path(), &aside).map_err(|error| self.failed(error))?;
        Ok(aside)
    }

    fn failed(&self, error: io::Error) -> CacheError {
        CacheError::Io { path: self.path(), error }
    }
}

/// Stores the newest of what is handed over, one at a time and with pauses, until the shutdown; what came last
/// before it is still stored. Requests go before the writing.
pub async fn keep(cache: Cache, mut good: watch::Receiver<Option<Good>>, shutdown: Shutdown) {
    let (mut ending, mut failing) = (false, false);
    while !ending {
        ending = tokio::select! {
            changed = good.changed() => changed.is_err(),
            () = ended(shutdown.clone()) => true,
        };
        // A sender that is gone cannot say whether its last word was heard, so that one is stored once more.
        let unheard = !ending || good.has_changed().unwrap_or(true);
        let newest = good.borrow_and_update().clone().filter(|_| unheard);
        let Some(newest) = newest else { continue };
        let began = Instant::now();
        let writer = cache.clone();
        let stored = behind_requests(move || writer.store(&newest)).await;
        tell(stored, &mut failing);
        let pause = PAUSE.max(began.elapsed() * PAUSE_SHARE);
        let _ = tokio::time::timeout(pause, ended(shutdown.clone())).await;
    }
}

/// One line when storing begins to fail and one when it works again.
fn tell(stored: Result<Result<(), CacheError>, tokio::task::JoinError>, failing: &mut bool) {
    let error = match stored {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match &error {
        Some(error) if !*failing => tracing::warn!(
            error,
            "the documents cannot be cached; a start without their source would find old ones"
        ),
        None if *failing => tracing::info!("the documents are cached again"),
        _ => {}
    }
    *failing = error.is_some();
}

fn write(path: &Path, good: &Good, origin: &str) -> io::Result<()> {
    let mut sum = Sum::default();
    payload(&mut sum, good, origin)?;
    let file = File::create(path)?;
    let mut out = BufWriter::with_capacity(BUFFER, &file);
    writeln!(out, "{MAGIC} {VERSION}")?;
    writeln!(out, "{:08x} {}", sum.crc.clone().finalize(), sum.length)?;
    payload(&mut out, good, origin)?;
    out.flush()?;
    drop(out);
    file.sync_all()
}

fn payload(out: &mut impl Write, good: &Good, origin: &str) -> io::Result<()> {
    writeln!(out, "{} {} {origin}", good.revision, good.documents.len())?;
    for (id, raw) in good.documents.iter() {
        writeln!(out, "{} {} {id}", word(raw.format), raw.body.len())?;
        out.write_all(&raw.body)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn word(format: Format) -> &'static str {
    match format {
        Format::Yaml => "yaml",
        Format::Json => "json",
        Format::List => "list",
    }
}

fn format(word: &str) -> Option<Format> {
    [Format::Yaml, Format::Json, Format::List].into_iter().find(|format| self::word(*format) == word)
}

/// Checksum and length of what is written to it, so that the head can be written before the payload.
#[derive(Default)]
struct Sum {
    crc: crc32fast::Hasher,
    length: u64,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that sums what passes through it.
struct Summed<R> {
    inner: R,
    sum: Sum,
}

impl<R: BufRead> Summed<R> {
    fn line(&mut self) -> io::Result<String> {
        let line = line(&mut self.inner)?;
        self.sum.write_all(line.as_bytes())?;
        self.sum.write_all(b"\n")?;
        Ok(line)
    }

    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        // The length was not checked yet, so it must not decide how much memory is taken.
        let mut bytes = Vec::with_capacity(usize::try_from(length.min(BUFFER as u64)).unwrap_or(0));
        (&mut self.inner).take(length).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.sum.write_all(&bytes)?;
        Ok(bytes)
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_LIMIT).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn corrupt(what: &str) -> Fault {
    Fault::Corrupt(what.to_owned())
}

fn read(file: File, origin: &str) -> Result<Option<DocumentSet>, Fault> {
    let size = file.metadata()?.len();
    if size > CACHE_LIMIT {
        return Err(corrupt("larger than any cache"));
    }
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let first = line(&mut reader)?;
    match first.split_once(' ') {
        Some((MAGIC, version)) if version == VERSION.to_string() => {}
        Some((MAGIC, version)) if version.parse::<u32>().is_ok() => {
            return Err(Fault::Format(version.to_owned()));
        }
        _ => return Err(corrupt("it does not begin like a cache")),
    }
    let head = line(&mut reader)?;
    let numbers = head
        .split_once(' ')
        .and_then(|(crc, length)| Some((u32::from_str_radix(crc, 16).ok()?, length.parse::<u64>().ok()?)));
    let (crc, length) = numbers.ok_or_else(|| corrupt("its head is damaged"))?;
    let mut payload = Summed { inner: reader.take(length), sum: Sum::default() };
    let (set, of) = documents(&mut payload)?;
    let Summed { inner, sum } = payload;
    if sum.length != length || sum.crc.finalize() != crc {
        return Err(corrupt("its checksum does not match"));
    }
    if inner.into_inner().read(&mut [0])? > 0 {
        return Err(corrupt("it goes on behind its end"));
    }
    if of != origin {
        tracing::warn!(of, origin, "the cache is of another source and is not used");
        return Ok(None);
    }
    Ok(Some(set))
}

/// The documents, and what they are of.
fn documents(payload: &mut Summed<impl BufRead>) -> Result<(DocumentSet, String), Fault> {
    let first = payload.line()?;
    let mut first = first.splitn(3, ' ');
    let revision = first.next().and_then(|text| text.parse::<Revision>().ok());
    let count = first.next().and_then(|text| text.parse::<usize>().ok());
    let (Some(revision), Some(count), Some(of)) = (revision, count, first.next()) else {
        return Err(corrupt("its payload's head is damaged"));
    };
    let mut set = DocumentSet { revision, ..DocumentSet::default() };
    for _ in 0..count {
        let (id, raw) = document(payload)?;
        set.documents.insert(id, Arc::new(raw));
    }
    match set.documents.len() == count {
        true => Ok((set, of.to_owned())),
        false => Err(corrupt("it holds a document twice")),
    }
}

fn document(payload: &mut Summed<impl BufRead>) -> Result<(DocumentId, Raw), Fault> {
    let head = payload.line()?;
    let mut head = head.splitn(3, ' ');
    let format = head.next().and_then(format);
    let length = head.next().and_then(|text| text.parse().ok());
    let id = head.next().and_then(DocumentId::parse);
    let (Some(format), Some(length), Some(id)) = (format, length, id) else {
        return Err(corrupt("a document's head is damaged"));
    };
    let body = payload.bytes(length)?.into();
    match payload.bytes(1)?.as_slice() {
        b"\n" => Ok((id, Raw { body, format })),
        _ => Err(corrupt("a document's length is wrong")),
    }
}

#[cfg(test)]
mod tests;
