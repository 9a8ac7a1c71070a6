//! What became of notices, and what those who deliver are given to say so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// What became of a notice on a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryOutcome)]
pub enum Outcome {
    Delivered,
    /// It is tried again.
    Failed,
    /// It was tried for as long as it is.
    GivenUp,
    /// control.yaml has no such channel.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Delivered => "delivered",
            Outcome::Failed => "failed",
            Outcome::GivenUp => "given_up",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Counts what became of notices: the channel, and the outcome.
pub type Count = Arc<dyn Fn(&str, Outcome) + Send + Sync>;

/// What time it is.
pub type Now = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;
