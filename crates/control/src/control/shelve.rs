//! The audit has a limit in etcd: what is older moves to the database below `state`, or goes where there is none.
//!
//! Owns: what is moved, and in which order, so that a crash between leaves a record twice and never not at all. The cut
//! leaves a checkpoint in the chain, as that of a retention does.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::plane::Control;
use super::write::Plan;
use crate::audit::{Chain, Deed, KEPT_TEXT, RECORDS, Record, history_name, record_name, text_name, weight};
use crate::error::Result;
use crate::people::{Principal, Via};
use crate::state::{Entry, OPERATION_LIMIT, Order, Range, Reserve, Slot, State, StateError, Transaction};

/// Above this share of the room, in percent, the oldest are moved, until no more than the second is taken.
const SHARES: (u64, u64) = (90, 75);
/// Entries of one transaction.
const BATCH: usize = OPERATION_LIMIT - 8;

/// What is moved: the newest record that is, its hash, and everything that goes with it and those before.
struct Cut {
    id: u64,
    hash: String,
    names: Vec<String>,
    /// What stays weighs this.
    left: u64,
}

impl Control {
    /// To be called now and then by the leader.
    pub async fn shelve(&self) -> Result<()> {
        let Some(room) = self.audit_room else { return Ok(()) };
        if Chain::read(&*self.state).await?.head.bytes <= room / 100 * SHARES.0 {
            return Ok(());
        }
        let hot = self.archive.as_ref().map_or(&self.state, |archive| archive.hot()).clone();
        let measured = self.measure(&hot, room / 100 * SHARES.1).await?;
        let cut = match measured {
            Measured::Fits(bytes) => return self.note_measured(bytes).await,
            Measured::Cut(cut) => cut,
        };
        if let Some(archive) = &self.archive {
            for batch in cut.names.chunks(BATCH) {
                archive.keep(&entries(&*hot, batch).await?).await?;
            }
        }
        let who = Principal::own("graygate", Via::Controller);
        let whereto =
            if self.archive.is_some() { "moved to `state`" } else { "taken away: there is no `state`" };
        let reason = format!("the audit had more than {} MiB; {whereto}", room >> 20);
        let deed = Deed::ok(&who, "audit.checkpoint", format!("audit/{}:{}", cut.id, cut.hash));
        self.write(Plan::new(deed.with_reason(Some(reason))).from_reserve()).await?;
        for batch in cut.names.chunks(BATCH) {
            let mut gone = Transaction { reserve: Reserve::Used, ..Transaction::default() };
            for name in batch {
                gone.delete(Slot::record(name));
            }
            hot.commit(gone).await?;
        }
        self.note_measured(cut.left).await
    }

    async fn note_measured(&self, bytes: u64) -> Result<()> {
        loop {
            let noted = Chain::read(&*self.state).await?.measured(bytes)?;
            match self.state.commit(noted).await {
                Err(StateError::Conflict(_)) => {}
                other => return Ok(other.map(drop)?),
            }
        }
    }

    /// Walks from the newest record back until what it saw fills the room; what is older is the cut.
    async fn measure(&self, hot: &Arc<dyn State>, room: u64) -> Result<Measured> {
        let (mut bytes, mut left) = (0, 0);
        let (mut kept, mut names) = (BTreeSet::new(), BTreeSet::new());
        let mut cut: Option<(u64, String)> = None;
        let mut range = Range { order: Order::Descending, ..Range::all(RECORDS) };
        loop {
            let page = hot.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else { break };
            for entry in page {
                let (record, hash) = Record::read(&entry.name, &entry.stored.value)?;
                let history = history_name(&record.object, record.id);
                let mut own = vec![record_name(record.id), history.clone()];
                bytes += weight(&entry.name, entry.stored.value.len()) + weight(&history, 0);
                for mark in [record.before, record.after].into_iter().flatten() {
                    let name = text_name(&mark.hash);
                    if mark.bytes <= KEPT_TEXT && !kept.contains(&name) && !names.contains(&name) {
                        bytes += weight(&name, mark.bytes);
                        own.push(name);
                    }
                }
                if cut.is_none() && bytes <= room {
                    left = bytes;
                    kept.extend(own);
                    continue;
                }
                cut.get_or_insert((record.id, hash));
                names.extend(own);
            }
            range.after = Some(last);
        }
        Ok(match cut {
            None => Measured::Fits(bytes),
            Some((id, hash)) => Measured::Cut(Cut { id, hash, names: names.into_iter().collect(), left }),
        })
    }
}

enum Measured {
    /// It weighs this.
    Fits(u64),
    Cut(Cut),
}

async fn entries(state: &dyn State, names: &[String]) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for name in names {
        if let Some(stored) = state.get(&Slot::record(name)).await? {
            found.push(Entry { name: name.clone(), stored });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{HEAD, Text, verify};
    use crate::control::{AuditQuery, SystemClock};
    use crate::people::SessionSettings;
    use crate::state::{Archived, Holder, Sqlite};

    async fn with_records(archived: bool) -> (Control, Arc<dyn State>, Vec<tempfile::TempDir>) {
        let folders = vec![tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let open = |at: usize| -> Arc<dyn State> {
            Arc::new(Sqlite::open(folders[at].path(), None, Holder::Service).unwrap())
        };
        let hot = open(0);
        let archive = Arc::new(Archived::new(hot.clone(), open(1)));
        let state = if archived { archive.clone() } else { hot.clone() };
        let mut control = Control::new(state, Arc::new(SystemClock), SessionSettings::default());
        control.archive = archived.then_some(archive);
        control.audit_room = Some(400 << 10);
        let who = Principal::own("li", Via::Token);
        for i in 0..60 {
            let texts = [i, i + 1].map(|i| Text::of(format!("{i}{}", "x".repeat(20 << 10))));
            let [before, after] = texts.map(Some);
            let deed = Deed::ok(&who, "document.put", "rules/x").changing(before, after);
            control.write(Plan::new(deed)).await.unwrap();
        }
        (control, hot, folders)
    }

    async fn records(state: &dyn State) -> usize {
        state.list(&Range::all(RECORDS)).await.unwrap().len()
    }

    #[tokio::test]
    async fn what_the_store_has_no_room_for_is_moved_and_still_told() {
        let (control, hot, _folders) = with_records(true).await;
        control.shelve().await.unwrap();
        let left = Chain::read(&*hot).await.unwrap().head.bytes;
        assert!(left <= 300 << 10, "{left}");
        assert!(records(&*hot).await < 20);
        assert_eq!(hot.list(&Range::all("texts/")).await.unwrap().len(), records(&*hot).await);

        // All of it is told, in order and whole.
        let who = Principal::own("li", Via::Token);
        let query = AuditQuery { limit: 1_000, ..AuditQuery::default() };
        let (told, _) = control.audit(&who, &query).await.unwrap();
        assert_eq!(told.len(), 61, "and the checkpoint");
        assert!(told.iter().skip(1).all(|one| one.after.as_ref().unwrap().text.is_some()));
        let verified = verify(&*control.state, None).await.unwrap().unwrap();
        assert_eq!(verified.records, 61);
        let id = graygate_rules::documents::DocumentId::parse("rules/x").unwrap();
        let (history, _) = control.history(&who, &id, (1_000, None)).await.unwrap();
        assert_eq!(history.len(), 60);
        assert!(history.windows(2).all(|two| two[0].revision > two[1].revision));

        // What is left is whole by itself, and a second time moves nothing.
        assert!(verify(&*hot, None).await.unwrap().is_ok());
        let before = records(&*hot).await;
        control.shelve().await.unwrap();
        assert_eq!(records(&*hot).await, before);

        // An old record that is changed is found where it lies.
        let name = record_name(3);
        let changed = control.state.get(&Slot::record(&name)).await.unwrap().unwrap().value;
        let changed = String::from_utf8(changed.to_vec()).unwrap().replace("li", "wu");
        let entry = Entry { name, stored: crate::state::Stored { value: changed.into(), revision: 1 } };
        control.archive.as_ref().unwrap().keep(&[entry]).await.unwrap();
        let fault = verify(&*control.state, None).await.unwrap().unwrap_err();
        assert_eq!(fault.to_string(), "record 3: it was changed");
    }

    #[tokio::test]
    async fn a_crash_between_leaves_records_twice_and_tells_them_once() {
        let (control, hot, _folders) = with_records(true).await;
        let page = hot.list(&Range::all(RECORDS)).await.unwrap();
        control.archive.as_ref().unwrap().keep(&page[..30]).await.unwrap();
        assert_eq!(verify(&*control.state, None).await.unwrap().unwrap().records, 60);
        control.shelve().await.unwrap();
        assert_eq!(verify(&*control.state, None).await.unwrap().unwrap().records, 61);
    }

    #[tokio::test]
    async fn without_a_state_they_go_and_the_checkpoint_says_so() {
        let (control, hot, _folders) = with_records(false).await;
        control.shelve().await.unwrap();
        assert!(records(&*hot).await < 20);
        assert!(verify(&*hot, None).await.unwrap().is_ok());
        assert!(control.state.get(&Slot::record(HEAD)).await.unwrap().is_some());
    }
}
