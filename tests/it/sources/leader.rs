//! Who leads, against a real etcd.

use crate::sources::commit::{RECORDS, document};
use crate::sources::relay::Relay;
use crate::support::etcd::Etcd;
use graygate_store::commit::{Commit, CommitError, EtcdStore, Slot, Store};
use graygate_store::etcd::EtcdSettings;
use graygate_store::leader::{Election, Term};
use std::time::Duration;
use tokio::sync::watch;

/// Short, and as long as etcd lets the living keep it.
const LEASE: Duration = Duration::from_secs(2);
/// Long enough for a lease to end and another process to notice, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

struct Candidate {
    term: watch::Receiver<Option<Term>>,
    end: watch::Sender<bool>,
    store: Store,
}

impl Candidate {
    fn stand(settings: EtcdSettings, name: &str) -> Candidate {
        let (term, told) = watch::channel(None);
        let (end, ended) = watch::channel(false);
        let key = format!("{RECORDS}/leader");
        let store = Store::Etcd(EtcdStore::new(settings.clone(), RECORDS));
        let election = Election::Etcd { settings, key, name: name.into(), lease: LEASE };
        tokio::spawn(election.stand(term, ended));
        Candidate { term: told, end, store }
    }

    async fn leads(&mut self) -> Term {
        let leading = self.term.wait_for(Option::is_some);
        let term = tokio::time::timeout(SOON, leading).await.expect("it does not lead").unwrap();
        term.clone().unwrap()
    }

    async fn lost(&mut self) {
        let lost = self.term.wait_for(Option::is_none);
        tokio::time::timeout(SOON, lost).await.expect("it still leads").unwrap();
    }

    async fn write(&self, text: &str, term: Term) -> Result<(), CommitError> {
        let commit = Commit::default().put(document("rules/a"), text).bound_to(term);
        self.store.commit(commit).await.map(drop)
    }
}

#[tokio::test]
async fn one_leads_and_the_next_follows_when_it_ends() {
    let etcd = Etcd::start().await;
    let mut first = Candidate::stand(etcd.settings(), "first");
    let term = first.leads().await;
    let mut second = Candidate::stand(etcd.settings(), "second");
    first.write("of the first", term.clone()).await.unwrap();
    // Longer than the lease: it is renewed.
    tokio::time::sleep(LEASE * 2).await;
    assert!(second.term.borrow().is_none() && first.term.borrow().is_some());
    first.end.send_replace(true);
    first.lost().await;
    let next = second.leads().await;
    assert!(matches!(first.write("late", term).await, Err(CommitError::TermOver)));
    second.write("of the second", next).await.unwrap();
    assert_eq!(etcd.get("rules/a").await.as_deref(), Some("of the second"));
}

/// What a process that is stopped past its lease and goes on does: its writes were on their way, and arrive late.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_past_its_lease_writes_nothing() {
    let etcd = Etcd::start().await;
    let relay = Relay::before(&etcd.endpoint()).await;
    let through = EtcdSettings { endpoints: vec![relay.endpoint.clone()], ..etcd.settings() };
    let mut stopped = Candidate::stand(through, "stopped");
    let term = stopped.leads().await;
    stopped.write("while it led", term.clone()).await.unwrap();
    let mut other = Candidate::stand(etcd.settings(), "other");
    relay.hold();
    let late = {
        let (store, term) = (stopped.store.clone(), term.clone());
        let commit = Commit::default().put(document("rules/a"), "late").bound_to(term);
        tokio::spawn(async move { store.commit(commit).await })
    };
    // Its own clock tells it before the lease has ended for the others.
    stopped.lost().await;
    let next = other.leads().await;
    other.write("of the other", next.clone()).await.unwrap();
    relay.release();
    let late = late.await.unwrap();
    assert!(matches!(late, Err(CommitError::TermOver | CommitError::Unknown(_))), "{late:?}");
    assert!(matches!(stopped.write("late again", term).await, Err(CommitError::TermOver)));
    other.write("of the other still", next).await.unwrap();
    assert_eq!(etcd.get("rules/a").await.as_deref(), Some("of the other still"));
    let history = other.store.read(&Slot::Record("leader".into())).await.unwrap().unwrap();
    assert_eq!(&*history.body, b"other", "who leads is written there");
}

#[tokio::test]
async fn a_leader_whose_key_is_taken_away_knows_and_stands_again() {
    let etcd = Etcd::start().await;
    let mut only = Candidate::stand(etcd.settings(), "only");
    let term = only.leads().await;
    etcd.client().await.delete(format!("{RECORDS}/leader"), None).await.unwrap();
    assert!(matches!(only.write("late", term).await, Err(CommitError::TermOver)));
    only.lost().await;
    let again = only.leads().await;
    only.write("again", again).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_ends_the_lead_and_is_led_again() {
    let mut etcd = Etcd::start().await;
    let mut only = Candidate::stand(etcd.settings(), "only");
    only.leads().await;
    etcd.kill();
    only.lost().await;
    etcd.restart().await;
    let again = only.leads().await;
    only.write("again", again).await.unwrap();
}
