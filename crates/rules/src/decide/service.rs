//! A service at run time: its versions, its rules, and the choice of one version for a request.
//!
//! Answers: which version of this service, and why? A tester's word goes first, then an inherited version, then the first
//! rule that matches, then `release`. Never: which instances are alive. Start at [`ServicePlan::choose`].

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::assets::AssetsPlan;
use super::bucket::bucket;
use super::index::{RuleId, RuleIndex, Scratch};
use super::request::{Request, Seen, Values};
use super::rule::{Outcome, RELEASE, RulePlan, VersionId};
use crate::vocab::{Attribute, Bucket, Chunks, Failures, Label, Limit, Name, Reason, Timeouts};

/// Index into [`Snapshot::services`](super::Snapshot::services).
pub type ServiceId = usize;

#[derive(Clone, Debug)]
pub struct ServicePlan {
    pub name: Name,
    /// The first one present is the identity.
    pub identity: Box<[Attribute]>,
    pub issue_cookie: Option<IssueCookie>,
    pub pin: Option<Pin>,
    /// Every version that rules, aliases, fallbacks or instances of this service name; `release` first.
    pub versions: Box<[VersionPlan]>,
    /// In the order they are asked.
    pub rules: Chunks<Arc<RulePlan>>,
    /// Those of them whose requests are copied. Ascending.
    pub mirrors: Box<[RuleId]>,
    /// Finds the first of `rules` that matches.
    pub index: Arc<RuleIndex>,
    pub timeouts: Timeouts,
    /// Further tries after the first.
    pub retries: u32,
    /// Whether instances are chosen by a hash of the identity.
    pub balances_by_identity: bool,
    /// Which answers are errors where versions are compared.
    pub failures: Failures,
    /// How long after its first request an instance's times are not compared.
    pub warm_up: Duration,
    pub limit: Option<Limit>,
    pub assets: Option<AssetsPlan>,
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

#[derive(Clone, Debug)]
pub struct VersionPlan {
    pub word: Name,
    /// Itself, then its fallbacks in order.
    pub chain: Box<[VersionId]>,
    /// The word as the version header carries it.
    pub header: HeaderValue,
    pub request_headers: Box<[(HeaderName, HeaderValue)]>,
}

/// A version and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Choice {
    pub service: ServiceId,
    /// `None`: a word that the request brought along, and that no document of this service names.
    pub version: Option<VersionId>,
    pub reason: Reason,
    pub rule: Option<RuleId>,
    pub bucket: Option<Bucket>,
    /// The client has no identity yet and is to be given one.
    pub issue_cookie: bool,
}

/// How the first match is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Search {
    Indexed,
    Linear,
}

impl Choice {
    /// The word that the request brought along, where it decided.
    pub fn brought<'r>(&self, request: &Request<'r>) -> Option<&'r str> {
        match self.reason {
            Reason::Override => request.tester.map(|tester| tester.version),
            Reason::Inherited => request.inherited,
            _ => None,
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

    /// The same service with other rules.
    pub fn with_rules(
        &self,
        rules: Chunks<Arc<RulePlan>>,
        mirrors: Box<[RuleId]>,
        index: Arc<RuleIndex>,
    ) -> ServicePlan {
        ServicePlan { rules, mirrors, index, ..self.clone() }
    }

    pub(super) fn choose(
        &self,
        service: ServiceId,
        search: Search,
        request: &Request<'_>,
        scratch: &mut Scratch,
    ) -> Choice {
        let issue_cookie = self.issue_cookie.is_some() && !self.has_identity(request, scratch);
        let choice =
            |version, reason| Choice { service, version, reason, rule: None, bucket: None, issue_cookie };
        if let Some(tester) = request.tester.as_ref().filter(|tester| tester.covers(&self.name)) {
            return choice(self.find_version(tester.version), Reason::Override);
        }
        if let Some(word) = request.inherited {
            return choice(self.find_version(word), Reason::Inherited);
        }
        let seen = self.sees(request);
        let found = match search {
            Search::Indexed => self.index.find(seen, scratch, |id, remainder, values| {
                self.rules.get(id).is_some_and(|rule| rule.matches_beyond(remainder, seen, values))
            }),
            Search::Linear => self.rules.iter().position(|rule| rule.matches(seen, &mut scratch.values)),
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
        with_identity(&self.identity, self.sees(request), &mut scratch.values, |_| ()).is_some()
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
        let found =
            with_identity(by.unwrap_or(&self.identity), self.sees(request), &mut scratch.values, &mut once);
        if let Some(found) = found {
            return found;
        }
        let fresh = request.fresh_identity.filter(|_| self.asks_issued_cookie(by))?;
        // A client that is given an identity has it from this first request on; one that has another is given none.
        if self.has_identity(request, scratch) { None } else { once(fresh.as_bytes()) }
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
        with_identity(std::slice::from_ref(&pin.attribute), seen, &mut scratch.values, read)
    }
}

/// Calls `read` with the first value of these attributes that is there and not empty: what a limit tells clients apart by.
pub fn first_value<T>(
    attributes: &[Attribute],
    seen: Seen<'_>,
    scratch: &mut Scratch,
    read: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    with_identity(attributes, seen, &mut scratch.values, read)
}

/// Calls `read` with the first value that is there and not empty: of the first attribute that has one, its first.
fn with_identity<T>(
    attributes: &[Attribute],
    seen: Seen<'_>,
    values: &mut Values,
    read: impl FnOnce(&[u8]) -> T,
) -> Option<T> {
    let mut read = Some(read);
    let mut found = None;
    for attribute in attributes {
        seen.any_value(attribute, values, &mut |value, _| {
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
