//! Why a request would get its version: the same decision as the proxy's, told step by step.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::generation::Generation;
use crate::decide::{
    Admission, Admitted, Arrival, Buffers, Choice, Decision, Groups, Outcome, Peer, RELEASE, Request, Routed,
    Scratch, ServicePlan, Target, Trust, location, rewrite,
};
use crate::vocab::{Name, Reason};

/// A request as somebody asks about it.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// `scheme://host/path?query`, or a path alone. Nothing of it is normalised before the decision does.
    pub url: String,
    pub headers: Vec<(String, String)>,
    /// The peer's address.
    pub address: std::net::IpAddr,
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

/// The answer, in the contract's words and order.
#[derive(Serialize, Debug)]
pub struct Explanation {
    pub status: u16,
    pub route: Option<String>,
    pub service: Option<String>,
    pub version: Option<String>,
    pub reason: &'static str,
    pub rule: Option<String>,
    pub bucket: Option<u16>,
    /// What the upstream gets, without the query.
    pub path: Option<String>,
    /// In the rules' words, before aliases.
    pub chain: Vec<String>,
    pub ip: String,
    pub identity: Option<String>,
    pub pin: Option<String>,
    pub trace: Vec<TraceStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

#[derive(Serialize, Debug)]
pub struct TraceStep {
    pub rule: String,
    pub matched: bool,
    pub because: String,
}

impl Explanation {
    fn of(status: u16, reason: Reason, admitted: &Admitted) -> Explanation {
        Explanation {
            status,
            route: None,
            service: None,
            version: None,
            reason: reason.as_str(),
            rule: None,
            bucket: None,
            path: None,
            chain: Vec::new(),
            ip: admitted.client.to_string(),
            identity: None,
            pin: None,
            trace: Vec::new(),
            location: None,
        }
    }
}

/// Decides the request as the proxy would at `now`, and tells why.
pub fn explain(
    generation: &Generation,
    trust: &Trust,
    asked: &Asked,
    now: SystemTime,
) -> Result<Explanation, BadQuestion> {
    let url = Url::split(&asked.url).ok_or_else(|| BadQuestion::Url(asked.url.clone()))?;
    if http::Method::from_bytes(asked.method.as_bytes()).is_err() {
        return Err(BadQuestion::Method(asked.method.clone()));
    }
    let headers = header_map(&asked.headers)?;
    let mut buffers = Buffers::default();
    let arrival = Arrival {
        method: &asked.method,
        authority: url.host.map(str::as_bytes),
        path: url.path.as_bytes(),
        query: url.query.map(str::as_bytes),
        headers: &headers,
        peer: Peer { address: asked.address, scheme: url.scheme, trusted: asked.trusted },
        // A question may leave the host out, which only this version allows.
        version: http::Version::HTTP_10,
        now: time::OffsetDateTime::from(now).unix_timestamp_nanos(),
        fresh_identity: None,
    };
    let Admission { admitted, request } = arrival.admit(trust, &mut buffers);
    let refused = Explanation::of(400, Reason::BadRequest, &admitted);
    let Ok(request) = request else { return Ok(refused) };
    let mut scratch = Scratch::default();
    let answer = |status, reason| Explanation::of(status, reason, &admitted);
    let route_name = |routed: &Routed<'_>| Some(routed.route.name.to_string());
    Ok(match generation.snapshot.decide(&request, &mut scratch) {
        Decision::NoRoute => answer(404, Reason::NoRoute),
        Decision::NoService(routed, name) => Explanation {
            route: route_name(&routed),
            service: Some(name.to_string()),
            ..answer(503, Reason::NoService)
        },
        Decision::Redirect(routed) => {
            let Target::Redirect(redirect) = &routed.route.target else { return Ok(refused) };
            let groups = Groups::of(&routed, request.path.view);
            match location(redirect, &routed, &request, &groups) {
                Ok(location) => Explanation {
                    route: route_name(&routed),
                    location: Some(location),
                    ..answer(redirect.status, Reason::Redirect)
                },
                Err(_) => Explanation { route: route_name(&routed), ..refused },
            }
        }
        Decision::Version(routed, choice) => {
            let Some(plan) = generation.snapshot.service(choice.service) else {
                return Ok(answer(404, Reason::NoRoute));
            };
            let answer = Explanation { route: route_name(&routed), ..answer(200, choice.reason) };
            Decided { generation, plan, routed, choice, request }.tell(&mut scratch, answer)
        }
    })
}

/// A request that has a version, with everything its explanation draws on.
struct Decided<'a> {
    generation: &'a Generation,
    plan: &'a ServicePlan,
    routed: Routed<'a>,
    choice: Choice,
    request: Request<'a>,
}

impl Decided<'_> {
    fn tell(&self, scratch: &mut Scratch, mut answer: Explanation) -> Explanation {
        let (plan, choice, request) = (self.plan, &self.choice, &self.request);
        let lossy = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let rule = choice.rule.and_then(|id| plan.rules.get(id));
        let by = match rule.map(|rule| &rule.outcome) {
            Some(Outcome::Split { by, .. }) => by.as_deref(),
            _ => None,
        };
        answer.service = Some(plan.name.to_string());
        answer.version = match choice.version.and_then(|id| plan.version(id)) {
            Some(version) => Some(version.word.to_string()),
            None => request.inherited.map(String::from),
        };
        answer.rule = rule.map(|rule| rule.name.to_string());
        answer.bucket = choice.bucket.map(|bucket| bucket.number());
        answer.identity = plan.with_hashed(by, request, scratch, lossy);
        answer.pin = plan.pinned(request, scratch, lossy);
        answer.chain = self.chain();
        if choice.reason != Reason::Inherited {
            answer.trace = self.trace(scratch);
        }
        let groups = Groups::of(&self.routed, request.path.view);
        match rewrite(&self.routed, request.path, &groups) {
            Err(_) => answer.status = 400,
            Ok(_) if !self.has_instances() => answer.status = 503,
            Ok(rewritten) => {
                answer.path = Some(rewritten.path.unwrap_or_else(|| request.path.upstream.to_string()));
            }
        }
        answer
    }

    fn has_instances(&self) -> bool {
        let runtime = self.generation.service(self.choice.service);
        runtime.is_some_and(|service| service.pools.has_instances(self.choice.version.unwrap_or(RELEASE)))
    }

    fn chain(&self) -> Vec<String> {
        let word = |id: usize| self.plan.version(id).map(|version| version.word.to_string());
        match self.choice.version.and_then(|id| self.plan.version(id)) {
            Some(version) => version.chain.iter().filter_map(|id| word(*id)).collect(),
            None => {
                self.request.inherited.map(String::from).into_iter().chain([Name::RELEASE.into()]).collect()
            }
        }
    }

    /// The rules in order, down to the one that matched.
    fn trace(&self, scratch: &mut Scratch) -> Vec<TraceStep> {
        let seen = self.plan.sees(&self.request);
        let asked = self.choice.rule.map_or(self.plan.rules.len(), |last| last + 1);
        let steps = self.plan.rules.iter().take(asked).map(|rule| {
            let (matched, because) = rule.explain(seen, scratch);
            TraceStep { rule: rule.name.to_string(), matched, because }
        });
        steps.collect()
    }
}

fn header_map(lines: &[(String, String)]) -> Result<HeaderMap, BadQuestion> {
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
struct Url<'a> {
    scheme: &'static str,
    host: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn split(text: &'a str) -> Option<Url<'a>> {
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
