//! The record of what waits for a second person.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::clock::rfc3339;
use crate::people::Touch;
use crate::state::Revision;

/// How long a proposal waits.
const WAITS: time::Duration = time::Duration::days(7);
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProposalState {
    Waiting,
    Approved,
    Rejected,
    /// What it would have changed was changed by someone else.
    Voided,
    Expired,
}

/// What is kept of a proposal.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    pub id: String,
    pub hash: String,
    pub who: String,
    pub action: String,
    pub object: String,
    pub diff: String,
    pub reason: Option<String>,
    /// `None`: all services.
    pub services: Option<BTreeSet<String>>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    pub state: ProposalState,
    pub decided_by: Option<String>,
    pub work: Work,
}

/// What happens once it is approved.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// New texts, and the revisions they were written over.
    Documents { texts: BTreeMap<String, Option<String>>, seen: BTreeMap<String, Revision> },
    /// Members of a list.
    Members { list: String, add: Vec<String>, remove: Vec<String> },
    /// A configuration item, and the revision it was written over.
    Config { write: serde_json::Value, seen: Revision },
    /// An action on a plan, with its request, bound to the plan's revision.
    Plan { name: String, action: String, request: serde_json::Value, seen: Revision },
}

#[derive(Clone, PartialEq, Debug, Serialize, ToSchema)]
pub struct ProposalShown {
    pub id: String,
    pub hash: String,
    pub who: String,
    pub action: String,
    pub object: String,
    pub diff: String,
    pub reason: Option<String>,
    pub created: String,
    pub expires: String,
    pub state: ProposalState,
    pub decided_by: Option<String>,
}

impl Proposal {
    pub fn shown(&self, now: OffsetDateTime) -> ProposalShown {
        ProposalShown {
            id: self.id.clone(),
            hash: self.hash.clone(),
            who: self.who.clone(),
            action: self.action.clone(),
            object: self.object.clone(),
            diff: self.diff.clone(),
            reason: self.reason.clone(),
            created: rfc3339(self.created),
            expires: rfc3339(self.created + WAITS),
            state: self.state_at(now),
            decided_by: self.decided_by.clone(),
        }
    }

    pub fn state_at(&self, now: OffsetDateTime) -> ProposalState {
        match self.state {
            ProposalState::Waiting if now - self.created >= WAITS => ProposalState::Expired,
            state => state,
        }
    }

    pub fn touch(&self) -> Touch {
        self.services.clone().map_or(Touch::All, Touch::Services)
    }
}

/// What someone wants that has to wait.
#[derive(Clone, Debug)]
pub struct Asked {
    pub action: String,
    pub object: String,
    pub hash: String,
    pub diff: String,
}
