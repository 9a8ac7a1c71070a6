//! Files that the process file names and requests are decided by: keys of testers' words, the database of places.
//!
//! Answers: what is believed of requests now? Each file is read again when it changes; one that is broken then is a
//! problem, and what was read last stays in force. Never: decides when to look; `files` says that something has changed.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{Files, Mark};
use graygate_rules::decide::{Overrides, Places, Trust};
use graygate_rules::vocab::{Place, Problem};

use crate::config::{BelievedFiles, read_keys, read_places};

/// What is believed, with the files it comes from.
pub struct Beliefs {
    /// The process file, for problems.
    document: String,
    trust: Arc<Trust>,
    keys: Option<Watched>,
    places: Option<Watched>,
}

/// A file, as it was when it was last read.
struct Watched {
    path: PathBuf,
    field: &'static str,
    mark: Mark,
    problem: Option<String>,
}

impl Watched {
    fn new(path: PathBuf, field: &'static str) -> Watched {
        Watched { path, field, mark: None, problem: None }
    }

    /// What is in the file now, where that is not what was read last.
    fn read<T>(&mut self, files: &Files, read: impl FnOnce(Vec<u8>) -> Result<T, String>) -> Option<T> {
        let mark = files.watch(&self.path);
        if mark == self.mark && mark.is_some() {
            return None;
        }
        self.mark = mark;
        let found =
            std::fs::read(&self.path).map_err(|error| format!("cannot be read: {error}")).and_then(read);
        match found {
            Ok(found) => {
                self.problem = None;
                Some(found)
            }
            Err(why) => {
                self.problem = Some(format!("`{}`: {why}", self.path.display()));
                None
            }
        }
    }
}

impl Beliefs {
    /// `trust` holds what was read when the process file was.
    pub fn new(trust: Trust, files: BelievedFiles) -> Beliefs {
        Beliefs {
            document: files.document,
            trust: Arc::new(trust),
            keys: files.keys.map(|path| Watched::new(path, "overrides.secret_file")),
            places: files.places.map(|path| Watched::new(path, "geo.database")),
        }
    }

    /// What is believed from now on, and what is wrong with the files.
    pub fn read(&mut self, files: &Files) -> (Arc<Trust>, Vec<Problem>) {
        let keys: Option<Overrides> = self.keys.as_mut().and_then(|file| file.read(files, read_keys));
        let places: Option<Places> = self.places.as_mut().and_then(|file| file.read(files, read_places));
        if keys.is_some() || places.is_some() {
            let before = Trust::clone(&self.trust);
            self.trust = Arc::new(Trust {
                overrides: keys.unwrap_or(before.overrides),
                places: places.map(Arc::new).or(before.places),
                ..before
            });
        }
        let watched = self.keys.iter().chain(&self.places);
        let problems = watched.filter_map(|file| {
            let place = Place::Settings(self.document.clone());
            Some(Problem::at(place, file.field, file.problem.clone()?, "what was read last stays in force"))
        });
        (self.trust.clone(), problems.collect())
    }
}
