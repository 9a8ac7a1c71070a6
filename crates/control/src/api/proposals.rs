//! What waits for a second person.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::answer::Page;
use super::extract::{Body, Named, Who};
use crate::control::{ChangedShown, Control, ProposalShown};
use crate::error::Result;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveAsked {
    /// Of what was shown.
    hash: String,
}

#[derive(Deserialize, Default, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectAsked {
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct ApprovedShown {
    pub proposal: ProposalShown,
    /// What was written.
    pub changed: Option<ChangedShown>,
}

/// What waits for a second person, and what became of it.
#[utoipa::path(get, path = "/proposals", tag = "proposals",
    responses((status = 200, description = "newest first", body = Page<ProposalShown>)))]
pub async fn proposals(
    State(control): State<Arc<Control>>,
    Who(who): Who,
) -> Result<Json<Page<ProposalShown>>> {
    Ok(Json(Page { items: control.proposals(&who).await?, next: None }))
}

/// One of them.
#[utoipa::path(get, path = "/proposals/{id}", tag = "proposals", params(("id" = String, Path)),
    responses((status = 200, description = "the proposal", body = ProposalShown)))]
pub async fn proposal(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Json<ProposalShown>> {
    Ok(Json(control.proposal(&who, &id).await?))
}

/// Do what was shown.
#[utoipa::path(post, path = "/proposals/{id}/approve", tag = "proposals", params(("id" = String, Path)),
    request_body = ApproveAsked,
    responses((status = 200, description = "it is done", body = ApprovedShown)))]
pub async fn approve(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
    Body(asked): Body<ApproveAsked>,
) -> Result<Json<ApprovedShown>> {
    let (proposal, changed) = control.approve(&who, &id, &asked.hash).await?;
    Ok(Json(ApprovedShown { proposal, changed }))
}

/// Refuse it.
#[utoipa::path(post, path = "/proposals/{id}/reject", tag = "proposals", params(("id" = String, Path)),
    request_body = Option<RejectAsked>,
    responses((status = 200, description = "it is refused", body = ProposalShown)))]
pub async fn reject(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
    Body(asked): Body<RejectAsked>,
) -> Result<Json<ProposalShown>> {
    Ok(Json(control.reject(&who, &id, asked.reason).await?))
}
