//! Lists by their members, up to ten million of them.
//!
//! Owns: which part of a list a member is in, or goes to, so that one member is one small write. Adding and removing
//! commute, so these calls need no ETag.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use graygate_rules::documents::{DocumentId, Format, Raw};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::change::{ChangedShown, Done, Intent, Precondition, put_known};
use super::documents::DocumentText;
use super::draft::DryRun;
use super::members::{
    check_member, difference, found_in, list_id, offload, places, push_lines, replaced, tag, values, with,
    without,
};
use super::plane::Control;
use super::proposal::{Asked, ProposalShown, Work};
use super::view::Changes;
use super::write::Plan;
use crate::audit::{Deed, Record, Text, history_prefix, text_name};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};
use crate::state::{Range, Revision, Slot, StateError, Stored};

/// Most members of one call; more are a `PUT` of the whole.
const MEMBERS_LIMIT: usize = 100_000;
/// Parts, and bytes, of one transaction.
const BATCH: (usize, usize) = (30, 1 << 20);
/// How often a change is tried again that met another one of the same part.
const RACES: usize = 50;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ContainsShown {
    pub contains: bool,
    pub members: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, ToSchema)]
pub struct MembersShown {
    /// Those that were not there before.
    pub added: usize,
    /// Those that were.
    pub removed: usize,
}

/// What became of a change of members.
#[derive(Debug)]
pub enum MembersDone {
    Changed(MembersShown),
    Waiting(Box<ProposalShown>),
}

impl Control {
    pub async fn list_contains(&self, who: &Principal, list: &str, value: &str) -> Result<ContainsShown> {
        who.may_somewhere(Permission::Read)?;
        list_id(list)?;
        let view = self.view();
        let parts = view.parts(list);
        if parts.is_empty() {
            return Err(Error::not_found(format!("lists/{list}")));
        }
        let counts = &view.compiled.counts.list_members;
        let members = counts.iter().find(|(name, _)| &**name == list).map_or(0, |(_, count)| *count);
        let wanted = value.to_owned();
        let contains = offload(move || !found_in(&parts, &[wanted.as_str()]).is_empty()).await?;
        Ok(ContainsShown { contains, members })
    }

    /// The parts of a list, whose texts together are the list's.
    pub fn list_parts(&self, who: &Principal, list: &str) -> Result<Vec<Arc<Raw>>> {
        who.may_somewhere(Permission::Read)?;
        let parts = self.view().parts(list);
        match parts.is_empty() {
            true => Err(Error::not_found(format!("lists/{list}"))),
            false => Ok(parts.into_iter().map(|(_, raw)| raw).collect()),
        }
    }

    pub async fn list_etag(&self, list: &str) -> Result<String> {
        let parts = self.view().parts(list);
        offload(move || tag(&parts)).await
    }

    pub(super) async fn list_text(&self, list: &str) -> Result<DocumentText> {
        let parts = self.view().parts(list);
        if parts.is_empty() {
            return Err(Error::not_found(format!("lists/{list}")));
        }
        let joined = offload(move || {
            let mut text = Vec::new();
            for (_, raw) in &parts {
                push_lines(&mut text, &raw.body);
            }
            (Bytes::from(text), tag(&parts))
        });
        let (text, etag) = joined.await?;
        Ok(DocumentText { text, format: Format::List, etag })
    }

    /// Adds and removes members.
    pub async fn change_members(
        &self,
        who: &Principal,
        list: &str,
        (add, remove): (Vec<String>, Vec<String>),
        reason: Option<String>,
    ) -> Result<MembersDone> {
        who.may_somewhere(Permission::Write)?;
        let id = list_id(list)?;
        if add.len() + remove.len() > MEMBERS_LIMIT {
            let detail = format!("one call changes {MEMBERS_LIMIT} members; write the whole list instead");
            return Err(Error::TooLarge(detail));
        }
        for value in add.iter().chain(&remove) {
            check_member(value)?;
        }
        let both: HashSet<_> = add.iter().collect();
        if let Some(value) = remove.iter().find(|value| both.contains(value)) {
            return Err(Error::Invalid(format!("`{value}` cannot be added and removed at once")));
        }
        let touch = self.view().touch_of_list(list);
        who.may(Permission::Write, &touch)?;
        if self.view().parts(list).is_empty() && add.is_empty() {
            return Err(Error::not_found(id));
        }
        if self.waits_for_two(&touch) {
            let diff = difference(&add, &remove);
            let hash = hex::encode(Sha256::digest(format!("{id}\n{diff}")));
            let asked = Asked { action: "list.members".into(), object: id.to_string(), hash, diff };
            let work = Work::Members { list: list.to_owned(), add, remove };
            return self
                .let_wait(who, asked, (touch, work), reason)
                .await
                .map(|proposal| MembersDone::Waiting(Box::new(proposal)));
        }
        self.write_members(who, list, (&add, &remove), (reason, None)).await.map(MembersDone::Changed)
    }

    /// Writes a change of members part by part; additions come before removals.
    pub(crate) async fn write_members(
        &self,
        who: &Principal,
        list: &str,
        (add, remove): (&[String], &[String]),
        (reason, approved_by): (Option<String>, Option<String>),
    ) -> Result<MembersShown> {
        let mut done = MembersShown::default();
        for (values, is_addition) in [(add, true), (remove, false)] {
            if values.is_empty() {
                continue;
            }
            for _ in 0..RACES {
                let note = (reason.clone(), approved_by.clone());
                match self.write_some(who, list, (values, is_addition), note).await? {
                    Some(count) if is_addition => done.added += count,
                    Some(count) => done.removed += count,
                    None => continue,
                }
                break;
            }
        }
        Ok(done)
    }

    /// Writes additions, or removals; nothing came of it where another one wrote a part meanwhile.
    async fn write_some(
        &self,
        who: &Principal,
        list: &str,
        (values, is_addition): (&[String], bool),
        (reason, approved_by): (Option<String>, Option<String>),
    ) -> Result<Option<usize>> {
        let view = self.view();
        let (owned, part_bytes, name) = (values.to_vec(), self.state.part_bytes(), list.to_owned());
        let places = offload(move || places(&view, &name, (&owned, is_addition), part_bytes)).await?;
        let mut count = 0;
        let places: Vec<_> = places.into_iter().collect();
        let mut rest = places.as_slice();
        while !rest.is_empty() {
            let mut changes = Changes::new();
            let mut plan_before: BTreeMap<DocumentId, Option<Stored>> = BTreeMap::new();
            let (mut bytes, mut moved) = (0, Vec::new());
            let mut taken = 0;
            for (id, values) in rest.iter().take(BATCH.0) {
                let before = self.state.get(&Slot::document(id.to_string())).await?;
                let old = before.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
                let (text, changed) = match is_addition {
                    true => with(&old, values),
                    false => without(&old, values),
                };
                bytes += text.len();
                if taken > 0 && bytes > BATCH.1 {
                    break;
                }
                taken += 1;
                if changed.is_empty() {
                    continue;
                }
                moved.extend(changed);
                plan_before.insert(id.clone(), before);
                // A part without members stays, so that the list does not go with its last member.
                changes.insert(id.clone(), Some(text.into()));
            }
            rest = rest.get(taken..).unwrap_or_default();
            if changes.is_empty() {
                continue;
            }
            let mut deed = Deed::ok(who, "list.members", format!("lists/{list}")).with_reason(reason.clone());
            deed.approved_by = approved_by.clone();
            let lines = Text::of(moved.join("\n"));
            let deed =
                if is_addition { deed.changing(None, Some(lines)) } else { deed.changing(Some(lines), None) };
            let plan = Plan::new(deed);
            let mut plan = if is_addition { plan } else { plan.from_reserve() };
            for (id, text) in &changes {
                let slot = Slot::document(id.to_string());
                let revision =
                    plan_before.get(id).and_then(Option::as_ref).map_or(0, |stored| stored.revision);
                plan.transaction.expect(slot.clone(), revision);
                put_known(&mut plan.transaction, id, text.as_ref());
                plan.transaction.put(slot, text.clone().unwrap_or_default());
            }
            match self.write(plan).await {
                Ok(written) => {
                    count += moved.len();
                    self.replace_view(&changes, written.revision);
                }
                Err(StateError::Conflict(_)) => {
                    self.refresh(changes.keys()).await?;
                    // What earlier rounds wrote stands; only a first round may be counted again as a whole.
                    return Ok(if count > 0 { Some(count) } else { None });
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(count))
    }

    /// Replaces a list: additions before removals, safe to repeat.
    pub async fn put_list(&self, who: &Principal, list: &str, text: Bytes, intent: Intent) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        let id = list_id(list)?;
        if std::str::from_utf8(&text).is_err() {
            return Err(Error::Invalid("a list is UTF-8 text, one value a line".to_owned()));
        }
        let view = self.view();
        let touch = view.touch_of_list(list);
        who.may(Permission::Write, &touch)?;
        let (shared, name, part_bytes, new) =
            (view.clone(), list.to_owned(), self.state.part_bytes(), text.clone());
        let changes = offload(move || replaced(&shared, &name, &new, part_bytes)).await??;
        if intent.dry_run {
            let problems = if changes.len() <= BATCH.0 {
                view.with(&changes).problems_of(std::iter::once(&id))
            } else {
                Vec::new()
            };
            let hash = Some(hex::encode(Sha256::digest(&text)));
            return Ok(Done::Shown(DryRun { problems, notes: Vec::new(), diff: String::new(), hash }));
        }
        if changes.len() <= BATCH.0 && changes.values().flatten().map(Bytes::len).sum::<usize>() <= BATCH.1 {
            let draft = self.draft_parts(changes).await?;
            return self.apply_list(who, (id, draft), text, intent).await;
        }
        if intent.approved_by.is_none() && self.waits_for_two(&touch) {
            return Err(Error::TooLarge(
                "a list this large cannot wait for a second person; change its members".to_owned(),
            ));
        }
        self.write_large(who, &id, (changes, text), intent).await
    }

    /// Many parts: several transactions, each with what is known of its parts, the record with the last.
    async fn write_large(
        &self,
        who: &Principal,
        id: &DocumentId,
        (changes, text): (Changes, Bytes),
        intent: Intent,
    ) -> Result<Done> {
        let (puts, deletes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(_, text)| text.is_some());
        let ordered: Vec<_> = puts.into_iter().chain(deletes).collect();
        let existed = !self.view().parts(id.head()).is_empty();
        let mut rest = ordered.as_slice();
        let mut revision = 0;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fit = rest.iter().take(BATCH.0).take_while(|(_, text)| {
                bytes += text.as_ref().map_or(0, Bytes::len);
                bytes <= BATCH.1
            });
            let (now, later) = rest.split_at(fit.count().max(1).min(rest.len()));
            rest = later;
            let mut deed =
                Deed::ok(who, intent.action.clone(), id.to_string()).with_reason(intent.reason.clone());
            deed.approved_by = intent.approved_by.clone();
            if rest.is_empty() {
                deed = deed.changing(None, Some(Text::of(text.clone())));
            }
            let mut plan = Plan::new(deed);
            let batch: Changes = now.iter().cloned().collect();
            for (part, text) in &batch {
                put_known(&mut plan.transaction, part, text.as_ref());
                let slot = Slot::document(part.to_string());
                match text {
                    Some(text) => plan.transaction.put(slot, text.clone()),
                    None => plan.transaction.delete(slot),
                };
            }
            revision = self.write(plan).await?.revision;
            self.replace_view(&batch, revision);
        }
        let etag = self.list_etag(id.head()).await?;
        let etags = BTreeMap::from([(id.to_string(), Some(etag))]);
        Ok(Done::Written(ChangedShown { revision, etags, notes: Vec::new(), created: !existed }))
    }

    async fn draft_parts(&self, changes: Changes) -> Result<super::draft::Draft> {
        self.draft(changes).await
    }

    async fn apply_list(
        &self,
        who: &Principal,
        (id, draft): (DocumentId, super::draft::Draft),
        text: Bytes,
        intent: Intent,
    ) -> Result<Done> {
        if !draft.problems.is_empty() {
            return Err(Error::Problems(draft.problems));
        }
        if intent.approved_by.is_none() && self.waits_for_two(&draft.touch) {
            return self.propose(who, &draft, &intent).await.map(Done::Waiting);
        }
        let existed = draft.before.values().any(Option::is_some) || draft.changes.is_empty();
        let old: Vec<u8> =
            self.view().parts(id.head()).iter().flat_map(|(_, raw)| raw.body.to_vec()).collect();
        let mut deed =
            Deed::ok(who, intent.action.clone(), id.to_string()).with_reason(intent.reason.clone());
        deed.approved_by = intent.approved_by.clone();
        let before = existed.then(|| Text::of(old));
        let mut plan = Plan::new(deed.changing(before, Some(Text::of(text))));
        if draft.changes.values().all(Option::is_none) {
            plan = plan.from_reserve();
        }
        for (part, text) in &draft.changes {
            put_known(&mut plan.transaction, part, text.as_ref());
            let slot = Slot::document(part.to_string());
            let before = draft.before.get(part).and_then(Option::as_ref);
            plan.transaction.expect(slot.clone(), before.map_or(0, |stored| stored.revision));
            match text {
                Some(text) => plan.transaction.put(slot, text.clone()),
                None => plan.transaction.delete(slot),
            };
        }
        let written = match self.write(plan).await {
            Ok(written) => written,
            Err(StateError::Conflict(_)) => {
                self.refresh(draft.changes.keys()).await?;
                return Err(Error::changed(&id, None));
            }
            Err(error) => return Err(error.into()),
        };
        self.replace_view(&draft.changes, written.revision);
        let etag = self.list_etag(id.head()).await?;
        let etags = BTreeMap::from([(id.to_string(), Some(etag))]);
        let notes = draft.notes.clone();
        Ok(Done::Written(ChangedShown { revision: written.revision, etags, notes, created: !existed }))
    }

    /// Takes a list away, with all its parts.
    pub async fn remove_list(
        &self,
        who: &Principal,
        list: &str,
        condition: &Precondition,
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        let id = list_id(list)?;
        let parts = self.view().parts(list);
        who.may(Permission::Write, &self.view().touch_of_list(list))?;
        if parts.is_empty() {
            return Err(Error::not_found(id));
        }
        let changes: Changes = parts.into_iter().map(|(id, _)| (id, None)).collect();
        if !intent.dry_run {
            self.check_list(&id, condition).await?;
        }
        if changes.len() > BATCH.0 {
            return self.write_large(who, &id, (changes, Bytes::new()), intent).await;
        }
        let draft = self.draft(changes).await?;
        if intent.dry_run {
            return Ok(Done::Shown(draft.dry_run()));
        }
        self.apply_list(who, (id, draft), Bytes::new(), intent).await
    }

    /// What a write over a list has to say about it, where it has to.
    pub(super) async fn check_list(&self, id: &DocumentId, condition: &Precondition) -> Result<()> {
        let is_there = !self.view().parts(id.head()).is_empty();
        let now = if is_there { Some(self.list_etag(id.head()).await?) } else { None };
        match (now, &condition.if_match, &condition.if_none_match) {
            (Some(now), _, Some(_)) => Err(Error::changed(id, Some(now))),
            (Some(now), Some(wanted), None) if super::change::matches_tag(wanted, &now) => Ok(()),
            (Some(now), Some(_), None) => Err(Error::changed(id, Some(now))),
            (Some(_), None, None) => {
                Err(Error::PreconditionRequired(format!("`{id}` exists; send its ETag as `If-Match`")))
            }
            (None, Some(_), _) => Err(Error::changed(id, None)),
            (None, None, Some(_)) => Ok(()),
            (None, None, None) => {
                Err(Error::PreconditionRequired(format!("`{id}` is new; send `If-None-Match: *`")))
            }
        }
    }

    /// Writes a list as any document is written, with what it replaces.
    pub async fn put_list_document(
        &self,
        who: &Principal,
        (list, text): (&str, Bytes),
        condition: &Precondition,
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        if text.len() > super::draft::DOCUMENT_LIMIT {
            return Err(Error::TooLarge("a list above 1 MiB is written by `PUT /lists/<name>`".to_owned()));
        }
        if !intent.dry_run {
            who.may(Permission::Write, &self.view().touch_of_list(list))?;
            self.check_list(&list_id(list)?, condition).await?;
        }
        self.put_list(who, list, text, intent).await
    }

    /// Goes back through the changes of members.
    pub(super) async fn undo_list(
        &self,
        who: &Principal,
        id: &DocumentId,
        (to, condition): (Revision, &Precondition),
        intent: Intent,
    ) -> Result<Done> {
        let list = id.head().to_owned();
        if !intent.dry_run {
            self.check_list(id, condition).await?;
        }
        let view = self.view();
        let mut members: BTreeSet<String> = BTreeSet::new();
        for (_, raw) in view.parts(&list) {
            members.extend(values(&raw.body).map(str::to_owned));
        }
        let prefix = history_prefix(&id.to_string());
        let range = Range::newest(&prefix, crate::state::PAGE_LIMIT);
        for entry in self.state.list(&range).await? {
            if entry.stored.revision == to {
                let text = members.iter().fold(String::new(), |text, member| text + member + "\n");
                return self.put_list(who, &list, text.into(), intent).await;
            }
            let number = entry.name.strip_prefix(&prefix).and_then(|number| number.parse().ok());
            let Some((record, _)) = self.record(number.unwrap_or(0)).await? else { break };
            if !self.take_back(&record, &mut members).await? {
                return Err(Error::Conflict(format!(
                    "what changed before revision {to} was too long to be kept"
                )));
            }
        }
        Err(Error::NotFound(format!("`{id}` has no revision {to} that is kept")))
    }

    /// Takes one recorded change of a list's members back; false where what changed was too long to be kept.
    pub(super) async fn take_back(&self, record: &Record, members: &mut BTreeSet<String>) -> Result<bool> {
        let mut lines = Vec::new();
        for mark in [&record.before, &record.after] {
            let Some(mark) = mark else {
                lines.push(Vec::new());
                continue;
            };
            let stored = self.state.get(&Slot::record(text_name(&mark.hash))).await?;
            let Some(stored) = stored else { return Ok(false) };
            lines.push(values(&stored.value).map(str::to_owned).collect::<Vec<_>>());
        }
        let [before, after] = lines.as_slice() else { return Ok(false) };
        if record.action != "list.members" {
            members.clear();
        } else {
            members.retain(|member| !after.contains(member));
        }
        members.extend(before.iter().cloned());
        Ok(true)
    }
}
