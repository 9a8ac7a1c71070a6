//! What platforms of hospitals ask and save, with the rights, the records and the second person of any other change.

use std::sync::Arc;

use bytes::Bytes;
use graygate_rules::import::hospital::Setting;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::kept::{Diff, Kept, ListDiff, Wanted, alias};
use super::question::{Question, VersionTold, decide};
use super::settings::Hospital;
use crate::control::{
    Changes, Control, Done, Draft, Intent, Precondition, ProposalShown, View, offload, places, replaced,
    values, with, without,
};
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Touch};
use crate::state::OPERATION_LIMIT;

/// Documents, and bytes of them, of one transaction; what is more is written list by list.
const TOGETHER: (usize, usize) = ((OPERATION_LIMIT - 2) / 5, 1 << 20);

/// What the two words of a hospital's services stand for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Versions {
    #[serde(default)]
    pub gray_version: Option<String>,
    #[serde(default)]
    pub release_version: Option<String>,
}

/// What became of a save.
#[derive(Debug)]
pub enum Saved<T> {
    Kept(T),
    Waiting(Box<ProposalShown>),
}

impl Control {
    fn hospital(&self) -> Result<Arc<Hospital>> {
        self.hospital.clone().ok_or_else(|| {
            Error::NotFound(
                "`hospital:` is not written in the control plane's file, so nothing is here".to_owned(),
            )
        })
    }

    /// The version of a question, as a proxy would decide it.
    pub fn gateway_version(&self, who: &Principal, question: &Question) -> Result<VersionTold> {
        who.may_somewhere(Permission::Read)?;
        self.check_ready()?;
        let (hospital, view) = (self.hospital()?, self.view());
        let word = decide(&view.compiled, &hospital, question, self.clock.now().unix_timestamp_nanos())?;
        let role = if word == hospital.gray { "2" } else { "1" };
        Ok(VersionTold {
            application_version: alias(&view, &hospital, &word),
            application_role: role.to_owned(),
        })
    }

    pub async fn gateway_setting(&self, who: &Principal) -> Result<Kept> {
        who.may_somewhere(Permission::Read)?;
        self.check_ready()?;
        self.kept_setting().await
    }

    async fn kept_setting(&self) -> Result<Kept> {
        let (hospital, view) = (self.hospital()?, self.view());
        offload(move || Kept::of(&view, &hospital)).await?
    }

    pub fn gateway_versions(&self, who: &Principal) -> Result<Versions> {
        who.may_somewhere(Permission::Read)?;
        self.check_ready()?;
        let (hospital, view) = (self.hospital()?, self.view());
        let told = |word| Some(alias(&view, &hospital, word));
        Ok(Versions { gray_version: told(&hospital.gray), release_version: told(&hospital.release) })
    }

    pub async fn gateway_change_versions(
        &self,
        who: &Principal,
        wanted: Versions,
    ) -> Result<Saved<Versions>> {
        who.may_somewhere(Permission::Write)?;
        self.check_ready()?;
        let (hospital, view) = (self.hospital()?, self.view());
        if wanted.gray_version.is_none() && wanted.release_version.is_none() {
            return Err(Error::BadRequest(
                "nothing to change: send `grayVersion` or `releaseVersion`".to_owned(),
            ));
        }
        let mut diff = Diff::default();
        diff.versions(&view, &hospital, (wanted.gray_version.as_deref(), wanted.release_version.as_deref()))?;
        if !diff.is_empty() {
            let draft = self.draft(diff.documents).await?;
            if let Some(waiting) = self.save(who, (&view, draft), Intent::of("gateway.versions")).await? {
                return Ok(Saved::Waiting(waiting));
            }
        } else {
            who.may(Permission::Write, &touch(&hospital))?;
        }
        self.gateway_versions(who).map(Saved::Kept)
    }

    /// Makes the setting this one, if it still is what was read.
    pub async fn gateway_save(
        &self,
        who: &Principal,
        (read, wanted): (u64, Wanted),
        reason: Option<String>,
    ) -> Result<Saved<Kept>> {
        who.may_somewhere(Permission::Write)?;
        self.check_ready()?;
        let (hospital, view) = (self.hospital()?, self.view());
        who.may(Permission::Write, &touch(&hospital))?;
        let (of, looked) = (hospital.clone(), view.clone());
        let part_bytes = self.state.part_bytes();
        let found = offload(move || {
            let kept = Kept::of(&looked, &of)?;
            if kept.revision != read {
                return Err(Error::Conflict(format!(
                    "the setting has changed since revision {read}; it is {} now: read it and save again",
                    kept.revision
                )));
            }
            let diff = kept.diff(&looked, &of, &wanted)?;
            let together = together(&looked, &diff, part_bytes);
            Ok((kept, diff, together))
        });
        let (kept, diff, together) = found.await??;
        if diff.is_empty() {
            return Ok(Saved::Kept(kept));
        }
        let intent = Intent { reason, ..Intent::of("gateway.setting") };
        let changes = match together {
            Some(changes) => changes,
            None if self.waits_for_two(&touch(&hospital)) => {
                return Err(Error::TooLarge(
                    "a change this large cannot wait for a second person; change the lists' members"
                        .to_owned(),
                ));
            }
            None => {
                for list in &diff.lists {
                    self.save_list(who, list, &intent).await?;
                }
                diff.documents
            }
        };
        if !changes.is_empty() {
            let draft = self.draft(changes).await?;
            if let Some(waiting) = self.save(who, (&view, draft), intent).await? {
                return Ok(Saved::Waiting(waiting));
            }
        }
        self.kept_setting().await.map(Saved::Kept)
    }

    /// Writes a draft that was made of what a view shows, or lets it wait.
    async fn save(
        &self,
        who: &Principal,
        (view, draft): (&View, Draft),
        intent: Intent,
    ) -> Result<Option<Box<ProposalShown>>> {
        self.allow(who, &draft)?;
        // Another process's write may be in the store and not in the view yet.
        let is_as_seen = draft.before.iter().all(|(id, before)| {
            let seen = view.set.documents.get(id).map(|raw| &raw.body[..]);
            before.as_ref().map(|stored| &stored.value[..]) == seen
        });
        let changed =
            || Error::Conflict("the setting has changed meanwhile; read it and save again".to_owned());
        if !is_as_seen {
            return Err(changed());
        }
        match self.apply(who, draft, None, intent).await {
            Ok(Done::Waiting(proposal)) => Ok(Some(Box::new(proposal))),
            Ok(Done::Written(_) | Done::Shown(_)) => Ok(None),
            Err(Error::PreconditionFailed { .. }) => Err(changed()),
            Err(error) => Err(error),
        }
    }

    /// A list by its members, or, where it is new or was never spread, as a whole.
    async fn save_list(&self, who: &Principal, diff: &ListDiff, intent: &Intent) -> Result<()> {
        let view = self.view();
        let parts = view.parts(&diff.list);
        if diff.is_over {
            let tag = self.list_etag(&diff.list).await?;
            let condition = Precondition { if_match: Some(tag), ..Precondition::default() };
            self.remove_list(who, &diff.list, &condition, intent.clone()).await?;
            return Ok(());
        }
        if parts.len() <= 1 {
            let gone: std::collections::HashSet<&String> = diff.remove.iter().collect();
            let kept = parts.iter().flat_map(|(_, raw)| values(&raw.body));
            let mut text = String::new();
            for value in kept.filter(|value| !gone.contains(&(*value).to_owned())) {
                text.push_str(value);
                text.push('\n');
            }
            for value in &diff.add {
                text.push_str(value);
                text.push('\n');
            }
            self.put_list(who, &diff.list, text.into(), intent.clone()).await?;
            return Ok(());
        }
        let note = (intent.reason.clone(), None);
        self.write_members(who, &diff.list, (&diff.add, &diff.remove), note).await?;
        Ok(())
    }
}

fn touch(hospital: &Hospital) -> Touch {
    Touch::Services(hospital.services.iter().map(ToString::to_string).collect())
}

/// All of a difference as documents of one transaction, where it fits.
fn together(view: &View, diff: &Diff, part_bytes: Option<usize>) -> Option<Changes> {
    let mut changes = diff.documents.clone();
    for list in &diff.lists {
        changes.extend(of_list(view, list, part_bytes)?);
        if changes.len() > TOGETHER.0 {
            return None;
        }
    }
    let bytes: usize = changes.values().flatten().map(Bytes::len).sum();
    (bytes <= TOGETHER.1).then_some(changes)
}

/// The parts of a list that change.
fn of_list(view: &View, diff: &ListDiff, part_bytes: Option<usize>) -> Option<Changes> {
    let parts = view.parts(&diff.list);
    if diff.is_over {
        return Some(parts.into_iter().map(|(id, _)| (id, None)).collect());
    }
    if parts.is_empty() {
        let text: String = diff.add.iter().flat_map(|value| [value.as_str(), "\n"]).collect();
        if text.is_empty() {
            let id =
                graygate_rules::documents::DocumentId::of(graygate_rules::documents::Kind::List, &diff.list)?;
            return Some(Changes::from([(id, Some(Bytes::new()))]));
        }
        return replaced(view, &diff.list, &text.into(), part_bytes).ok();
    }
    let mut texts: std::collections::BTreeMap<_, Vec<u8>> =
        parts.into_iter().map(|(id, raw)| (id, raw.body.to_vec())).collect();
    let mut changed = std::collections::BTreeSet::new();
    for (values, is_addition) in [(&diff.add, true), (&diff.remove, false)] {
        for (id, values) in places(view, &diff.list, (values, is_addition), part_bytes) {
            let old = texts.remove(&id).unwrap_or_default();
            let (text, _) = if is_addition { with(&old, &values) } else { without(&old, &values) };
            texts.insert(id.clone(), text);
            changed.insert(id);
        }
    }
    Some(
        texts
            .into_iter()
            .filter(|(id, _)| changed.contains(id))
            .map(|(id, text)| (id, Some(text.into())))
            .collect(),
    )
}

/// The setting as it is sent: with the number that a save has to name.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingShown {
    pub revision: u64,
    #[serde(flatten)]
    #[schema(value_type = SettingFields)]
    pub setting: Setting,
}

/// The fields of a setting.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is a description of answers and never made")]
pub struct SettingFields {
    gray_version: String,
    release_version: String,
    /// By application.
    gray_user_ids: std::collections::BTreeMap<String, Vec<String>>,
    gray_customer_ids: Vec<String>,
    gray_hospitals: Vec<String>,
    gray_version_domains: Vec<String>,
    /// Exact paths; the values mean nothing.
    release_paths: std::collections::BTreeMap<String, String>,
    /// Patterns of whole paths.
    gray_paths: Vec<String>,
}

impl From<Kept> for SettingShown {
    fn from(kept: Kept) -> SettingShown {
        SettingShown { revision: kept.revision, setting: kept.setting }
    }
}
