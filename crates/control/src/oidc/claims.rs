//! What a provider says of a person, and which roles it gives.

use std::collections::BTreeMap;

use openidconnect::AdditionalClaims;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::person::{OidcError, Person};
use crate::people::Grant;
use crate::settings::OidcSettings;

/// Longest name of a person.
const NAME_LIMIT: usize = 512;

/// All claims beside the standard's own.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
pub struct Extra(BTreeMap<String, Value>);

impl AdditionalClaims for Extra {}

impl Extra {
    pub fn has(&self, claim: &str) -> bool {
        self.0.contains_key(claim)
    }

    /// The values of a claim: a text, or several.
    fn values(&self, claim: &str) -> Vec<&str> {
        match self.0.get(claim) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

/// The person, with the roles of the values that the file names; others give nothing.
pub fn person(
    settings: &OidcSettings,
    (subject, shown): (String, String),
    extra: &Extra,
) -> Result<Person, OidcError> {
    let name = format!("{}#{subject}", settings.issuer);
    if subject.is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
        return Err(OidcError::Forged("its subject is no name"));
    }
    let values = extra.values(&settings.claim);
    let fit = settings.roles.iter().filter(|role| values.contains(&role.value.as_str()));
    let grants: Vec<Grant> = fit.map(|role| role.grant.clone()).collect();
    let person = Person { name, shown: shown.chars().take(NAME_LIMIT).collect(), grants };
    match person.grants.is_empty() {
        true => Err(OidcError::NoRole(Box::new(person))),
        false => Ok(person),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Role;
    use crate::settings::RoleOfClaim;

    #[test]
    fn only_values_that_are_mapped_give_roles() {
        let role = |value: &str, role| RoleOfClaim { value: value.into(), grant: Grant::all(role) };
        let settings = OidcSettings {
            issuer: "https://id.example.com/".into(),
            client_id: "x".into(),
            client_secret_file: None,
            claim: "groups".into(),
            roles: vec![role("gray-admins", Role::Admin), role("staff", Role::Viewer)],
            hosts: Vec::new(),
        };
        for (claims, expected) in [
            (r#"{"groups": ["staff", "other"]}"#, vec![Role::Viewer]),
            (r#"{"groups": "gray-admins"}"#, vec![Role::Admin]),
            (r#"{"groups": ["staff", "gray-admins"]}"#, vec![Role::Admin, Role::Viewer]),
            (r#"{"groups": ["GRAY-ADMINS", "gray-admins ", 7, null]}"#, vec![]),
            (r#"{"groups": {"gray-admins": true}}"#, vec![]),
            (r#"{"roles": ["gray-admins"]}"#, vec![]),
            ("{}", vec![]),
        ] {
            let extra: Extra = serde_json::from_str(claims).unwrap();
            let found = person(&settings, ("7".into(), "li".into()), &extra);
            let roles: Vec<Role> = match &found {
                Ok(person) => person.grants.iter().map(|grant| grant.role).collect(),
                Err(OidcError::NoRole(person)) => person.grants.iter().map(|grant| grant.role).collect(),
                Err(other) => panic!("{other}"),
            };
            assert_eq!((found.is_ok(), roles), (!expected.is_empty(), expected), "{claims}");
        }
        let named = person(
            &settings,
            ("7".into(), "li".into()),
            &serde_json::from_str(r#"{"groups": "staff"}"#).unwrap(),
        );
        assert_eq!(named.unwrap().name, "https://id.example.com/#7");
    }
}
