use crate::sources::following::{Following, SOON};
use crate::support::etcd::{Etcd, key};
use crate::support::eventually;
use etcd_client::PutOptions;
use graygate_rules::documents::DocumentSet;
use graygate_store::push::{Plan, PushError, Surplus, compare, pull, write};
use graygate_store::{directory, etcd};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn file(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn documents(files: &[(&str, &str)]) -> (TempDir, DocumentSet) {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        file(root.path(), path, text);
    }
    let set = directory::load(root.path()).unwrap();
    (root, set)
}

async fn planned(etcd: &Etcd, set: &DocumentSet, surplus: Surplus) -> Plan {
    compare(&etcd.settings(), set, surplus).await.unwrap()
}

/// Registers an instance the way instances do: under a lease.
async fn register(etcd: &Etcd, name: &str, body: &str) {
    let mut client = etcd.client().await;
    let lease = client.lease_grant(600, None).await.unwrap().id();
    let options = PutOptions::new().with_lease(lease);
    client.put(key(name), body, Some(options)).await.unwrap();
}

#[tokio::test]
async fn a_push_is_compared_written_and_seen() {
    let etcd = Etcd::start().await;
    let following = Following::etcd(etcd.settings());
    register(&etcd, "instances/patient/p1", "address: a").await;
    etcd.put("rules/old", "x").await;
    let (_root, set) =
        documents(&[("rules/a.yaml", "1"), ("services/patient.json", "{}"), ("lists/pilot.txt", "u1\n")]);
    let plan = planned(&etcd, &set, Surplus::Keep).await;
    assert_eq!(
        plan.to_string(),
        "+ services/patient\n+ rules/a\n+ lists/pilot\n  rules/old is only in etcd and stays; --prune removes it\n"
    );
    let written = write(&etcd.settings(), &plan).await.unwrap();
    assert_eq!(written.transactions, 1);
    following.reaches(written.revision).await;
    assert_eq!(
        following.names(),
        ["services/patient", "rules/a", "rules/old", "lists/pilot", "instances/patient/p1"]
    );
    let again = planned(&etcd, &set, Surplus::Keep).await;
    assert!(again.is_empty(), "{again}");
    assert_eq!(write(&etcd.settings(), &again).await.unwrap().transactions, 0);

    let pruned = planned(&etcd, &set, Surplus::Prune).await;
    assert_eq!(pruned.to_string(), "- rules/old\n");
    write(&etcd.settings(), &pruned).await.unwrap();
    following.lacks("rules/old").await;
    assert!(following.text("instances/patient/p1").is_some(), "a registered instance was pruned");
}

#[tokio::test]
async fn a_change_that_was_not_seen_is_never_overwritten() {
    let etcd = Etcd::start().await;
    etcd.put("rules/a", "old").await;
    let (_root, set) =
        documents(&[("rules/a.yaml", "mine"), ("rules/b.yaml", "mine"), ("rules/c.yaml", "mine")]);
    let plan = planned(&etcd, &set, Surplus::Keep).await;
    etcd.put("rules/a", "theirs").await;
    etcd.put("rules/b", "theirs").await;
    match write(&etcd.settings(), &plan).await {
        Err(PushError::Conflict { documents, done: 0, of: 1 }) => {
            assert_eq!(documents, ["rules/a", "rules/b"])
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(etcd.get("rules/a").await.as_deref(), Some("theirs"));
    assert_eq!(etcd.get("rules/c").await, None, "a refused transaction writes nothing");
}

#[tokio::test]
async fn a_registered_instance_keeps_its_lease() {
    let etcd = Etcd::start().await;
    register(&etcd, "instances/patient/p1", "address: a").await;
    let (_root, set) = documents(&[("instances/patient/p1.yaml", "address: b")]);
    write(&etcd.settings(), &planned(&etcd, &set, Surplus::Prune).await).await.unwrap();
    let answer = etcd.client().await.get(key("instances/patient/p1"), None).await.unwrap();
    assert_eq!(answer.kvs()[0].value(), b"address: b");
    assert_ne!(answer.kvs()[0].lease(), 0);
}

#[tokio::test]
async fn big_lists_go_in_parts_and_come_back_whole() {
    let etcd = Etcd::start().await;
    let members: Vec<_> = (0..200_000).map(|n| format!("user-{n:07}")).collect();
    let (root, set) = documents(&[("lists/pilot.txt", &(members.join("\n") + "\n"))]);
    let plan = planned(&etcd, &set, Surplus::Keep).await;
    let written = write(&etcd.settings(), &plan).await.unwrap();
    let stored = etcd::load(&etcd.settings()).await.unwrap();
    assert_eq!(stored.documents.len(), 128);
    assert_eq!(written.transactions, 3, "2.6 MB in transactions of 1 MiB");

    let more = members.join("\n") + "\nuser-new\n";
    file(root.path(), "lists/pilot.txt", &more);
    let set = directory::load(root.path()).unwrap();
    let plan = planned(&etcd, &set, Surplus::Keep).await;
    assert_eq!(plan.to_string(), "~ lists/pilot\n", "one key");
    write(&etcd.settings(), &plan).await.unwrap();

    let copy = tempfile::tempdir().unwrap();
    pull(&etcd.settings(), copy.path()).await.unwrap();
    let text = fs::read_to_string(copy.path().join("lists/pilot.txt")).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, more.lines().collect::<Vec<_>>());
    let back = directory::load(copy.path()).unwrap();
    assert!(planned(&etcd, &back, Surplus::Prune).await.is_empty());

    // Shrunk to a handful it is one key again, and no old part stays behind.
    file(root.path(), "lists/pilot.txt", "user-1\n");
    let set = directory::load(root.path()).unwrap();
    write(&etcd.settings(), &planned(&etcd, &set, Surplus::Keep).await).await.unwrap();
    let stored = etcd::load(&etcd.settings()).await.unwrap();
    assert_eq!(stored.documents.len(), 1);
    assert_eq!(etcd.get("lists/pilot").await.as_deref(), Some("user-1\n"));
}

#[tokio::test]
async fn what_was_pulled_is_what_is_stored() {
    let etcd = Etcd::start().await;
    etcd.put("rules/a", "services: [x]\n").await;
    etcd.put("rules/b", "{}").await;
    etcd.put("lists/pilot/p1", "u1\n").await;
    etcd.put("lists/pilot", "u2\n").await;
    etcd.put("strange", "x").await;
    register(&etcd, "instances/patient/p1", "address: a").await;
    let root = tempfile::tempdir().unwrap();
    let into = root.path().join("new/documents");
    let pulled = pull(&etcd.settings(), &into).await.unwrap();
    assert_eq!((pulled.written.len(), pulled.leased, pulled.strays.len()), (4, 1, 1));
    let set = directory::load(&into).unwrap();
    assert!(set.strays.is_empty() && set.ambiguous.is_empty());
    assert!(planned(&etcd, &set, Surplus::Prune).await.is_empty());

    // Again: only what changed, under the file name it has.
    fs::rename(into.join("rules/b.yaml"), into.join("rules/b.json")).unwrap();
    fs::rename(into.join("rules/a.yaml"), into.join("rules/a.yml")).unwrap();
    etcd.put("rules/a", "services: [y]\n").await;
    etcd.put("rules/b", "services: [z]\n").await;
    let pulled = pull(&etcd.settings(), &into).await.unwrap();
    assert_eq!((pulled.written.len(), pulled.unchanged), (2, 2));
    assert_eq!(fs::read_to_string(into.join("rules/a.yml")).unwrap(), "services: [y]\n");
    assert_eq!(fs::read_to_string(into.join("rules/b.yaml")).unwrap(), "services: [z]\n");
    assert!(!into.join("rules/b.json").exists(), "a file of JSON cannot hold YAML");
}

#[tokio::test]
async fn a_directory_with_something_else_in_it_is_not_pulled_into() {
    let etcd = Etcd::start().await;
    etcd.put("rules/a", "theirs").await;
    for path in ["rules/mine.yaml", "readme.md", "rules/a.json"] {
        let (root, _) = documents(&[("rules/a.yaml", "old"), (path, "mine")]);
        let error = pull(&etcd.settings(), root.path()).await.unwrap_err().to_string();
        assert!(error.contains("empty directory"), "{path}: {error}");
        assert_eq!(fs::read_to_string(root.path().join("rules/a.yaml")).unwrap(), "old");
        assert_eq!(fs::read_to_string(root.path().join(path)).unwrap(), "mine");
    }
}

#[tokio::test]
async fn a_pushed_release_of_hundreds_of_documents_arrives() {
    let etcd = Etcd::start().await;
    let following = Following::etcd(etcd.settings());
    let files: Vec<_> = (0..500).map(|n| format!("rules/r{n:03}.yaml")).collect();
    let files: Vec<_> = files.iter().map(|path| (path.as_str(), "services: [x]")).collect();
    let (_root, set) = documents(&files);
    let written = write(&etcd.settings(), &planned(&etcd, &set, Surplus::Keep).await).await.unwrap();
    assert_eq!(written.transactions, 5);
    eventually(SOON, || following.revision() == written.revision).await;
    assert_eq!(following.names().len(), 500);
}
