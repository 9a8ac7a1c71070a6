//! How a document came to be as it is, and back to how it was.

use graygate_rules::documents::{DocumentId, Kind};
use serde::Serialize;
use utoipa::ToSchema;

use super::change::{Done, Intent, Precondition, check_condition};
use super::clock::rfc3339;
use super::documents::check_owner;
use super::journal::TextShown;
use super::plane::Control;
use crate::audit::{history_prefix, text_name};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::state::{Range, Revision, Slot};

/// One change of a document.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct HistoryShown {
    pub revision: Revision,
    pub time: String,
    pub who: String,
    pub via: String,
    pub action: String,
    pub reason: Option<String>,
    /// Null: it did not exist.
    pub before: Option<TextShown>,
    /// Null: it was taken away.
    pub after: Option<TextShown>,
}

impl Control {
    /// A page of a document's history, newest first, and where the next one begins.
    pub async fn history(
        &self,
        who: &Principal,
        id: &DocumentId,
        (limit, after): (usize, Option<&str>),
    ) -> Result<(Vec<HistoryShown>, Option<String>)> {
        who.may_somewhere(Permission::Read)?;
        let prefix = history_prefix(&id.to_string());
        let range = Range::newest(&prefix, limit + 1).after(after.map(|after| format!("{prefix}{after}")));
        let mut entries = self.state.list(&range).await?;
        let is_more = entries.len() > limit;
        entries.truncate(limit);
        if entries.is_empty() && after.is_none() {
            let is_there = match id.kind {
                Kind::List => !self.view().parts(id.head()).is_empty(),
                _ => self.state.get(&Slot::document(id.to_string())).await?.is_some(),
            };
            return if is_there { Ok((Vec::new(), None)) } else { Err(Error::not_found(id)) };
        }
        let mut items = Vec::new();
        let mut last = None;
        for entry in entries {
            let Some(number) = entry.name.strip_prefix(&prefix) else { continue };
            last = Some(number.to_owned());
            let Some((record, _)) = self.record(number.parse().unwrap_or(0)).await? else { continue };
            items.push(HistoryShown {
                revision: entry.stored.revision,
                time: rfc3339(record.time),
                who: record.who,
                via: record.via,
                action: record.action,
                reason: record.reason,
                before: self.text(record.before).await?,
                after: self.text(record.after).await?,
            });
        }
        Ok((items, last.filter(|_| is_more)))
    }

    /// Makes the text what it was at a revision; a new revision itself.
    pub async fn undo(
        &self,
        who: &Principal,
        id: &DocumentId,
        (to, condition): (Revision, &Precondition),
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        if id.kind == Kind::List {
            return self.undo_list(who, id, (to, condition), intent).await;
        }
        let before = self.state.get(&Slot::document(id.to_string())).await?;
        if !intent.dry_run {
            check_condition(&id.to_string(), before.as_ref(), condition)?;
        }
        check_owner(id, before.as_ref().map(|stored| &stored.value[..]))?;
        let Some(mark) = self.after_of(id, to).await? else {
            if before.is_none() {
                return Err(Error::Conflict(format!("`{id}` is gone already, as it was then")));
            }
            return self.put_document(who, (id.clone(), None), condition, intent).await;
        };
        let text = self.state.get(&Slot::record(text_name(&mark))).await?;
        let Some(text) = text else {
            return Err(Error::Conflict(format!("the text of revision {to} was too long to be kept")));
        };
        self.put_document(who, (id.clone(), Some(text.value)), condition, intent).await
    }

    /// The hash of the text a revision left behind; none where it took the document away.
    async fn after_of(&self, id: &DocumentId, to: Revision) -> Result<Option<String>> {
        let prefix = history_prefix(&id.to_string());
        let mut range = Range::newest(&prefix, crate::state::PAGE_LIMIT);
        loop {
            let page = self.state.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else {
                return Err(Error::NotFound(format!("`{id}` has no revision {to} that is kept")));
            };
            if let Some(entry) = page.iter().find(|entry| entry.stored.revision == to) {
                let number = entry.name.strip_prefix(&prefix).and_then(|number| number.parse().ok());
                let record = self.record(number.unwrap_or(0)).await?;
                let (record, _) =
                    record.ok_or_else(|| Error::NotFound(format!("revision {to} is not kept any more")))?;
                return Ok(record.after.map(|mark| mark.hash));
            }
            range.after = Some(last);
        }
    }
}
