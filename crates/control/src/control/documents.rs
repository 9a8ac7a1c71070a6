//! Documents: read, written, taken away, several at once, and as they were before.

use std::collections::BTreeMap;

use bytes::Bytes;
use graygate_rules::documents::{DocumentId, Format, Kind, Owner};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::change::{ChangedShown, Done, Intent, Precondition, check_condition, etag, put_known};
use super::draft::Draft;
use super::events::EventKind;
use super::plane::Control;
use super::view::Changes;
use super::write::Plan;
use crate::audit::{Deed, Text};
use crate::error::{Error, Mistake, Result};
use crate::people::{Permission, Principal};
use crate::state::{OPERATION_LIMIT, Revision, Slot, StateError, Stored, TRANSACTION_BYTES, Transaction};

/// A document of a list of them.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct DocumentShown {
    pub kind: String,
    pub name: String,
    /// As problems and the store name it, such as `rules/x`.
    pub document: String,
    pub bytes: usize,
    /// Who writes it, where that is the program.
    pub owner: Option<String>,
    pub problems: Vec<Mistake>,
}

/// A document as it stands.
pub struct DocumentText {
    pub text: Bytes,
    pub format: Format,
    pub etag: String,
}

pub fn kind_of(word: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.word() == word)
}

impl Control {
    /// The documents of a kind, or of all, in the order of their names; a list is one, whatever its parts.
    pub fn documents(
        &self,
        who: &Principal,
        kind: Option<Kind>,
        filter: Option<&str>,
    ) -> Result<Vec<DocumentId>> {
        who.may_somewhere(Permission::Read)?;
        let view = self.view();
        let mut found: Vec<DocumentId> = Vec::new();
        for id in view.set.documents.keys().chain(view.set.ambiguous.keys()) {
            let id = match id.kind {
                Kind::List => DocumentId { kind: Kind::List, name: id.head().into() },
                _ => id.clone(),
            };
            let fits =
                kind.is_none_or(|kind| kind == id.kind) && filter.is_none_or(|part| id.name.contains(part));
            if fits && found.last() != Some(&id) {
                found.push(id);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    pub fn document_shown(&self, id: &DocumentId) -> DocumentShown {
        let view = self.view();
        let text = view.set.documents.get(id);
        let bytes = match id.kind {
            Kind::List => view.parts(id.head()).iter().map(|(_, raw)| raw.body.len()).sum(),
            _ => text.map_or(0, |raw| raw.body.len()),
        };
        DocumentShown {
            kind: id.kind.word().to_owned(),
            name: id.name.to_string(),
            document: id.to_string(),
            bytes,
            owner: Owner::of(id, text.map(|raw| &raw.body[..])).map(|owner| owner.to_string()),
            problems: view.problems_of(std::iter::once(id)),
        }
    }

    pub async fn document(&self, who: &Principal, id: &DocumentId) -> Result<DocumentText> {
        who.may_somewhere(Permission::Read)?;
        if id.kind == Kind::List && id.tail().is_none() {
            return self.list_text(id.head()).await;
        }
        let stored = self.state.get(&Slot::document(id.to_string())).await?;
        let stored = stored.ok_or_else(|| Error::not_found(id))?;
        let etag = etag(&stored);
        Ok(DocumentText { text: stored.value, format: self.view().format(id), etag })
    }

    /// Writes a document's text, or takes it away.
    pub async fn put_document(
        &self,
        who: &Principal,
        (id, text): (DocumentId, Option<Bytes>),
        condition: &Precondition,
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        let is_removal = text.is_none();
        let draft = self.draft(BTreeMap::from([(id.clone(), text)])).await?;
        self.allow(who, &draft)?;
        let before = draft.before.get(&id).and_then(Option::as_ref);
        if is_removal && before.is_none() {
            return Err(Error::not_found(&id));
        }
        if intent.dry_run {
            return Ok(Done::Shown(draft.dry_run()));
        }
        check_condition(&id.to_string(), before, condition)?;
        self.apply(who, draft, condition.hash.as_deref(), intent).await
    }

    /// Writes several at once, all or nothing; `tags` are the ETags of those that exist.
    pub async fn change(
        &self,
        who: &Principal,
        changes: Changes,
        (tags, hash): (&BTreeMap<String, String>, Option<&str>),
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        if changes.is_empty() {
            return Err(Error::Invalid("nothing to change: send `puts` or `deletes`".to_owned()));
        }
        // Each takes its text, what is known of it, its records and the texts they speak of.
        if changes.len() * 5 + 2 > OPERATION_LIMIT {
            let most = (OPERATION_LIMIT - 2) / 5;
            return Err(Error::TooLarge(format!(
                "one transaction holds {most} documents, and these are {}",
                changes.len()
            )));
        }
        let draft = self.draft(changes).await?;
        self.allow(who, &draft)?;
        for (id, before) in &draft.before {
            if before.is_none() && draft.changes.get(id).is_some_and(Option::is_none) {
                return Err(Error::not_found(id));
            }
        }
        if intent.dry_run {
            return Ok(Done::Shown(draft.dry_run()));
        }
        for (id, before) in &draft.before {
            let condition =
                Precondition { if_match: tags.get(&id.to_string()).cloned(), ..Precondition::default() };
            match before {
                Some(before) => check_condition(&id.to_string(), Some(before), &condition)?,
                None if condition.if_match.is_some() => return Err(Error::changed(id, None)),
                None => {}
            }
        }
        self.apply(who, draft, hash, intent).await
    }

    /// Whether someone may make a change, and no other owns what it changes.
    pub(crate) fn allow(&self, who: &Principal, draft: &Draft) -> Result<()> {
        who.may(Permission::Write, &draft.touch)?;
        for (id, text) in &draft.changes {
            let before = draft.before.get(id).and_then(Option::as_ref).map(|stored| &stored.value[..]);
            for text in [before, text.as_deref()] {
                check_owner(id, text)?;
            }
        }
        Ok(())
    }

    /// Writes a draft, or lets it wait for a second person.
    pub(crate) async fn apply(
        &self,
        who: &Principal,
        draft: Draft,
        hash: Option<&str>,
        intent: Intent,
    ) -> Result<Done> {
        if hash.is_some_and(|hash| hash != draft.hash) {
            let detail = "this is not the difference that was shown; look at it again".to_owned();
            return Err(Error::PreconditionFailed { detail, etag: None });
        }
        if !draft.problems.is_empty() {
            return Err(Error::Problems(draft.problems));
        }
        let are_drafts = self.are_drafts(&draft.changes).await?;
        if intent.approved_by.is_none() && !are_drafts && self.waits_for_two(&draft.touch) {
            return self.propose(who, &draft, &intent).await.map(Done::Waiting);
        }
        self.write_documents(who, draft, intent).await.map(Done::Written)
    }

    pub(super) async fn write_documents(
        &self,
        who: &Principal,
        draft: Draft,
        intent: Intent,
    ) -> Result<ChangedShown> {
        let plan = planned(who, &draft, &intent)?;
        let written = match self.write(plan).await {
            Ok(written) => written,
            Err(StateError::Conflict(slots)) => {
                let name = slots.first().map(ToString::to_string).unwrap_or_default();
                let now = match slots.first() {
                    Some(slot @ Slot::Document(_)) => self.state.get(slot).await.ok().flatten(),
                    _ => None,
                };
                return Err(Error::changed(name, now.as_ref().map(etag)));
            }
            Err(error) => return Err(error.into()),
        };
        let created = draft.before.values().any(Option::is_none);
        let etags = draft.changes.iter().map(|(id, text)| {
            let text = text.clone().map(|value| etag(&Stored { value, revision: written.revision }));
            (id.to_string(), text)
        });
        let shown = ChangedShown {
            revision: written.revision,
            etags: etags.collect(),
            notes: draft.notes.clone(),
            created,
        };
        self.took_effect(draft, written.revision);
        Ok(shown)
    }

    /// Tells of a document that has changed.
    pub(super) fn tell_document(&self, id: &DocumentId, revision: Revision, is_there: bool) {
        let body = json!({
            "kind": id.kind.word(),
            "name": id.name.to_string(),
            "revision": revision,
            "action": if is_there { "put" } else { "delete" },
        });
        self.events.tell(EventKind::Document, body);
    }
}

/// What the program writes is not written by hand.
pub(super) fn check_owner(id: &DocumentId, text: Option<&[u8]>) -> Result<()> {
    match Owner::of(id, text) {
        Some(owner) => Err(Error::Conflict(format!("`{id}` is written by {owner}; change it there"))),
        None => Ok(()),
    }
}

/// The transaction of a draft, with its records.
fn planned(who: &Principal, draft: &Draft, intent: &Intent) -> Result<Plan> {
    let mut plan = Plan { transaction: Transaction::default(), deeds: Vec::new() };
    for (id, text) in &draft.changes {
        let before = draft.before.get(id).and_then(Option::as_ref);
        let slot = Slot::document(id.to_string());
        plan.transaction.expect(slot.clone(), before.map_or(0, |stored| stored.revision));
        put_known(&mut plan.transaction, id, text.as_ref());
        match text {
            Some(text) => plan.transaction.put(slot, text.clone()),
            None => plan.transaction.delete(slot),
        };
        let mut deed =
            Deed::ok(who, intent.action.clone(), id.to_string()).with_reason(intent.reason.clone());
        deed.approved_by = intent.approved_by.clone();
        let before = before.map(|stored| Text::of(stored.value.clone()));
        plan.deeds.push(deed.changing(before, text.clone().map(Text::of)));
    }
    if draft.changes.values().all(Option::is_none) {
        plan = plan.from_reserve();
    }
    if plan.transaction.weight() > TRANSACTION_BYTES {
        let detail =
            format!("one transaction holds {} KiB, and these documents are more", TRANSACTION_BYTES >> 10);
        return Err(Error::TooLarge(detail));
    }
    Ok(plan)
}
