//! People: how long sessions last, who answers for whom, and what needs two.

use std::net::IpAddr;
use std::path::PathBuf;

use graygate_rules::documents::fields::{Emptiness, Field};
use http::Uri;

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

impl OidcSettings {
    /// Whether the provider may lead to this address: its own host, or one that is named, over TLS or on this host.
    pub fn may_ask(&self, address: &str) -> bool {
        let (Ok(uri), Ok(issuer)) = (address.parse::<Uri>(), self.issuer.parse::<Uri>()) else {
            return false;
        };
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else { return false };
        let is_issuers = issuer.authority() == Some(authority) && issuer.scheme() == uri.scheme();
        let is_named = || {
            self.hosts.iter().any(|named| {
                named.eq_ignore_ascii_case(host) || named.eq_ignore_ascii_case(authority.as_str())
            })
        };
        !authority.as_str().contains('@') && may_be_asked(&uri) && (is_issuers || is_named())
    }
}

/// Secrets and tokens go over TLS, or stay on this host.
fn may_be_asked(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback =
        plain == "localhost" || plain.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => !host.is_empty(),
        Some("http") => is_loopback,
        _ => false,
    }
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
    // As it is written: what the provider says of itself has to be equal, a slash at its end too.
    let issuer = map.required("issuer").and_then(|field| {
        field.parsed("an address over TLS or of this host like `https://id.example.com`", |text| {
            may_be_asked(&text.parse().ok()?).then(|| text.to_owned())
        })
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_leads_to_its_own_and_named_hosts_alone() {
        let settings = OidcSettings {
            issuer: "https://id.example.com/realms/x".into(),
            client_id: "x".into(),
            client_secret_file: None,
            claim: "groups".into(),
            roles: Vec::new(),
            hosts: vec!["keys.example.com".into(), "other.example.com:8443".into()],
        };
        for (address, may) in [
            ("https://id.example.com/token", true),
            ("https://keys.example.com/jwks", true),
            ("https://other.example.com:8443/jwks", true),
            ("https://other.example.com/jwks", false),
            ("https://id.example.com:22/", false),
            ("http://id.example.com/token", false),
            ("http://keys.example.com/jwks", false),
            ("https://169.254.169.254/latest", false),
            ("https://id.example.com@evil.example/", false),
            ("https://evil.example/id.example.com", false),
            ("http://127.0.0.1:9090/", false),
            ("file:///etc/passwd", false),
            ("", false),
        ] {
            assert_eq!(settings.may_ask(address), may, "{address}");
        }
    }
}
