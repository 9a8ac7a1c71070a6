//! The question: of which services, from where on, and with which salt.

use std::fmt;
use std::sync::Arc;

use graygate_rules::vocab::Name;

/// Services of one question; each of them is counted for as long as it is asked about.
const SERVICE_LIMIT: usize = 4_096;
/// Longest salt, in bytes.
const SALT_LIMIT: usize = 256;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    pub services: Vec<Name>,
    pub after: Option<Cursor>,
    pub salt: Arc<str>,
}

/// Where the next answer begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub boot: Box<str>,
    /// The first second that was not told.
    pub next: u64,
}

/// Why a question has no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadQuestion {
    #[error("`services` is missing: ask for `/observations?services=a,b`")]
    NoServices,
    #[error("`{0}` is not a service's name")]
    NotAName(String),
    #[error("at most {SERVICE_LIMIT} services at a time")]
    TooManyServices,
    #[error("`{0}` is not a cursor: pass on what an answer said, or leave `after` out")]
    BadCursor(String),
    #[error("a salt has at most {SALT_LIMIT} bytes")]
    LongSalt,
    #[error("there is no parameter `{0}`; there are `services`, `after` and `salt`")]
    Unknown(String),
    #[error("`{0}` stands twice")]
    Twice(&'static str),
}

impl Question {
    /// Reads what stands behind the question mark.
    pub fn parse(query: &str) -> Result<Question, BadQuestion> {
        let (mut services, mut after, mut salt) = (None, None, None);
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let (name, place) = match key.as_ref() {
                "services" => ("services", &mut services),
                "after" => ("after", &mut after),
                "salt" => ("salt", &mut salt),
                _ => return Err(BadQuestion::Unknown(key.into_owned())),
            };
            if place.replace(value).is_some() {
                return Err(BadQuestion::Twice(name));
            }
        }
        let after = after.filter(|text| !text.is_empty());
        let salt = salt.unwrap_or_default();
        if salt.len() > SALT_LIMIT {
            return Err(BadQuestion::LongSalt);
        }
        Ok(Question {
            services: parse_services(&services.unwrap_or_default())?,
            after: after
                .map(|text| Cursor::parse(&text).ok_or(BadQuestion::BadCursor(text.into())))
                .transpose()?,
            salt: salt.as_ref().into(),
        })
    }
}

fn parse_services(text: &str) -> Result<Vec<Name>, BadQuestion> {
    let mut services = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let name = Name::parse(word).ok_or_else(|| BadQuestion::NotAName(word.to_owned()))?;
        services.push(name);
    }
    services.sort_unstable();
    services.dedup();
    match services.len() {
        0 => Err(BadQuestion::NoServices),
        SERVICE_LIMIT.. => Err(BadQuestion::TooManyServices),
        _ => Ok(services),
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Cursor> {
        let (boot, next) = text.rsplit_once('.')?;
        let is_boot = !boot.is_empty() && boot.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_second = !next.is_empty() && next.bytes().all(|byte| byte.is_ascii_digit());
        let next = next.parse().ok().filter(|_| is_boot && is_second)?;
        Some(Cursor { boot: boot.into(), next })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot, self.next)
    }
}
