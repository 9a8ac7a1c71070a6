//! Reading the audit.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::clock::rfc3339;
use super::plane::Control;
use crate::audit::{Chain, Outcome, RECORDS, Record, TextMark, record_name, text_name};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::state::{Order, Range, Slot};

/// Records that are looked through for one page: a search that finds little goes on with the next request.
const LOOKED_THROUGH: usize = 20_000;

/// Which records.
#[derive(Clone, Default, Debug)]
pub struct AuditQuery {
    pub who: Option<String>,
    pub what: Option<String>,
    pub from: Option<OffsetDateTime>,
    pub to: Option<OffsetDateTime>,
    pub limit: usize,
    /// The number of the last one seen; they are told from the newest on.
    pub after: Option<u64>,
}

/// A text that a record speaks of.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct TextShown {
    /// SHA-256, in hex.
    pub hash: String,
    /// Null where it was too long to be kept.
    pub text: Option<String>,
}

/// A record as the API tells it.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct RecordShown {
    pub id: u64,
    pub time: String,
    pub who: String,
    pub via: String,
    pub credential: String,
    pub address: String,
    pub user_agent: String,
    pub request_id: String,
    pub approved_by: Option<String>,
    pub action: String,
    pub object: String,
    pub before: Option<TextShown>,
    pub after: Option<TextShown>,
    pub reason: Option<String>,
    pub result: Outcome,
    /// Of this record, in the chain.
    pub hash: String,
}

impl Control {
    /// A page of the audit, newest first, and where the next one begins.
    pub async fn audit(
        &self,
        who: &Principal,
        query: &AuditQuery,
    ) -> Result<(Vec<RecordShown>, Option<u64>)> {
        who.may_somewhere(Permission::Read)?;
        let mut found = Vec::new();
        let mut looked = 0;
        let mut range = Range { order: Order::Descending, ..Range::all(RECORDS) };
        range.after = query.after.map(record_name);
        loop {
            let page = self.state.list(&range).await?;
            let Some(last) = page.last().map(|entry| entry.name.clone()) else { return Ok((found, None)) };
            for entry in page {
                looked += 1;
                let (record, hash) = Record::read(&entry.name, &entry.stored.value)?;
                if query.from.is_some_and(|from| record.time < from) {
                    return Ok((found, None));
                }
                let id = record.id;
                if query.takes(&record) {
                    found.push(self.shown(record, hash).await?);
                }
                if found.len() >= query.limit || looked >= LOOKED_THROUGH {
                    return Ok((found, (id > 1).then_some(id)));
                }
            }
            range.after = Some(last);
        }
    }

    /// The end of the chain, as notices and reports carry it.
    pub async fn audit_head(&self) -> Result<String> {
        Ok(Chain::read(&*self.state).await?.head.shown())
    }

    pub(super) async fn shown(&self, record: Record, hash: String) -> Result<RecordShown> {
        Ok(RecordShown {
            id: record.id,
            time: rfc3339(record.time),
            who: record.who,
            via: record.via,
            credential: record.credential,
            address: record.address,
            user_agent: record.user_agent,
            request_id: record.request_id,
            approved_by: record.approved_by,
            action: record.action,
            object: record.object,
            before: self.text(record.before).await?,
            after: self.text(record.after).await?,
            reason: record.reason,
            result: record.result,
            hash,
        })
    }

    pub(super) async fn text(&self, mark: Option<TextMark>) -> Result<Option<TextShown>> {
        let Some(mark) = mark else { return Ok(None) };
        let stored = self.state.get(&Slot::record(text_name(&mark.hash))).await?;
        let text = stored.and_then(|stored| String::from_utf8(stored.value.to_vec()).ok());
        Ok(Some(TextShown { hash: mark.hash, text }))
    }

    /// One record by its number.
    pub(super) async fn record(&self, id: u64) -> Result<Option<(Record, String)>> {
        let name = record_name(id);
        match self.state.get(&Slot::record(&name)).await? {
            None => Ok(None),
            Some(stored) => Record::read(&name, &stored.value).map(Some).map_err(Error::from),
        }
    }
}

impl AuditQuery {
    fn takes(&self, record: &Record) -> bool {
        self.who.as_ref().is_none_or(|who| record.who == *who)
            && self.what.as_ref().is_none_or(|what| record.object.contains(what.as_str()))
            && self.to.is_none_or(|to| record.time <= to)
    }
}
