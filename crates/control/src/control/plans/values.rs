//! Plans of configuration values in the leader's loop.
//!
//! Owns: which of the figures count for them. The answers of their keys are their requests; no proxy takes part, and
//! what clients measured rolls back by itself.

use super::tick::Figures;
use crate::control::plane::Control;
use crate::error::Result;
use crate::plans::{Kept, Spec};

impl Control {
    pub(super) async fn figures_of_values(&self, kept: &Kept, figures: Figures) -> Result<Figures> {
        let counted = self.config_counts(kept).await?;
        let measured = |names: Vec<String>| -> Vec<String> {
            names.into_iter().filter(|name| Spec::judged(name).is_none()).collect()
        };
        Ok(Figures {
            regressions: measured(figures.regressions),
            without_evidence: measured(figures.without_evidence),
            step_requests: counted.gray,
            gray: counted.gray,
            release: counted.release,
            behind: Vec::new(),
            lost: Vec::new(),
            unreadable: Vec::new(),
            instances: None,
            ..figures
        })
    }
}
