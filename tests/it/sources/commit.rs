//! Several documents and records in one transaction of a real etcd.

use crate::support::etcd::{Etcd, key};
use etcd_client::PutOptions;
use graygate_rules::documents::DocumentId;
use graygate_store::commit::{
    CHANGE_LIMIT, Commit, CommitError, EtcdStore, Page, Slot, Store, Turn, Version,
};
use std::time::Duration;
use tokio::sync::watch;

pub const RECORDS: &str = "/graygate-control";

pub fn document(name: &str) -> Slot {
    Slot::Document(DocumentId::parse(name).unwrap())
}

fn record(name: &str) -> Slot {
    Slot::Record(name.to_owned())
}

fn stores(etcd: &Etcd) -> (Store, EtcdStore) {
    let store = EtcdStore::new(etcd.settings(), RECORDS);
    (Store::Etcd(store.clone()), store)
}

async fn seen(store: &Store, slot: &Slot) -> Version {
    store.read(slot).await.unwrap().map_or(Version::NONE, |stored| stored.version)
}

#[tokio::test]
async fn documents_and_records_are_written_together_or_not_at_all() {
    let etcd = Etcd::start().await;
    let (store, _) = stores(&etcd);
    etcd.put("rules/old", "o").await;
    let old = seen(&store, &document("rules/old")).await;
    let commit = Commit::default()
        .guard(document("rules/old"), old)
        .guard(document("rules/new"), Version::NONE)
        .put(document("rules/new"), "n")
        .delete(document("rules/old"))
        .put(record("audit/1"), "who and what");
    let committed = store.commit(commit.clone()).await.unwrap();
    let revision = committed.revision.unwrap();
    assert_eq!(committed.versions, [Version(revision), Version::NONE, Version(revision)]);
    assert_eq!(etcd.get("rules/new").await.as_deref(), Some("n"));
    assert_eq!(etcd.get("rules/old").await, None);
    assert_eq!(seen(&store, &record("audit/1")).await, Version(revision));
    match store.commit(commit).await {
        Err(CommitError::Conflict(slots)) => {
            assert_eq!(slots, [document("rules/old"), document("rules/new")], "both guards failed")
        }
        other => panic!("{other:?}"),
    }
    // A guard of what is not written counts as well.
    let commit = Commit::default().guard(record("audit/1"), Version(1)).put(record("audit/2"), "x");
    assert!(
        matches!(store.commit(commit).await, Err(CommitError::Conflict(slots)) if slots == [record("audit/1")])
    );
    assert_eq!(seen(&store, &record("audit/2")).await, Version::NONE);
}

#[tokio::test]
async fn a_registered_instance_keeps_its_lease() {
    let etcd = Etcd::start().await;
    let (store, _) = stores(&etcd);
    let mut client = etcd.client().await;
    let lease = client.lease_grant(600, None).await.unwrap().id();
    client.put(key("instances/p/1"), "a", Some(PutOptions::new().with_lease(lease))).await.unwrap();
    let slot = document("instances/p/1");
    let commit = Commit::default().guard(slot.clone(), seen(&store, &slot).await).put(slot, "b");
    store.commit(commit).await.unwrap();
    let mut found = client.get(key("instances/p/1"), None).await.unwrap();
    let pair = found.take_kvs().pop().unwrap();
    assert_eq!((pair.value(), pair.lease()), (b"b".as_slice(), lease));
}

#[tokio::test]
async fn of_a_hundred_writers_one_wins_each_version() {
    let etcd = Etcd::start().await;
    let (store, _) = stores(&etcd);
    let slot = document("rules/a");
    for round in 0..3 {
        let before = seen(&store, &slot).await;
        let writers: Vec<_> = (0..100)
            .map(|n| {
                let text = format!("{round}-{n}");
                let commit = Commit::default().guard(slot.clone(), before).put(slot.clone(), text.as_str());
                let store = store.clone();
                tokio::spawn(async move { store.commit(commit).await })
            })
            .collect();
        let mut winners = 0;
        for writer in writers {
            match writer.await.unwrap() {
                Ok(_) => winners += 1,
                Err(CommitError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners, 1, "round {round}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_anything_is_sent() {
    let etcd = Etcd::start().await;
    let (store, _) = stores(&etcd);
    let many = (0..=CHANGE_LIMIT)
        .fold(Commit::default(), |commit, n| commit.put(document(&format!("rules/r{n}")), "x"));
    assert!(matches!(store.commit(many).await, Err(CommitError::TooLarge(_))));
    let half = "x".repeat(800 << 10);
    let big =
        Commit::default().put(document("rules/a"), half.as_str()).put(document("rules/b"), half.as_str());
    assert!(matches!(store.commit(big).await, Err(CommitError::TooLarge(_))));
    let most = (0..CHANGE_LIMIT)
        .fold(Commit::default(), |commit, n| commit.put(document(&format!("rules/r{n}")), "x"));
    store.commit(most).await.unwrap();
}

#[tokio::test]
async fn records_are_listed_in_pages_either_way() {
    let etcd = Etcd::start().await;
    let (store, direct) = stores(&etcd);
    let names = ["audit/1", "audit/2", "audit/3", "audit0", "users/li"];
    let commit = names.iter().fold(Commit::default(), |commit, name| commit.put(record(name), *name));
    store.commit(commit).await.unwrap();
    for (after, limit, turn, expected) in [
        (None, 10, Turn::Ascending, vec!["audit/1", "audit/2", "audit/3"]),
        (None, 2, Turn::Ascending, vec!["audit/1", "audit/2"]),
        (Some("audit/2"), 2, Turn::Ascending, vec!["audit/3"]),
        (None, 2, Turn::Descending, vec!["audit/3", "audit/2"]),
        (Some("audit/2"), 2, Turn::Descending, vec!["audit/1"]),
        (Some("audit/3"), 2, Turn::Ascending, vec![]),
    ] {
        let page = Page { prefix: "audit/".into(), after: after.map(String::from), limit, turn };
        let found = direct.page(&page).await.unwrap();
        let found: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(found, expected, "{page:?}");
    }
}

#[tokio::test]
async fn changes_of_records_are_heard_also_after_an_outage() {
    let mut etcd = Etcd::start().await;
    let (store, direct) = stores(&etcd);
    let (changes, mut heard) = watch::channel(0);
    let (_end, ended) = watch::channel(false);
    tokio::spawn(async move { direct.follow(changes, ended).await });
    let mut changed = async || {
        let next = tokio::time::timeout(Duration::from_secs(20), heard.changed());
        next.await.expect("nothing was heard").unwrap();
    };
    changed().await;
    store.commit(Commit::default().put(record("a"), "1")).await.unwrap();
    changed().await;
    etcd.restart().await;
    changed().await;
}
