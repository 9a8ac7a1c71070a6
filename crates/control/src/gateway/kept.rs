//! The setting as documents keep it, and what has to change for another one.
//!
//! Owns: reading `lists/gray-*` and `rules/hospital.*`, the number a save has to name, and the difference between two
//! settings, list by list, so that one member of millions is one small write. Never: writes. Start at [`Kept::of`].

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use graygate_rules::documents::text::Value;
use graygate_rules::documents::{Document, DocumentId, Kind, Rule, edit};
use graygate_rules::import::hospital::{Filter, Setting, filter, release_text, release_values, rule_text};
use graygate_rules::vocab::Name;
use sha2::{Digest as _, Sha256};

use super::settings::Hospital;
use crate::control::{Changes, View, check_member, values};
use crate::error::{Error, Mistake, Result};

/// A number that JavaScript can hold: the revision goes through browsers.
const REVISION_BITS: u32 = 53;

/// The setting as it stands.
#[derive(Clone, Debug)]
pub struct Kept {
    pub setting: Setting,
    /// Changes with every change of it, no matter who made it.
    pub revision: u64,
}

/// The setting as someone wants it.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub setting: Setting,
    /// Whether lists that have members may lose all of them.
    pub may_empty: bool,
}

/// What one list gains and loses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListDiff {
    pub list: String,
    pub add: Vec<String>,
    pub remove: Vec<String>,
    /// Whether the list is to be gone as a whole.
    pub is_over: bool,
}

/// What has to change.
#[derive(Clone, Default, Debug)]
pub struct Diff {
    /// Rules and services.
    pub documents: Changes,
    pub lists: Vec<ListDiff>,
}

impl Kept {
    /// Reads the setting. Rules of paths that a hand made say more than a setting can are told, not passed over.
    pub fn of(view: &View, hospital: &Hospital) -> Result<Kept> {
        let mut setting = Setting {
            gray_version: Some(alias(view, hospital, &hospital.gray)),
            release_version: Some(alias(view, hospital, &hospital.release)),
            gray_customer_ids: members(view, filter::CUSTOMER_LIST),
            gray_hospitals: members(view, filter::HOSPITAL_LIST),
            gray_version_domains: members(view, filter::DOMAIN_LIST),
            ..Setting::default()
        };
        for list in user_lists(view) {
            let app = list.strip_prefix(filter::USER_LISTS).unwrap_or_default().to_owned();
            setting.gray_user_ids.insert(app, members(view, &list));
        }
        for (id, rule) in rules(view) {
            let name = &*id.name;
            if is_gray_paths(name) {
                let found = filter::read_gray_paths(rule).ok_or_else(|| foreign(name))?;
                setting.gray_paths.extend(found);
            } else if name == filter::RELEASE_PATHS {
                let paths = filter::read_release_paths(rule).ok_or_else(|| foreign(name))?;
                let text = view.set.documents.get(id).map(|raw| raw.body.to_vec()).unwrap_or_default();
                let mut known = release_values(&String::from_utf8_lossy(&text));
                let value = |path: String| {
                    let value = known.remove(&path).unwrap_or_default();
                    (path, value)
                };
                setting.release_paths = paths.into_iter().map(value).collect();
            }
        }
        Ok(Kept { revision: revision(view, &setting), setting })
    }

    /// What makes it the setting that is wanted.
    pub fn diff(&self, view: &View, hospital: &Hospital, wanted: &Wanted) -> Result<Diff> {
        let new = &wanted.setting;
        check(new)?;
        if !wanted.may_empty {
            self.check_emptied(new)?;
        }
        let words = hospital.filter();
        let mut diff = Diff::default();
        for (list, before, after) in [
            (filter::CUSTOMER_LIST, &self.setting.gray_customer_ids, &new.gray_customer_ids),
            (filter::HOSPITAL_LIST, &self.setting.gray_hospitals, &new.gray_hospitals),
            (filter::DOMAIN_LIST, &self.setting.gray_version_domains, &lower(&new.gray_version_domains)),
        ] {
            diff.list(view, list, Some((before, after)));
        }
        let none = Vec::new();
        for (app, after) in &new.gray_user_ids {
            let before = self.setting.gray_user_ids.get(app).unwrap_or(&none);
            diff.list(view, &format!("{}{app}", filter::USER_LISTS), Some((before, after)));
        }
        for app in self.setting.gray_user_ids.keys().filter(|app| !new.gray_user_ids.contains_key(*app)) {
            diff.list(view, &format!("{}{app}", filter::USER_LISTS), None);
        }
        diff.rules(view, &words, &self.setting, new)?;
        diff.versions(view, hospital, (new.gray_version.as_deref(), new.release_version.as_deref()))?;
        Ok(diff)
    }

    fn check_emptied(&self, new: &Setting) -> Result<()> {
        let old = &self.setting;
        let mut emptied = Vec::new();
        let mut look = |field: &str, before: bool, after: bool| {
            if !before && after {
                emptied.push(format!("`{field}`"));
            }
        };
        look("grayCustomerIds", old.gray_customer_ids.is_empty(), new.gray_customer_ids.is_empty());
        look("grayHospitals", old.gray_hospitals.is_empty(), new.gray_hospitals.is_empty());
        look("grayVersionDomains", old.gray_version_domains.is_empty(), new.gray_version_domains.is_empty());
        look("releasePaths", old.release_paths.is_empty(), new.release_paths.is_empty());
        look("grayPaths", old.gray_paths.is_empty(), new.gray_paths.is_empty());
        for (app, before) in &old.gray_user_ids {
            let after = new.gray_user_ids.get(app).is_none_or(Vec::is_empty);
            look(&format!("grayUserIds.{app}"), before.is_empty(), after);
        }
        match emptied.is_empty() {
            true => Ok(()),
            false => {
                let named = emptied.join(", ");
                Err(Error::Conflict(format!(
                    "this would empty {named}; send `\"allowEmpty\": true` to mean it"
                )))
            }
        }
    }
}

impl Diff {
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.lists.is_empty()
    }

    /// A list from its members to others; without any, it is over.
    fn list(&mut self, view: &View, list: &str, change: Option<(&[String], &[String])>) {
        let is_there = !view.parts(list).is_empty();
        let Some((before, after)) = change else {
            let over = ListDiff { list: list.into(), add: Vec::new(), remove: Vec::new(), is_over: true };
            return self.lists.extend(is_there.then_some(over));
        };
        let (old, new): (HashSet<&String>, HashSet<&String>) =
            (before.iter().collect(), after.iter().collect());
        let mut once = HashSet::new();
        let add = after.iter().filter(|value| !old.contains(value) && once.insert(*value));
        let diff = ListDiff {
            list: list.into(),
            add: add.cloned().collect(),
            remove: before.iter().filter(|value| !new.contains(value)).cloned().collect(),
            is_over: false,
        };
        // A rule that names a list which is not there decides nothing, so an empty list is one as well.
        if !is_there || !diff.add.is_empty() || !diff.remove.is_empty() {
            self.lists.push(diff);
        }
    }

    fn rules(&mut self, view: &View, words: &Filter, old: &Setting, new: &Setting) -> Result<()> {
        let mut wanted: BTreeMap<String, Option<Rule>> = BTreeMap::new();
        let of_users = new.gray_user_ids.keys().filter_map(|app| words.users(app));
        wanted.extend(words.fixed().into_iter().chain(of_users).map(|(name, rule)| (name, Some(rule))));
        for (id, _) in rules(view) {
            let name = &*id.name;
            let is_app = filter::app_of(name).is_some_and(|app| !new.gray_user_ids.contains_key(app));
            // Paths are written whole below.
            if is_app || (name == filter::OTHERS && !wanted.contains_key(name)) {
                wanted.insert(name.to_owned(), None);
            }
        }
        for (name, rule) in wanted {
            let is_right = current(view, &name).is_some_and(|kept| match &rule {
                // What a hand changed about it otherwise stays: it was meant.
                Some(rule) => kept.services == rule.services,
                None => false,
            });
            if !is_right {
                self.rule(&name, rule.as_ref().map(rule_text));
            }
        }
        let (paths, bad) = words.gray_paths(&new.gray_paths);
        if !bad.is_empty() {
            let mistakes = bad.into_iter().map(|(pattern, why)| mistake("grayPaths", &pattern, &why));
            return Err(Error::Problems(mistakes.collect()));
        }
        let names: HashSet<&str> = paths.iter().map(|(name, _)| name.as_str()).collect();
        let of_others = |name: &str| current(view, name).is_some_and(|kept| kept.services != words.services);
        if old.gray_paths != new.gray_paths || paths.iter().any(|(name, _)| of_others(name)) {
            for (name, rule) in &paths {
                self.rule(name, Some(rule_text(rule)));
            }
            for (id, _) in rules(view).filter(|(id, _)| is_gray_paths(&id.name)) {
                if !names.contains(&*id.name) {
                    self.rule(&id.name, None);
                }
            }
        }
        if old.release_paths != new.release_paths || of_others(filter::RELEASE_PATHS) {
            let rule = words.release_paths(new.release_paths.keys().cloned().collect());
            let text = rule.map(|(_, rule)| release_text(&rule, &new.release_paths));
            self.rule(filter::RELEASE_PATHS, text);
        }
        Ok(())
    }

    fn rule(&mut self, name: &str, text: Option<String>) {
        if let Some(id) = DocumentId::of(Kind::Rule, name) {
            self.documents.insert(id, text.map(Bytes::from));
        }
    }

    /// The aliases of the services, where they differ; a version that is not named stays.
    pub fn versions(
        &mut self,
        view: &View,
        hospital: &Hospital,
        (gray, release): (Option<&str>, Option<&str>),
    ) -> Result<()> {
        for service in &hospital.services {
            let id = DocumentId::of(Kind::Service, service.as_str())
                .ok_or_else(|| Error::Internal(format!("`{service}` is no name of a service")))?;
            for (word, version) in [(&hospital.gray, gray), (&hospital.release, release)] {
                let Some(version) = version.filter(|version| *version != alias_of(view, service, word))
                else {
                    continue;
                };
                if Name::parse(version).is_none() {
                    let why = "a version is 1 to 128 of A-Z a-z 0-9 . _ -";
                    return Err(Error::Invalid(format!("`{version}` is not a version; {why}")));
                }
                let missing =
                    || Error::Conflict(format!("there is no service `{service}` whose alias this is"));
                let text = match self.documents.get(&id) {
                    Some(Some(text)) => text.to_vec(),
                    _ => view.set.documents.get(&id).map(|raw| raw.body.to_vec()).ok_or_else(missing)?,
                };
                let text = String::from_utf8_lossy(&text).into_owned();
                let value = Value::Text(version.to_owned());
                let edited = edit::set(&text, &["aliases", word.as_str()], Some(&value));
                let edited = edited.map_err(|error| {
                    Error::Conflict(format!(
                        "the alias in `{id}` cannot be changed here: {error}; edit it by hand"
                    ))
                })?;
                self.documents.insert(id.clone(), Some(edited.into()));
            }
        }
        Ok(())
    }
}

/// What a version's word stands for; the first service says it.
pub fn alias(view: &View, hospital: &Hospital, word: &Name) -> String {
    hospital.first().map_or_else(|| word.to_string(), |service| alias_of(view, service, word))
}

fn alias_of(view: &View, service: &Name, word: &Name) -> String {
    let id = DocumentId::of(Kind::Service, service.as_str());
    let document = id.and_then(|id| view.good(Kind::Service).find(|(known, _)| **known == id));
    let Some((_, Document::Service(service))) = document else { return word.to_string() };
    let found = service.aliases.iter().find(|(known, _)| known == word);
    found.map_or_else(|| word.to_string(), |(_, label)| label.to_string())
}

fn rules(view: &View) -> impl Iterator<Item = (&DocumentId, &Rule)> {
    view.good(Kind::Rule).filter_map(|(id, document)| match document {
        Document::Rule(rule) if id.name.starts_with(filter::RULES) => Some((id, rule)),
        _ => None,
    })
}

fn current<'v>(view: &'v View, name: &str) -> Option<&'v Rule> {
    rules(view).find(|(id, _)| &*id.name == name).map(|(_, rule)| rule)
}

fn is_gray_paths(name: &str) -> bool {
    name.strip_prefix(filter::GRAY_PATHS).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn user_lists(view: &View) -> Vec<String> {
    let lists = view.set.documents.keys().filter(|id| id.kind == Kind::List);
    let mut names: Vec<String> = lists.map(|id| id.head().to_owned()).collect();
    names.retain(|name| name.starts_with(filter::USER_LISTS));
    names.dedup();
    names
}

fn members(view: &View, list: &str) -> Vec<String> {
    let mut once = HashSet::new();
    let parts = view.parts(list);
    let all = parts.iter().flat_map(|(_, raw)| values(&raw.body));
    all.filter(|value| once.insert(*value)).map(str::to_owned).collect()
}

fn lower(domains: &[String]) -> Vec<String> {
    domains.iter().map(|domain| domain.trim_end_matches('.').to_lowercase()).collect()
}

/// Of all that the setting is read from.
fn revision(view: &View, setting: &Setting) -> u64 {
    let mut hasher = Sha256::new();
    for version in [&setting.gray_version, &setting.release_version] {
        hasher.update(format!("{version:?}\n"));
    }
    let is_ours = |id: &DocumentId| match id.kind {
        Kind::Rule => is_gray_paths(&id.name) || &*id.name == filter::RELEASE_PATHS,
        Kind::List => {
            let list = id.head();
            [filter::CUSTOMER_LIST, filter::HOSPITAL_LIST, filter::DOMAIN_LIST].contains(&list)
                || list.starts_with(filter::USER_LISTS)
        }
        _ => false,
    };
    for (id, raw) in view.set.documents.iter().filter(|(id, _)| is_ours(id)) {
        hasher.update(format!("{id} {}\n", raw.body.len()));
        hasher.update(&raw.body[..]);
    }
    let hash: [u8; 32] = hasher.finalize().into();
    let first = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (first >> (u64::BITS - REVISION_BITS)).max(1)
}

fn check(setting: &Setting) -> Result<()> {
    let mut mistakes = Vec::new();
    let mut look = |field: &str, values: &[String]| {
        for value in values {
            if let Err(error) = check_member(value) {
                mistakes.push(mistake(field, value, &error.to_string()));
            }
        }
    };
    look("grayCustomerIds", &setting.gray_customer_ids);
    look("grayHospitals", &setting.gray_hospitals);
    look("grayVersionDomains", &setting.gray_version_domains);
    for (app, ids) in &setting.gray_user_ids {
        look(&format!("grayUserIds.{app}"), ids);
    }
    for app in setting.gray_user_ids.keys().filter(|app| filter::user_names(app).is_none()) {
        let why = "an application is what stands before `_` in a sign, of A-Z a-z 0-9 . -";
        mistakes.push(mistake("grayUserIds", app, why));
    }
    for version in [&setting.gray_version, &setting.release_version].into_iter().flatten() {
        if Name::parse(version).is_none() {
            mistakes.push(mistake("grayVersion", version, "a version is 1 to 128 of A-Z a-z 0-9 . _ -"));
        }
    }
    match mistakes.is_empty() {
        true => Ok(()),
        false => Err(Error::Problems(mistakes)),
    }
}

fn mistake(field: &str, value: &str, why: &str) -> Mistake {
    Mistake {
        document: "setting".to_owned(),
        field: field.to_owned(),
        message: format!("`{}`: {why}", value.escape_debug()),
        help: String::new(),
    }
}

fn foreign(rule: &str) -> Error {
    Error::Conflict(format!(
        "`rules/{rule}` was changed by hand and says what a setting cannot; change it where it was changed"
    ))
}
