//! Configuration items: read, written, taken away, listed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::{Page, Tagged};
use super::audit::{bad_cursor, read_limit};
use super::documents::{WaitingShown, condition};
use super::extract::{Ask, Body, Named, Who};
use crate::configs::{ItemDone, ItemId, ItemPlace, ItemShown};
use crate::control::Control;
use crate::error::Result;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemValue {
    pub value: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemsAsked {
    app: Option<String>,
    /// A part of `app/environment/group/key`.
    filter: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ItemWriteAsked {
    reason: Option<String>,
}

type Names = (String, String, String, String);

fn item((app, environment, group, key): &Names) -> Result<ItemId> {
    ItemId::of(ItemPlace::of(app, environment, Some(group))?, key)
}

/// All items, or those of an application.
#[utoipa::path(get, path = "/configs", tag = "configs", params(ItemsAsked),
    responses((status = 200, description = "a page of items", body = Page<ItemShown>)))]
pub async fn list(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<ItemsAsked>,
) -> Result<Json<Page<ItemShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    let after = match &asked.after {
        None => None,
        Some(text) => Some(ItemId::parse(&format!("configs/{text}")).ok_or_else(|| bad_cursor(text))?),
    };
    let which = (asked.app.as_deref(), asked.filter.as_deref());
    let (items, next) = control.config_items(&who, which, (after.as_ref(), limit))?;
    Ok(Json(Page { items, next: next.map(|id| id.to_string()) }))
}

/// An item's own value.
#[utoipa::path(get, path = "/configs/{app}/{environment}/{group}/{key}", tag = "configs",
    params(("app" = String, Path), ("environment" = String, Path), ("group" = String, Path), ("key" = String, Path)),
    responses((status = 200, description = "the value", body = ItemValue)))]
pub async fn get(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(names): Named<Names>,
) -> Result<Tagged<ItemValue>> {
    let kept = control.config_item(&who, &item(&names)?).await?;
    Ok(Tagged(StatusCode::OK, kept.etag, ItemValue { value: kept.value }))
}

/// Write an item.
#[utoipa::path(put, path = "/configs/{app}/{environment}/{group}/{key}", tag = "configs",
    params(("app" = String, Path), ("environment" = String, Path), ("group" = String, Path), ("key" = String, Path),
        ItemWriteAsked, ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = ItemValue,
    responses((status = 200, description = "it is written", body = ItemValue),
        (status = 201, description = "it is new", body = ItemValue),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn put(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(names): Named<Names>,
    Ask(asked): Ask<ItemWriteAsked>,
    headers: HeaderMap,
    Body(sent): Body<ItemValue>,
) -> Result<Response> {
    let condition = condition(&headers, None);
    let write = (&item(&names)?, Some(sent.value.clone()));
    match control.put_config_item(&who, write, Some(&condition), asked.reason).await? {
        ItemDone::Waiting(proposal) => {
            Ok((StatusCode::ACCEPTED, Json(WaitingShown { proposal: *proposal })).into_response())
        }
        ItemDone::Written { etag, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(Tagged(status, etag.unwrap_or_default(), sent).into_response())
        }
    }
}

/// Take an item away.
#[utoipa::path(delete, path = "/configs/{app}/{environment}/{group}/{key}", tag = "configs",
    params(("app" = String, Path), ("environment" = String, Path), ("group" = String, Path), ("key" = String, Path),
        ItemWriteAsked, ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "it is gone"),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn delete(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(names): Named<Names>,
    Ask(asked): Ask<ItemWriteAsked>,
    headers: HeaderMap,
) -> Result<Response> {
    let condition = condition(&headers, None);
    match control.put_config_item(&who, (&item(&names)?, None), Some(&condition), asked.reason).await? {
        ItemDone::Waiting(proposal) => {
            Ok((StatusCode::ACCEPTED, Json(WaitingShown { proposal: *proposal })).into_response())
        }
        ItemDone::Written { .. } => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}
