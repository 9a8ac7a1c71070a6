//! The new version becomes the release.
//!
//! Owns: which alias takes which label, what has to be said before, and the one field of a service's text that changes.

use graygate_judge::plan::{Action, Done, act};
use graygate_rules::documents::edit;
use graygate_rules::documents::text::Value;
use graygate_rules::vocab::Name;

use super::act::Wish;
use super::documents::{has_instance, label, service};
use super::read::PlanRead;
use super::write::{DocumentWrite, Found, Move};
use crate::control::plane::Control;
use crate::error::{Error, Result};
use crate::notices::Event;
use crate::plans::{Kept, Promoted, Spec};
use crate::state::Slot;

/// What the transition is called, beside the states.
pub const PROMOTED: &str = "PROMOTED";

impl Control {
    pub(super) async fn planned_promotion(
        &self,
        read: &PlanRead,
        wish: &Wish<'_>,
    ) -> Result<(Move, Vec<String>)> {
        let (spec, kept) = (read.running()?, &read.kept);
        let sight = read.sight.as_ref().filter(|sight| sight.is_of(kept));
        let before = kept.at(sight);
        let observed = self.observed(&spec, kept, None);
        let progress = match act(&spec.steps, &before, Action::Promote, &observed) {
            Ok(Done::Progress(progress)) => progress,
            Ok(Done::Again) => return Err(Error::Conflict("it was done before".to_owned())),
            Err(refusal) => return Err(Error::Conflict(refusal.0)),
        };
        // Of the run: the completion does not begin the hour again.
        let left = read.sight.as_ref().filter(|sight| sight.run == kept.run).map_or(0, |sight| sight.left);
        if left > 0 && !wish.asked.others {
            let detail = format!(
                "{left} requests of the last hour were still `release`, outside `when` or by another rule; send `{{\"others\": true}}`"
            );
            return Err(Error::Conflict(detail));
        }
        let mut next = Kept { progress, ..kept.clone() };
        let rules = self.rules_toward(&spec, kept, &next.progress).await?;
        if !rules.changed.is_empty() {
            let said = rules.changed.join("`, `");
            return Err(Error::Conflict(format!(
                "someone changed `{said}`: roll the plan back, or mend them"
            )));
        }
        next.written = rules.wanted;
        // The alias comes first: a reader of a directory in between sees the new version either way.
        let (mut documents, promoted) = self.release_words(&spec, wish.asked.relabelled).await?;
        next.promoted = promoted;
        documents.extend(rules.writes);
        let change = Move {
            revision: read.revision,
            next,
            action: Action::Promote.as_str(),
            to: PROMOTED.to_owned(),
            why: format!("`{}` is the release", spec.version),
            reason: wish.asked.reason.clone(),
            approved_by: wish.approved_by.map(str::to_owned),
            event: Event::Promoted,
            documents,
            records: Vec::new(),
            lead: None,
            spec,
        };
        Ok((change, Vec::new()))
    }

    /// The services' texts with `release` as the plan's version, and what it was.
    async fn release_words(
        &self,
        spec: &Spec,
        relabelled: bool,
    ) -> Result<(Vec<DocumentWrite>, std::collections::BTreeMap<String, Promoted>)> {
        let view = self.view();
        let (mut documents, mut promoted) = (Vec::new(), std::collections::BTreeMap::new());
        for name in &spec.services {
            let found = service(&view, name);
            let found =
                found.ok_or_else(|| Error::Conflict(format!("the service `{name}` does not exist")))?;
            let of = |word: &str| {
                found
                    .aliases
                    .iter()
                    .find(|(known, _)| known.as_str() == word)
                    .map(|(_, label)| label.to_string())
            };
            let (release, version) = (of(Name::RELEASE), of(&spec.version));
            if release.is_none() && version.is_none() {
                self.check_relabelled(name, relabelled)?;
                promoted.insert(name.clone(), Promoted { before: None, after: None });
                continue;
            }
            let after = label(found, &spec.version);
            if !has_instance(&view, name, &after) {
                let detail = format!("no instance of `{name}` takes requests of `{after}`");
                return Err(Error::Conflict(detail));
            }
            documents.push(self.set_release(spec, name, Some(&after)).await?);
            promoted.insert(name.clone(), Promoted { before: release, after: Some(after) });
        }
        Ok((documents, promoted))
    }

    fn check_relabelled(&self, name: &str, relabelled: bool) -> Result<()> {
        if !relabelled {
            let detail = format!(
                "`{name}` has no aliases: label the new instances `release`, then send `{{\"relabelled\": true}}`"
            );
            return Err(Error::Conflict(detail));
        }
        match has_instance(&self.view(), name, Name::RELEASE) {
            true => Ok(()),
            false => Err(Error::Conflict(format!("no instance of `{name}` is labelled `release`"))),
        }
    }

    /// The service's text with `release` standing for a label, or for itself again.
    pub(super) async fn set_release(
        &self,
        spec: &Spec,
        name: &str,
        label: Option<&str>,
    ) -> Result<DocumentWrite> {
        let document = format!("services/{name}");
        let stored = self.state.get(&Slot::document(&document)).await?;
        let stored = stored.ok_or_else(|| Error::Conflict(format!("`{document}` is gone")))?;
        let text = String::from_utf8_lossy(&stored.value).into_owned();
        let value = label.map(|label| Value::Text(label.to_owned()));
        let edited = edit::set(&text, &["aliases", Name::RELEASE], value.as_ref());
        let edited = edited.map_err(|error| {
            Error::Conflict(format!("`{document}` of the plan `{}` cannot be changed: {error}", spec.name))
        })?;
        Ok(DocumentWrite {
            name: document,
            text: Some(edited),
            found: Found::As(stored.revision),
            before: Some(stored.value),
            has_history: true,
        })
    }
}
