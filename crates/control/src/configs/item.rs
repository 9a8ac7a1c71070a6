//! An item: its place, its record, and the limits on both.

use std::fmt;

use graygate_rules::vocab::Name;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where items are kept.
pub const ITEMS: &str = "configs/";
/// Counts the writes of items, so that other processes see what they have not read.
pub const HEAD: &str = "config-head";
/// Which items the last writes changed, in a ring.
pub const LOG: &str = "config-log/";
/// Writes that the ring remembers; a process that missed more reads everything.
pub const LOGGED: u64 = 1_024;

/// The group of an item that names none.
const DEFAULT_GROUP: &str = "default";
/// Longest key: longer ones are texts that lost their way.
const KEY_LIMIT: usize = 512;
/// Largest value; files that are larger are no configuration values.
pub const VALUE_LIMIT: usize = 256 << 10;

/// Whose values.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ItemPlace {
    pub app: Name,
    pub environment: Name,
    pub group: Name,
}

/// One key of an application, in an environment and a group.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ItemId {
    pub place: ItemPlace,
    pub key: String,
}

/// What is kept of an item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    pub value: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Head {
    pub sequence: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Logged {
    pub sequence: u64,
    /// Their records.
    pub items: Vec<String>,
}

/// An item as it is asked for, without a copy of its names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ItemName<'n> {
    app: &'n str,
    environment: &'n str,
    group: &'n str,
    key: &'n str,
}

impl<'n> ItemName<'n> {
    /// None where one of them is no name; a key that is none is only not found.
    pub fn of(
        app: &'n str,
        environment: &'n str,
        group: Option<&'n str>,
        key: &'n str,
    ) -> Option<ItemName<'n>> {
        let group = group.unwrap_or(DEFAULT_GROUP);
        let are_names = [app, environment, group].into_iter().all(Name::is_name);
        are_names.then_some(ItemName { app, environment, group, key })
    }

    pub fn app(&self) -> &'n str {
        self.app
    }

    pub fn key(&self) -> &'n str {
        self.key
    }
}

impl fmt::Display for ItemName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [self.app, self.environment, self.group] {
            f.write_str(part)?;
            f.write_str("/")?;
        }
        f.write_str(self.key)
    }
}

impl ItemPlace {
    /// `group` may be left out.
    pub fn of(app: &str, environment: &str, group: Option<&str>) -> Result<ItemPlace> {
        let name = |what: &str, text: &str| {
            let missing = match text {
                "" => format!("`{what}` is missing"),
                _ => format!("`{text}` is not a name of {what}: 1 to 128 of A-Z a-z 0-9 . _ -"),
            };
            Name::parse(text).ok_or(Error::BadRequest(missing))
        };
        Ok(ItemPlace {
            app: name("appName", app)?,
            environment: name("environment", environment)?,
            group: name("groupName", group.filter(|group| !group.is_empty()).unwrap_or(DEFAULT_GROUP))?,
        })
    }
}

impl ItemId {
    pub fn of(place: ItemPlace, key: &str) -> Result<ItemId> {
        let wrong = |why: &str| Err(Error::BadRequest(format!("`{}` is no key: {why}", key.escape_debug())));
        match key {
            "" => Err(Error::BadRequest("`configKey` is missing".to_owned())),
            _ if key.len() > KEY_LIMIT => wrong("it is too long"),
            _ if key.chars().any(char::is_control) => wrong("it has control characters"),
            _ => Ok(ItemId { place, key: key.to_owned() }),
        }
    }

    pub fn name(&self) -> ItemName<'_> {
        let ItemPlace { app, environment, group } = &self.place;
        let (app, environment) = (app.as_str(), environment.as_str());
        ItemName { app, environment, group: group.as_str(), key: &self.key }
    }

    pub fn record(&self) -> String {
        format!("{ITEMS}{self}")
    }

    /// Reads what [`record`](ItemId::record) says.
    pub fn parse(record: &str) -> Option<ItemId> {
        let mut parts = record.strip_prefix(ITEMS)?.splitn(4, '/');
        let (app, environment, group) = (parts.next()?, parts.next()?, parts.next()?);
        let place = ItemPlace::of(app, environment, Some(group)).ok()?;
        ItemId::of(place, parts.next()?).ok()
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

pub fn log_record(sequence: u64) -> String {
    format!("{LOG}{:06}", sequence % LOGGED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_what_they_say() {
        let place = ItemPlace::of("user-service", "prod", None).unwrap();
        for key in ["database.maxPoolSize", "a/b", "名", "list[0]"] {
            let id = ItemId::of(place.clone(), key).unwrap();
            assert_eq!(ItemId::parse(&id.record()), Some(id.clone()), "{key}");
        }
        assert_eq!(ItemId::of(place.clone(), "k").unwrap().record(), "configs/user-service/prod/default/k");
        for key in ["", "a\nb"] {
            assert!(ItemId::of(place.clone(), key).is_err(), "{key:?}");
        }
        for (app, environment) in [("", "prod"), ("a/b", "prod"), ("a", ""), ("用户", "prod")] {
            assert!(ItemPlace::of(app, environment, None).is_err(), "{app} {environment}");
        }
    }
}
