//! Which answers of an instance are errors: by status, by gRPC status, by what a header says.

use http::{HeaderMap, HeaderName};

/// What stands in a gRPC answer's header or trailers.
pub const GRPC_STATUS: &str = "grpc-status";

/// A service's own view of what counts as an error.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failures {
    pub statuses: Vec<StatusMatch>,
    /// Codes of gRPC.
    pub grpc: Vec<u8>,
    /// Headers, each with the texts that say error.
    pub headers: Vec<(HeaderName, Vec<String>)>,
}

/// One status, or all that begin with a digit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StatusMatch {
    One(u16),
    Class(u16),
}

impl Default for Failures {
    /// Unknown, deadline exceeded, internal, unavailable and data loss are the server's fault; the other codes of gRPC are
    /// answers.
    fn default() -> Self {
        Failures { statuses: vec![StatusMatch::Class(5)], grpc: vec![2, 4, 13, 14, 15], headers: Vec::new() }
    }
}

impl StatusMatch {
    pub fn parse(text: &str) -> Option<StatusMatch> {
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some(StatusMatch::Class(class));
        }
        let is_plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        let status = text.parse().ok().filter(|status| is_plain && (100..=599).contains(status))?;
        Some(StatusMatch::One(status))
    }

    fn holds(self, status: u16) -> bool {
        match self {
            StatusMatch::One(one) => one == status,
            StatusMatch::Class(class) => status / 100 == class,
        }
    }
}

impl std::fmt::Display for StatusMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StatusMatch::One(status) => write!(f, "{status}"),
            StatusMatch::Class(class) => write!(f, "{class}xx"),
        }
    }
}

impl Failures {
    /// Whether a response header says error.
    pub fn hold(&self, status: u16, headers: &HeaderMap) -> bool {
        self.statuses.iter().any(|one| one.holds(status)) || self.hold_in(headers)
    }

    /// Whether headers or trailers say error.
    pub fn hold_in(&self, headers: &HeaderMap) -> bool {
        self.hold_grpc(headers) || self.headers.iter().any(|(name, texts)| says(headers, name, texts))
    }

    fn hold_grpc(&self, headers: &HeaderMap) -> bool {
        let Some(code) = headers.get(GRPC_STATUS) else { return false };
        // A code that cannot be read is `unknown`, as clients of gRPC take it.
        let code = code.to_str().ok().and_then(|text| text.trim().parse().ok()).unwrap_or(2);
        self.grpc.contains(&code)
    }
}

fn says(headers: &HeaderMap, name: &HeaderName, texts: &[String]) -> bool {
    let said = |value: &http::HeaderValue| texts.iter().any(|text| text.as_bytes() == value.as_bytes());
    headers.get_all(name).iter().any(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_or_a_class() {
        for (text, expected) in [
            ("5xx", Some(StatusMatch::Class(5))),
            ("429", Some(StatusMatch::One(429))),
            ("6xx", None),
            ("xx", None),
            ("99", None),
            ("600", None),
            ("+50", None),
            ("5XX", None),
        ] {
            assert_eq!(StatusMatch::parse(text), expected, "{text}");
            if let Some(status) = expected {
                assert_eq!(status.to_string(), text);
            }
        }
    }

    #[test]
    fn an_answer_is_an_error_where_anything_says_so() {
        let failures = Failures {
            headers: vec![(HeaderName::from_static("x-result"), vec!["500".into(), "501".into()])],
            ..Failures::default()
        };
        for (status, headers, expected) in [
            (200, &[][..], false),
            (500, &[], true),
            (599, &[], true),
            (499, &[], false),
            (200, &[("grpc-status", "0")], false),
            (200, &[("grpc-status", "14")], true),
            (200, &[("grpc-status", "5")], false),
            (200, &[("grpc-status", "what")], true),
            (200, &[("x-result", "500")], true),
            (200, &[("x-result", "0"), ("x-result", "501")], true),
            (200, &[("x-result", "5000")], false),
        ] {
            let pairs = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), http::HeaderValue::from_static(value)));
            let mut map = HeaderMap::new();
            pairs.for_each(|(name, value)| {
                map.append(name, value);
            });
            assert_eq!(failures.hold(status, &map), expected, "{status} {headers:?}");
        }
    }
}
