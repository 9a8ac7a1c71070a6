//! Rules: who gets which version.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::condition::{Condition, read_attribute};
use super::fields::{Emptiness, Field};
use super::mirror;
use crate::vocab::{Attribute, Mirror, Name, Share};

#[derive(Clone, Debug)]
pub struct Rule {
    /// `None`: every service.
    pub services: Option<Vec<Name>>,
    pub priority: i32,
    pub enabled: bool,
    pub starts: Option<OffsetDateTime>,
    pub ends: Option<OffsetDateTime>,
    /// `None`: every request.
    pub when: Option<Condition>,
    pub outcome: Outcome,
    /// What is hashed instead of the service's identity.
    pub by: Option<Vec<Attribute>>,
    /// `None`: the rule's name.
    pub salt: Option<String>,
    pub mirror: Option<Mirror>,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    Version(Name),
    /// In the order written; what is left gets `release`.
    Split(Vec<(Name, Share)>),
}

impl Rule {
    pub fn read(field: &Field<'_>) -> Option<Rule> {
        let mut map = field.map()?;
        let services = map.get("services").and_then(|f| f.list_of(Emptiness::Refused, Field::name));
        let priority = map.or("priority", 0, Field::priority);
        let enabled = map.or("enabled", true, Field::boolean);
        let starts = map.get("starts").and_then(|f| read_time(&f));
        let ends = map.get("ends").and_then(|f| read_time(&f));
        let when = map.get("when").and_then(|f| Condition::read_when(&f));
        let by = map.get("by").and_then(|f| f.list_of(Emptiness::Refused, read_attribute));
        let salt = map.get("salt").and_then(|f| f.text().map(str::to_string));
        let mirror = map.get("mirror").and_then(|f| mirror::read(&f));
        let outcome = match map.one_of(&["version", "split"]) {
            Some(("version", f)) => f.name().map(Outcome::Version),
            Some((_, f)) => read_split(&f).map(Outcome::Split),
            None => None,
        };
        map.note_unknown();
        if let (Some(starts), Some(ends)) = (starts, ends)
            && ends <= starts
        {
            map.wrong::<()>("`ends` is not after `starts`", "the rule would never match");
        }
        Some(Rule { services, priority, enabled, starts, ends, when, outcome: outcome?, by, salt, mirror })
    }
}

fn read_time(field: &Field<'_>) -> Option<OffsetDateTime> {
    field.parsed("a time with a zone like `2026-11-22T08:00:00+08:00`", |text| {
        OffsetDateTime::parse(text, &Rfc3339).ok()
    })
}

fn read_split(field: &Field<'_>) -> Option<Vec<(Name, Share)>> {
    let entries = field.entries()?;
    if entries.is_empty() {
        return field.wrong("an empty split", "name at least one version and its percent");
    }
    let mut split = Vec::new();
    for (version, share) in entries {
        let name =
            Name::parse(version).or_else(|| share.wrong(format!("`{version}` is not a version's name"), ""));
        split.push((name, share.share()));
    }
    let split = split.into_iter().map(|(name, share)| Some((name?, share?))).collect::<Option<Vec<_>>>()?;
    let total: u32 = split.iter().map(|(_, share)| u32::from(share.hundredths())).sum();
    match total > u32::from(Share::ALL.hundredths()) {
        true => field.wrong(
            format!("the shares add up to {} percent", f64::from(total) / 100.0),
            "100 is all there is",
        ),
        false => Some(split),
    }
}
