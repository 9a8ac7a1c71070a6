//! A question about a request, as a person writes it.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: String,
    /// `scheme://host/path?query`, or a path alone. Nothing of it is normalised before the decision does.
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// The peer's address.
    pub address: IpAddr,
    /// Believe the peer whatever the settings say.
    pub trusted: bool,
}

/// Why a question cannot be answered at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuestion {
    #[error("`{0}` is not a header's name")]
    HeaderName(String),
    #[error("the header `{0}` has a line break or a control character")]
    HeaderValue(String),
    #[error("`{0}` is not a method")]
    Method(String),
    #[error("`{0}` is not a URL; write `http://host/path` or `/path`")]
    Url(String),
}

pub(super) fn header_map(lines: &[(String, String)]) -> Result<HeaderMap, BadQuestion> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let header =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| BadQuestion::HeaderName(name.clone()))?;
        let value =
            HeaderValue::from_bytes(value.as_bytes()).map_err(|_| BadQuestion::HeaderValue(name.clone()))?;
        headers.append(header, value);
    }
    Ok(headers)
}

/// A URL cut where its parts meet; the parts stay as they were written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub scheme: &'static str,
    pub host: Option<&'a str>,
    pub path: &'a str,
    pub query: Option<&'a str>,
}

impl<'a> Url<'a> {
    pub fn split(text: &'a str) -> Option<Url<'a>> {
        // A fragment never leaves the client.
        let text = text.split('#').next()?;
        let scheme_of = |prefix: &str| text.get(..prefix.len()).filter(|s| s.eq_ignore_ascii_case(prefix));
        let (scheme, host, rest) = if text.starts_with('/') {
            ("http", None, text)
        } else {
            let scheme = ["http", "https"].into_iter().find(|s| scheme_of(&format!("{s}://")).is_some())?;
            let rest = text.get(scheme.len() + 3..)?;
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, rest) = rest.split_at_checked(end)?;
            (scheme, Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host)), rest)
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Some(Url { scheme, host, path: if path.is_empty() { "/" } else { path }, query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_cut_and_not_changed() {
        let url = |scheme, host, path, query| Some(Url { scheme, host, path, query });
        for (text, expected) in [
            ("http://a/b?c=d#e", url("http", Some("a"), "/b", Some("c=d"))),
            ("https://A:8443", url("https", Some("A:8443"), "/", None)),
            ("HTTP://a?x", url("http", Some("a"), "/", Some("x"))),
            ("/a/../b%2f", url("http", None, "/a/../b%2f", None)),
            ("http://u:p@h/", url("http", Some("h"), "/", None)),
            ("http://[::1]:80//x", url("http", Some("[::1]:80"), "//x", None)),
            ("ftp://a/", None),
            ("a/b", None),
            ("", None),
        ] {
            assert_eq!(Url::split(text), expected, "{text}");
        }
    }
}
