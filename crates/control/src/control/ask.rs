//! Questions: which version a request would get, and who would move, today and with drafts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use graygate_rules::compile::Compiled;
use graygate_rules::decide::{NetworkSet, Overrides, Trust};
use graygate_rules::documents::DocumentId;
use graygate_rules::explain::{Explainer, Question};
use graygate_rules::replay::{Examples, IDENTITY_LIMIT, Sample, replay_showing};
use http::HeaderName;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::clock::rfc3339;
use super::plane::Control;
use super::then::Moment;
use super::view::Changes;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};

/// Most requests that would move and are told one by one: a list of more is no one's to read.
pub const EXAMPLES_LIMIT: u32 = 10_000;

/// Letters of a name that a proxy says: a document's name has 253 at most.
const NAME_SHOWN: usize = 256;

/// The version header where no one knows another.
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-gray-version");

#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainAsked {
    #[serde(default = "get")]
    pub method: String,
    /// `http://host/path`, or a path alone.
    pub url: String,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The peer's address.
    #[serde(default)]
    pub ip: Option<String>,
    /// Believe the peer.
    #[serde(default)]
    pub trusted: bool,
    /// New texts, by document; null takes one away.
    #[serde(default)]
    pub drafts: Option<BTreeMap<String, Option<String>>>,
    /// With the documents as they were at this time (RFC 3339), or after the write of this revision; left out: now.
    #[serde(default)]
    pub at: Option<String>,
    /// Ask each proxy as well, which answers from what it runs.
    #[serde(default)]
    pub proxies: bool,
}

fn get() -> String {
    "GET".to_owned()
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayAsked {
    /// New texts, by document; null takes one away.
    pub drafts: BTreeMap<String, Option<String>>,
    pub sample: SampleAsked,
    /// So many of the requests that would move are told; left out: 20, and 5 of one move.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 10000)]
    pub examples: Option<u32>,
}

/// The requests that are decided twice.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SampleAsked {
    /// An access log's text, one JSON object a line.
    Log(String),
    /// So many made-up users of every service.
    Identities(u32),
}

impl Control {
    /// Which version a request gets, and why; with drafts also what it would get.
    pub async fn explain(&self, who: &Principal, asked: ExplainAsked) -> Result<Value> {
        who.may_somewhere(Permission::Read)?;
        let address = asked.ip.as_deref().unwrap_or("127.0.0.1");
        let address: IpAddr =
            address.parse().map_err(|_| Error::Invalid(format!("`{address}` is not an address")))?;
        let question = Question {
            method: asked.method,
            url: asked.url,
            headers: asked.headers,
            address,
            trusted: asked.trusted,
        };
        let drafts = asked.drafts.map(read_drafts).transpose()?;
        let then = match asked.at.as_deref() {
            None => None,
            Some(text) => {
                let moment = Moment::parse(text).ok_or_else(|| {
                    Error::Invalid(format!(
                        "`{text}` is not a time like `2026-11-22T08:00:00Z`, or a revision"
                    ))
                })?;
                Some(self.documents_then(moment).await?)
            }
        };
        let shown = then.as_ref().map(
            |then| json!({"time": rfc3339(then.time), "changed": then.changed, "unknown": then.unknown}),
        );
        let now = then.as_ref().map_or_else(|| self.clock.now(), |then| then.time);
        let view = then.map_or_else(|| self.view(), |then| Arc::new(then.view));
        let asked_proxies = asked.proxies.then(|| question.clone());
        let told = tokio::task::spawn_blocking(move || {
            let mut answer = explained(&view.compiled, &question, now)?;
            if let Some(drafts) = drafts {
                let draft = view.with(&drafts);
                let told = explained(&draft.compiled, &question, now)?;
                if let Some(fields) = answer.as_object_mut() {
                    fields.insert("draft".to_owned(), told);
                    fields.insert("problems".to_owned(), json!(draft.problems_of(drafts.keys())));
                }
            }
            Ok::<Value, Error>(answer)
        });
        let mut answer = told.await.map_err(|error| Error::Internal(error.to_string()))??;
        let proxies = match asked_proxies {
            Some(question) => Some(self.explain_by_proxies(&question, &answer).await),
            None => None,
        };
        if let Some(fields) = answer.as_object_mut() {
            fields.extend(shown.map(|at| ("at".to_owned(), at)));
            fields.extend(proxies.map(|told| ("proxies".to_owned(), Value::Array(told))));
        }
        Ok(answer)
    }

    /// What each proxy says of the request, from the documents it runs, and whether that is what is said here.
    async fn explain_by_proxies(&self, question: &Question, here: &Value) -> Vec<Value> {
        let body = json!({"method": question.method, "url": question.url, "headers": question.headers,
            "ip": question.address.to_string(), "trusted": question.trusted});
        let asked = self.live.gatherer.ask_all_for("/explain", Some(body.to_string().into()));
        let (answers, fleet) = tokio::join!(asked, self.look_at_fleet());
        let fleet = fleet.unwrap_or_default();
        let known = fleet.get("proxies").and_then(Value::as_array).cloned().unwrap_or_default();
        let told = answers.into_iter().map(|(name, answer)| {
            let of = known.iter().find(|proxy| proxy.get("id").and_then(Value::as_str) == Some(&name));
            let field = |key: &str| of.and_then(|proxy| proxy.get(key)).cloned().unwrap_or_default();
            let (said, error) = match &answer {
                Ok(said) => (decided(said), Value::Null),
                Err(error) => (Value::Null, json!(error)),
            };
            let agrees = answer.is_ok().then(|| said == decided(here));
            json!({"id": name, "running": field("running"), "lags": field("lags"), "answer": said,
                "agrees": agrees, "error": error})
        });
        told.collect()
    }

    /// Who would get another version with these drafts.
    pub async fn replay(&self, who: &Principal, asked: ReplayAsked) -> Result<Value> {
        who.may_somewhere(Permission::Read)?;
        let drafts = read_drafts(asked.drafts)?;
        if let SampleAsked::Identities(count) = asked.sample
            && !(1..=IDENTITY_LIMIT).contains(&count)
        {
            return Err(Error::Invalid(format!("`identities` is a number from 1 to {IDENTITY_LIMIT}")));
        }
        let examples = match asked.examples {
            None => Examples::default(),
            Some(count) if (1..=EXAMPLES_LIMIT).contains(&count) => Examples::up_to(count as usize),
            Some(_) => {
                return Err(Error::Invalid(format!("`examples` is a number from 1 to {EXAMPLES_LIMIT}")));
            }
        };
        let (view, now) = (self.view(), self.clock.now().unix_timestamp_nanos());
        let told = tokio::task::spawn_blocking(move || {
            let draft = view.with(&drafts);
            let both = (&view.compiled.snapshot, &draft.compiled.snapshot);
            let moves = match &asked.sample {
                SampleAsked::Log(text) => replay_showing(both, Sample::Log(text.lines()), now, examples),
                SampleAsked::Identities(count) => {
                    replay_showing(both, Sample::<[&str; 0]>::Identities(*count), now, examples)
                }
            };
            let mut answer = json!(moves);
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("problems".to_owned(), json!(draft.problems_of(drafts.keys())));
            }
            answer
        });
        told.await.map_err(|error| Error::Internal(error.to_string()))
    }
}

/// What was decided, and by what: of another's answer no more is told.
fn decided(answer: &Value) -> Value {
    let text = |key: &str| {
        let text = answer.get(key).and_then(Value::as_str);
        json!(text.map(|text| text.chars().take(NAME_SHOWN).collect::<String>()))
    };
    json!({"status": answer.get("status").and_then(Value::as_u64), "service": text("service"), "version": text("version"),
        "reason": text("reason"), "rule": text("rule")})
}

fn read_drafts(drafts: BTreeMap<String, Option<String>>) -> Result<Changes> {
    let read = drafts.into_iter().map(|(name, text)| {
        let id = DocumentId::parse(&name);
        let id = id.ok_or_else(|| Error::Invalid(format!("`{name}` is not a document like `rules/x`")))?;
        Ok((id, text.map(Bytes::from)))
    });
    read.collect()
}

fn explained(compiled: &Compiled, question: &Question, now: time::OffsetDateTime) -> Result<Value> {
    let trust = Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: VERSION_HEADER,
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    };
    let has_instances = |service, version| compiled.has_instances(service, version);
    let explainer = Explainer { snapshot: &compiled.snapshot, trust: &trust, has_instances: &has_instances };
    let told = explainer.explain(question, now).map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(json!(told))
}
