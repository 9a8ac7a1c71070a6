//! What runs now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::extract::Who;
use crate::control::Control;
use crate::error::Result;

/// Services: requests, errors, latency and fallbacks of each version, and instances.
#[utoipa::path(get, path = "/services", tag = "live",
    responses((status = 200, description = "one entry a service", body = Object)))]
pub async fn services(State(control): State<Arc<Control>>, Who(who): Who) -> Result<Json<Value>> {
    Ok(Json(control.services(&who)?))
}

/// Proxies: what each runs, and who lags.
#[utoipa::path(get, path = "/fleet", tag = "live",
    responses((status = 200, description = "as `graygate fleet --json`", body = Object)))]
pub async fn fleet(State(control): State<Arc<Control>>, Who(who): Who) -> Result<Json<Value>> {
    Ok(Json(control.fleet(&who).await?))
}
