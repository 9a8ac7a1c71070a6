//! Messages to people.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::answer::Page;
use super::audit::{bad_cursor, read_limit};
use super::extract::{Ask, Named, Who};
use crate::control::{Control, MessageShown};
use crate::error::Result;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MessagesAsked {
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

/// What happened, for those who use it, newest first.
#[utoipa::path(get, path = "/messages", tag = "messages", params(MessagesAsked),
    responses((status = 200, description = "a page of messages", body = Page<MessageShown>)))]
pub async fn messages(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<MessagesAsked>,
) -> Result<Json<Page<MessageShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    if let Some(after) =
        asked.after.as_ref().filter(|text| !text.bytes().all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(bad_cursor(after));
    }
    let (items, next) = control.messages(&who, (limit, asked.after.as_deref())).await?;
    Ok(Json(Page { items, next }))
}

/// Note that one has read it.
#[utoipa::path(post, path = "/messages/{id}/read", tag = "messages", params(("id" = String, Path)),
    responses((status = 204, description = "it is noted")))]
pub async fn read(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<StatusCode> {
    control.read_message(&who, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
