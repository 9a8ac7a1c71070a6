//! The setting of a hospital's gateway: the JSON that its platform keeps, as lists and rules.
//!
//! Owns: what the setting says ([`Setting`]), and the filter it belongs to ([`Filter`]). The control plane writes the
//! same documents where a platform speaks to it. Never: which service it is for; the setting does not say.

pub mod filter;
mod setting;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::report::{Finding, Report, Verdict};
use super::{Imported, Input};
use crate::documents::{Document, DocumentId, Kind, Rule, write};
use crate::vocab::Name;

pub use filter::Filter;
pub use setting::Setting;

/// What a line of the release paths' rule begins with that keeps their values.
const VALUES: &str = "# values: ";

/// The text of a rule.
pub fn rule_text(rule: &Rule) -> String {
    write::write(&Document::Rule(rule.clone())).unwrap_or_default()
}

/// The text of the rule of release paths, with their values in front: they mean nothing, and are not lost.
pub fn release_text(rule: &Rule, values: &BTreeMap<String, String>) -> String {
    match values.values().all(String::is_empty) {
        true => rule_text(rule),
        false => {
            let kept = serde_json::to_string(values).unwrap_or_default();
            format!("{VALUES}{kept}\n{}", rule_text(rule))
        }
    }
}

/// The values that a rule's text keeps.
pub fn release_values(text: &str) -> BTreeMap<String, String> {
    let kept = text.lines().find_map(|line| line.strip_prefix(VALUES));
    kept.and_then(|kept| serde_json::from_str(kept).ok()).unwrap_or_default()
}

pub fn read(inputs: &[Input<'_>]) -> Imported {
    let mut writing = Writing::default();
    for input in inputs {
        match serde_json::from_str::<Value>(input.text) {
            Ok(tree) => writing.take(input.name, tree),
            Err(error) => writing.left_out(input.name, format!("it is not JSON: {error}")),
        }
    }
    Imported { documents: writing.documents, report: writing.report }
}

#[derive(Default)]
struct Writing {
    documents: BTreeMap<DocumentId, String>,
    report: Report,
}

impl Writing {
    fn note(&mut self, rule: String, verdict: Verdict, documents: Vec<String>) {
        self.report.findings.push(Finding { rule, verdict, documents });
    }

    fn left_out(&mut self, rule: impl Into<String>, why: impl Into<String>) {
        self.note(rule.into(), Verdict::LeftOut(why.into()), Vec::new());
    }

    fn put(&mut self, kind: Kind, name: &str, text: String) -> Option<String> {
        let id = DocumentId::of(kind, name)?;
        let said = id.to_string();
        self.documents.insert(id, text);
        Some(said)
    }

    /// What a platform answers has the setting inside an envelope.
    fn take(&mut self, name: &str, tree: Value) {
        let tree = match tree.get("data") {
            Some(inner) if inner.is_object() && tree.get("code").is_some() => inner.clone(),
            _ => tree,
        };
        let Value::Object(fields) = &tree else {
            return self.left_out(name, "it is not an object of a setting's fields");
        };
        for field in fields.keys().filter(|field| !Setting::FIELDS.contains(&field.as_str())) {
            let why = match field.as_str() {
                "password" => "secrets are not carried over; people and tokens are made with `graygate user`",
                "revision" => "it counts the saves of the old gateway",
                _ => "no setting has this field",
            };
            self.left_out(format!("{name}: {field}"), why);
        }
        match serde_json::from_value::<Setting>(tree) {
            Ok(setting) => self.write(name, &setting),
            Err(error) => self.left_out(name, format!("it cannot be read: {error}")),
        }
    }

    fn write(&mut self, file: &str, setting: &Setting) {
        let gray = Name::parse("gray").unwrap_or_else(Name::release);
        let filter = Filter { services: None, gray, release: Name::release() };
        for (field, word, version) in [
            ("grayVersion", "gray", &setting.gray_version),
            ("releaseVersion", "release", &setting.release_version),
        ] {
            if let Some(version) = version.as_deref().filter(|version| !version.is_empty()) {
                let why = format!("write it to your services: `aliases: {{{word}: {version}}}`");
                self.left_out(format!("{file}: {field}"), why);
            }
        }
        for (name, rule) in filter.fixed() {
            self.put(Kind::Rule, &name, rule_text(&rule));
        }
        for (app, ids) in &setting.gray_user_ids {
            let place = format!("{file}: grayUserIds.{app}");
            match (filter.users(app), filter::user_names(app)) {
                (Some((name, rule)), Some((_, list))) => {
                    self.put(Kind::Rule, &name, rule_text(&rule));
                    self.list(place, &list, ids, Some(name));
                }
                _ => self.left_out(place, "no sign of a request ever names this application"),
            }
        }
        let lists = [
            ("grayCustomerIds", filter::CUSTOMER_LIST, &setting.gray_customer_ids, filter::CUSTOMERS),
            ("grayHospitals", filter::HOSPITAL_LIST, &setting.gray_hospitals, filter::HOSPITALS),
        ];
        for (field, list, ids, rule) in lists {
            self.list(format!("{file}: {field}"), list, ids, Some(rule.to_owned()));
        }
        let domains: Vec<_> = setting.gray_version_domains.iter().map(|host| host.to_lowercase()).collect();
        let place = format!("{file}: grayVersionDomains");
        self.list(place, filter::DOMAIN_LIST, &domains, Some(filter::DOMAINS.to_owned()));
        self.paths(file, setting, &filter);
    }

    fn list(&mut self, place: String, list: &str, ids: &[String], rule: Option<String>) {
        let (mut text, mut once) = (String::new(), BTreeSet::new());
        for id in ids {
            let is_member = !id.is_empty()
                && !id.starts_with('#')
                && id.trim_matches([' ', '\t']) == id
                && !id.contains(['\n', '\r', '\0']);
            if !is_member {
                let why =
                    "a list cannot hold it: it is empty, begins with `#`, or has spaces or lines around it";
                self.left_out(format!("{place}: `{}`", id.escape_debug()), why);
            } else if once.insert(id) {
                text.push_str(id);
                text.push('\n');
            }
        }
        let mut documents: Vec<String> = self.put(Kind::List, list, text).into_iter().collect();
        documents.extend(rule.map(|rule| format!("rules/{rule}")));
        let differs = "it is asked for requests of every service; name yours in the rules' `services`";
        self.note(place, Verdict::Close(differs.to_owned()), documents);
    }

    fn paths(&mut self, file: &str, setting: &Setting, filter: &Filter) {
        let (rules, bad) = filter.gray_paths(&setting.gray_paths);
        for (pattern, why) in bad {
            self.left_out(format!("{file}: grayPaths `{pattern}`"), why);
        }
        let written: Vec<String> =
            rules.iter().filter_map(|(name, rule)| self.put(Kind::Rule, name, rule_text(rule))).collect();
        if !written.is_empty() {
            let differs = "a pattern is Rust's, not Java's, and matches the whole path";
            self.note(format!("{file}: grayPaths"), Verdict::Close(differs.to_owned()), written);
        }
        if let Some((name, rule)) = filter.release_paths(setting.release_paths.keys().cloned().collect()) {
            let text = release_text(&rule, &setting.release_paths);
            let written = self.put(Kind::Rule, &name, text).into_iter().collect();
            self.note(format!("{file}: releasePaths"), Verdict::Same, written);
        }
    }
}
