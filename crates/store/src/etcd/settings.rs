//! How to reach a store.
//!
//! Answers: which endpoints, under which prefix, with whose credentials; and what is wrong with that?
//! Owns: the settings and every mistake that can be told without connecting. Never: connects.

use super::keyspace::Prefix;
use http::Uri;
use std::fmt;
use std::path::PathBuf;

/// Where documents live when nothing else is said.
pub const DEFAULT_PREFIX: &str = "/graygate";

/// Most endpoints of one cluster; etcd clusters have three to seven members.
const ENDPOINT_LIMIT: usize = 64;

/// Which etcd, and how to talk to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdSettings {
    /// `http://host:port` or `https://host:port`; tried in turn.
    pub endpoints: Vec<String>,
    /// Documents live below it; a slash at its end makes no difference.
    pub prefix: String,
    pub username: Option<String>,
    pub password: Option<Password>,
    pub tls: Option<EtcdTls>,
}

/// Where a password is. A file is read at every connection, so it can be changed while the proxy runs.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    Text(String),
    /// The first line counts.
    File(PathBuf),
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Password::Text(_) => f.write_str("Text(..)"),
            Password::File(path) => write!(f, "File({path:?})"),
        }
    }
}

/// TLS towards etcd; files are PEM and are read at every connection.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct EtcdTls {
    /// Who signed the server's certificate.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, where the server asks for one.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// The name in the server's certificate, where it is not the endpoint's host.
    pub domain: Option<String>,
}

impl EtcdSettings {
    /// Settings without credentials.
    pub fn new(endpoints: Vec<String>, prefix: &str) -> EtcdSettings {
        EtcdSettings { endpoints, prefix: prefix.to_owned(), username: None, password: None, tls: None }
    }

    pub(crate) fn keys(&self) -> Prefix {
        Prefix::new(&self.prefix)
    }

    /// Every mistake, as the field's path below these settings (empty for the whole) and a message.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let mut tell = |field: &str, message: &str| mistakes.push((field.to_owned(), message.to_owned()));
        match self.endpoints.len() {
            0 => tell("endpoints", "at least one endpoint is needed"),
            1..=ENDPOINT_LIMIT => {}
            _ => tell("endpoints", "more than 64 endpoints"),
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if let Some(message) = self.endpoint_mistake(endpoint) {
                tell(&format!("endpoints[{index}]"), &message);
            }
        }
        match (&self.username, &self.password) {
            (Some(_), None) => tell("password_file", "`username` needs a password"),
            (None, Some(_)) => tell("username", "a password needs a `username`"),
            _ => {}
        }
        if let Some(tls) = &self.tls
            && tls.certificate.is_some() != tls.key.is_some()
        {
            tell("tls", "`certificate` and `key` need each other");
        }
        mistakes
    }

    fn endpoint_mistake(&self, endpoint: &str) -> Option<String> {
        let wrong = || Some(format!("`{endpoint}` is not like `http://127.0.0.1:2379`"));
        let Ok(uri) = endpoint.parse::<Uri>() else {
            return wrong();
        };
        let ca = self.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
        match uri.scheme_str() {
            _ if uri.host().is_none_or(str::is_empty) || !matches!(uri.path(), "" | "/") => wrong(),
            Some("http") if self.tls.is_some() => Some("`tls` needs an `https://` endpoint".to_owned()),
            Some("https") if !ca => Some("an `https://` endpoint needs `tls.ca`".to_owned()),
            Some("http" | "https") => None,
            _ => wrong(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_all_at_once() {
        let mut settings = EtcdSettings::new(vec!["http://127.0.0.1:2379".into()], DEFAULT_PREFIX);
        assert_eq!(settings.mistakes(), []);
        settings.username = Some("u".into());
        settings.endpoints =
            ["etcd:2379", "https://etcd:2379", "http://etcd/x", "", "http://etcd"].map(String::from).to_vec();
        let fields: Vec<_> = settings.mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["endpoints[0]", "endpoints[1]", "endpoints[2]", "endpoints[3]", "password_file"]);
        settings.tls = Some(EtcdTls { ca: Some("ca".into()), key: Some("key".into()), ..EtcdTls::default() });
        settings.endpoints = vec!["http://etcd".into(), "https://etcd:2379".into()];
        let fields: Vec<_> = settings.mistakes().into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["endpoints[0]", "password_file", "tls"]);
    }

    #[test]
    fn passwords_are_not_printed() {
        let text = format!("{:?}", Password::Text("secret".into()));
        assert!(!text.contains("secret"), "{text}");
    }
}
