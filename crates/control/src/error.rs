//! Why something is not done, in the words and numbers the API answers.
//!
//! Owns: the one table from reasons to HTTP statuses and titles. Never: what a connected place answered, or a secret.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::people::{BadPassword, Denied};
use crate::state::StateError;

/// One thing that is wrong with a document, as `check` prints it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// Such as `rules/30-typo`.
    pub document: String,
    /// Such as `when.all[0].attribute`; empty where it concerns the whole document.
    pub field: String,
    pub message: String,
    pub help: String,
}

impl From<&graygate_rules::vocab::Problem> for Mistake {
    fn from(problem: &graygate_rules::vocab::Problem) -> Mistake {
        Mistake {
            document: problem.document(),
            field: problem.field.clone(),
            message: problem.message.clone(),
            help: problem.help.clone(),
        }
    }
}

/// Why something is not done.
#[derive(thiserror::Error, Clone, Debug)]
pub enum Error {
    #[error("sign in, or send a token")]
    Unauthenticated,
    #[error("the name or the password is wrong")]
    WrongPassword,
    /// The identity provider does not answer for this person.
    #[error("{0}")]
    NotLetIn(String),
    #[error("{0}")]
    Denied(String),
    #[error("{0}")]
    NotFound(String),
    #[error("this call does not exist with this method")]
    Method,
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    PreconditionRequired(String),
    #[error("{detail}")]
    PreconditionFailed { detail: String, etag: Option<String> },
    #[error("{0}")]
    BadRequest(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{} of what was sent is wrong", .0.len())]
    Problems(Vec<Mistake>),
    #[error("{0}")]
    TooLarge(String),
    #[error("{detail}")]
    TooMany { detail: String, after: Duration },
    #[error("this address does not serve the host `{0}`")]
    Misdirected(String),
    #[error("{0}; without it: stop the gray instances, and `release` answers")]
    Away(String),
    /// A place that is asked on a caller's behalf.
    #[error("{0}")]
    Unreachable(String),
    #[error("{0}")]
    Full(String),
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub fn status(&self) -> u16 {
        match self {
            Error::BadRequest(_) => 400,
            Error::Unauthenticated | Error::WrongPassword | Error::NotLetIn(_) => 401,
            Error::Denied(_) => 403,
            Error::NotFound(_) => 404,
            Error::Method => 405,
            Error::Conflict(_) => 409,
            Error::PreconditionFailed { .. } => 412,
            Error::TooLarge(_) => 413,
            Error::Misdirected(_) => 421,
            Error::Invalid(_) | Error::Problems(_) => 422,
            Error::PreconditionRequired(_) => 428,
            Error::TooMany { .. } => 429,
            Error::Internal(_) => 500,
            Error::Away(_) | Error::Unreachable(_) => 503,
            Error::Full(_) => 507,
        }
    }

    pub fn title(&self) -> &'static str {
        match self {
            Error::BadRequest(_) => "bad request",
            Error::Unauthenticated | Error::WrongPassword | Error::NotLetIn(_) => "not signed in",
            Error::Denied(_) => "not allowed",
            Error::NotFound(_) => "not found",
            Error::Method => "no such method",
            Error::Conflict(_) => "the state forbids it",
            Error::PreconditionFailed { .. } => "it has changed",
            Error::TooLarge(_) => "too large",
            Error::Misdirected(_) => "another host",
            Error::Invalid(_) => "it cannot be done",
            Error::Problems(_) => "documents have problems",
            Error::PreconditionRequired(_) => "say what it replaces",
            Error::TooMany { .. } => "too many",
            Error::Internal(_) => "internal error",
            Error::Away(_) => "the store cannot be used",
            Error::Unreachable(_) => "another place does not answer",
            Error::Full(_) => "the store is nearly full",
        }
    }

    pub fn not_found(what: impl std::fmt::Display) -> Error {
        Error::NotFound(format!("there is no `{what}`"))
    }

    pub fn changed(what: impl std::fmt::Display, etag: Option<String>) -> Error {
        let detail = match &etag {
            Some(etag) => format!("`{what}` has changed; its ETag is {etag} now"),
            None => format!("`{what}` has changed"),
        };
        Error::PreconditionFailed { detail, etag }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Error {
        Error::Denied(denied.why)
    }
}

impl From<BadPassword> for Error {
    fn from(bad: BadPassword) -> Error {
        Error::Invalid(bad.to_string())
    }
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Error {
        match error {
            StateError::Conflict(_) => Error::PreconditionFailed { detail: error.to_string(), etag: None },
            StateError::LeadLost => Error::Away(error.to_string()),
            StateError::TooLarge(_) => Error::TooLarge(error.to_string()),
            StateError::Away(_) | StateError::Taken(_) => Error::Away(error.to_string()),
            StateError::Full(_) => Error::Full(error.to_string()),
            StateError::Broken { .. } => Error::Internal(error.to_string()),
        }
    }
}

pub type Result<T> = std::result::Result<T, Error>;
