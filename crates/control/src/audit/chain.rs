//! The chain: each record's hash is over its bytes and the hash before it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::record::{Deed, Record, Text};
use crate::state::{Reserve, Revision, Slot, State, StateError, Transaction, read_json, to_json};

/// Records are below this, by number.
pub const RECORDS: &str = "audit/";
/// The number and hash of the newest.
pub const HEAD: &str = "audit-head";
/// Texts are below this, by hash.
pub const TEXTS: &str = "texts/";
/// What documents' histories are below.
pub const HISTORY: &str = "history/";
/// What a key and its revisions take in etcd beyond name and value.
const ENTRY_OVERHEAD: usize = 64;
/// Longest text that is kept.
pub const KEPT_TEXT: usize = 64 << 10;

/// The end of the chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Head {
    /// The newest record's; 0 before the first.
    pub id: u64,
    pub hash: String,
    /// Bytes of records, texts and histories, at most: a text that is spoken of twice is counted twice until they are
    /// measured.
    #[serde(default)]
    pub bytes: u64,
}

impl Head {
    fn first() -> Head {
        Head { id: 0, hash: String::new(), bytes: 0 }
    }

    /// As notices and reports carry it, and `--head` takes it.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.id, self.hash)
    }
}

/// The end of the chain as it was read, and the write it came with.
#[derive(Clone, Debug)]
pub struct Chain {
    pub head: Head,
    revision: Revision,
}

impl Chain {
    pub async fn read(state: &dyn State) -> Result<Chain, StateError> {
        Ok(match state.get(&Slot::record(HEAD)).await? {
            None => Chain { head: Head::first(), revision: 0 },
            Some(stored) => Chain { head: read_json(HEAD, &stored.value)?, revision: stored.revision },
        })
    }

    /// Notes what the records were measured to weigh.
    pub fn measured(&self, bytes: u64) -> Result<Transaction, StateError> {
        let mut transaction = Transaction { reserve: Reserve::Used, ..Transaction::default() };
        transaction.expect(Chain::slot(), self.revision);
        transaction.put(Chain::slot(), to_json(HEAD, &Head { bytes, ..self.head.clone() })?);
        Ok(transaction)
    }

    /// The slot every user who writes a record competes for.
    pub fn slot() -> Slot {
        Slot::record(HEAD)
    }

    /// Adds the records of these deeds to a transaction, bound to the end of the chain as it was read.
    pub fn append(
        &self,
        deeds: &[Deed],
        now: OffsetDateTime,
        transaction: &mut Transaction,
    ) -> Result<Head, StateError> {
        let mut head = self.head.clone();
        for deed in deeds {
            let record = Record::of(deed, head.id + 1, &head.hash, now);
            let name = record_name(record.id);
            let (line, hash) = line(&record)?;
            let mut bytes = weight(&name, line.len());
            transaction.put(Slot::record(name), line);
            for text in [&deed.before, &deed.after].into_iter().flatten() {
                bytes += keep(text, transaction);
            }
            if let Some(document) = &deed.history {
                let name = history_name(document, record.id);
                bytes += weight(&name, 0);
                transaction.put(Slot::record(name), Bytes::new());
            }
            head = Head { id: record.id, hash, bytes: head.bytes + bytes };
        }
        transaction.expect(Chain::slot(), self.revision);
        transaction.put(Chain::slot(), to_json(HEAD, &head)?);
        Ok(head)
    }
}

/// Keeps a text, and says what it weighs.
fn keep(text: &Text, transaction: &mut Transaction) -> u64 {
    let name = text_name(&text.mark.hash);
    let bytes = weight(&name, text.text.len());
    let slot = Slot::record(name);
    let is_there = transaction.writes.iter().any(|write| *write.slot() == slot);
    if text.text.len() > KEPT_TEXT || is_there {
        return 0;
    }
    transaction.put(slot, text.text.clone());
    bytes
}

/// What a record, a text or an entry of a history takes of the store.
pub fn weight(name: &str, bytes: usize) -> u64 {
    (name.len() + bytes + ENTRY_OVERHEAD) as u64
}

/// The entry of a document's history that a record is.
pub fn history_name(document: &str, id: u64) -> String {
    format!("{}{id:016}", history_prefix(document))
}

pub fn record_name(id: u64) -> String {
    format!("{RECORDS}{id:016}")
}

pub fn text_name(hash: &str) -> String {
    format!("{TEXTS}{hash}")
}

/// What the entries of a document's history begin with; a record's number follows.
pub fn history_prefix(document: &str) -> String {
    format!("{HISTORY}{document}//")
}

/// A record as it is stored: its hash, and the line the hash is over.
fn line(record: &Record) -> Result<(Bytes, String), StateError> {
    let text = to_json(&record_name(record.id), record)?;
    let hash = hash(&record.previous, &text);
    Ok((Bytes::from([hash.as_bytes(), b"\n", &text].concat()), hash))
}

pub(super) fn hash(previous: &str, text: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(previous.as_bytes());
    hasher.update(b"\n");
    hasher.update(text);
    hex::encode(hasher.finalize())
}

impl Record {
    /// Reads what [`Chain::append`] wrote: the record and its hash.
    pub fn read(name: &str, stored: &[u8]) -> Result<(Record, String), StateError> {
        let broken =
            |message: &str| StateError::Broken { name: name.to_owned(), message: message.to_owned() };
        let end = stored.iter().position(|byte| *byte == b'\n').ok_or_else(|| broken("no hash before it"))?;
        let (hash, line) = stored.split_at(end);
        let hash = std::str::from_utf8(hash).map_err(|_| broken("its hash is no text"))?;
        let line = line.get(1..).unwrap_or_default();
        Ok((read_json(name, line)?, hash.to_owned()))
    }

    /// The hash these stored bytes should have behind `previous`.
    pub(super) fn hash_of(stored: &[u8], previous: &str) -> String {
        let end = stored.iter().position(|byte| *byte == b'\n');
        let line = end.and_then(|end| stored.get(end + 1..));
        hash(previous, line.unwrap_or_default())
    }
}
