//! Commits into a directory. Those into etcd need one, and are with the sources' own tests.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use graygate_rules::documents::DocumentId;

use super::*;
use crate::leader::Term;

fn slot(name: &str) -> Slot {
    Slot::Document(DocumentId::parse(name).unwrap())
}

fn directory(files: &[(&str, &str)]) -> (TempDir, DirectoryStore) {
    let root = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let store = DirectoryStore::new(root.path());
    (root, store)
}

async fn seen(store: &DirectoryStore, name: &str) -> Version {
    store.read(&slot(name)).await.unwrap().map_or(Version::NONE, |stored| stored.version)
}

/// Every file below, dots included, with its text.
fn files(root: &Path) -> Vec<(String, String)> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.ends_with(".graygate-commit.lock") {
                let name = path.strip_prefix(root).unwrap().display().to_string();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn texts(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect()
}

#[tokio::test]
async fn several_files_are_written_together() {
    let (root, store) = directory(&[("rules/a.json", "{}"), ("rules/b.yml", "b"), ("lists/l.txt", "x\n")]);
    fs::set_permissions(root.path().join("rules/b.yml"), fs::Permissions::from_mode(0o640)).unwrap();
    let commit = Commit::default()
        .guard(slot("rules/a"), seen(&store, "rules/a").await)
        .guard(slot("rules/new"), Version::NONE)
        .put(slot("rules/a"), "{\"a\": 1}")
        .put(slot("rules/b"), "bb")
        .put(slot("rules/new"), "n")
        .delete(slot("lists/l"));
    let committed = store.commit(commit).await.unwrap();
    let expected = [("rules/a.json", "{\"a\": 1}"), ("rules/b.yml", "bb"), ("rules/new.yaml", "n")];
    assert_eq!(files(root.path()), texts(&expected), "each under the name it had, and nothing beside them");
    assert_eq!(committed.versions.len(), 4);
    assert_eq!(committed.versions[0], seen(&store, "rules/a").await);
    assert_eq!(committed.versions[3], Version::NONE);
    let mode = fs::metadata(root.path().join("rules/b.yml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[tokio::test]
async fn a_guard_that_fails_names_itself_and_nothing_is_written() {
    let (root, store) = directory(&[("rules/a.yaml", "a"), ("rules/b.yaml", "b")]);
    let before = files(root.path());
    let (a, b) = (seen(&store, "rules/a").await, seen(&store, "rules/b").await);
    for (guards, expected) in [
        (vec![("rules/a", b), ("rules/b", b)], vec!["rules/a"]),
        (vec![("rules/a", Version::NONE)], vec!["rules/a"]),
        (vec![("rules/c", a)], vec!["rules/c"]),
        (vec![("rules/a", a), ("rules/b", a), ("rules/c", b)], vec!["rules/b", "rules/c"]),
    ] {
        let mut commit = Commit::default().put(slot("rules/a"), "x").delete(slot("rules/b"));
        for (name, version) in guards {
            commit = commit.guard(slot(name), version);
        }
        match store.commit(commit).await {
            Err(CommitError::Conflict(slots)) => {
                assert_eq!(slots, expected.iter().map(|name| slot(name)).collect::<Vec<_>>());
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(files(root.path()), before);
    }
}

#[tokio::test]
async fn what_a_directory_cannot_hold_is_refused() {
    let (root, store) = directory(&[("rules/two.yaml", "1"), ("rules/two.json", "{}")]);
    let before = files(root.path());
    for (commit, because) in [
        (Commit::default().put(Slot::Record("users/li".into()), "x"), "holds documents and nothing else"),
        (Commit::default().put(slot("rules/a"), "a").put(slot("rules/two"), "x"), "two files of this name"),
    ] {
        let error = store.commit(commit).await.unwrap_err().to_string();
        assert!(error.contains(because), "{error}");
        assert_eq!(files(root.path()), before);
    }
    let elsewhere = Term::Etcd { key: "k".into(), created: 1 };
    let bound = Commit::default().put(slot("rules/a"), "a").bound_to(elsewhere);
    assert!(matches!(store.commit(bound).await, Err(CommitError::TermOver)));
    let many =
        (0..=CHANGE_LIMIT).fold(Commit::default(), |commit, n| commit.put(slot(&format!("rules/{n}")), ""));
    let store = Store::Directory(store);
    assert!(matches!(store.commit(many).await, Err(CommitError::TooLarge(_))));
}

#[tokio::test]
async fn a_link_stays_one() {
    let (root, store) = directory(&[("elsewhere/real.yaml", "old"), ("rules/x.yaml", "")]);
    let link = root.path().join("rules/l.yaml");
    std::os::unix::fs::symlink(root.path().join("elsewhere/real.yaml"), &link).unwrap();
    store.commit(Commit::default().put(slot("rules/l"), "new")).await.unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&link).unwrap(), "new");
}

#[tokio::test]
async fn writers_of_the_same_version_have_one_winner() {
    let (_root, store) = directory(&[("rules/a.yaml", "0")]);
    let before = seen(&store, "rules/a").await;
    let writers: Vec<_> = (1..=20)
        .map(|n| {
            let store = store.clone();
            let commit =
                Commit::default().guard(slot("rules/a"), before).put(slot("rules/a"), n.to_string().as_str());
            tokio::spawn(async move { store.commit(commit).await.is_ok() })
        })
        .collect();
    let mut winners = 0;
    for writer in writers {
        winners += usize::from(writer.await.unwrap());
    }
    assert_eq!(winners, 1);
}
