//! What a plan stands on in the documents of now.
//!
//! Owns: instances and labels of its versions, the lists it names, and whether its rules are still what it wrote. Never:
//! writes.

use std::collections::{BTreeMap, BTreeSet};

use graygate_judge::plan::{Disturbance, Instances};
use graygate_rules::documents::owner::plan_rules;
use graygate_rules::documents::{Condition, Document, DocumentId, Kind, Service};
use graygate_rules::vocab::Name;

use crate::control::plane::Control;
use crate::control::touch::named;
use crate::control::view::View;
use crate::error::Result;
use crate::plans::{Kept, Spec, StandsFor};
use crate::state::{Slot, Stored};

/// The service's good document.
pub fn service<'v>(view: &'v View, name: &str) -> Option<&'v Service> {
    view.good(Kind::Service).find_map(|(id, document)| match document {
        Document::Service(service) if *id.name == *name => Some(&**service),
        _ => None,
    })
}

fn alias<'s>(service: &'s Service, word: &str) -> Option<&'s Name> {
    service.aliases.iter().find(|(known, _)| known.as_str() == word).map(|(_, label)| label)
}

/// The label behind a word; the word itself where it is no alias.
pub fn label(service: &Service, word: &str) -> String {
    alias(service, word).map_or_else(|| word.to_owned(), ToString::to_string)
}

/// Whether a version of a service has an instance that takes requests, as far as documents say.
pub fn has_instance(view: &View, name: &str, label: &str) -> bool {
    let Some(service) = service(view, name) else { return false };
    let takes = |instance: &graygate_rules::documents::Instance| {
        instance.version.as_str() == label && !instance.draining && instance.weight > 0
    };
    service.instances.iter().any(takes)
        || view.good(Kind::Instance).any(|(id, document)| match document {
            Document::Instance(instance) => id.head() == name && takes(instance),
            _ => false,
        })
}

/// Of both versions, over all services of the plan.
pub fn instances(view: &View, spec: &Spec) -> Instances {
    let all_have = |word: &str| {
        spec.services.iter().all(|name| {
            service(view, name).is_some_and(|service| has_instance(view, name, &label(service, word)))
        })
    };
    Instances { gray: all_have(&spec.version), release: all_have(Name::RELEASE) }
}

/// What the words stand for, by service.
pub fn stands_for(view: &View, spec: &Spec) -> BTreeMap<String, StandsFor> {
    let of = |name: &String| {
        let service = service(view, name);
        let of = |word: &str| service.and_then(|service| alias(service, word)).map(ToString::to_string);
        (name.clone(), StandsFor { release: of(Name::RELEASE), version: of(&spec.version) })
    };
    spec.services.iter().map(of).collect()
}

/// The lists that a step names, with those of `when`, that are missing or have problems.
pub fn missing_lists(view: &View, spec: &Spec, step: usize) -> Vec<String> {
    let who = spec.plan.steps.get(step).and_then(|step| step.who.as_ref());
    let lists = lists([spec.plan.when.as_ref(), who]);
    lists.into_iter().filter(|list| view.parts(list).is_empty() || has_problem(view, list)).collect()
}

fn has_problem(view: &View, list: &str) -> bool {
    let whole = format!("lists/{list}");
    let part = format!("{whole}/");
    view.compiled
        .problems
        .iter()
        .map(|problem| problem.document())
        .any(|document| document == whole || document.starts_with(&part))
}

/// All lists a plan names.
pub fn all_lists(spec: &Spec) -> BTreeSet<String> {
    let steps = spec.plan.steps.iter().map(|step| step.who.as_ref());
    lists(steps.chain([spec.plan.when.as_ref()]))
}

fn lists<'a>(conditions: impl IntoIterator<Item = Option<&'a Condition>>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    conditions.into_iter().flatten().for_each(|condition| named(condition, &mut found));
    found
}

/// The rules of a plan as the view has them, no matter who wrote them.
pub fn rules_in(view: &View, plan: &str) -> BTreeMap<DocumentId, String> {
    let prefix = plan_rules(plan);
    let from = DocumentId { kind: Kind::Rule, name: prefix.as_str().into() };
    let found = view
        .set
        .documents
        .range(from..)
        .take_while(|(id, _)| id.kind == Kind::Rule && id.name.starts_with(&prefix));
    let own = found.filter(|(id, _)| crate::plans::rules::is_rule_of(id, plan));
    own.map(|(id, raw)| (id.clone(), String::from_utf8_lossy(&raw.body).into_owned())).collect()
}

/// What differs between the rules as they are and as the plan wrote them, by the view alone.
pub fn seems_changed(view: &View, kept: &Kept) -> Vec<String> {
    let found = rules_in(view, &kept.plan);
    let mut changed: BTreeSet<String> = kept
        .written
        .iter()
        .filter(|(name, text)| {
            DocumentId::parse(name).and_then(|id| found.get(&id)).is_none_or(|found| found != *text)
        })
        .map(|(name, _)| name.clone())
        .collect();
    let strange = found.keys().map(ToString::to_string).filter(|name| !kept.written.contains_key(name));
    changed.extend(strange);
    changed.into_iter().collect()
}

impl Control {
    /// The plan's rules as the store has them, by document; those that are not what the plan wrote stand in the second.
    pub(super) async fn rules_of(
        &self,
        kept: &Kept,
        further: impl Iterator<Item = String>,
    ) -> Result<(BTreeMap<String, Option<Stored>>, Vec<String>)> {
        let view = self.view();
        let in_view = rules_in(&view, &kept.plan).into_keys().map(|id| id.to_string());
        let names: BTreeSet<String> = kept.written.keys().cloned().chain(in_view).chain(further).collect();
        let (mut found, mut changed) = (BTreeMap::new(), Vec::new());
        for name in names {
            let stored = self.state.get(&Slot::document(&name)).await?;
            let is_as_written = stored.as_ref().map(|stored| &stored.value[..])
                == kept.written.get(&name).map(|text| text.as_bytes());
            if !is_as_written {
                changed.push(name.clone());
            }
            found.insert(name, stored);
        }
        Ok((found, changed))
    }

    /// What someone else did to what a run stands on. The store is asked where the view says so, because the view may be
    /// older, or newer, than the record.
    pub(super) async fn disturbance(&self, spec: &Spec, kept: &Kept) -> Result<Option<Disturbance>> {
        let view = self.view();
        if !seems_changed(&view, kept).is_empty() {
            let (_, changed) = self.rules_of(kept, std::iter::empty()).await?;
            if !changed.is_empty() {
                return Ok(Some(Disturbance::Rules(changed)));
            }
        }
        let is_gone = spec
            .document()
            .is_some_and(|id| !view.set.documents.contains_key(&id) && !view.set.ambiguous.contains_key(&id));
        if is_gone {
            let slot = Slot::document(format!("plans/{}", kept.plan));
            if self.state.get(&slot).await?.is_none() {
                return Ok(Some(Disturbance::DocumentDeleted));
            }
        }
        if kept.progress.promoted {
            return Ok(None);
        }
        let now = stands_for(&view, spec);
        let changed = now.iter().find_map(|(service, now)| {
            let before = kept.stands_for.get(service)?;
            if before.release != now.release {
                return Some("release".to_owned());
            }
            (before.version != now.version).then(|| spec.version.clone())
        });
        Ok(changed.map(Disturbance::Alias))
    }
}
