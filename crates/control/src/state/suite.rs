//! What every keeper does, tried on each.

use tokio::sync::watch;

use super::*;

fn put(slot: &Slot, value: &str, expected: Revision) -> Transaction {
    let mut transaction = Transaction::default();
    transaction.expect(slot.clone(), expected).put(slot.clone(), value.to_owned());
    transaction
}

/// The promises of [`State`].
pub async fn run(state: &dyn State) {
    compare_and_swap(state).await;
    all_or_nothing(state).await;
    documents_and_records(state).await;
    listings(state).await;
    changes(state).await;
}

async fn compare_and_swap(state: &dyn State) {
    let slot = Slot::record("users/li");
    assert_eq!(state.get(&slot).await.unwrap(), None);
    let first = state.commit(put(&slot, "one", 0)).await.unwrap();
    let found = state.get(&slot).await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.revision), (&b"one"[..], first));
    for wrong in [0, first + 1_000] {
        match state.commit(put(&slot, "two", wrong)).await {
            Err(StateError::Conflict(slots)) => assert_eq!(slots, std::slice::from_ref(&slot)),
            other => panic!("{other:?}"),
        }
    }
    let second = state.commit(put(&slot, "two", first)).await.unwrap();
    assert!(second > first);
}

async fn all_or_nothing(state: &dyn State) {
    let (a, b) = (Slot::record("x/a"), Slot::record("x/b"));
    let mut transaction = put(&a, "new", 0);
    transaction.expect(b.clone(), 77).put(b.clone(), "new");
    assert!(
        matches!(state.commit(transaction).await, Err(StateError::Conflict(slots)) if slots == [b.clone()])
    );
    assert_eq!(state.get(&a).await.unwrap(), None);
    let mut transaction = put(&a, "new", 0);
    transaction.put(b.clone(), "new");
    let revision = state.commit(transaction).await.unwrap();
    for slot in [&a, &b] {
        assert_eq!(state.get(slot).await.unwrap().unwrap().revision, revision);
    }
    let mut transaction = Transaction::default();
    transaction.expect(a.clone(), revision).delete(a.clone());
    state.commit(transaction).await.unwrap();
    assert_eq!(state.get(&a).await.unwrap(), None);
}

async fn documents_and_records(state: &dyn State) {
    let (document, record) = (Slot::document("rules/x"), Slot::record("known/rules/x"));
    let text = "version: gray # a comment\n";
    let mut transaction = put(&document, text, 0);
    transaction.put(record.clone(), "1");
    let revision = state.commit(transaction).await.unwrap();
    let found = state.get(&document).await.unwrap().unwrap();
    assert_eq!((&found.value[..], found.revision), (text.as_bytes(), revision));
    assert_eq!(state.get(&record).await.unwrap().unwrap().revision, revision);
    let mut late = put(&document, "version: other", 0);
    late.put(record.clone(), "2");
    assert!(matches!(state.commit(late).await, Err(StateError::Conflict(_))));
    assert_eq!(&state.get(&record).await.unwrap().unwrap().value[..], b"1");
    let mut away = Transaction::default();
    away.expect(document.clone(), revision).delete(document.clone()).delete(record.clone());
    state.commit(away).await.unwrap();
    assert_eq!(state.get(&document).await.unwrap(), None);
}

async fn listings(state: &dyn State) {
    let mut transaction = Transaction::default();
    for i in 0..7 {
        transaction.put(Slot::record(format!("page/{i}")), "x");
    }
    transaction.put(Slot::record("pager"), "not below it");
    state.commit(transaction).await.unwrap();
    let names = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    let mut range = Range::all("page/");
    range.limit = 3;
    assert_eq!(names(state.list(&range).await.unwrap()), ["page/0", "page/1", "page/2"]);
    range.after = Some("page/4".into());
    assert_eq!(names(state.list(&range).await.unwrap()), ["page/5", "page/6"]);
    assert_eq!(names(state.list(&Range::newest("page/", 2)).await.unwrap()), ["page/6", "page/5"]);
    let below = Range::newest("page/", 2).after(Some("page/2".into()));
    assert_eq!(names(state.list(&below).await.unwrap()), ["page/1", "page/0"]);
}

async fn changes(state: &dyn State) {
    let mut changes = state.changes();
    changes.mark_unchanged();
    state.commit(put(&Slot::record("tick"), "1", 0)).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), changes.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn sqlite_keeps_what_is_promised() {
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("documents");
    let state = Sqlite::open(&folder.path().join("state"), Some(&documents), Holder::Service).unwrap();
    run(&state).await;
}

#[tokio::test]
async fn a_second_service_on_one_state_is_refused_and_a_command_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let open = |holder| Sqlite::open(folder.path(), None, holder);
    let first = open(Holder::Service).unwrap();
    assert!(matches!(open(Holder::Service), Err(StateError::Taken(_))));
    let command = open(Holder::Command).unwrap();
    command.commit(put(&Slot::record("users/li"), "x", 0)).await.unwrap();
    assert!(first.get(&Slot::record("users/li")).await.unwrap().is_some());
    drop(first);
    open(Holder::Service).unwrap();
}

#[tokio::test]
async fn a_strangers_edit_of_a_document_has_a_revision_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let documents = folder.path().join("documents");
    let state = Sqlite::open(&folder.path().join("state"), Some(&documents), Holder::Service).unwrap();
    let slot = Slot::document("rules/x");
    let first = state.commit(put(&slot, "version: a", 0)).await.unwrap();
    std::fs::write(documents.join("rules/x.yaml"), "version: b").unwrap();
    assert!(matches!(state.commit(put(&slot, "version: c", first)).await, Err(StateError::Conflict(_))));
    let seen = state.get(&slot).await.unwrap().unwrap();
    assert!(seen.revision > first);
    assert_eq!(&seen.value[..], b"version: b");
    state.commit(put(&slot, "version: c", seen.revision)).await.unwrap();
}

/// A real etcd for one test.
struct Server {
    child: std::process::Child,
    endpoint: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let ports = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = ports.map(|port| format!("http://{}", port.local_addr().unwrap()));
        let child = std::process::Command::new("etcd")
            .args(["--name", "one", "--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .arg("--data-dir")
            .arg(folder.path())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Server { child, endpoint: client, _folder: folder }
    }

    fn settings(&self) -> graygate_store::etcd::EtcdSettings {
        graygate_store::etcd::EtcdSettings::new(vec![self.endpoint.clone()], "/graygate")
    }

    async fn keeper(&self) -> Etcd {
        let etcd = Etcd::new(self.settings(), "/graygate-control");
        let begun = std::time::Instant::now();
        while let Err(error) = etcd.get(&Slot::record("x")).await {
            assert!(begun.elapsed().as_secs() < 30, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        etcd
    }

    fn signal(&self, signal: &str) {
        let done = std::process::Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(done.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_keeps_what_is_promised() {
    let server = Server::start();
    let etcd = server.keeper().await;
    run(&etcd).await;
    let large = Slot::record("large");
    assert!(matches!(etcd.commit(put(&large, &"x".repeat(2 << 20), 0)).await, Err(StateError::TooLarge(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_etcd_is_away_reads_tell_what_was_known_and_writes_fail_soon() {
    let server = Server::start();
    let etcd = server.keeper().await;
    let slot = Slot::record("users/li");
    etcd.commit(put(&slot, "one", 0)).await.unwrap();
    assert!(etcd.stale().is_none());
    server.signal("-STOP");
    let begun = std::time::Instant::now();
    assert!(matches!(etcd.commit(put(&slot, "two", 0)).await, Err(StateError::Away(_))));
    assert!(begun.elapsed().as_millis() < 2_000, "{:?}", begun.elapsed());
    assert_eq!(&etcd.get(&slot).await.unwrap().unwrap().value[..], b"one");
    assert!(etcd.stale().is_some());
    assert!(matches!(etcd.get(&Slot::record("never/read")).await, Err(StateError::Away(_))));
    server.signal("-CONT");
    let begun = std::time::Instant::now();
    while etcd.get(&slot).await.is_err() || etcd.stale().is_some() {
        assert!(begun.elapsed().as_secs() < 20);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_leads_and_one_that_did_writes_nothing() {
    let server = Server::start();
    let etcd = server.keeper().await;
    let stand = |name: &str| {
        let (end, ended) = watch::channel(false);
        (Leadership::among(server.settings(), "/graygate-control", name.to_owned(), ended), end)
    };
    let (mut first, first_end) = stand("first");
    while !first.leads() {
        first.changed().await;
    }
    let term = first.term();
    let mut transaction = put(&Slot::record("by-leader"), "1", 0);
    transaction.lead.clone_from(&term);
    etcd.commit(transaction).await.unwrap();
    let (mut second, _second_end) = stand("second");
    assert!(!second.leads());
    first_end.send_replace(true);
    while !second.leads() {
        second.changed().await;
    }
    let mut late = put(&Slot::record("by-a-leader-that-was"), "1", 0);
    late.lead = term;
    assert!(matches!(etcd.commit(late).await, Err(StateError::LeadLost)));
}
