//! Questions about decisions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::extract::{Body, Who};
use crate::control::{Control, ExplainAsked, ReplayAsked};
use crate::error::Result;

/// Which version a request would get, and why.
#[utoipa::path(post, path = "/explain", tag = "questions", request_body = ExplainAsked,
    responses((status = 200, description = "as on a proxy's admin address; with drafts the same under `draft`",
        body = Object)))]
pub async fn explain(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(asked): Body<ExplainAsked>,
) -> Result<Json<Value>> {
    Ok(Json(control.explain(&who, asked).await?))
}

/// Who would get another version.
#[utoipa::path(post, path = "/replay", tag = "questions", request_body = ReplayAsked,
    responses((status = 200, description = "how many would move, between which versions, and who for example",
        body = Object)))]
pub async fn replay(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(asked): Body<ReplayAsked>,
) -> Result<Json<Value>> {
    Ok(Json(control.replay(&who, asked).await?))
}
