//! The documents a plan writes.
//!
//! Owns: the rules of who is in, and the closures of a rollback, as texts. A pure function of the plan and of how far it
//! has come, so that writing them again writes the same. Never: when they are written.

use std::collections::BTreeMap;

use graygate_judge::plan::{Progress, State};
use graygate_rules::documents::{Closure, Condition, Document, DocumentId, Kind, Outcome, Rule, write};
use graygate_rules::vocab::{Name, Share};

use super::spec::Spec;
use crate::error::{Error, Result};
use graygate_rules::documents::owner::{plan_reason, plan_rules};
use graygate_rules::documents::plan::Subject;

/// Whether a rule is one that this plan writes: plans whose names begin alike have rules of their own.
pub fn is_rule_of(id: &DocumentId, plan: &str) -> bool {
    let Some(rest) = id.name.strip_prefix(&plan_rules(plan)) else { return false };
    let is_step = rest
        .strip_prefix("who-")
        .is_some_and(|step| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()));
    id.kind == Kind::Rule && (rest == "share" || is_step)
}

/// The rules a plan has with this progress. `before` are those it has: a step that never began by itself gets none of its
/// own when every user gets the version at once.
pub fn rules(
    spec: &Spec,
    progress: &Progress,
    before: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>> {
    let mut rules = BTreeMap::new();
    let Subject::Services { services, version } = &spec.plan.subject else { return Ok(rules) };
    if matches!(progress.state, State::Draft | State::Rollback) || progress.promoted {
        return Ok(rules);
    }
    let is_of_all = progress.state == State::Completed;
    let rule = |priority: i32, when: Option<Condition>, outcome: Outcome| Rule {
        services: Some(services.clone()),
        priority,
        enabled: true,
        starts: None,
        ends: None,
        when,
        outcome,
        by: None,
        salt: None,
        mirror: None,
    };
    let first = spec.plan.priority;
    for (number, step) in spec.plan.steps.iter().enumerate().take(progress.begun) {
        let Some(who) = &step.who else { continue };
        let name = format!("rules/{}who-{number}", plan_rules(&spec.name));
        if is_of_all && !before.contains_key(&name) {
            continue;
        }
        let when = match &spec.plan.when {
            Some(when) => Condition::All(vec![when.clone(), who.clone()]),
            None => who.clone(),
        };
        let chosen = rule(first, Some(when), Outcome::Version(version.clone()));
        rules.insert(name.clone(), text(&name, Document::Rule(chosen))?);
    }
    let share = if is_of_all { Some(Share::ALL) } else { spec.share(progress.begun) };
    if let Some(share) = share {
        let outcome = match share {
            Share::ALL => Outcome::Version(version.clone()),
            share => Outcome::Split(vec![(version.clone(), share)]),
        };
        let drawn = match &outcome {
            Outcome::Version(_) => rule(first.saturating_sub(1), spec.plan.when.clone(), outcome),
            Outcome::Split(_) => Rule {
                by: spec.plan.by.clone(),
                salt: Some(spec.plan.salt.clone().unwrap_or_else(|| spec.name.clone())),
                ..rule(first.saturating_sub(1), spec.plan.when.clone(), outcome)
            },
        };
        let name = format!("rules/{}share", plan_rules(&spec.name));
        rules.insert(name.clone(), text(&name, Document::Rule(drawn))?);
    }
    Ok(rules)
}

/// What closes the plan's version for its services.
pub fn closures(spec: &Spec, why: &str) -> Result<BTreeMap<String, String>> {
    let mut closures = BTreeMap::new();
    let Subject::Services { services, version } = &spec.plan.subject else { return Ok(closures) };
    for service in services {
        let name = closure_of(service, version);
        let because = plan_reason(&spec.name, why);
        let closure = Closure { service: service.clone(), version: version.clone(), because };
        closures.insert(name.clone(), text(&name, Document::Closure(closure))?);
    }
    Ok(closures)
}

pub fn closure_of(service: &Name, version: &Name) -> String {
    format!("closures/{service}.{version}")
}

fn text(name: &str, document: Document) -> Result<String> {
    write::write(&document).ok_or_else(|| Error::Internal(format!("`{name}` cannot be written")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = "services: [patient]\nversion: gray\nwhen: {attribute: path, prefix: /patient}\nby: [header:x-user]\n\
        salt: s8\npriority: -500\nsteps:\n  - {who: {attribute: header:x-hospital, in_list: pilots}}\n  - {share: 5}\n  \
        - {share: 25, who: {attribute: header:x-vip, exists: true}}\n  - {share: 100}\n";

    fn at(state: State, begun: usize) -> Progress {
        Progress { state, begun, ..Progress::draft() }
    }

    fn named(progress: &Progress, before: &[&str]) -> Vec<(String, String)> {
        let spec = Spec::read("p", PLAN, false).unwrap();
        let before = before.iter().map(|name| (format!("rules/{name}"), String::new())).collect();
        rules(&spec, progress, &before).unwrap().into_iter().collect()
    }

    #[test]
    fn rules_are_those_of_the_steps_that_have_begun() {
        let names = |progress: &Progress, before: &[&str]| {
            named(progress, before).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let (share, first, third) = ("rules/plan.p.share", "rules/plan.p.who-0", "rules/plan.p.who-2");
        for (state, begun, expected) in [
            (State::Draft, 0, vec![]),
            (State::Active, 0, vec![]),
            (State::Active, 1, vec![first]),
            (State::Active, 2, vec![share, first]),
            (State::Paused, 3, vec![share, first, third]),
            (State::Active, 4, vec![share, first, third]),
            (State::Rollback, 4, vec![]),
        ] {
            assert_eq!(names(&at(state, begun), &[]), expected, "{state:?} {begun}");
        }
        assert_eq!(names(&at(State::Completed, 4), &["plan.p.who-0"]), [share, first]);
        let promoted = Progress { promoted: true, ..at(State::Completed, 4) };
        assert_eq!(names(&promoted, &["plan.p.who-0"]), Vec::<String>::new());
    }

    #[test]
    fn the_share_is_salted_and_comes_behind_chosen_people() {
        let written = named(&at(State::Active, 3), &[]);
        assert_eq!(
            written[0].1,
            "services: [patient]\npriority: -501\nwhen: {attribute: path, prefix: /patient}\nsplit: {gray: 25}\n\
             by: [header:x-user]\nsalt: s8\n",
            "{}",
            written[0].1
        );
        assert!(
            written[1].1.contains("priority: -500") && written[1].1.contains("in_list: pilots"),
            "{}",
            written[1].1
        );
        let all = named(&at(State::Active, 4), &[]);
        assert!(all[0].1.contains("version: gray") && !all[0].1.contains("salt"), "{}", all[0].1);
    }

    #[test]
    fn a_plan_knows_its_own_rules_alone() {
        for (name, plan, own) in [
            ("plan.p.share", "p", true),
            ("plan.p.who-12", "p", true),
            ("plan.p.who-", "p", false),
            ("plan.p.share.share", "p", false),
            ("plan.p.share.share", "p.share", true),
            ("plan.p.who-0.share", "p", false),
            ("x", "p", false),
        ] {
            let id = DocumentId::of(Kind::Rule, name).unwrap();
            assert_eq!(is_rule_of(&id, plan), own, "{name}");
        }
    }
}
