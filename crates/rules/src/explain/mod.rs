//! Why a request would get its version: the same decision as the proxy's, step by step.
//!
//! Answers: route, version, reason and rule of a request that is only described, over running or drafted documents.
//! Never: pools, metrics, IO, a clock. Start at [`Explainer::explain`].

mod beyond;
mod question;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub use beyond::{LimitReport, MirrorReport};
pub use question::{BadQuestion, Question};

use self::question::{Url, header_map};
use crate::decide::{
    Admission, Admitted, Arrival, Buffers, Choice, Decision, Groups, Outcome, Peer, RELEASE, Request, Routed,
    Scratch, Seen, ServiceId, ServicePlan, Snapshot, Target, Trust, VersionId, location, rewrite,
};
use crate::vocab::{Name, Reason};

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
    /// What the request has to pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorReport>,
    /// Of a request for a file of a page: the versions asked for it where the decided one does not have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assets: Vec<String>,
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
            limits: Vec::new(),
            mirror: None,
            assets: Vec::new(),
        }
    }
}

/// What a request is explained with.
pub struct Explainer<'a> {
    pub snapshot: &'a Snapshot,
    pub trust: &'a Trust,
    /// Whether any instance stands in the chain of a service's version, in whatever state.
    pub has_instances: &'a dyn Fn(ServiceId, VersionId) -> bool,
}

impl Explainer<'_> {
    /// Decides the request as the proxy would at `now`, and says why.
    pub fn explain(&self, asked: &Question, now: OffsetDateTime) -> Result<Explanation, BadQuestion> {
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
            fields: (&headers).into(),
            peer: Peer { address: asked.address, scheme: url.scheme, trusted: asked.trusted },
            // A question may leave the host out, which only this version allows.
            version: http::Version::HTTP_10,
            now: now.unix_timestamp_nanos(),
            fresh_identity: None,
        };
        let Admission { admitted, request } = arrival.admit(self.trust, &mut buffers);
        let refused = Explanation::of(400, Reason::BadRequest, &admitted);
        let Ok(request) = request else { return Ok(refused) };
        let mut scratch = Scratch::default();
        let answer = |status, reason| Explanation::of(status, reason, &admitted);
        let route_name = |routed: &Routed<'_>| Some(routed.route.name.to_string());
        let decision = self.snapshot.decide(&request, &mut scratch);
        if let Some(location) = self.override_location(&request, decision) {
            return Ok(Explanation { location: Some(location), ..answer(302, Reason::Override) });
        }
        Ok(match decision {
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
                        limits: beyond::limits(
                            &routed,
                            None,
                            Seen { request: &request, hidden: None },
                            &mut scratch,
                        ),
                        ..answer(redirect.status, Reason::Redirect)
                    },
                    Err(_) => Explanation { route: route_name(&routed), ..refused },
                }
            }
            Decision::Version(routed, choice) => {
                let Some(plan) = self.snapshot.service(choice.service) else {
                    return Ok(answer(404, Reason::NoRoute));
                };
                let answer = Explanation { route: route_name(&routed), ..answer(200, choice.reason) };
                Decided { explainer: self, plan, routed, choice, request }.tell(&mut scratch, answer)
            }
        })
    }
}

impl Explainer<'_> {
    /// Where a request goes that sets a tester's word.
    fn override_location(&self, request: &Request<'_>, decision: Decision<'_>) -> Option<String> {
        let is_routed = !matches!(decision, Decision::NoRoute);
        let change = self.trust.overrides.change_of(request).filter(|_| is_routed)?;
        Some(change.location)
    }
}

/// A request that has a version, with everything its explanation draws on.
struct Decided<'a> {
    explainer: &'a Explainer<'a>,
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
            None => choice.brought(request).map(String::from),
        };
        answer.rule = rule.map(|rule| rule.name.to_string());
        answer.bucket = choice.bucket.map(|bucket| bucket.number());
        answer.identity = plan.with_hashed(by, request, scratch, lossy);
        answer.pin = plan.pinned(request, scratch, lossy);
        answer.limits = beyond::limits(&self.routed, Some(plan), plan.sees(request), scratch);
        answer.mirror = beyond::mirror(&self.routed, rule.map(|rule| (&rule.name, rule.mirror.as_deref())));
        let assets = plan.assets.as_ref().filter(|assets| assets.covers(request));
        answer.assets = assets.map(|assets| beyond::others(assets, plan, choice.version)).unwrap_or_default();
        answer.chain = self.chain();
        answer.trace = match choice.reason {
            Reason::Inherited => Vec::new(),
            Reason::Override => self.tester().into_iter().collect(),
            _ => self.trace(scratch),
        };
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
        (self.explainer.has_instances)(self.choice.service, self.choice.version.unwrap_or(RELEASE))
    }

    fn chain(&self) -> Vec<String> {
        let word = |id: usize| self.plan.version(id).map(|version| version.word.to_string());
        match self.choice.version.and_then(|id| self.plan.version(id)) {
            Some(version) => version.chain.iter().filter_map(|id| word(*id)).collect(),
            None => self
                .choice
                .brought(&self.request)
                .map(String::from)
                .into_iter()
                .chain([Name::RELEASE.into()])
                .collect(),
        }
    }

    /// Whose word decided, in the place of rules.
    fn tester(&self) -> Option<TraceStep> {
        let tester = self.request.tester?;
        let until = OffsetDateTime::from_unix_timestamp(tester.expires).ok();
        let until = until.and_then(|until| until.format(&Rfc3339).ok()).unwrap_or_default();
        let because =
            format!("a word of `{}` puts its bearer into `{}` until {until}", tester.holder, tester.version);
        Some(TraceStep { rule: Reason::Override.to_string(), matched: true, because })
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
