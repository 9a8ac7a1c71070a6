//! A platform's question as the request that it asks about.

use graygate_rules::compile::Compiled;
use graygate_rules::decide::{Arrival, Buffers, NetworkSet, Overrides, Peer, Scratch, Trust};
use graygate_rules::import::hospital::filter;
use graygate_rules::vocab::Name;
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use serde::Serialize;
use utoipa::ToSchema;

use super::settings::Hospital;
use crate::error::{Error, Result};

/// The sign of a question that asks for a user and names none.
const USER_SIGN: &str = "JTP_CUST";

/// What a platform wants to know the version of.
#[derive(Clone, Default, Debug)]
pub struct Question {
    pub hospital: Option<String>,
    pub domain: Option<String>,
    pub path: Option<String>,
    /// A customer, or a business user: the sign says which.
    pub user: Option<String>,
    pub sign: Option<String>,
}

/// The version of a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct VersionTold {
    /// What the alias of the decided version stands for.
    pub application_version: String,
    /// `2` for gray, `1` else.
    pub application_role: String,
}

impl Question {
    /// About a user alone, who is asked for as a customer.
    pub fn of_user(user: &str) -> Question {
        Question { user: Some(user.to_owned()), sign: Some(USER_SIGN.to_owned()), ..Question::default() }
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        let is_customer = self.sign.as_deref().is_some_and(|sign| sign.ends_with(filter::CUSTOMER_SIGN));
        let user = if is_customer { filter::CUSTOMER } else { filter::USER };
        for (name, value) in
            [(filter::SIGN, &self.sign), (user, &self.user), (filter::HOSPITAL, &self.hospital)]
        {
            if let Some(text) = value.as_deref().filter(|text| !text.is_empty()) {
                let wrong =
                    |_| Error::BadRequest(format!("`{}` is no text of a header", text.escape_debug()));
                headers.insert(name, HeaderValue::from_bytes(text.as_bytes()).map_err(wrong)?);
            }
        }
        Ok(headers)
    }
}

/// The version that the rules of the hospital's first service decide; `release` where that service does not exist.
pub fn decide(compiled: &Compiled, hospital: &Hospital, question: &Question, now: i128) -> Result<Name> {
    let headers = question.headers()?;
    let trust = Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: HeaderName::from_static("x-gray-version"),
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    };
    let domain = question.domain.as_deref().filter(|domain| !domain.is_empty());
    let arrival = Arrival {
        method: "GET",
        authority: domain.map(str::as_bytes),
        path: question.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/").as_bytes(),
        query: None,
        fields: (&headers).into(),
        peer: Peer { address: [127, 0, 0, 1].into(), scheme: "http", trusted: false },
        // Only a request of this version may name no host, and a question may.
        version: Version::HTTP_10,
        now,
        fresh_identity: None,
    };
    let mut buffers = Buffers::default();
    let admission = arrival.admit(&trust, &mut buffers);
    let request = admission.request.map_err(|error| Error::BadRequest(error.to_string()))?;
    let Some(service) = hospital.first() else { return Ok(Name::release()) };
    let choice = compiled.snapshot.decide_in(service, &request, &mut Scratch::default());
    let decided = choice.and_then(|choice| {
        let plan = compiled.snapshot.service(choice.service)?;
        Some(plan.version(choice.version?)?.word.clone())
    });
    Ok(decided.unwrap_or_else(Name::release))
}
