//! People: how long sessions last, who answers for whom, and what needs two.

use std::path::PathBuf;

use graygate_rules::documents::fields::{Emptiness, Field};

use super::places::read_url;
use crate::people::{FourEyes, Grant, Role, SessionSettings};

/// The identity provider.
#[derive(Clone, PartialEq, Debug)]
pub struct OidcSettings {
    pub issuer: String,
    pub client_id: String,
    pub client_secret_file: Option<PathBuf>,
    /// Whose values become roles.
    pub claim: String,
    pub roles: Vec<RoleOfClaim>,
    /// Hosts beside the issuer's that its endpoints may have.
    pub hosts: Vec<String>,
}

/// What a value of the claim gives.
#[derive(Clone, PartialEq, Debug)]
pub struct RoleOfClaim {
    pub value: String,
    pub grant: Grant,
}

pub fn read_sessions(field: &Field<'_>) -> Option<SessionSettings> {
    let mut map = field.map()?;
    let default = SessionSettings::default();
    let idle = map.or("idle", default.idle, |field| field.duration());
    let lifetime = map.or("lifetime", default.lifetime, |field| field.duration());
    map.note_unknown();
    Some(SessionSettings { idle, lifetime })
}

pub fn read_four_eyes(field: &Field<'_>) -> Option<FourEyes> {
    if field.is_list() {
        let services = field.list_of(Emptiness::Allowed, |item| item.name().map(|name| name.to_string()))?;
        return Some(match services.is_empty() {
            true => FourEyes::None,
            false => FourEyes::Services(services.into_iter().collect()),
        });
    }
    match field.boolean() {
        Some(true) => Some(FourEyes::All),
        Some(false) => Some(FourEyes::None),
        None => None,
    }
}

pub fn read_oidc(field: &Field<'_>) -> Option<OidcSettings> {
    let mut map = field.map()?;
    let issuer = map.required("issuer").and_then(|field| read_url(&field));
    let client_id = map.required("client_id").and_then(|field| field.text().map(str::to_owned));
    let client_secret_file = map.get("client_secret_file").and_then(|field| field.text().map(PathBuf::from));
    let claim = map.or("claim", "groups".to_owned(), |field| field.text().map(str::to_owned));
    let roles = map.or("roles", Vec::new(), read_roles);
    let hosts = map.or("hosts", Vec::new(), |field| {
        field.list_of(Emptiness::Allowed, |item| item.text().map(str::to_owned))
    });
    map.note_unknown();
    Some(OidcSettings { issuer: issuer?, client_id: client_id?, client_secret_file, claim, roles, hosts })
}

fn read_roles(field: &Field<'_>) -> Option<Vec<RoleOfClaim>> {
    let read = |(value, field): (&str, Field<'_>)| {
        let mut map = field.map()?;
        let words = Role::ALL.map(|role| (role.as_str(), role));
        let role = map.required("role").and_then(|field| field.word(&words));
        let services = map.get("services").and_then(|field| {
            field.list_of(Emptiness::Refused, |item| item.name().map(|name| name.to_string()))
        });
        map.note_unknown();
        let grant = Grant { role: role?, services: services.map(|names| names.into_iter().collect()) };
        Some(RoleOfClaim { value: value.to_owned(), grant })
    };
    let roles: Vec<Option<_>> = field.entries()?.into_iter().map(read).collect();
    roles.into_iter().collect()
}
