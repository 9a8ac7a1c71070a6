//! Files that documents name, such as the authorities of an upstream, and those that decide what is believed: whether
//! they have changed since they were read.
//!
//! Looked at once a second, as the certificates of the listeners are, and for the same reasons.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A change has to rest this long: a certificate and its key are written one after the other.
const QUIET: Duration = Duration::from_millis(200);

/// What tells a changed file: its length, and when and as which file it was written.
pub(super) type Mark = Option<(u64, Option<SystemTime>, u64)>;

/// The files that were read for what runs.
#[derive(Default)]
pub struct Files(Mutex<BTreeMap<PathBuf, Mark>>);

impl Files {
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Before reading: a change meanwhile is one more change.
        self.0.lock().insert(path.to_owned(), mark(path));
        std::fs::read(path)
    }

    /// Waits for changes of a file that is read elsewhere, if it has changed at all.
    pub(super) fn watch(&self, path: &Path) -> Mark {
        let mark = mark(path);
        self.0.lock().insert(path.to_owned(), mark);
        mark
    }

    /// Returns once one of them has changed, and has rested since.
    pub async fn changed(&self) {
        let read = self.0.lock().clone();
        if read.is_empty() {
            return std::future::pending().await;
        }
        let look = || read.keys().map(|path| mark(path)).collect::<Vec<_>>();
        let known: Vec<Mark> = read.values().copied().collect();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let seen = look();
            if seen != known {
                tokio::time::sleep(QUIET).await;
                if look() == seen {
                    return;
                }
            }
        }
    }
}

/// Behind links; a file that is not there has none.
fn mark(path: &Path) -> Mark {
    let file = std::fs::metadata(path).ok()?;
    Some((file.len(), file.modified().ok(), file.ino()))
}
