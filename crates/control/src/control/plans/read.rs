//! Plans as they are read.

use bytes::Bytes;
use graygate_judge::plan::{Progress, State};
use graygate_rules::documents::{Format, Kind};

use super::write::is_plan_name;
use crate::audit::history_prefix;
use crate::control::change::{Done, Intent, Precondition, etag, matches_tag};
use crate::control::plane::Control;
use crate::control::view::Changes;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal, Touch};
use crate::plans::{
    Kept, PLANS, PlanShown, RunShown, Shown, Sight, Spec, Transition, document_of, plan_record, run_prefix,
    sight_record,
};
use crate::state::{Range, Revision, Slot, Stored, read_json};

/// A plan as it was read: the document, the record, and what is seen of it.
#[derive(Clone, Debug)]
pub struct PlanRead {
    pub name: String,
    pub document: Option<Stored>,
    pub is_json: bool,
    pub kept: Kept,
    /// 0 where there is no record.
    pub revision: Revision,
    pub sight: Option<Sight>,
    /// Why no step is written now, where the store is nearly full.
    pub crowded: Option<String>,
}

impl PlanRead {
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.document.as_ref()?.value).ok()
    }

    /// Changes with the document and with transitions, and with nothing else.
    pub fn etag(&self) -> String {
        let document = self.document.as_ref().map_or_else(|| "gone".to_owned(), etag);
        format!("\"{}-{}\"", document.trim_matches('"'), self.kept.moves)
    }

    /// The copy that counts: the running one of a run, else the document.
    pub fn spec(&self) -> Result<Spec> {
        match self.kept.runs() {
            true => self.running(),
            false => self.drafted(),
        }
    }

    /// The copy of the newest run, which may have ended.
    pub fn running(&self) -> Result<Spec> {
        Spec::read(&self.name, &self.kept.text, self.kept.is_json)
    }

    pub fn drafted(&self) -> Result<Spec> {
        let text = self.text().ok_or_else(|| Error::not_found(format!("plans/{}", self.name)))?;
        Spec::read(&self.name, text, self.is_json)
    }

    pub fn shown(&self) -> PlanShown {
        let spec = self.spec().ok();
        let shown = Shown {
            name: &self.name,
            text: self.text(),
            kept: &self.kept,
            sight: self.sight.as_ref(),
            spec: spec.as_ref(),
            etag: self.etag(),
        };
        let mut shown = shown.plan();
        // Told here: what the leader sees cannot be kept either.
        if self.kept.progress.state == State::Active {
            shown.waiting_for.extend(self.crowded.iter().map(|why| format!("room in the store: {why}")));
        }
        shown
    }

    /// A plan that was promoted and whose document says something else since is a draft of what comes next. Under the
    /// former text it still is the promoted one, with its way back.
    fn written_again(&self) -> bool {
        self.kept.progress.promoted && self.text().is_some_and(|text| text != self.kept.text)
    }
}

impl Control {
    /// The plans, in the order of their names: those with a document, and those that still run without one.
    pub async fn plans_shown(&self, who: &Principal, filter: Option<&str>) -> Result<Vec<PlanShown>> {
        who.may_somewhere(Permission::Read)?;
        let view = self.view();
        let documents =
            view.set.documents.keys().filter(|id| id.kind == Kind::Plan).map(|id| id.name.to_string());
        let mut names: Vec<String> = documents.collect();
        for entry in self.records(PLANS).await? {
            let kept: Kept = read_json(&entry.name, &entry.stored.value)?;
            if kept.runs() {
                names.push(kept.plan);
            }
        }
        names.retain(|name| filter.is_none_or(|part| name.contains(part)));
        names.sort();
        names.dedup();
        let mut shown = Vec::new();
        for name in names {
            match self.read_plan(&name).await {
                Ok(read) => shown.push(read.shown()),
                // Taken away in this moment.
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(shown)
    }

    pub async fn plan(&self, who: &Principal, name: &str) -> Result<PlanRead> {
        who.may_somewhere(Permission::Read)?;
        self.read_plan(name).await
    }

    /// Reads everything of a plan. One without a document is there as long as it runs.
    pub(crate) async fn read_plan(&self, name: &str) -> Result<PlanRead> {
        let id = document_of(name).filter(|_| is_plan_name(name));
        let id = id.ok_or_else(|| Error::not_found(format!("plans/{name}")))?;
        let found = self.read::<Kept>(&plan_record(name)).await?;
        let (kept, revision) = found.unwrap_or_else(|| (Kept::draft(name), 0));
        let document = self.state.get(&Slot::document(id.to_string())).await?;
        if document.is_none() && !kept.runs() {
            return Err(Error::not_found(&id));
        }
        let sight = self.read::<Sight>(&sight_record(name)).await?.map(|(sight, _)| sight);
        let is_json = self.view().format(&id) == Format::Json;
        let crowded = self.state.crowded();
        let mut read = PlanRead { name: name.to_owned(), document, is_json, kept, revision, sight, crowded };
        if read.written_again() {
            read.kept = Kept { progress: Progress::draft(), last: None, ..read.kept };
        }
        Ok(read)
    }

    /// Whom a plan concerns: what it moves, and what its document would move.
    pub(super) fn touch_of(&self, read: &PlanRead) -> Touch {
        let Some(id) = document_of(&read.name) else { return Touch::All };
        let view = self.view();
        let running = read.kept.runs().then(|| view.touch(&id, read.kept.text.as_bytes()));
        let written = read.document.as_ref().map(|stored| view.touch(&id, &stored.value));
        running.or(written).unwrap_or(Touch::All)
    }

    /// The runs of a plan, newest first.
    pub async fn plan_runs(&self, who: &Principal, name: &str) -> Result<Vec<RunShown>> {
        who.may_somewhere(Permission::Read)?;
        let mut runs: Vec<(u64, Vec<Transition>)> = Vec::new();
        for entry in self.records(&run_prefix(name)).await? {
            let transition: Transition = read_json(&entry.name, &entry.stored.value)?;
            match runs.last_mut().filter(|(run, _)| *run == transition.run) {
                Some((_, transitions)) => transitions.push(transition),
                None => runs.push((transition.run, vec![transition])),
            }
        }
        if runs.is_empty() {
            self.read_plan(name).await?;
        }
        runs.reverse();
        Ok(runs.iter().map(|(run, transitions)| RunShown::of(*run, transitions)).collect())
    }

    /// The text of a plan's document, for those who ask for that.
    pub fn plan_text(read: &PlanRead) -> Result<(Bytes, bool)> {
        let stored = read.document.as_ref();
        let stored = stored.ok_or_else(|| Error::not_found(format!("plans/{}", read.name)))?;
        Ok((stored.value.clone(), read.is_json))
    }
}

impl Control {
    /// Who wrote the plan's document last.
    pub(super) async fn writer_of(&self, name: &str) -> Result<Option<String>> {
        let prefix = history_prefix(&format!("plans/{name}"));
        let newest = self.state.list(&Range::newest(&prefix, 1)).await?;
        let number = newest.first().and_then(|entry| entry.name.strip_prefix(&prefix)?.parse().ok());
        let Some(number) = number else { return Ok(None) };
        Ok(self.record(number).await?.map(|(record, _)| record.who))
    }

    /// Whether a change is of drafts alone, which wait for no one; a running plan's document may not be taken away.
    pub(in crate::control) async fn are_drafts(&self, changes: &Changes) -> Result<bool> {
        let mut are_drafts = true;
        for (id, text) in changes {
            if id.kind != Kind::Plan {
                are_drafts = false;
                continue;
            }
            let kept = self.read::<Kept>(&plan_record(&id.name)).await?;
            let runs = kept.is_some_and(|(kept, _)| kept.runs());
            if runs && text.is_none() {
                return Err(Error::Conflict(format!(
                    "`{id}` runs: roll it back, or complete and promote it"
                )));
            }
            are_drafts &= !runs;
        }
        Ok(are_drafts)
    }

    /// Writes a plan's document, or takes it away; `If-Match` is the plan's ETag.
    pub async fn put_plan(
        &self,
        who: &Principal,
        (name, text): (&str, Option<Bytes>),
        mut condition: Precondition,
        intent: Intent,
    ) -> Result<Done> {
        who.may_somewhere(Permission::Write)?;
        let id = document_of(name).filter(|_| is_plan_name(name));
        let id = id.ok_or_else(|| Error::BadRequest(format!("`{name}` is not a plan's name")))?;
        let read = match self.read_plan(name).await {
            Ok(read) => Some(read),
            Err(Error::NotFound(_)) if text.is_some() => None,
            Err(error) => return Err(error),
        };
        if let Some(read) = &read {
            let is_missing = condition.if_match.is_none() && condition.if_none_match.is_none();
            if text.is_none() && read.kept.runs() && !is_missing && !intent.dry_run {
                who.may(Permission::Write, &self.touch_of(read))?;
                return Err(Error::Conflict(format!(
                    "`{id}` runs: roll it back, or complete and promote it"
                )));
            }
            if let Some(wanted) = &condition.if_match {
                let document = read.document.as_ref().map(etag);
                match matches_tag(wanted, &read.etag()) {
                    true => condition.if_match = document,
                    false if document.as_ref().is_none_or(|document| !matches_tag(wanted, document)) => {
                        who.may(Permission::Write, &self.touch_of(read))?;
                        return Err(Error::changed(&id, Some(read.etag())));
                    }
                    false => {}
                }
            }
            // A running plan whose document was deleted gets one again.
            if read.document.is_none() && condition.if_match.is_none() {
                condition.if_none_match = Some("*".to_owned());
            }
        }
        self.put_document(who, (id, text), &condition, intent).await
    }
}
