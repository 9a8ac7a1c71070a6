//! The stage that checks plans: what they refer to has to be there, although nothing here acts on them.

use super::condition;
use super::findings::Findings;
use super::lists::Lists;
use super::parse;
use super::services::{ServiceParts, Services};
use crate::documents::plan::Subject;
use crate::documents::{Document, Kind, Plan};
use crate::vocab::Name;

const HELP: &str = "the plan does not begin until then";

/// Notes every reference of a plan that leads nowhere.
pub fn check(parsed: &parse::Memory, services: &Services<'_>, lists: &Lists, findings: &mut Findings) {
    for (id, found) in parsed.in_force(Kind::Plan) {
        let Document::Plan(plan) = &*found.document else { continue };
        let mut findings = findings.of(id);
        for (field, message) in missing_services(plan, services).into_iter().chain(missing_lists(plan, lists))
        {
            findings.add(&field, message, HELP);
        }
    }
}

fn missing_services(plan: &Plan, services: &Services<'_>) -> Vec<(String, String)> {
    let Subject::Services { services: named, version } = &plan.subject else { return Vec::new() };
    let mut missing = Vec::new();
    for (i, name) in named.iter().enumerate() {
        let field = format!("services[{i}]");
        match services.get(name) {
            None => missing.push((field, format!("the service `{name}` does not exist"))),
            Some(parts) if !has_version(parts, version) => {
                missing
                    .push(("version".into(), format!("no instance of `{name}` has the version `{version}`")));
            }
            Some(_) => {}
        }
    }
    missing
}

fn has_version(parts: &ServiceParts<'_>, version: &Name) -> bool {
    let alias = parts.service.aliases.iter().find(|(word, _)| word == version).map(|(_, label)| label);
    let label = alias.unwrap_or(version);
    parts.instances.iter().any(|instance| instance.version == *label)
}

fn missing_lists(plan: &Plan, lists: &Lists) -> Vec<(String, String)> {
    let dangling =
        plan.conditions().filter_map(|(field, when)| condition::compile(when, &field, lists).err());
    dangling.flatten().map(|found| (found.field, found.message)).collect()
}
