//! Documents as they were at a past moment, from the histories of what was changed since.
//!
//! Owns: what each document said then; of the documents that plans write, what their transitions say. Never: a guess: a
//! text that is not kept any more is named as unknown.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use graygate_judge::plan::{Progress, State};
use graygate_rules::documents::owner::Owner;
use graygate_rules::documents::{DocumentId, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::clock::rfc3339;
use super::members::values;
use super::plane::Control;
use super::view::{Changes, View};
use crate::audit::{Chain, HISTORY, RECORDS, Record, text_name};
use crate::error::{Error, Result};
use crate::plans::rules::{closures, is_rule_of, rules};
use crate::plans::{Kept, RUNS, Spec, Transition, plan_record};
use crate::state::{Range, Revision, Slot, read_json};

/// Bytes of a list that is taken back change by change; a longer one is unknown.
const LIST_LIMIT: usize = 16 << 20;

/// A moment of the past.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Moment {
    Time(OffsetDateTime),
    /// After the write of this number.
    Revision(Revision),
}

impl Moment {
    /// A number is a revision, anything else a time.
    pub fn parse(text: &str) -> Option<Moment> {
        match text.parse::<Revision>() {
            Ok(revision) => Some(Moment::Revision(revision)),
            Err(_) => OffsetDateTime::parse(text, &Rfc3339).ok().map(Moment::Time),
        }
    }
}

/// The documents of a moment.
pub struct Then {
    pub view: View,
    /// When the moment was.
    pub time: OffsetDateTime,
    /// Documents that were otherwise.
    pub changed: usize,
    /// Documents whose text of then is not kept; they stand in the view as they are now.
    pub unknown: Vec<String>,
}

/// An entry of a document's history: the number of its record, and the write it came with.
type Mark = (u64, Revision);

/// Every document's history, oldest first, and where the moment is in it.
struct Past {
    marks: BTreeMap<DocumentId, Vec<Mark>>,
    moment: Moment,
    /// Of a time: the first record that is later.
    first: u64,
}

/// What is known of a text of then.
enum Known {
    /// It was not changed since.
    AsNow,
    Text(Option<Bytes>),
    Lost,
}

impl Past {
    fn is_after(&self, (record, revision): Mark) -> bool {
        match self.moment {
            Moment::Time(_) => record >= self.first,
            Moment::Revision(moment) => revision > moment,
        }
    }

    /// The entries before and after the moment.
    fn around(&self, id: &DocumentId) -> (&[Mark], &[Mark]) {
        let marks = self.marks.get(id).map(Vec::as_slice).unwrap_or_default();
        marks.split_at(marks.partition_point(|mark| !self.is_after(*mark)))
    }

    fn is_recorded(&self, id: &DocumentId) -> bool {
        self.marks.contains_key(id)
    }
}

impl Control {
    /// All documents as they were.
    pub(super) async fn documents_then(&self, moment: Moment) -> Result<Then> {
        let now = self.view();
        let past = self.past(moment).await?;
        let (mut changes, mut unknown) = (Changes::new(), Vec::new());
        for id in past.marks.keys() {
            let known = match id.kind {
                Kind::List => self.list_then(id, &past, &now).await?,
                _ => self.text_then(id, &past).await?,
            };
            match known {
                Known::AsNow => {}
                Known::Lost => unknown.push(id.to_string()),
                Known::Text(text) => {
                    if id.kind == Kind::List {
                        changes.extend(now.parts(id.head()).into_iter().map(|(part, _)| (part, None)));
                    }
                    changes.insert(id.clone(), text);
                }
            }
        }
        for (plan, transitions) in self.transitions().await? {
            self.add_plan(&plan, &transitions, &past, &mut changes).await?;
        }
        changes.retain(|id, text| now.set.documents.get(id).map(|raw| &raw.body[..]) != text.as_deref());
        let time = self.time_of(&past).await?;
        let changed = changes.len();
        let view = tokio::task::spawn_blocking(move || now.with(&changes)).await;
        let view = view.map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Then { view, time, changed, unknown })
    }

    async fn past(&self, moment: Moment) -> Result<Past> {
        let oldest = self.state.list(&Range { limit: 1, ..Range::all(RECORDS) }).await?;
        if let (Moment::Time(time), Some(entry)) = (moment, oldest.first()) {
            let (record, _) = Record::read(&entry.name, &entry.stored.value)?;
            if record.time > time {
                return Err(Error::Invalid(format!(
                    "what documents were before {} is not kept",
                    rfc3339(record.time)
                )));
            }
        }
        if let Moment::Time(time) = moment
            && time > self.clock.now()
        {
            return Err(Error::Invalid(format!("{} is yet to come", rfc3339(time))));
        }
        let first = match moment {
            Moment::Time(time) => self.first_after(time).await?,
            Moment::Revision(_) => 0,
        };
        let mut marks: BTreeMap<DocumentId, Vec<Mark>> = BTreeMap::new();
        for entry in self.records(HISTORY).await? {
            let named = entry.name.strip_prefix(HISTORY).and_then(|rest| rest.rsplit_once("//"));
            let read =
                named.and_then(|(name, number)| Some((DocumentId::parse(name)?, number.parse().ok()?)));
            if let Some((id, number)) = read {
                marks.entry(id).or_default().push((number, entry.stored.revision));
            }
        }
        Ok(Past { marks, moment, first })
    }

    /// The number of the first record that is later than a time.
    async fn first_after(&self, time: OffsetDateTime) -> Result<u64> {
        let (mut low, mut high) = (1, Chain::read(&*self.state).await?.head.id + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            // What is not kept any more is older.
            match self.record(middle).await?.is_some_and(|(record, _)| record.time > time) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        Ok(low)
    }

    /// When the moment was; of a revision, just before the first change after it.
    async fn time_of(&self, past: &Past) -> Result<OffsetDateTime> {
        let Moment::Revision(_) = past.moment else {
            let Moment::Time(time) = past.moment else { return Ok(self.clock.now()) };
            return Ok(time);
        };
        let after = past.marks.values().flatten().filter(|mark| past.is_after(**mark));
        let Some((first, _)) = after.min() else { return Ok(self.clock.now()) };
        Ok(self.record(*first).await?.map_or_else(|| self.clock.now(), |(record, _)| record.time))
    }

    async fn text_then(&self, id: &DocumentId, past: &Past) -> Result<Known> {
        let (before, after) = past.around(id);
        let Some((next, _)) = after.first() else { return Ok(Known::AsNow) };
        let number = before.last().map_or(*next, |(last, _)| *last);
        let Some((record, _)) = self.record(number).await? else { return Ok(Known::Lost) };
        let mark = if before.is_empty() { record.before } else { record.after };
        let Some(mark) = mark else { return Ok(Known::Text(None)) };
        let stored = self.state.get(&Slot::record(text_name(&mark.hash))).await?;
        Ok(stored.map_or(Known::Lost, |stored| Known::Text(Some(stored.value))))
    }

    /// A list's history is of its members.
    async fn list_then(&self, id: &DocumentId, past: &Past, now: &View) -> Result<Known> {
        let (_, after) = past.around(id);
        if after.is_empty() {
            return Ok(Known::AsNow);
        }
        let parts = now.parts(id.head());
        if parts.iter().map(|(_, raw)| raw.body.len()).sum::<usize>() > LIST_LIMIT {
            return Ok(Known::Lost);
        }
        let mut members: BTreeSet<String> = BTreeSet::new();
        for (_, raw) in &parts {
            members.extend(values(&raw.body).map(str::to_owned));
        }
        let mut is_new = false;
        for (number, _) in after.iter().rev() {
            let Some((record, _)) = self.record(*number).await? else { return Ok(Known::Lost) };
            is_new = record.action != "list.members" && record.before.is_none();
            if !self.take_back(&record, &mut members).await? {
                return Ok(Known::Lost);
            }
        }
        let text = members.iter().fold(String::new(), |text, member| text + member + "\n");
        Ok(Known::Text((!is_new).then(|| text.into())))
    }

    /// Every plan's transitions, oldest first, each with the write it came with.
    async fn transitions(&self) -> Result<BTreeMap<String, Vec<(Transition, Revision)>>> {
        let mut transitions: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for entry in self.records(RUNS).await? {
            let transition: Transition = read_json(&entry.name, &entry.stored.value)?;
            let plan =
                entry.name.strip_prefix(RUNS).and_then(|rest| rest.split('/').next()).unwrap_or_default();
            transitions.entry(plan.to_owned()).or_default().push((transition, entry.stored.revision));
        }
        Ok(transitions)
    }

    /// What a plan had written then.
    async fn add_plan(
        &self,
        plan: &str,
        transitions: &[(Transition, Revision)],
        past: &Past,
        changes: &mut Changes,
    ) -> Result<()> {
        let is_after = |(transition, revision): &(Transition, Revision)| match past.moment {
            Moment::Time(time) => transition.time > time,
            Moment::Revision(moment) => *revision > moment,
        };
        let (before, after) = transitions.split_at(transitions.partition_point(|each| !is_after(each)));
        if after.is_empty() {
            return Ok(());
        }
        let view = self.view();
        for (id, raw) in &view.set.documents {
            let is_closed_by = id.kind == Kind::Closure
                && !past.is_recorded(id)
                && Owner::of(id, Some(&raw.body)) == Some(Owner::Plan(plan.to_owned()));
            if is_closed_by || is_rule_of(id, plan) {
                changes.insert(id.clone(), None);
            }
        }
        let Some((last, _)) = before.last() else { return Ok(()) };
        let Some(spec) = self.spec_of(plan, last.run, transitions).await? else { return Ok(()) };
        let progress = |each: &Transition| Progress {
            state: each.state,
            begun: each.begun,
            promoted: each.to == "PROMOTED",
            ..Progress::draft()
        };
        let written = match last.state {
            State::Rollback => {
                let because = last.reason.as_deref().unwrap_or(&last.why);
                closures(&spec, because)?
            }
            _ => {
                // A step that never began by itself has no rule of its own when every user gets the version.
                let steps = before.iter().rev().map(|(each, _)| each);
                let steps = steps.take_while(|each| each.run == last.run);
                let earlier =
                    steps.into_iter().find(|each| matches!(each.state, State::Active | State::Paused));
                let had = earlier.map(|each| rules(&spec, &progress(each), &BTreeMap::new())).transpose()?;
                rules(&spec, &progress(last), &had.unwrap_or_default())?
            }
        };
        for (name, text) in written {
            if let Some(id) = DocumentId::parse(&name).filter(|id| !past.is_recorded(id)) {
                changes.insert(id, Some(text.into()));
            }
        }
        Ok(())
    }

    /// The copy that counted in a run.
    async fn spec_of(
        &self,
        plan: &str,
        run: u64,
        transitions: &[(Transition, Revision)],
    ) -> Result<Option<Spec>> {
        if let Some((kept, _)) = self.read::<Kept>(&plan_record(plan)).await?
            && kept.run == run
        {
            return Ok(Spec::read(plan, &kept.text, kept.is_json).ok());
        }
        let start = transitions.iter().find(|(each, _)| each.run == run).map(|(each, _)| each.time);
        let (Some(id), Some(start)) = (crate::plans::document_of(plan), start) else { return Ok(None) };
        let past = self.past(Moment::Time(start)).await?;
        let text = match self.text_then(&id, &past).await? {
            Known::Text(text) => text,
            Known::AsNow => self.view().set.documents.get(&id).map(|raw| Bytes::copy_from_slice(&raw.body)),
            Known::Lost => None,
        };
        let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok(text.and_then(|text| Spec::read(plan, &text, false).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_a_revision() {
        assert_eq!(Moment::parse("812"), Some(Moment::Revision(812)));
        assert_eq!(Moment::parse("1970-01-01T00:00:00Z"), Some(Moment::Time(OffsetDateTime::UNIX_EPOCH)));
        assert_eq!(Moment::parse("yesterday"), None);
    }
}
