use crate::sources::following::{Following, SOON};
use crate::support::eventually;
use graygate_rules::documents::DocumentId;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn directory(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(root.path(), path, text);
    }
    root
}

#[tokio::test]
async fn every_kind_of_change_is_followed() {
    let root = directory(&[("rules/a.yaml", "1"), ("rules/b.yaml", "1")]);
    let following = Following::directory(root.path());
    following.says("rules/a", "1").await;
    assert_eq!(following.revision(), 1);
    let b = DocumentId::parse("rules/b").unwrap();
    let body = |following: &Following| {
        following.updates.borrow().as_ref().unwrap().set.documents.get(&b).unwrap().clone()
    };
    let before = body(&following);

    let begun = Instant::now();
    write(root.path(), "rules/a.yaml", "2");
    following.says("rules/a", "2").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
    assert_eq!(following.revision(), 2);
    assert!(Arc::ptr_eq(&before, &body(&following)), "what did not change keeps its body");

    // Editors write beside and rename over.
    write(root.path(), "rules/.a.yaml.tmp", "3");
    fs::rename(root.path().join("rules/.a.yaml.tmp"), root.path().join("rules/a.yaml")).unwrap();
    following.says("rules/a", "3").await;
    write(root.path(), "lists/pilot/p1.txt", "x\n");
    following.says("lists/pilot/p1", "x\n").await;
    write(root.path(), "lists/pilot/p1.txt", "y\n");
    following.says("lists/pilot/p1", "y\n").await;
    fs::remove_file(root.path().join("rules/b.yaml")).unwrap();
    following.lacks("rules/b").await;
    assert_eq!(following.names(), ["rules/a", "lists/pilot/p1"]);
    following.stop().await;
}

#[tokio::test]
async fn strays_and_double_names_come_and_go() {
    let root = directory(&[("rules/a.yaml", "1")]);
    let following = Following::directory(root.path());
    following.says("rules/a", "1").await;
    let problems = || {
        let set = following.updates.borrow().as_ref().unwrap().set.clone();
        (set.strays.len(), set.ambiguous.len(), set.documents.len())
    };
    write(root.path(), "notes.txt", "");
    write(root.path(), "rules/a.json", "{}");
    eventually(SOON, || problems() == (1, 1, 0)).await;
    fs::remove_file(root.path().join("notes.txt")).unwrap();
    fs::remove_file(root.path().join("rules/a.json")).unwrap();
    eventually(SOON, || problems() == (0, 0, 1)).await;
}

#[tokio::test]
async fn a_configuration_map_swap_is_one_change() {
    // What Kubernetes mounts: links to `..data`, which is a link to the newest folder and is swapped in one rename.
    let root = directory(&[
        ("..one/rules/a.yaml", "1"),
        ("..one/rules/b.yaml", "1"),
        ("..two/rules/a.yaml", "2"),
        ("..two/rules/b.yaml", "2"),
        ("..two/rules/c.yaml", "2"),
    ]);
    symlink("..one", root.path().join("..data")).unwrap();
    symlink("..data/rules", root.path().join("rules")).unwrap();
    let following = Following::directory(root.path());
    following.says("rules/b", "1").await;
    let mut updates = following.updates.clone();
    updates.mark_unchanged();
    symlink("..two", root.path().join("..data_tmp")).unwrap();
    fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
    fs::remove_dir_all(root.path().join("..one")).unwrap();
    tokio::time::timeout(SOON, updates.changed()).await.unwrap().unwrap();
    for name in ["rules/a", "rules/b", "rules/c"] {
        assert_eq!(following.text(name).as_deref(), Some("2"), "the swap was seen in halves");
    }
    assert!(updates.borrow().as_ref().unwrap().set.strays.is_empty());
    // The new folder is listened to as well.
    write(root.path(), "..two/rules/a.yaml", "3");
    following.says("rules/a", "3").await;
}

#[tokio::test]
async fn a_vanished_directory_changes_nothing_until_it_is_back() {
    let root = directory(&[("documents/rules/a.yaml", "1")]);
    let documents = root.path().join("documents");
    let following = Following::directory(&documents);
    following.says("rules/a", "1").await;
    fs::rename(&documents, root.path().join("elsewhere")).unwrap();
    following.is_up(false).await;
    assert_eq!(following.text("rules/a").as_deref(), Some("1"));
    assert_eq!(following.revision(), 1);
    write(root.path(), "next/rules/a.yaml", "2");
    fs::rename(root.path().join("next"), &documents).unwrap();
    following.says("rules/a", "2").await;
    following.is_up(true).await;
    write(&documents, "rules/b.yaml", "3");
    following.says("rules/b", "3").await;
}

#[tokio::test]
async fn a_directory_that_appears_later_is_found() {
    let root = tempfile::tempdir().unwrap();
    let documents = root.path().join("documents");
    let following = Following::directory(&documents);
    eventually(SOON, || following.status.stale_for(Instant::now()) > Duration::from_millis(50)).await;
    assert_eq!(following.revision(), 0);
    write(&documents, "rules/a.yaml", "1");
    following.says("rules/a", "1").await;
}
