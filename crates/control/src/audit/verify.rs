//! Whether the account is whole.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use super::chain::{Chain, KEPT_TEXT, RECORDS, record_name, text_name};
use super::record::{Record, TextMark};
use crate::state::{Range, Slot, State, StateError};

/// What a whole chain says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    pub records: u64,
    /// `N:HASH` of the newest.
    pub head: String,
}

/// The first record that is not what it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    pub record: u64,
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record {}: {}", self.record, self.what)
    }
}

/// Follows the chain from its first record, or the checkpoint of a retention, to its end; `known` is a head that
/// someone kept.
pub async fn verify(
    state: &dyn State,
    known: Option<(u64, &str)>,
) -> Result<Result<Verified, Fault>, StateError> {
    let mut walk = Walk::default();
    let mut range = Range::all(RECORDS);
    loop {
        let page = state.list(&range).await?;
        let Some(last) = page.last().map(|entry| entry.name.clone()) else { break };
        for entry in page {
            if let Err(fault) = walk.take(&entry.name, &entry.stored.value) {
                return Ok(Err(fault));
            }
            if known.is_some_and(|(id, hash)| id == walk.id && hash != walk.hash) {
                return Ok(Err(fault_of(walk.id, "its hash is not the one that was kept")));
            }
        }
        range.after = Some(last);
    }
    let chain = Chain::read(state).await?;
    if chain.head.id != walk.id {
        return Ok(Err(fault_of(walk.id + 1, "it is gone")));
    }
    if chain.head.hash != walk.hash {
        return Ok(Err(fault_of(walk.id, "its hash is not that of the chain's end")));
    }
    if let Some((id, _)) = known.filter(|(id, _)| *id > walk.id) {
        return Ok(Err(fault_of(walk.id + 1, &format!("it is gone, and so are all up to {id}"))));
    }
    if let Some((id, _)) = walk.cut {
        return Ok(Err(fault_of(
            1,
            &format!("it is gone, and so are all up to {id}: no checkpoint tells of it"),
        )));
    }
    match texts(state, &walk.texts).await? {
        Some(fault) => Ok(Err(fault)),
        None => Ok(Ok(Verified { records: walk.count, head: chain.head.shown() })),
    }
}

#[derive(Default)]
struct Walk {
    /// Of the record before.
    id: u64,
    hash: String,
    count: u64,
    /// Where each text is spoken of first.
    texts: BTreeSet<(String, usize, u64)>,
    /// Where the chain was cut by a retention that no record tells of yet.
    cut: Option<(u64, String)>,
}

impl Walk {
    fn take(&mut self, name: &str, stored: &[u8]) -> Result<(), Fault> {
        let id: u64 = name.trim_start_matches(RECORDS).parse().unwrap_or(0);
        let Ok((record, hash)) = Record::read(name, stored) else {
            return Err(fault_of(id, "it cannot be read"));
        };
        if self.count == 0 && id > 1 {
            (self.id, self.hash) = (id - 1, record.previous.clone());
            self.cut = Some((self.id, self.hash.clone()));
        }
        if id != self.id + 1 {
            return Err(fault_of(self.id + 1, "it is gone"));
        }
        if record.id != id || record_name(record.id) != name {
            return Err(fault_of(id, "it stands in another's place"));
        }
        if Record::hash_of(stored, &self.hash) != hash {
            return Err(fault_of(id, "it was changed"));
        }
        if record.previous != self.hash {
            return Err(fault_of(id, "it does not follow the record before it"));
        }
        if record.action == "audit.checkpoint"
            && self.cut.as_ref().is_some_and(|(id, hash)| record.object == format!("audit/{id}:{hash}"))
        {
            self.cut = None;
        }
        for TextMark { hash, bytes } in [record.before, record.after].into_iter().flatten() {
            self.texts.insert((hash, bytes, id));
        }
        (self.id, self.hash) = (id, hash);
        self.count += 1;
        Ok(())
    }
}

fn fault_of(record: u64, what: &str) -> Fault {
    Fault { record, what: what.to_owned() }
}

/// The first text that is gone, or not what it was.
async fn texts(
    state: &dyn State,
    spoken: &BTreeSet<(String, usize, u64)>,
) -> Result<Option<Fault>, StateError> {
    let mut seen: Option<&str> = None;
    for (hash, bytes, record) in spoken {
        if *bytes > KEPT_TEXT || seen == Some(hash) {
            continue;
        }
        seen = Some(hash);
        let fault = |what: &str| Some(Fault { record: *record, what: what.to_owned() });
        match state.get(&Slot::record(text_name(hash))).await? {
            None => return Ok(fault("a text it speaks of is gone")),
            Some(stored) if hex::encode(Sha256::digest(&stored.value)) != *hash => {
                return Ok(fault("a text it speaks of was changed"));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}
