use std::sync::Arc;

use time::OffsetDateTime;

use super::*;
use crate::people::{Principal, Via};
use crate::state::{Holder, Slot, Sqlite, State, Transaction};

struct Account {
    _folder: tempfile::TempDir,
    state: Arc<Sqlite>,
}

impl Account {
    /// Five records of changes of one document.
    async fn with_five() -> Account {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Sqlite::open(folder.path(), None, Holder::Service).unwrap());
        let who = Principal::own("li", Via::Token);
        for i in 0..5 {
            let chain = Chain::read(&*state).await.unwrap();
            let deed = Deed::ok(&who, "document.put", "rules/x").changing(
                Some(Text::of(format!("version: v{i}"))),
                Some(Text::of(format!("version: v{}", i + 1))),
            );
            let mut transaction = Transaction::default();
            chain.append(&[deed], OffsetDateTime::UNIX_EPOCH, &mut transaction).unwrap();
            state.commit(transaction).await.unwrap();
        }
        Account { _folder: folder, state }
    }

    async fn head(&self) -> Head {
        Chain::read(&*self.state).await.unwrap().head
    }

    async fn value(&self, name: &str) -> bytes::Bytes {
        self.state.get(&Slot::record(name)).await.unwrap().unwrap().value
    }

    async fn put(&self, name: &str, value: impl Into<bytes::Bytes>) {
        let mut transaction = Transaction::default();
        transaction.put(Slot::record(name), value);
        self.state.commit(transaction).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        let mut transaction = Transaction::default();
        transaction.delete(Slot::record(name));
        self.state.commit(transaction).await.unwrap();
    }

    async fn fault(&self, known: Option<(u64, &str)>) -> String {
        match verify(&*self.state, known).await.unwrap() {
            Ok(verified) => format!("good: {}", verified.records),
            Err(fault) => fault.to_string(),
        }
    }
}

#[tokio::test]
async fn a_whole_account_is_good() {
    let account = Account::with_five().await;
    assert_eq!(account.fault(None).await, "good: 5");
    let head = account.head().await;
    assert_eq!(account.fault(Some((head.id, &head.hash))).await, "good: 5");
}

#[tokio::test]
async fn an_edited_record_is_found() {
    let account = Account::with_five().await;
    let text = String::from_utf8(account.value(&record_name(3)).await.to_vec()).unwrap();
    account.put(&record_name(3), text.replace("li", "wu")).await;
    assert_eq!(account.fault(None).await, "record 3: it was changed");
}

#[tokio::test]
async fn a_dropped_record_is_found() {
    let account = Account::with_five().await;
    account.delete(&record_name(3)).await;
    assert_eq!(account.fault(None).await, "record 3: it is gone");
    let account = Account::with_five().await;
    account.delete(&record_name(1)).await;
    assert!(account.fault(None).await.starts_with("record 1: it is gone"));
}

#[tokio::test]
async fn reordered_records_are_found() {
    let account = Account::with_five().await;
    let (second, third) = (account.value(&record_name(2)).await, account.value(&record_name(3)).await);
    account.put(&record_name(2), third).await;
    account.put(&record_name(3), second).await;
    assert_eq!(account.fault(None).await, "record 2: it stands in another's place");
}

#[tokio::test]
async fn a_cut_tail_is_found_with_a_head_that_was_kept() {
    let account = Account::with_five().await;
    let kept = account.head().await;
    let third = String::from_utf8(account.value(&record_name(3)).await.to_vec()).unwrap();
    let hash = third.lines().next().unwrap().to_owned();
    account.delete(&record_name(4)).await;
    account.delete(&record_name(5)).await;
    assert_eq!(account.fault(None).await, "record 4: it is gone");
    account.put(HEAD, serde_json::to_vec(&Head { id: 3, hash, bytes: 0 }).unwrap()).await;
    assert_eq!(account.fault(None).await, "good: 3", "no one can know without a head");
    assert_eq!(account.fault(Some((5, &kept.hash))).await, "record 4: it is gone, and so are all up to 5");
}

#[tokio::test]
async fn a_record_that_was_written_again_with_its_hash_is_found() {
    let account = Account::with_five().await;
    let kept = account.head().await;
    let text = async |id| String::from_utf8(account.value(&record_name(id)).await.to_vec()).unwrap();
    let (fourth, fifth) = (text(4).await, text(5).await);
    let line = fifth.split_once('\n').unwrap().1.replace("li", "wu");
    let forged = super::chain::hash(fourth.lines().next().unwrap(), line.as_bytes());
    account.put(&record_name(5), format!("{forged}\n{line}")).await;
    assert_eq!(account.fault(None).await, "record 5: its hash is not that of the chain's end");
    account.put(HEAD, serde_json::to_vec(&Head { id: 5, hash: forged, bytes: 0 }).unwrap()).await;
    assert_eq!(account.fault(None).await, "good: 5", "no one can know without a head");
    assert_eq!(account.fault(Some((5, &kept.hash))).await, "record 5: its hash is not the one that was kept");
}

#[tokio::test]
async fn an_edited_text_is_found() {
    let account = Account::with_five().await;
    let mark = Text::of("version: v2").mark;
    account.put(&text_name(&mark.hash), "version: other").await;
    assert_eq!(account.fault(None).await, "record 2: a text it speaks of was changed");
    account.delete(&text_name(&mark.hash)).await;
    assert_eq!(account.fault(None).await, "record 2: a text it speaks of is gone");
}
