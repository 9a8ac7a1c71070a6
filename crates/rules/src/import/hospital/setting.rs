//! The setting of a hospital's gateway, as platforms send it and read it.

use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who gets gray, in the words of their API.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    #[serde(default)]
    pub gray_version: Option<String>,
    #[serde(default)]
    pub release_version: Option<String>,
    /// By application.
    #[serde(default, deserialize_with = "users")]
    pub gray_user_ids: BTreeMap<String, Vec<String>>,
    #[serde(default, deserialize_with = "texts")]
    pub gray_customer_ids: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    pub gray_hospitals: Vec<String>,
    #[serde(default, deserialize_with = "texts")]
    pub gray_version_domains: Vec<String>,
    /// The values mean nothing, and are kept.
    #[serde(default, deserialize_with = "paths")]
    pub release_paths: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "texts")]
    pub gray_paths: Vec<String>,
}

impl Setting {
    /// The names of its fields, as they are sent.
    pub const FIELDS: [&'static str; 8] = [
        "grayVersion",
        "releaseVersion",
        "grayUserIds",
        "grayCustomerIds",
        "grayHospitals",
        "grayVersionDomains",
        "releasePaths",
        "grayPaths",
    ];
}

/// An id: platforms keep some of them as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(serde_json::Number),
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        match id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        }
    }
}

fn texts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let ids = Option::<Vec<Id>>::deserialize(from)?.unwrap_or_default();
    Ok(ids.into_iter().map(String::from).collect())
}

fn users<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let apps = Option::<BTreeMap<String, Option<Vec<Id>>>>::deserialize(from)?.unwrap_or_default();
    let ids = |ids: Option<Vec<Id>>| ids.unwrap_or_default().into_iter().map(String::from).collect();
    Ok(apps.into_iter().map(|(app, found)| (app, ids(found))).collect())
}

fn paths<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let paths = Option::<BTreeMap<String, Value>>::deserialize(from)?.unwrap_or_default();
    let value = |value| match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(D::Error::custom("the value of a release path is a text")),
    };
    paths.into_iter().map(|(path, found)| Ok((path, value(found)?))).collect()
}
