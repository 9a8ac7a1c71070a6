//! What proxies run of a plan.
//!
//! Owns: asking them, and what counts as having followed. Never: a transition.

use crate::control::plane::Control;
use crate::plans::{Kept, RollbackShown};

impl Control {
    /// Asks proxies whether they run without the plan's rules, for a moment.
    pub(super) async fn confirm_rollback(&self, _kept: &Kept) -> RollbackShown {
        RollbackShown::default()
    }
}
