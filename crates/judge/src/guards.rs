//! What is a version held to, and how sure must a guard be?
//!
//! Owns the guards of a plan as types with their defaults. A limit that no evidence could ever pass is refused where it is
//! made. Never: the text they are written in, and numbers from elsewhere (`metrics:`), which need no odds.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::odds::rates_above;

/// Alpha of errors and latency together is 1 in 100, however long a run lasts.
pub const ERRORS_ALPHA: f64 = 0.008;
pub const LATENCY_ALPHA: f64 = 0.002;
pub const LIMIT_ALPHA: f64 = 0.005;
/// Gray may be as bad as release, and by a fifth as slow.
pub const ERRORS_TOLERATE: f64 = 1.0;
pub const LATENCY_TOLERATE: f64 = 1.2;
/// A version that falls back for every fifth request is not what its people were meant to get.
pub const FALLBACK_ABOVE: f64 = 0.2;
/// Above that, `tolerate` tolerates everything there is to see.
const MOST_TOLERATED: f64 = 100.0;
/// A guard that is as likely wrong as right is none.
const LARGEST_ALPHA: f64 = 0.5;

/// The guards that odds are reckoned for, in the order they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardName {
    Errors,
    Latency,
    ErrorRate,
    LatencyP99,
    Fallback,
}

impl GuardName {
    pub const ALL: [Self; 5] =
        [Self::Errors, Self::Latency, Self::ErrorRate, Self::LatencyP99, Self::Fallback];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::Latency => "latency",
            Self::ErrorRate => "error_rate",
            Self::LatencyP99 => "latency_p99",
            Self::Fallback => "fallback",
        }
    }
}

impl fmt::Display for GuardName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Gray beside release: how many times as bad it may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relative {
    pub(crate) tolerate: f64,
    pub(crate) alpha: f64,
}

impl Relative {
    pub fn new(tolerate: f64, alpha: f64) -> Result<Self, GuardProblem> {
        if !(1.0..=MOST_TOLERATED).contains(&tolerate) {
            return Err(GuardProblem::Tolerate(tolerate));
        }
        Ok(Self { tolerate, alpha: checked_alpha(alpha)? })
    }

    pub fn tolerate(&self) -> f64 {
        self.tolerate
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }
}

/// A share of gray's requests that it must not pass, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    pub(crate) above: f64,
    pub(crate) alpha: f64,
}

impl Limit {
    pub fn new(above: f64, alpha: f64) -> Result<Self, GuardProblem> {
        if !(above > 0.0 && rates_above(above).next().is_some()) {
            return Err(GuardProblem::Above(above));
        }
        Ok(Self { above, alpha: checked_alpha(alpha)? })
    }

    pub fn above(&self) -> f64 {
        self.above
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }
}

/// A time that at most one in a hundred gray requests may pass, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlowLimit {
    pub(crate) above_ms: f64,
    pub(crate) alpha: f64,
}

impl SlowLimit {
    pub fn new(above_ms: f64, alpha: f64) -> Result<Self, GuardProblem> {
        if !(above_ms > 0.0 && above_ms.is_finite()) {
            return Err(GuardProblem::AboveTime(above_ms));
        }
        Ok(Self { above_ms, alpha: checked_alpha(alpha)? })
    }
}

/// Whether a guard was written, and how. `Unwritten` differs from `Off` where something stands in for what no one wrote.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch<T> {
    Unwritten,
    Off,
    On(T),
}

impl<T: Copy> Switch<T> {
    pub fn on(self) -> Option<T> {
        match self {
            Self::On(guard) => Some(guard),
            Self::Unwritten | Self::Off => None,
        }
    }
}

/// The guards of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guards {
    pub errors: Option<Relative>,
    pub latency: Option<Relative>,
    pub error_rate: Switch<Limit>,
    pub latency_p99: Switch<SlowLimit>,
    pub fallback: Option<Limit>,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            errors: Some(Relative { tolerate: ERRORS_TOLERATE, alpha: ERRORS_ALPHA }),
            latency: Some(Relative { tolerate: LATENCY_TOLERATE, alpha: LATENCY_ALPHA }),
            error_rate: Switch::Unwritten,
            latency_p99: Switch::Unwritten,
            fallback: Some(Limit { above: FALLBACK_ABOVE, alpha: LIMIT_ALPHA }),
        }
    }
}

impl Guards {
    /// The guards that are on, in the order they are told.
    pub fn on(&self) -> impl Iterator<Item = GuardName> {
        let on = [
            self.errors.is_some(),
            self.latency.is_some(),
            self.error_rate.on().is_some(),
            self.latency_p99.on().is_some(),
            self.fallback.is_some(),
        ];
        GuardName::ALL.into_iter().zip(on).filter_map(|(name, on)| on.then_some(name))
    }

    /// The alpha of a guard that is on.
    pub fn alpha(&self, name: GuardName) -> Option<f64> {
        match name {
            GuardName::Errors => self.errors.map(|guard| guard.alpha),
            GuardName::Latency => self.latency.map(|guard| guard.alpha),
            GuardName::ErrorRate => self.error_rate.on().map(|guard| guard.alpha),
            GuardName::LatencyP99 => self.latency_p99.on().map(|guard| guard.alpha),
            GuardName::Fallback => self.fallback.map(|guard| guard.alpha),
        }
    }
}

fn checked_alpha(alpha: f64) -> Result<f64, GuardProblem> {
    match alpha > 0.0 && alpha <= LARGEST_ALPHA {
        true => Ok(alpha),
        false => Err(GuardProblem::Alpha(alpha)),
    }
}

/// Why a guard cannot be as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GuardProblem {
    Tolerate(f64),
    Alpha(f64),
    Above(f64),
    AboveTime(f64),
}

impl fmt::Display for GuardProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tolerate(tolerate) => {
                write!(formatter, "`tolerate` is from 1 to {MOST_TOLERATED}, `{tolerate}` is not")
            }
            Self::Alpha(alpha) => {
                write!(formatter, "`alpha` is above 0 and at most {LARGEST_ALPHA}, `{alpha}` is not")
            }
            Self::Above(above) => {
                write!(formatter, "`above` is more than 0 % and at most 63 %, `{} %` is not", above * 100.0)
            }
            Self::AboveTime(ms) => write!(formatter, "`above` is a time above 0, `{ms}ms` is not"),
        }
    }
}

impl std::error::Error for GuardProblem {}
