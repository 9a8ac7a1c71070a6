//! A plan's text in the words of the judge.
//!
//! Owns: which of the judge's values each field becomes, with the defaults of guards. Never: whether the plan may run.

use graygate_judge::guards::{
    ERRORS_ALPHA, ERRORS_TOLERATE, FALLBACK_ABOVE, GuardProblem, LATENCY_ALPHA, LATENCY_TOLERATE,
    LIMIT_ALPHA, Limit, Relative, SlowLimit, Switch,
};
use graygate_judge::plan as judged;
use graygate_judge::{GuardName, Guards};
use graygate_rules::documents::plan::{self as written, Guard, Subject};
use graygate_rules::documents::{self, Document, DocumentId, Format, Raw};
use graygate_rules::vocab::Share;
use sha2::{Digest as _, Sha256};

use super::name::document_of;
use crate::error::{Error, Mistake, Result};

/// A plan that could be read.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub text: String,
    pub is_json: bool,
    pub plan: written::Plan,
    pub services: Vec<String>,
    /// Empty where configuration values are what it moves.
    pub version: String,
    pub steps: judged::Plan,
    pub guards: Guards,
}

impl Spec {
    /// Reads a text; the error holds everything that is wrong with it.
    pub fn read(name: &str, text: &str, is_json: bool) -> Result<Spec> {
        let id = document_of(name).ok_or_else(|| Error::not_found(format!("plans/{name}")))?;
        let format = if is_json { Format::Json } else { Format::Yaml };
        let raw = Raw { body: text.as_bytes().into(), format };
        let document = documents::parse(&id, &raw);
        let document =
            document.map_err(|problems| Error::Problems(problems.iter().map(Mistake::from).collect()))?;
        let Document::Plan(plan) = document else { return Err(Error::not_found(&id)) };
        let guards = guards(&plan.guards).map_err(|problem| {
            let message = problem.to_string();
            Error::Problems(vec![Mistake {
                document: id.to_string(),
                field: "guards".to_owned(),
                message,
                help: String::new(),
            }])
        })?;
        let (services, version) = match &plan.subject {
            Subject::Services { services, version } => {
                (services.iter().map(ToString::to_string).collect(), version.to_string())
            }
            Subject::Config(_) => (Vec::new(), String::new()),
        };
        let steps = steps(&plan);
        Ok(Spec {
            name: name.to_owned(),
            text: text.to_owned(),
            is_json,
            plan: *plan,
            services,
            version,
            steps,
            guards,
        })
    }

    pub fn document(&self) -> Option<DocumentId> {
        document_of(&self.name)
    }

    /// Of the text as it is.
    pub fn hash(&self) -> String {
        hash(&self.text)
    }

    /// Whether it moves configuration values instead of requests.
    pub fn is_of_values(&self) -> bool {
        matches!(self.plan.subject, Subject::Config(_))
    }

    /// The share after so many steps; none before the first step that has one.
    pub fn share(&self, begun: usize) -> Option<Share> {
        self.plan.steps.iter().take(begun).filter_map(|step| step.share).max()
    }

    /// The guards by name, in the order they are told: those of the judge that are on, then measures.
    pub fn guard_names(&self) -> impl Iterator<Item = String> {
        let judged = self.guards.on().map(|name| name.as_str().to_owned());
        judged.chain(self.plan.guards.metrics.iter().map(|metric| metric.name.to_string()))
    }

    /// The judge's guard of a name; none of a measure.
    pub fn judged(name: &str) -> Option<GuardName> {
        GuardName::ALL.into_iter().find(|guard| guard.as_str() == name)
    }
}

pub fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// A share as people write it, in percent.
pub fn percent(share: Share) -> f64 {
    f64::from(share.hundredths()) / 100.0
}

fn steps(plan: &written::Plan) -> judged::Plan {
    let step = |step: &written::Step| judged::Step {
        audience: match step.share {
            Some(share) => judged::Audience::Share(percent(share)),
            None => judged::Audience::Chosen,
        },
        hold: step.hold,
        min_requests: step.min_requests,
        approval: step.approval,
        tolerate: step.tolerate,
    };
    judged::Plan {
        steps: plan.steps.iter().map(step).collect(),
        on_regression: match plan.on_regression {
            written::OnRegression::Rollback => judged::OnRegression::Rollback,
            written::OnRegression::Pause => judged::OnRegression::Pause,
        },
        on_unknown: match plan.on_unknown {
            written::OnUnknown::Hold => judged::OnUnknown::Hold,
            written::OnUnknown::Advance => judged::OnUnknown::Advance,
        },
        watch: plan.watch,
        promote: match plan.promote {
            written::Promotion::Manual => judged::Promotion::Manual,
            written::Promotion::Automatic => judged::Promotion::Automatic,
        },
    }
}

/// The judge's guards of written ones.
pub fn guards(written: &written::Guards) -> std::result::Result<Guards, GuardProblem> {
    let relative = |guard: &Guard<written::Relative>, tolerate: f64, alpha: f64| match guard {
        Guard::Off => Ok(None),
        Guard::Unwritten => Relative::new(tolerate, alpha).map(Some),
        Guard::On(on) => Relative::new(on.tolerate.unwrap_or(tolerate), on.alpha.unwrap_or(alpha)).map(Some),
    };
    let limit =
        |on: &written::Limit<Share>| Limit::new(percent(on.above) / 100.0, on.alpha.unwrap_or(LIMIT_ALPHA));
    Ok(Guards {
        errors: relative(&written.errors, ERRORS_TOLERATE, ERRORS_ALPHA)?,
        latency: relative(&written.latency, LATENCY_TOLERATE, LATENCY_ALPHA)?,
        error_rate: match &written.error_rate {
            Guard::Off => Switch::Off,
            Guard::Unwritten => Switch::Unwritten,
            Guard::On(on) => Switch::On(limit(on)?),
        },
        latency_p99: match &written.latency_p99 {
            Guard::Off => Switch::Off,
            Guard::Unwritten => Switch::Unwritten,
            Guard::On(on) => {
                let alpha = on.alpha.unwrap_or(LIMIT_ALPHA);
                Switch::On(SlowLimit::new(on.above.as_secs_f64() * 1_000.0, alpha)?)
            }
        },
        fallback: match &written.fallback {
            Guard::Off => None,
            Guard::Unwritten => Some(Limit::new(FALLBACK_ABOVE, LIMIT_ALPHA)?),
            Guard::On(on) => Some(limit(on)?),
        },
    })
}
