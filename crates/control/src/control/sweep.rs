//! What is over is cleared away: sessions, proposals, messages, and records of the audit beyond their time.
//!
//! Owns: how long each is kept. The audit's cut leaves a checkpoint in the chain, so that it is told from a hole.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::plane::Control;
use super::proposal::{Proposal, ProposalState};
use super::write::Plan;
use crate::audit::{Deed, RECORDS, Record, TEXTS};
use crate::error::Result;
use crate::notices::{DELIVERIES, Event, Message, Notice, Tries};
use crate::people::{Principal, Session, Via};
use crate::state::{OPERATION_LIMIT, PAGE_LIMIT, Range, Reserve, Slot, StateError, Transaction, read_json};

/// How long messages, deliveries, and proposals that ended, are kept.
const KEPT: time::Duration = time::Duration::days(90);
/// Records of one transaction.
const BATCH: usize = OPERATION_LIMIT - 8;

impl Control {
    /// To be called now and then by the leader.
    pub async fn sweep(&self) -> Result<()> {
        let now = self.clock.now();
        {
            let mut swept = self.swept.lock();
            if swept.is_some_and(|at| now - at < time::Duration::minutes(10)) {
                return Ok(());
            }
            *swept = Some(now);
        }
        let sessions = self.names("sessions/", |value| {
            read_json::<Session>("", value).is_ok_and(|session| !session.is_alive(&self.sessions, now))
        });
        self.clear(sessions.await?).await?;
        let proposals = self.names("proposals/", |value| {
            read_json::<Proposal>("", value)
                .is_ok_and(|one| now - one.created > KEPT && one.state != ProposalState::Waiting)
        });
        self.clear(proposals.await?).await?;
        let messages = self.names("messages/", |value| {
            read_json::<Message>("", value).is_ok_and(|message| now - message.time > KEPT)
        });
        self.clear(messages.await?).await?;
        let deliveries = self.names(DELIVERIES, |value| {
            read_json::<Tries>("", value).is_ok_and(|tries| now - tries.last > KEPT)
        });
        self.clear(deliveries.await?).await?;
        self.cut_audit().await
    }

    /// Writes a message once the store is nearly full, one for each time that it becomes so. To be called now and then by
    /// the leader.
    pub async fn tell_crowded(&self) -> Result<()> {
        let Some(crowded) = self.state.crowded() else {
            self.told_crowded.store(false, Ordering::Release);
            return Ok(());
        };
        if self.told_crowded.load(Ordering::Acquire) {
            return Ok(());
        }
        let notice = Notice::of_plane(Event::Quota, crowded, "/fleet", self.clock.now());
        let mut transaction = Transaction { reserve: Reserve::Used, ..Transaction::default() };
        notice.queue(&mut transaction)?;
        self.state.commit(transaction).await?;
        self.told_crowded.store(true, Ordering::Release);
        Ok(())
    }

    async fn names(&self, prefix: &str, is_over: impl Fn(&[u8]) -> bool) -> Result<Vec<String>> {
        let mut names = Vec::new();
        let mut range = Range::all(prefix);
        loop {
            let page = self.state.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else { return Ok(names) };
            names.extend(
                page.into_iter().filter(|entry| is_over(&entry.stored.value)).map(|entry| entry.name),
            );
            range.after = Some(last);
        }
    }

    async fn clear(&self, names: Vec<String>) -> Result<()> {
        for batch in names.chunks(BATCH) {
            let mut transaction = Transaction { reserve: Reserve::Used, ..Transaction::default() };
            for name in batch {
                transaction.delete(Slot::record(name));
            }
            self.state.commit(transaction).await?;
        }
        Ok(())
    }

    /// Takes the oldest records away. The record that says so is written first: a crash between leaves more, not less.
    async fn cut_audit(&self) -> Result<()> {
        let before = self.clock.now() - self.audit_kept;
        let mut old: Vec<String> = Vec::new();
        let mut last: Option<(u64, String)> = None;
        let mut range = Range::all(RECORDS);
        'pages: loop {
            let page = self.state.list(&range).await?;
            let Some(end) = page.last().map(|entry| entry.name.clone()) else { break };
            for entry in page {
                let (record, hash) = Record::read(&entry.name, &entry.stored.value)?;
                if record.time >= before {
                    break 'pages;
                }
                last = Some((record.id, hash));
                old.push(entry.name);
            }
            range.after = Some(end);
        }
        let Some((id, hash)) = last else { return Ok(()) };
        let who = Principal::own("graygate", Via::Controller);
        let reason = format!("{} records are older than they are kept", old.len());
        let deed = Deed::ok(&who, "audit.checkpoint", format!("audit/{id}:{hash}")).with_reason(Some(reason));
        self.write(Plan::new(deed).from_reserve()).await?;
        self.clear(old).await?;
        self.drop_texts().await
    }

    /// Takes away texts that no record speaks of any more.
    async fn drop_texts(&self) -> Result<()> {
        let mut spoken = BTreeSet::new();
        let mut range = Range::all(RECORDS);
        loop {
            let page = self.state.list(&range).await?;
            let Some(end) = page.last().map(|entry| entry.name.clone()) else { break };
            for entry in page {
                let (record, _) = Record::read(&entry.name, &entry.stored.value)?;
                spoken.extend([record.before, record.after].into_iter().flatten().map(|mark| mark.hash));
            }
            range.after = Some(end);
        }
        let mut range = Range { limit: PAGE_LIMIT, ..Range::all(TEXTS) };
        loop {
            let page = self.state.list(&range).await?;
            let Some(end) = page.last().map(|entry| entry.name.clone()) else { return Ok(()) };
            let gone =
                page.into_iter().filter(|entry| !spoken.contains(entry.name.trim_start_matches(TEXTS)));
            for entry in gone {
                // A record that is written in this moment may speak of it again, and then it has another revision.
                let slot = Slot::record(entry.name);
                let mut transaction = Transaction { reserve: Reserve::Used, ..Transaction::default() };
                transaction.expect(slot.clone(), entry.stored.revision).delete(slot);
                match self.state.commit(transaction).await {
                    Ok(_) | Err(StateError::Conflict(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            range.after = Some(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use parking_lot::Mutex;
    use time::OffsetDateTime;

    use super::*;
    use crate::audit::{Text, record_name, verify};
    use crate::control::Clock;
    use crate::people::SessionSettings;
    use crate::state::{Holder, Sqlite, State as _};

    struct Set(Mutex<OffsetDateTime>);

    impl Clock for Set {
        fn now(&self) -> OffsetDateTime {
            *self.0.lock()
        }

        fn instant(&self) -> Instant {
            Instant::now()
        }
    }

    #[tokio::test]
    async fn a_retention_leaves_a_checkpoint_without_which_the_cut_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let state = Arc::new(Sqlite::open(folder.path(), None, Holder::Service).unwrap());
        let clock = Arc::new(Set(Mutex::new(OffsetDateTime::UNIX_EPOCH)));
        let control = Control::new(state.clone(), clock.clone(), SessionSettings::default());
        let who = Principal::own("li", Via::Token);
        for day in 0..10 {
            *clock.0.lock() = OffsetDateTime::UNIX_EPOCH + time::Duration::days(day * 100);
            let texts = [day, day + 1].map(|day| Text::of(format!("version: v{day}")));
            let [before, after] = texts.map(Some);
            let deed = Deed::ok(&who, "document.put", "rules/x").changing(before, after);
            control.write(Plan::new(deed)).await.unwrap();
        }
        control.sweep().await.unwrap();
        // Those of the last 400 days, and the checkpoint.
        let verified = verify(&*state, None).await.unwrap().unwrap();
        assert_eq!(verified.records, 6);
        assert!(state.get(&Slot::record(record_name(5))).await.unwrap().is_none());
        let texts = state.list(&Range::all(TEXTS)).await.unwrap().len();
        assert_eq!(texts, 6, "those that are still spoken of");
        // A second one, later, leaves another.
        *clock.0.lock() += time::Duration::days(100);
        control.sweep().await.unwrap();
        let head = verify(&*state, None).await.unwrap().unwrap().head;
        // Someone who cuts further is found.
        let mut cut = Transaction::default();
        cut.delete(Slot::record(record_name(7)));
        state.commit(cut).await.unwrap();
        let fault = verify(&*state, None).await.unwrap().unwrap_err();
        assert_eq!(fault.record, 1, "{fault} (it was {head})");
    }
}
