//! Messages to people, inside the program: what happened, and who has read it.

use serde_json::json;

use super::clock::rfc3339;
use super::events::EventKind;
use super::plane::Control;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::state::{Range, Slot, StateError, Transaction, read_json, to_json};

/// How often a mark is tried again that met another one.
const RACES: usize = 20;

impl Control {
    /// Tells those who listen of a message that was written.
    pub fn tell_message(&self, message: &Message) {
        self.events.tell(EventKind::Message, json!(message.shown("")));
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
        Ok((messages.iter().map(|message| message.shown(&who.name)).collect(), next))
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
