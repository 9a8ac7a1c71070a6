//! One request that two snapshots are asked about.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::recorded::Recorded;
use crate::decide::{
    Arrival, Buffers, Choice, Decision, NetworkSet, Outcome, Overrides, Peer, Scratch, ServicePlan, Snapshot,
    Trust,
};
use crate::vocab::Name;

/// A request of a client that is not trusted.
#[derive(Debug)]
pub struct Question {
    pub method: String,
    pub host: String,
    pub path: String,
    pub query: Option<String>,
    pub headers: HeaderMap,
    pub client: IpAddr,
    pub about: About,
}

/// Where the request enters.
#[derive(Debug)]
pub enum About {
    /// By its route, as every request does.
    Route,
    /// A user made up for this service, whose rules are asked whatever leads there.
    Service { name: Name, identity: String },
}

/// What one snapshot decides for a request; nothing where the request never reaches a service.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Got<'s> {
    pub service: Option<&'s Name>,
    /// In the rules' word, before aliases.
    pub version: Option<&'s Name>,
    /// `None`: no rule matched.
    pub rule: Option<&'s Name>,
    /// A share decided, and the request has nothing to hash.
    pub undrawn: bool,
}

impl Question {
    /// `None` where the log has what no request can have.
    pub fn recorded(recorded: Recorded) -> Option<Question> {
        let mut headers = HeaderMap::new();
        let text = |text: &Option<String>| text.as_deref().map(HeaderValue::from_str).transpose().ok();
        headers.extend(text(&recorded.host)?.map(|host| (header::HOST, host)));
        headers.extend(text(&recorded.user_agent)?.map(|agent| (header::USER_AGENT, agent)));
        http::Method::from_bytes(recorded.method.as_bytes()).ok()?;
        let Recorded { method, host, path, client, .. } = recorded;
        let host = host.unwrap_or_default();
        Some(Question { method, host, path, query: None, headers, client, about: About::Route })
    }

    /// What the snapshot decides for it.
    pub fn ask<'s>(&self, snapshot: &'s Snapshot, now: i128, scratch: &mut Scratch) -> Got<'s> {
        let arrival = Arrival {
            method: &self.method,
            authority: Some(self.host.as_bytes()).filter(|host| !host.is_empty()),
            path: self.path.as_bytes(),
            query: self.query.as_deref().map(str::as_bytes),
            fields: (&self.headers).into(),
            peer: Peer { address: self.client, scheme: "http", trusted: false },
            // The log does not tell the protocol, and what it kept was a request: the oldest refuses least.
            version: Version::HTTP_10,
            now,
            fresh_identity: None,
        };
        let mut buffers = Buffers::default();
        let trust = no_trust();
        let Ok(request) = arrival.admit(&trust, &mut buffers).request else { return Got::default() };
        let choice = match &self.about {
            About::Route => match snapshot.decide(&request, scratch) {
                Decision::Version(_, choice) => Some(choice),
                Decision::NoService(_, name) => return Got { service: Some(name), ..Got::default() },
                Decision::NoRoute | Decision::Redirect(_) => None,
            },
            About::Service { name, .. } => snapshot.decide_in(name, &request, scratch),
        };
        let found = choice.and_then(|choice| Some((snapshot.service(choice.service)?, choice)));
        found.map(|(plan, choice)| Got::of(plan, choice)).unwrap_or_default()
    }
}

/// The client is known already, and what a proxy in front once said is not in a log.
fn no_trust() -> Trust {
    Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    }
}

impl<'s> Got<'s> {
    fn of(plan: &'s ServicePlan, choice: Choice) -> Got<'s> {
        let rule = choice.rule.and_then(|id| plan.rules.get(id));
        let draws = |outcome: &Outcome| matches!(outcome, Outcome::Split { everyone: None, .. });
        Got {
            service: Some(&plan.name),
            version: choice.version.and_then(|id| plan.version(id)).map(|version| &version.word),
            rule: rule.map(|rule| &rule.name),
            undrawn: choice.bucket.is_none() && rule.is_some_and(|rule| draws(&rule.outcome)),
        }
    }
}
