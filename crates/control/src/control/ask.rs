//! Questions: which version a request would get, and who would move, today and with drafts.

use std::collections::BTreeMap;
use std::net::IpAddr;

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

use super::plane::Control;
use super::view::Changes;
use crate::error::{Error, Result};
use crate::people::{Permission, Principal};

/// Most requests that would move and are told one by one: a list of more is no one's to read.
pub const EXAMPLES_LIMIT: u32 = 10_000;

/// The version header where no one knows another.
const VERSION_HEADER: HeaderName = HeaderName::from_static("x-gray-version");

#[derive(Clone, Debug, Deserialize, ToSchema)]
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
        let (view, now) = (self.view(), self.clock.now());
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
            Ok(answer)
        });
        told.await.map_err(|error| Error::Internal(error.to_string()))?
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
