//! What happened.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::IntoParams;

use super::answer::Page;
use super::extract::{Ask, Who};
use crate::control::{AuditQuery, Control, RecordShown};
use crate::error::{Error, Result};

/// Entries of a page: unless said otherwise, and at most.
pub const LIMIT: (usize, usize) = (100, 1_000);

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditAsked {
    /// Whose records.
    who: Option<String>,
    /// A part of the object.
    what: Option<String>,
    /// RFC 3339.
    #[param(format = DateTime)]
    from: Option<String>,
    /// RFC 3339.
    #[param(format = DateTime)]
    to: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

/// The records, newest first.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditAsked),
    responses((status = 200, description = "a page of records", body = Page<RecordShown>)))]
pub async fn audit(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<AuditAsked>,
) -> Result<Json<Page<RecordShown>>> {
    let query = AuditQuery {
        who: asked.who,
        what: asked.what,
        from: asked.from.as_deref().map(read_time).transpose()?,
        to: asked.to.as_deref().map(read_time).transpose()?,
        limit: read_limit(asked.limit.as_deref())?,
        after: asked.after.map(|text| text.parse().map_err(|_| bad_cursor(&text))).transpose()?,
    };
    let (items, next) = control.audit(&who, &query).await?;
    Ok(Json(Page { items, next: next.map(|id| id.to_string()) }))
}

pub fn read_time(text: &str) -> Result<OffsetDateTime> {
    // A plus of a zone that was not escaped arrives as a space.
    let plus = text.replace(' ', "+");
    OffsetDateTime::parse(&plus, &Rfc3339)
        .map_err(|_| Error::BadRequest(format!("`{text}` is not a time like `2026-11-22T08:00:00Z`")))
}

pub fn read_limit(text: Option<&str>) -> Result<usize> {
    let Some(text) = text else { return Ok(LIMIT.0) };
    match text.parse() {
        Ok(limit) if (1..=LIMIT.1).contains(&limit) => Ok(limit),
        _ => Err(Error::BadRequest(format!("`limit` is a number from 1 to {}", LIMIT.1))),
    }
}

pub fn bad_cursor(text: &str) -> Error {
    Error::BadRequest(format!("`{text}` is not what `next` of a page said"))
}
