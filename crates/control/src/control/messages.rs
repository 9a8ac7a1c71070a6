//! Messages to people, inside the program: what happened, and who has read it.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::clock::rfc3339;
use super::events::EventKind;
use super::plane::Control;
use crate::error::{Error, Result};
use crate::notices::{MESSAGES, Message};
use crate::people::{Permission, Principal};
use crate::state::{Entry, Range, Slot, StateError, Transaction, read_json, to_json};

/// Messages that are looked at for new ones: more than are written between two looks.
const FOLLOWED: usize = 200;
/// How often a mark is tried again that met another one.
const RACES: usize = 20;

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct MessageShown {
    pub id: String,
    pub time: String,
    pub kind: String,
    pub services: Vec<String>,
    pub text: String,
    pub link: Option<String>,
    pub read: bool,
}

fn shown(message: &Message, who: &str) -> MessageShown {
    MessageShown {
        id: message.id.clone(),
        time: rfc3339(message.time),
        kind: message.kind.clone(),
        services: message.services.clone(),
        text: message.text.clone(),
        link: message.link.clone(),
        read: message.read_by.contains(who),
    }
}

impl Control {
    /// Tells those who listen of every message that is written, by whichever process, until it is dropped.
    pub async fn follow_messages(&self) {
        let mut changes = self.state.changes();
        let mut told: Option<Told> = None;
        loop {
            match self.state.list(&Range::newest(MESSAGES, FOLLOWED)).await {
                Ok(entries) => {
                    let told = told.get_or_insert_with(|| Told::all(&entries));
                    for entry in told.fresh(&entries) {
                        if let Ok(message) = read_json::<Message>(&entry.name, &entry.stored.value) {
                            self.events.tell(EventKind::Message, json!(shown(&message, "")));
                        }
                    }
                }
                Err(error) => tracing::debug!(%error, "messages cannot be read"),
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A page of messages, newest first, and where the next one begins.
    pub async fn messages(
        &self,
        who: &Principal,
        (limit, after): (usize, Option<&str>),
    ) -> Result<(Vec<MessageShown>, Option<String>)> {
        who.may_somewhere(Permission::Read)?;
        let range = Range::newest(MESSAGES, limit.min(crate::state::PAGE_LIMIT));
        let range = range.after(after.map(|after| format!("{MESSAGES}{after}")));
        let entries = self.state.list(&range).await?;
        let is_full = entries.len() >= limit;
        let read = entries.iter().map(|entry| read_json::<Message>(&entry.name, &entry.stored.value));
        let messages = read.collect::<std::result::Result<Vec<_>, _>>()?;
        let next = messages.last().filter(|_| is_full).map(|message| message.id.clone());
        Ok((messages.iter().map(|message| shown(message, &who.name)).collect(), next))
    }

    pub async fn read_message(&self, who: &Principal, id: &str) -> Result<()> {
        who.may_somewhere(Permission::Read)?;
        let record = format!("{MESSAGES}{id}");
        for _ in 0..RACES {
            let found = self.read::<Message>(&record).await?;
            let (mut message, revision) = found.ok_or_else(|| Error::not_found(&record))?;
            if !message.read_by.insert(who.name.clone()) {
                return Ok(());
            }
            let mut transaction = Transaction::default();
            transaction.expect(Slot::record(&record), revision);
            transaction.put(Slot::record(&record), to_json(&record, &message)?);
            match self.state.commit(transaction).await {
                Ok(_) => return Ok(()),
                Err(StateError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Away("others read it all the time; try again".to_owned()))
    }
}

/// Which messages were told of. Names sort by time, so those up to `floor` need not be remembered one by one.
struct Told {
    floor: String,
    names: BTreeSet<String>,
}

impl Told {
    fn all(entries: &[Entry]) -> Told {
        Told {
            floor: entries.iter().map(|entry| entry.name.clone()).max().unwrap_or_default(),
            names: BTreeSet::new(),
        }
    }

    /// Those that were not told of, oldest first.
    fn fresh<'a>(&mut self, newest_first: &'a [Entry]) -> Vec<&'a Entry> {
        let is_fresh = |entry: &&Entry| entry.name > self.floor && !self.names.contains(&entry.name);
        let fresh: Vec<_> = newest_first.iter().rev().filter(is_fresh).collect();
        self.names.extend(fresh.iter().map(|entry| entry.name.clone()));
        // One whose clock is behind may write a name among those told of: they are kept for a while.
        while self.names.len() > FOLLOWED {
            self.floor = self.names.pop_first().unwrap_or_default();
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Stored;

    fn entries(names: &[&str]) -> Vec<Entry> {
        let stored = Stored { value: bytes::Bytes::new(), revision: 1 };
        names.iter().map(|name| Entry { name: (*name).into(), stored: stored.clone() }).collect()
    }

    #[test]
    fn each_message_is_told_of_once() {
        let mut told = Told::all(&entries(&["m/3", "m/2"]));
        let mut check = |newest: &[&str], expected: &[&str]| {
            let entries = entries(newest);
            let fresh: Vec<_> = told.fresh(&entries).iter().map(|entry| entry.name.clone()).collect();
            assert_eq!(fresh, expected);
        };
        check(&["m/3", "m/2"], &[]);
        check(&["m/6", "m/4", "m/3"], &["m/4", "m/6"]);
        check(&["m/6", "m/5", "m/4"], &["m/5"]);
        // Newer ones were cleared away, and older ones are seen again.
        check(&["m/2", "m/1"], &[]);
    }
}
