//! A directory of documents, written as well as read.
//!
//! Answers: which file is this document, what is in it, and how is it replaced without a half-written moment?
//! Owns: paths, temporary files and renames. Never: when to write (the keeper does, with its journal).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// A document's bytes, hashed.
pub(super) type TextHash = [u8; 32];

/// The extensions a document of a kind may have; the first is that of a new one.
fn extensions(name: &str) -> &'static [&'static str] {
    match name.starts_with("lists/") {
        true => &["txt"],
        false => &["yaml", "yml", "json"],
    }
}

pub(super) fn hash(bytes: &[u8]) -> TextHash {
    Sha256::digest(bytes).into()
}

/// The directory.
#[derive(Clone, Debug)]
pub(super) struct Files {
    root: PathBuf,
}

/// A new text that waits beside its file under a name no walk takes for a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Staged {
    pub target: PathBuf,
    /// `None`: the file is to be removed.
    pub temporary: Option<PathBuf>,
    pub before: Option<TextHash>,
    pub after: Option<TextHash>,
}

/// What became of a staged text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Applied {
    Done,
    /// The file is neither what it was nor what it was to be: another one wrote it, and keeps it.
    Foreign,
}

impl Files {
    pub fn new(root: PathBuf) -> Files {
        Files { root }
    }

    /// The file of a document; the first extension's where there is none yet. A name with a step upwards has none.
    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let odd = name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
        if odd || name.contains(['\\', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("`{name}` is no document's name"),
            ));
        }
        let mut first = None;
        for extension in extensions(name) {
            let path = self.root.join(format!("{name}.{extension}"));
            if path.symlink_metadata().is_ok() {
                // A link's target is written, never the link replaced by a file.
                return fs::canonicalize(&path);
            }
            first = first.or(Some(path));
        }
        first.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no extension"))
    }

    pub fn read(&self, name: &str) -> io::Result<Option<Bytes>> {
        read(&self.path(name)?)
    }

    /// Writes the new text beside the file, so that replacing it later is one rename.
    pub fn stage(&self, name: &str, text: Option<&Bytes>, turn: u64) -> io::Result<Staged> {
        let target = self.path(name)?;
        let before = read(&target)?.map(|bytes| hash(&bytes));
        let Some(text) = text else {
            return Ok(Staged { target, temporary: None, before, after: None });
        };
        let folder = target.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&folder)?;
        let file = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let temporary = folder.join(format!(".{file}.{turn}.new"));
        let mut out = File::create(&temporary)?;
        out.write_all(text)?;
        if let Ok(old) = fs::metadata(&target) {
            out.set_permissions(old.permissions())?;
        }
        out.sync_all()?;
        Ok(Staged { target, temporary: Some(temporary), before, after: Some(hash(text)) })
    }
}

impl Staged {
    /// Puts the text in its place; safe to repeat after a crash at any point.
    pub fn apply(&self) -> io::Result<Applied> {
        let found = read(&self.target)?.map(|bytes| hash(&bytes));
        if found == self.after {
            self.discard();
            return Ok(Applied::Done);
        }
        if found != self.before {
            self.discard();
            return Ok(Applied::Foreign);
        }
        match &self.temporary {
            Some(temporary) => fs::rename(temporary, &self.target)?,
            None => fs::remove_file(&self.target)?,
        }
        if let Some(folder) = self.target.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(Applied::Done)
    }

    /// Takes the temporary file away; one that is gone already is as good.
    pub fn discard(&self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Bytes>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_replaces_another_once_and_never_a_stranger() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::new(folder.path().to_owned());
        let first = files.stage("rules/x", Some(&Bytes::from("a: 1")), 1).unwrap();
        assert_eq!(files.read("rules/x").unwrap(), None, "staged is not written");
        assert_eq!(first.apply().unwrap(), Applied::Done);
        assert_eq!(first.apply().unwrap(), Applied::Done, "again after a crash");
        assert_eq!(files.read("rules/x").unwrap().unwrap(), "a: 1");
        let second = files.stage("rules/x", Some(&Bytes::from("a: 2")), 2).unwrap();
        fs::write(folder.path().join("rules/x.yaml"), "by hand").unwrap();
        assert_eq!(second.apply().unwrap(), Applied::Foreign);
        assert_eq!(files.read("rules/x").unwrap().unwrap(), "by hand");
        let left: Vec<_> = fs::read_dir(folder.path().join("rules")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left behind");
    }

    #[test]
    fn files_keep_their_extension_and_names_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(folder.path().join("rules/x.json"), "{}").unwrap();
        let files = Files::new(folder.path().to_owned());
        files.stage("rules/x", Some(&Bytes::from("{\"a\": 1}")), 1).unwrap().apply().unwrap();
        assert!(folder.path().join("rules/x.json").is_file());
        assert!(!folder.path().join("rules/x.yaml").exists());
        for name in ["rules/../../etc/passwd", "../x", "rules//x", "rules/.x"] {
            assert!(files.read(name).is_err(), "{name}");
        }
    }
}
