//! Channels of notices, and what became of what was sent.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Page;
use super::audit::read_limit;
use super::extract::{Ask, Named, Who};
use crate::control::{ChannelShown, Control, DeliveryShown};
use crate::error::Result;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesAsked {
    /// One channel's alone.
    channel: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

/// Where notices go, without addresses.
#[utoipa::path(get, path = "/channels", tag = "channels",
    responses((status = 200, description = "the channels of control.yaml", body = Page<ChannelShown>)))]
pub async fn channels(
    State(control): State<Arc<Control>>,
    Who(who): Who,
) -> Result<Json<Page<ChannelShown>>> {
    Ok(Json(Page { items: control.channels(&who).await?, next: None }))
}

/// Send a message that says that it is a test, once.
#[utoipa::path(post, path = "/channels/{name}/test", tag = "channels", params(("name" = String, Path)),
    responses((status = 200, description = "what came of it, also where it failed", body = DeliveryShown)))]
pub async fn test(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
) -> Result<Json<DeliveryShown>> {
    Ok(Json(control.test_channel(&who, &name).await?))
}

/// What became of notices on their channels, newest first.
#[utoipa::path(get, path = "/deliveries", tag = "channels", params(DeliveriesAsked),
    responses((status = 200, description = "a page of the log", body = Page<DeliveryShown>)))]
pub async fn deliveries(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<DeliveriesAsked>,
) -> Result<Json<Page<DeliveryShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    let after = asked.after.as_deref();
    let (items, next) = control.deliveries(&who, asked.channel.as_deref(), (limit, after)).await?;
    Ok(Json(Page { items, next }))
}
