//! The compile of a difference: where nothing but rules and lists has changed, what they leave alone stays as it is.
//!
//! Answers: what does a change of few rules make of what the last compile came to, at the cost of these rules and not of
//! all? Each is read and resolved as ever, taken out of its place among the rules of its services or put in there; their
//! indexes, problems and counts are edited. A list that changed changes the rules that ask it. Whatever is not certain
//! goes the whole way, which this is held against. Start at [`follow`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::findings::Findings;
use super::index::{Edited, EditedRules};
use super::last::{Counts, Last};
use super::lists::Lists;
use super::memory::Memory;
use super::parse;
use super::plan::Planned;
use super::resolve::{self, ResolvedRule, Resolver};
use super::tls::{ReadFile, TlsFiles};
use crate::decide::{RuleEdit, RuleId, RulePlan, ServiceId, ServicePlan, Snapshot, VersionId};
use crate::documents::{Condition, Difference, Document, DocumentId, DocumentSet, Kind, Rule};
use crate::vocab::{Chunks, Label, Name, Place, Problem};

/// With more changes than this at once, a walk through all rules costs little more than they do.
const MOST: usize = 64;

/// Goes on from the last compile, and leaves what it comes to now in the memory. `None`: it has to go the whole way, for
/// which nothing in the memory is wrong.
pub fn follow(set: &DocumentSet, memory: &mut Memory, read_file: ReadFile<'_>) -> Option<()> {
    let last = memory.last.take()?;
    // What edits leave behind is forgotten on the whole way alone.
    if memory.indexes.patterns.has_grown() {
        return None;
    }
    let changed = differences(&last.set, set)?;
    let mut changed: Vec<Changed> =
        changed.iter().map(|one| Changed::take(one, &mut memory.parsed)).collect();
    if !files_stay(&last, memory, read_file) {
        return None;
    }
    let lists = lists(&mut changed, memory)?;
    let mut findings = Findings::default();
    let drafts = drafts(&changed, (&last.snapshot, &lists), memory, &mut findings);
    let counts = counts(last.counts, &changed, &lists);
    memory.lists = lists.into_memory();
    let services = services(&last.snapshot, drafts?, memory)?;
    let snapshot = Snapshot { routes: last.snapshot.routes.clone(), services };
    let problems = problems(last.problems, &changed, findings);
    memory.last = Some(Last { set: set.clone(), snapshot, problems, counts, ..last });
    Some(())
}

/// What differs, if that is nothing but rules and parts of lists, and not many.
fn differences<'s>(last: &'s DocumentSet, set: &'s DocumentSet) -> Option<Vec<Difference<'s>>> {
    let is_of_document = |stray: &Problem| matches!(stray.place, Place::Document(_));
    if last.strays != set.strays || last.ambiguous != set.ambiguous || set.strays.iter().any(is_of_document) {
        return None;
    }
    let (mut changed, mut are_few) = (Vec::new(), true);
    set.documents.differences(&last.documents, |found| {
        are_few = matches!(found.id.kind, Kind::Rule | Kind::List)
            && !set.ambiguous.contains_key(found.id)
            && changed.len() < MOST;
        changed.push(found);
        are_few
    });
    are_few.then_some(changed)
}

/// A document before and after the change, as far as one is in force.
struct Changed {
    id: DocumentId,
    before: Option<Arc<Document>>,
    now: Option<Arc<Document>>,
    /// A rule that asks a list which is another one now.
    asks: bool,
}

impl Changed {
    fn take(found: &Difference<'_>, parsed: &mut parse::Memory) -> Changed {
        let parse::Taken { before, now } = parsed.take(found.id, found.now);
        Changed { id: found.id.clone(), before, now, asks: false }
    }

    /// Whether something else came into force, or nothing is any more.
    fn is_another(&self) -> bool {
        match (&self.before, &self.now) {
            _ if self.asks => true,
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (before, now) => before.is_some() || now.is_some(),
        }
    }
}

fn rule(document: &Document) -> Option<&Rule> {
    match document {
        Document::Rule(rule) => Some(rule),
        _ => None,
    }
}

fn has_rule(service: &Name, services: Option<&[Name]>) -> bool {
    services.is_none_or(|services| services.contains(service))
}

/// The lists as they are now. Where some of them are others than before, the rules that ask them join what has changed.
fn lists(changed: &mut Vec<Changed>, memory: &mut Memory) -> Option<Lists> {
    let parts = changed.iter().filter(|one| one.id.kind == Kind::List);
    let names: BTreeSet<Label> = parts.map(|part| part.id.head().into()).collect();
    if names.is_empty() {
        return Some(Lists::as_before(std::mem::take(&mut memory.lists)));
    }
    // What else asks a list is compiled on the whole way alone.
    if asks_elsewhere(&memory.parsed, &names) {
        return None;
    }
    let lists = Lists::unite(&memory.parsed, std::mem::take(&mut memory.lists));
    let of_text = changed.len();
    for (id, found) in memory.parsed.rules_mut() {
        let is_asking = found.order.is_some_and(|order| order.names_lists)
            && rule(&found.document)
                .and_then(|rule| rule.when.as_ref())
                .is_some_and(|when| asks(when, &names));
        if !is_asking {
            continue;
        }
        resolve::forget_if_outdated(found, &lists);
        let of_text = changed.iter_mut().take(of_text).find(|one| one.id == *id);
        match of_text {
            Some(one) => one.asks = true,
            None => {
                let document = Some(found.document.clone());
                changed.push(Changed { id: id.clone(), before: document.clone(), now: document, asks: true });
            }
        }
    }
    // Nothing outdated is left, so that the whole way may go on from here as well.
    if changed.len() > of_text + MOST {
        memory.lists = lists.into_memory();
        return None;
    }
    Some(lists)
}

fn asks(when: &Condition, names: &BTreeSet<Label>) -> bool {
    when.lists().into_iter().any(|list| names.contains(list.as_str()))
}

/// Whether a route or a plan asks one of these lists.
fn asks_elsewhere(parsed: &parse::Memory, names: &BTreeSet<Label>) -> bool {
    let documents = [Kind::Route, Kind::Plan].into_iter().flat_map(|kind| parsed.in_force(kind));
    let mut documents = documents.map(|(_, found)| &*found.document);
    documents.any(|document| match document {
        Document::Route(route) => route.when.as_ref().is_some_and(|when| asks(when, names)),
        Document::Plan(plan) => plan.conditions().any(|(_, when)| asks(when, names)),
        _ => false,
    })
}

fn counts(mut counts: Counts, changed: &[Changed], lists: &Lists) -> Counts {
    let rules = counts.documents.entry(Kind::Rule).or_default();
    for one in changed.iter().filter(|one| one.id.kind == Kind::Rule) {
        *rules = (*rules + usize::from(one.now.is_some())).saturating_sub(usize::from(one.before.is_some()));
    }
    if let Some(sizes) = lists.sizes() {
        counts.set_lists(sizes);
    }
    counts
}

/// Whether the files that services name say what they said. They are read at each compile, whatever has changed.
fn files_stay(last: &Last, memory: &mut Memory, read_file: ReadFile<'_>) -> bool {
    let mut files = TlsFiles::new(read_file, std::mem::take(&mut memory.files));
    let mut stay = true;
    for (id, found) in memory.parsed.in_force(Kind::Service) {
        let Document::Service(service) = &*found.document else { continue };
        if service.tls.is_some() {
            let transport = files.transport(id, service);
            let compiled = service_id(&last.snapshot, &id.name).and_then(|at| last.services.get(at));
            stay &= compiled.is_some_and(|compiled| compiled.transport == transport);
        }
    }
    memory.files = files.good;
    stay && files.findings.into_problems() == last.of_files
}

fn service_id(snapshot: &Snapshot, name: &str) -> Option<ServiceId> {
    snapshot.services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()
}

/// The rules of services that have others now.
type Drafts = BTreeMap<ServiceId, Draft>;

/// The rules of one service, edit by edit.
struct Draft {
    rules: Chunks<Arc<RulePlan>>,
    mirrors: Vec<RuleId>,
    edits: Vec<RuleEdit>,
    /// Versions that a rule less can give.
    left: Vec<VersionId>,
}

fn drafts(
    changed: &[Changed],
    (snapshot, lists): (&Snapshot, &Lists),
    memory: &mut Memory,
    findings: &mut Findings,
) -> Option<Drafts> {
    let has_service = |name: &Name| service_id(snapshot, name.as_str()).is_some();
    for one in changed {
        findings.extend(memory.parsed.problems_of(&one.id).iter().cloned());
    }
    let mut resolver = Resolver { has_service: &has_service, lists, findings };
    let mut drafts = Drafts::new();
    let mut edit = |one: &Changed| {
        // One that is held back is looked at all the same: what it refers to may be missing.
        let resolved = memory.parsed.get(&one.id).and_then(|found| resolver.rule(&one.id, found));
        if resolved.is_none() && one.now.is_some() {
            return None;
        }
        if !one.is_another() {
            return Some(());
        }
        let before = one.before.as_deref().and_then(rule);
        for (id, service) in snapshot.services.iter().enumerate() {
            let is_here = |services| has_rule(&service.name, services);
            let before = before.filter(|rule| is_here(rule.services.as_deref()));
            let now = resolved.as_ref().filter(|resolved| is_here(resolved.services));
            if before.is_some() || now.is_some() {
                let planned = memory.plans.get_mut(&service.name)?;
                let draft = drafts.entry(id).or_insert_with(|| Draft::of(service));
                draft.change(planned, &one.id.name, before, now)?;
            }
        }
        Some(())
    };
    let mut rules = changed.iter().filter(|one| one.id.kind == Kind::Rule);
    rules.try_for_each(&mut edit).map(|()| drafts)
}

impl Draft {
    fn of(service: &ServicePlan) -> Draft {
        let (rules, mirrors) = (service.rules.clone(), service.mirrors.to_vec());
        Draft { rules, mirrors, edits: Vec::new(), left: Vec::new() }
    }

    /// Takes the rule of before out of its place and puts that of now into its own, which mostly is the same one.
    fn change(
        &mut self,
        planned: &mut Planned,
        name: &str,
        before: Option<&Rule>,
        now: Option<&ResolvedRule<'_>>,
    ) -> Option<()> {
        // Everything that may fail comes first.
        let now = match now {
            Some(rule) => Some(planned.plan(rule)?),
            None => None,
        };
        let from = match before {
            Some(rule) => Some(planned.place(rule.priority, name).ok()?),
            None => None,
        };
        if let (Some(at), Some(before), Some(rule)) = (from, before, &now)
            && before.priority == rule.priority
        {
            let come = rule.plan.clone();
            let gone = planned.replace(at, rule.clone())?;
            self.apply(RuleEdit { at, before: Some(gone), now: Some(come) });
            return Some(());
        }
        if let Some(at) = from {
            let gone = planned.remove(at);
            self.apply(RuleEdit { at, before: Some(gone), now: None });
        }
        if let Some(rule) = now {
            let (at, come) = (planned.place(rule.priority, name).err()?, rule.plan.clone());
            planned.insert(at, rule);
            self.apply(RuleEdit { at, before: None, now: Some(come) });
        }
        Some(())
    }

    fn apply(&mut self, edit: RuleEdit) {
        let at = edit.at;
        self.mirrors.retain(|id| edit.before.is_none() || *id != at);
        match (&edit.before, &edit.now) {
            (Some(_), Some(now)) => self.rules.replace(at, now.clone()),
            (None, Some(now)) => {
                self.rules.insert(at, now.clone());
                self.mirrors.iter_mut().filter(|id| **id >= at).for_each(|id| *id += 1);
            }
            (_, None) => {
                self.rules.remove(at);
                self.mirrors.iter_mut().filter(|id| **id > at).for_each(|id| *id -= 1);
            }
        }
        if edit.now.as_ref().is_some_and(|now| now.mirror.is_some()) {
            self.mirrors.insert(self.mirrors.partition_point(|id| *id < at), at);
        }
        self.left.extend(edit.before.iter().flat_map(|before| before.outcome.versions()));
        self.edits.push(edit);
    }
}

/// All services, those of drafts made again. `None` where a version may have lost its number.
fn services(snapshot: &Snapshot, drafts: Drafts, memory: &mut Memory) -> Option<Box<[Arc<ServicePlan>]>> {
    let mut services = snapshot.services.clone();
    let mut indexes = Edited::after(&mut memory.indexes);
    for (id, draft) in drafts {
        let Draft { rules, mirrors, edits, left } = draft;
        let service = services.get_mut(id)?;
        let planned = memory.plans.get(&service.name)?;
        if !left.iter().all(|version| planned.gives(*version)) {
            return None;
        }
        let edited = EditedRules { before: service.rules.clone(), edits, now: rules.clone() };
        let index = indexes.of(&service.name, &service.index, edited);
        *service = Arc::new(service.with_rules(rules, mirrors.into(), index));
    }
    Some(services)
}

/// The problems of before, with those of these documents as they are now.
fn problems(mut problems: Vec<Problem>, changed: &[Changed], findings: Findings) -> Vec<Problem> {
    let is_of_changed = |problem: &Problem| matches!(&problem.place, Place::Document(id) if changed.iter().any(|one| one.id == *id));
    problems.retain(|problem| !is_of_changed(problem));
    let mut all = Findings::default();
    all.extend(problems);
    all.join(findings);
    all.into_problems()
}
