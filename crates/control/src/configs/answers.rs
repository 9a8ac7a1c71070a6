//! The shapes of what is told of configuration values.

use serde::Serialize;
use utoipa::ToSchema;

/// A value for the caller.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ValueShown {
    pub config_key: String,
    pub value: String,
    /// Whether a plan gave it.
    pub gray: bool,
    pub plan_id: Option<String>,
    /// What a watch sends, to hear of the next change.
    pub version: u64,
}

/// An item of a list of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct ItemShown {
    pub app: String,
    pub environment: String,
    pub group: String,
    pub key: String,
    pub value: String,
    pub revision: u64,
    /// The plans that run and give some another value.
    pub plans: Vec<String>,
}

/// A key of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DetailShown {
    pub config_key: String,
    pub gray_value: String,
    /// The item's own, or before it was completed; null where there is no such item.
    pub original_value: Option<String>,
    /// The plan's state.
    pub status: String,
}

/// What an instance was given last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceShown {
    pub instance_id: String,
    pub instance_ip: String,
    pub config_key: String,
    pub gray: bool,
    pub last_seen: String,
}

/// A record of the account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct LogShown {
    pub time: String,
    pub action: String,
    pub operator: String,
    pub detail: String,
}

/// The figures of a metric that clients sent.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasureShown {
    pub metric: String,
    pub last: f64,
    pub average: f64,
    pub max: f64,
    pub count: u64,
    /// Above it three values in a row roll back; null where none is written.
    pub limit: Option<f64>,
    /// Values in a row that were above it.
    pub above: u32,
    pub instance_id: String,
    pub last_seen: String,
}

/// What a client that measured is told: it may read nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeasuredShown {
    pub plan_id: String,
    /// After the value was taken in.
    pub status: String,
}

/// The figures of a plan.
#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MonitorShown {
    pub plan_id: String,
    pub status: String,
    /// In percent; null where only chosen instances are in, and while nothing runs.
    pub share: Option<f64>,
    /// Answers since the last transition.
    pub gray_requests: u64,
    pub release_requests: u64,
    pub metrics: Vec<MeasureShown>,
}
