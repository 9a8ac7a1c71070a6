//! Configuration files of nginx: `upstream`, `map`, `split_clients`, `geo`, `server` and `location`.
//!
//! A location becomes a route. What its `proxy_pass` names becomes a service: a literal upstream one with `release`
//! alone, a variable one whose versions are the upstreams it can be; `release` is an alias of what the variable is by
//! default, and each choice before the default a rule.

mod locations;
mod server;
mod services;
mod syntax;
mod variables;

use std::collections::BTreeSet;

use super::Input;
use super::drafts::Drafts;
use services::Services;
use syntax::{Directive, files};
use variables::Variables;

/// Includes that include: as deep as nginx lets them.
const DEPTH_LIMIT: usize = 10;

pub fn read(inputs: &[Input<'_>]) -> Drafts {
    let mut drafts = Drafts::default();
    let mut all = Vec::new();
    let mut first = Vec::new();
    for input in inputs {
        let read = files(input.name, input.text, &mut drafts);
        // Of a dump the first file includes the others.
        first.extend(read.first().map(|(name, _)| name.clone()));
        all.extend(read);
    }
    let mut flat = Vec::new();
    for (_, directives) in all.iter().filter(|(name, _)| first.contains(name)) {
        flatten(directives, &all, &mut flat, (0, &mut drafts));
    }
    let http = Http::of(&flat);
    let mut services = Services::of(&http.upstreams);
    let variables = http.variables();
    for server in &http.servers {
        locations::write(server, &http, &variables, (&mut services, &mut drafts));
    }
    services.report(&http.upstreams, &mut drafts);
    http.report(&variables, &services, &mut drafts);
    drafts
}

/// All directives of the `http` level, includes taken in where the files have them.
fn flatten<'d>(
    directives: &'d [Directive],
    all: &'d [(String, Vec<Directive>)],
    out: &mut Vec<&'d Directive>,
    (depth, drafts): (usize, &mut Drafts),
) {
    for directive in directives {
        match directive.name.as_str() {
            "http" => flatten(directive.inside(), all, out, (depth, drafts)),
            "include" if depth < DEPTH_LIMIT => {
                let included = all.iter().filter(|(name, _)| includes(directive.first(), name));
                let mut found = false;
                for (_, directives) in included {
                    found = true;
                    flatten(directives, all, out, (depth + 1, drafts));
                }
                if !found && !directive.first().ends_with("mime.types") {
                    drafts
                        .left_out(directive.called(), "the file is not there; import what `nginx -T` prints");
                }
            }
            _ => out.push(directive),
        }
    }
}

/// Whether an `include` means this file: the same name, or one that fits its `*`.
fn includes(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => name == pattern || name.ends_with(&format!("/{pattern}")),
        Some((start, end)) => {
            let Some(at) = name.find(start) else { return false };
            let rest = name.get(at + start.len()..).unwrap_or_default();
            (at == 0 || start.is_empty() || name.get(..at).is_some_and(|before| before.ends_with('/')))
                && rest.ends_with(end)
                && !rest.contains('/')
        }
    }
}

/// What the `http` level has.
struct Http<'d> {
    upstreams: Vec<&'d Directive>,
    servers: Vec<&'d Directive>,
    definitions: Vec<&'d Directive>,
    others: Vec<&'d Directive>,
    /// Whether any location is a pattern: then the order of classes needs priorities.
    has_patterns: bool,
}

impl<'d> Http<'d> {
    fn of(directives: &[&'d Directive]) -> Http<'d> {
        let named = |names: &[&str]| -> Vec<&'d Directive> {
            directives.iter().copied().filter(|directive| names.contains(&directive.name.as_str())).collect()
        };
        const READ: [&str; 5] = ["upstream", "server", "map", "split_clients", "geo"];
        let servers = named(&["server"]);
        Http {
            upstreams: named(&["upstream"]),
            definitions: named(&["map", "split_clients", "geo"]),
            others: directives.iter().copied().filter(|found| !READ.contains(&found.name.as_str())).collect(),
            has_patterns: servers.iter().any(|server| has_patterns(server.inside())),
            servers,
        }
    }

    fn variables(&self) -> Variables<'d> {
        let mut variables = Variables::default();
        for directive in &self.definitions {
            variables.define(directive);
        }
        variables
    }

    /// What no location has asked for, and settings of nginx itself.
    fn report(&self, variables: &Variables<'_>, services: &Services<'_>, drafts: &mut Drafts) {
        for directive in &self.definitions {
            let name = match directive.name.as_str() {
                "geo" => directive.arguments.last(),
                _ => directive.arguments.get(1),
            };
            let name = name.map(|name| name.trim_start_matches('$')).unwrap_or_default();
            let place = format!("line {}, {} ${name}", directive.line, directive.name);
            match (services.used(name), variables.text(&format!("${name}"), 0)) {
                (Some(service), _) => drafts.same(place, vec![format!("services/{service}")]),
                (None, Err(why)) => drafts.left_out(place, why),
                (None, Ok(_)) => drafts
                    .left_out(place, "no `proxy_pass` that was read depends on it alone; see its locations"),
            }
        }
        let names: BTreeSet<&str> = self.others.iter().map(|directive| directive.name.as_str()).collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            drafts.left_out(names.join(", "), "settings of nginx itself; the process file has its own");
        }
    }
}

fn has_patterns(directives: &[Directive]) -> bool {
    directives.iter().any(|directive| {
        let is_pattern = directive.name == "location" && directive.first().starts_with('~');
        is_pattern || has_patterns(directive.inside())
    })
}
