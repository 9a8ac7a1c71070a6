//! The compiled documents of one generation, and the decision made from them.
//!
//! Answers: which version of which service gets this request, and why? Owns [`Snapshot`], [`decide`](Snapshot::decide)
//! and its result. It allocates nothing, reads no clock and never looks at which instances are alive.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::bucket::bucket;
use super::condition::Condition;
use super::index::{Remainder, RuleIndex};
use super::request::{Request, Scratch, Seen};
use super::route::{Routed, Routes, ServiceTarget, Target};
use crate::vocab::{Attribute, Bucket, Label, Name, Reason, Share, Timeouts};

/// Index into [`Snapshot::services`].
pub type ServiceId = usize;
/// Index into [`ServicePlan::versions`].
pub type VersionId = usize;
/// Index into [`ServicePlan::rules`].
pub type RuleId = usize;

/// `release` is the first version of every service.
pub const RELEASE: VersionId = 0;

#[derive(Default, Debug)]
pub struct Snapshot {
    pub routes: Routes,
    pub services: Box<[ServicePlan]>,
}

#[derive(Debug)]
pub struct ServicePlan {
    pub name: Name,
    /// The first one present is the identity.
    pub identity: Box<[Attribute]>,
    pub issue_cookie: Option<IssueCookie>,
    pub pin: Option<Pin>,
    /// Every version that rules, aliases, fallbacks or instances of this service name; `release` first.
    pub versions: Box<[VersionPlan]>,
    /// In the order they are asked.
    pub rules: Box<[Arc<RulePlan>]>,
    /// Finds the first of `rules` that matches.
    pub index: Arc<RuleIndex>,
    pub timeouts: Timeouts,
    /// Further tries after the first.
    pub retries: u32,
    /// Whether instances are chosen by a hash of the identity.
    pub balances_by_identity: bool,
}

#[derive(Clone, Debug)]
pub struct IssueCookie {
    pub name: Label,
    pub max_age: Duration,
}

#[derive(Clone, Debug)]
pub struct Pin {
    pub attribute: Attribute,
    pub tag: Label,
}

#[derive(Debug)]
pub struct VersionPlan {
    pub word: Name,
    /// Itself, then its fallbacks in order.
    pub chain: Box<[VersionId]>,
    /// The word as the version header carries it.
    pub header: HeaderValue,
    pub request_headers: Box<[(HeaderName, HeaderValue)]>,
}

#[derive(Debug)]
pub struct RulePlan {
    pub name: Name,
    pub standing: Standing,
    /// Nanoseconds since 1970; from `starts` on, and before `ends`.
    pub starts: Option<i128>,
    pub ends: Option<i128>,
    pub when: Option<Arc<Condition>>,
    pub outcome: Outcome,
}

/// Whether a rule takes part at all.
#[derive(Debug)]
pub enum Standing {
    Active,
    Disabled,
    /// Held out as a whole, and why.
    Inert(String),
}

#[derive(Debug)]
pub enum Outcome {
    Version(VersionId),
    Split {
        /// Each version with the bucket its range ends before; ranges are consecutive from 0.
        branches: Box<[(u16, VersionId)]>,
        /// The version that has everyone, identity or not.
        everyone: Option<VersionId>,
        by: Option<Box<[Attribute]>>,
        salt: Box<[u8]>,
    },
}

impl Outcome {
    /// The branches of a split in the order written.
    pub fn split(
        shares: impl IntoIterator<Item = (VersionId, Share)>,
        by: Option<Box<[Attribute]>>,
        salt: Box<[u8]>,
    ) -> Outcome {
        let mut end = 0;
        let mut everyone = None;
        let branches = shares
            .into_iter()
            .map(|(version, share)| {
                end += share.hundredths();
                everyone = everyone.or((share == Share::ALL).then_some(version));
                (end, version)
            })
            .collect();
        Outcome::Split { branches, everyone, by, salt }
    }

    /// The versions it can give; a split may also give `release`.
    pub fn versions(&self) -> impl Iterator<Item = VersionId> {
        let (one, several) = match self {
            Outcome::Version(version) => (Some(*version), &[][..]),
            Outcome::Split { branches, .. } => (Some(RELEASE), &branches[..]),
        };
        one.into_iter().chain(several.iter().map(|(_, version)| *version))
    }
}

/// What was decided for a request.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'s> {
    NoRoute,
    Redirect(Routed<'s>),
    /// The route leads to a service that does not exist.
    NoService(Routed<'s>, &'s Name),
    Version(Routed<'s>, Choice),
}

/// A version and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    pub service: ServiceId,
    /// `None`: the inherited word, which no document of this service names.
    pub version: Option<VersionId>,
    pub reason: Reason,
    pub rule: Option<RuleId>,
    pub bucket: Option<Bucket>,
    /// The client has no identity yet and is to be given one.
    pub issue_cookie: bool,
}

/// How the first match is looked for.
#[derive(Clone, Copy, Debug)]
enum Search {
    Indexed,
    Linear,
}

impl Snapshot {
    pub fn service(&self, id: ServiceId) -> Option<&ServicePlan> {
        self.services.get(id)
    }

    /// Whether any service gives identities to clients, so that the caller need not draw one for nothing.
    pub fn issues_cookies(&self) -> bool {
        self.services.iter().any(|service| service.issue_cookie.is_some())
    }

    /// Decides a request: the route, then an inherited version, then the rules, then `release`.
    pub fn decide(&self, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        self.decide_by(Search::Indexed, request, scratch)
    }

    /// The same decision from asking one route and one rule after another: what the indexes are held against.
    pub fn decide_linear(&self, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        self.decide_by(Search::Linear, request, scratch)
    }

    /// What the rules of one service decide for a request, whatever leads there.
    pub fn decide_in(&self, service: &Name, request: &Request<'_>, scratch: &mut Scratch) -> Option<Choice> {
        let id = self.services.iter().position(|plan| plan.name == *service)?;
        Some(self.service(id)?.choose(id, Search::Indexed, request, scratch))
    }

    fn decide_by(&self, search: Search, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        let routed = match search {
            Search::Indexed => self.routes.find(request, scratch),
            Search::Linear => self.routes.find_linear(request, scratch),
        };
        let Some(routed) = routed else { return Decision::NoRoute };
        let id = match &routed.route.target {
            Target::Redirect(_) => return Decision::Redirect(routed),
            Target::Service { service: ServiceTarget::Missing(name), .. } => {
                return Decision::NoService(routed, name);
            }
            Target::Service { service: ServiceTarget::Known(id), .. } => *id,
        };
        match self.service(id) {
            Some(service) => Decision::Version(routed, service.choose(id, search, request, scratch)),
            None => Decision::NoRoute,
        }
    }
}

impl ServicePlan {
    pub fn version(&self, id: VersionId) -> Option<&VersionPlan> {
        self.versions.get(id)
    }

    pub fn find_version(&self, word: &str) -> Option<VersionId> {
        self.versions.iter().position(|version| version.word.as_str() == word)
    }

    /// The attribute an untrusted request is not believed to have.
    pub fn hidden(&self, request: &Request<'_>) -> Option<&Attribute> {
        self.pin.as_ref().map(|pin| &pin.attribute).filter(|_| !request.pins_trusted)
    }

    /// The request as this service's conditions see it.
    pub fn sees<'r>(&'r self, request: &'r Request<'r>) -> Seen<'r> {
        Seen { request, hidden: self.hidden(request) }
    }

    fn choose(
        &self,
        service: ServiceId,
        search: Search,
        request: &Request<'_>,
        scratch: &mut Scratch,
    ) -> Choice {
        let issue_cookie = self.issue_cookie.is_some() && !self.has_identity(request, scratch);
        let choice =
            |version, reason| Choice { service, version, reason, rule: None, bucket: None, issue_cookie };
        if let Some(word) = request.inherited {
            return choice(self.find_version(word), Reason::Inherited);
        }
        let seen = self.sees(request);
        let found = match search {
            Search::Indexed => self.index.find(&self.rules, seen, scratch),
            Search::Linear => self.rules.iter().position(|rule| rule.matches(seen, scratch)),
        };
        match found.and_then(|id| Some((id, self.rules.get(id)?))) {
            Some((id, rule)) => {
                let (version, bucket) = self.apply(&rule.outcome, request, scratch);
                Choice { rule: Some(id), bucket, ..choice(Some(version), Reason::Rule) }
            }
            None => choice(Some(RELEASE), Reason::Default),
        }
    }

    fn has_identity(&self, request: &Request<'_>, scratch: &mut Scratch) -> bool {
        with_identity(&self.identity, self.sees(request), scratch, |_| ()).is_some()
    }

    fn apply(
        &self,
        outcome: &Outcome,
        request: &Request<'_>,
        scratch: &mut Scratch,
    ) -> (VersionId, Option<Bucket>) {
        let (branches, everyone, by, salt) = match outcome {
            Outcome::Version(version) => return (*version, None),
            Outcome::Split { branches, everyone, by, salt } => (branches, everyone, by, salt),
        };
        let found = self.with_hashed(by.as_deref(), request, scratch, |value| bucket(salt, value));
        let version = match (everyone, found) {
            (Some(version), _) => *version,
            (None, Some(bucket)) => {
                let branch = branches.iter().find(|(end, _)| bucket.number() < *end);
                branch.map_or(RELEASE, |(_, version)| *version)
            }
            (None, None) => RELEASE,
        };
        (version, found)
    }

    /// Calls `read` with the value a split by `by` hashes, if the request has one.
    pub fn with_hashed<T>(
        &self,
        by: Option<&[Attribute]>,
        request: &Request<'_>,
        scratch: &mut Scratch,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let mut read = Some(read);
        let mut once = |value: &[u8]| read.take().map(|read| read(value));
        let found = with_identity(by.unwrap_or(&self.identity), self.sees(request), scratch, &mut once);
        if let Some(found) = found {
            return found;
        }
        let fresh = request.fresh_identity.filter(|_| self.asks_issued_cookie(by))?;
        // A client that is given an identity has it from this first request on; one that has another is given none.
        match self.has_identity(request, scratch) {
            true => None,
            false => once(fresh.as_bytes()),
        }
    }

    /// Whether what is hashed may be the cookie that this service issues.
    fn asks_issued_cookie(&self, by: Option<&[Attribute]>) -> bool {
        let issued = |attribute: &Attribute| match (attribute, &self.issue_cookie) {
            (Attribute::Cookie(name), Some(cookie)) => *name == cookie.name,
            _ => false,
        };
        by.unwrap_or(&self.identity).iter().any(issued)
    }

    /// The pin's value, if the request is trusted to have one.
    pub fn pinned<T>(
        &self,
        request: &Request<'_>,
        scratch: &mut Scratch,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let pin = self.pin.as_ref().filter(|_| request.pins_trusted)?;
        let seen = Seen { request, hidden: None };
        with_identity(std::slice::from_ref(&pin.attribute), seen, scratch, read)
    }
}

impl RulePlan {
    /// Whether the rule is in force now and its condition holds.
    fn matches(&self, seen: Seen<'_>, scratch: &mut Scratch) -> bool {
        self.matches_beyond(Remainder::Everything, seen, scratch)
    }

    /// The same where only a part of the condition is still open.
    pub(super) fn matches_beyond(&self, remainder: Remainder, seen: Seen<'_>, scratch: &mut Scratch) -> bool {
        let rest = |when: &Condition, scratch: &mut Scratch| {
            when.rest(remainder).parts().all(|part| part.holds(seen, scratch))
        };
        let now = seen.request.now;
        self.is_active()
            && self.starts.is_none_or(|starts| starts <= now)
            && self.ends.is_none_or(|ends| now < ends)
            && self.when.as_ref().is_none_or(|when| rest(when, scratch))
    }

    /// Whether it takes part.
    pub fn is_active(&self) -> bool {
        matches!(self.standing, Standing::Active)
    }

    /// Whether it takes every request at any time.
    pub fn always_matches(&self) -> bool {
        self.is_active() && self.starts.is_none() && self.ends.is_none() && self.when.is_none()
    }

    /// Whether it matches, and why, in words. For people, so it may allocate.
    pub fn explain(&self, seen: Seen<'_>, scratch: &mut Scratch) -> (bool, String) {
        let now = seen.request.now;
        let because = match (&self.standing, &self.when) {
            (Standing::Disabled, _) => "the rule is disabled".into(),
            (Standing::Inert(why), _) => format!("the rule is inert: {why}"),
            _ if self.starts.is_some_and(|starts| now < starts) => "the rule has not started".into(),
            _ if self.ends.is_some_and(|ends| ends <= now) => "the rule has ended".into(),
            (Standing::Active, None) => "it has no condition".into(),
            (Standing::Active, Some(when)) => when.because(seen, scratch),
        };
        (self.matches(seen, scratch), because)
    }
}

/// Calls `read` with the first value that is there and not empty: of the first attribute that has one, its first.
fn with_identity<T>(
    attributes: &[Attribute],
    seen: Seen<'_>,
    scratch: &mut Scratch,
    read: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    let mut read = Some(read);
    let mut found = None;
    for attribute in attributes {
        seen.any_value(attribute, scratch, &mut |value, _| {
            if !value.is_empty() {
                found = read.take().map(|read| read(value));
            }
            // Only the first value counts; an empty one counts as absent.
            true
        });
        if found.is_some() {
            break;
        }
    }
    found
}
