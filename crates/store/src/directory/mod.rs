//! Documents from a directory.
//!
//! Answers: what does the directory say, now and after every change?
//! Owns: when to walk again, and when a change is believed. Never: judges bodies.
//! The kernel's notifications only make it quick; a slow walk that needs none of them makes it sure.

mod layout;
mod scan;

pub(crate) use layout::extensions;

use super::status::SourceStatus;
use super::update::{Shutdown, SourceError, Update, UpdateSender, ended};
use graygate_rules::documents::DocumentSet;
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event};
use scan::{Identity, Scan, Scanner};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// Two walks this far apart must agree before a change is believed, so that half-written files, half-copied
/// folders and a swap in mid-walk are not published. Editors and `cp` are done long before.
const QUIET: Duration = Duration::from_millis(40);
/// A directory that never rests is believed after this many walks all the same.
const RESTLESS: u32 = 10;
/// Shortest and longest wait for the walk that needs no notification.
const RESCAN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// That walk may take one part in so many of the time.
const RESCAN_SHARE: u32 = 50;
/// Shortest and longest rest after any walk, notified or not, and how much longer than the walk it is: a program
/// that writes into the directory without pause must not keep a core busy.
const REST: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
const REST_SHARE: u32 = 4;

/// Where the documents are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirectorySettings {
    pub path: PathBuf,
}

/// Reads the directory once, completely. Blocks; the revision is 1.
pub fn load(path: &Path) -> Result<DocumentSet, SourceError> {
    let scan = Scanner::new(path.to_owned()).scan(SystemTime::now())?;
    Ok(DocumentSet { revision: 1, ..scan.set })
}

/// Publishes the directory now and after every change, until the shutdown.
///
/// The first revision is 1, and each changed set is one more. While the directory is gone the status is down
/// and the last update stays.
pub async fn watch(
    settings: DirectorySettings,
    updates: UpdateSender,
    status: Arc<SourceStatus>,
    shutdown: Shutdown,
) {
    let follower = DirectoryFollower { updates, status, published: None, candidate: None, told: false };
    tokio::select! {
        () = follower.run(settings.path) => {}
        () = ended(shutdown) => {}
    }
}

/// A set that differs from the published one and waits for a second walk to agree.
struct CandidateSet {
    set: DocumentSet,
    seen_at: Instant,
    walks: u32,
}

struct DirectoryFollower {
    updates: UpdateSender,
    status: Arc<SourceStatus>,
    published: Option<Arc<DocumentSet>>,
    candidate: Option<CandidateSet>,
    /// Whether the log already says that the directory is gone.
    told: bool,
}

impl DirectoryFollower {
    async fn run(mut self, path: PathBuf) {
        let (wake, mut woken) = mpsc::channel(1);
        let mut watch = DirectoryWatch::new(path.clone(), wake);
        loop {
            let begun = Instant::now();
            let looked;
            (watch, looked) = match tokio::task::spawn_blocking(move || watch.look()).await {
                Ok(done) => done,
                Err(error) => {
                    tracing::error!(%error, "reading the document directory failed inside; it is no longer followed");
                    self.status.lost();
                    return;
                }
            };
            let again = match looked {
                Ok((scan, new_folders)) => self.consider(scan, begun) || new_folders,
                Err(error) => {
                    self.gone(&error);
                    false
                }
            };
            if again {
                tokio::time::sleep(QUIET).await;
            } else {
                let took = begun.elapsed();
                tokio::time::sleep((took * REST_SHARE).clamp(REST.0, REST.1)).await;
                let wait = (took * RESCAN_SHARE).clamp(RESCAN.0, RESCAN.1);
                let _ = tokio::time::timeout(wait, woken.recv()).await;
            }
        }
    }

    fn gone(&mut self, error: &SourceError) {
        self.status.lost();
        self.candidate = None;
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%error, "the document directory cannot be read; the last documents stay");
        }
    }

    /// Takes what a walk found; true when another walk has to agree first.
    fn consider(&mut self, scan: Scan, begun: Instant) -> bool {
        if self.status.reached(Instant::now()) {
            tracing::info!(documents = scan.set.documents.len(), "the document directory is read");
        }
        self.told = false;
        let Some(published) = &self.published else {
            // Nothing runs yet, so there is nothing a half-written directory could take away.
            self.publish(scan.set, begun);
            return true;
        };
        if published.same_content(&scan.set) {
            self.candidate = None;
            return false;
        }
        let (seen_at, walks) = match self.candidate.take() {
            Some(before) if before.set.same_content(&scan.set) || before.walks >= RESTLESS => {
                self.publish(scan.set, before.seen_at);
                return false;
            }
            Some(before) => (before.seen_at, before.walks + 1),
            None => (begun, 1),
        };
        self.candidate = Some(CandidateSet { set: scan.set, seen_at, walks });
        true
    }

    fn publish(&mut self, set: DocumentSet, seen_at: Instant) {
        let revision = self.published.as_ref().map_or(0, |set| set.revision) + 1;
        tracing::debug!(revision, documents = set.documents.len(), "the documents changed");
        let set = Arc::new(DocumentSet { revision, ..set });
        self.published = Some(set.clone());
        self.status.set_from_cache(false);
        self.updates.send_replace(Some(Update { set, fingerprint: None, seen_at }));
    }
}

/// Looks at the directory, and asks to be woken when something in it moves.
struct DirectoryWatch {
    scanner: Scanner,
    /// `None` where the kernel gives no notifications; the slow walk does it alone then.
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
}

impl DirectoryWatch {
    fn new(path: PathBuf, wake: mpsc::Sender<()>) -> DirectoryWatch {
        let heard = move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !is_reading(&event.kind)) {
                // A full channel already holds the wish to look.
                let _ = wake.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(heard)
            .inspect_err(|error| tracing::warn!(%error, "no notifications of changed files; looking regularly instead"))
            .ok();
        DirectoryWatch { scanner: Scanner::new(path), watcher, watched: BTreeMap::new() }
    }

    /// Walks, and listens to every folder met; also says whether one of them is new to it, because what changed
    /// between the walk and the listening was not heard.
    fn look(mut self) -> (DirectoryWatch, Result<(Scan, bool), SourceError>) {
        let scanned = self.scanner.scan(SystemTime::now());
        let looked = scanned.map(|scan| {
            let new_folders = self.listen(&scan.folders);
            (scan, new_folders)
        });
        (self, looked)
    }

    /// Folder by folder and not recursively: the walk knows where it went, with its limits on links and depth.
    fn listen(&mut self, folders: &BTreeMap<PathBuf, Identity>) -> bool {
        let Some(watcher) = &mut self.watcher else {
            return false;
        };
        let gone = |(path, id): &(&PathBuf, &Identity)| folders.get(*path) != Some(*id);
        for (path, _) in self.watched.iter().filter(gone) {
            // Fails when the kernel already dropped it with the folder.
            let _ = watcher.unwatch(path);
        }
        let watched = &self.watched;
        let (mut new_folders, mut refused) = (false, None);
        for (path, _) in folders.iter().filter(|(path, id)| watched.get(*path) != Some(*id)) {
            match watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => new_folders = true,
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            tracing::warn!(%error, "no notifications from some folders; looking regularly instead");
        }
        self.watched.clone_from(folders);
        new_folders
    }
}

/// Opening and reading, which the walk itself does all the time.
fn is_reading(kind: &EventKind) -> bool {
    use event::{AccessKind, AccessMode};
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
