//! Lists: as a whole, and member by member.

use std::sync::Arc;

use axum::Json;
use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::answer::tag;
use super::documents::{PutAnswer, WaitingShown, WriteAsked, answered};
use super::extract::{Ask, Body, Named, Who, read_body};
use crate::control::{ChangedShown, ContainsShown, Control, Intent, MembersDone, MembersShown};
use crate::error::Result;
use crate::people::Permission;

/// Largest list that is sent as a whole.
const LIST_LIMIT: usize = 256 << 20;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MembersAsked {
    #[serde(default)]
    add: Vec<String>,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    reason: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ContainsAsked {
    /// A value that may be a member.
    contains: Option<String>,
}

/// A list's text, or whether a value is on it.
#[utoipa::path(get, path = "/lists/{name}", tag = "lists", params(("name" = String, Path), ContainsAsked),
    responses((status = 200, description = "the text, one value a line; or the answer", content(
        (String = "text/plain"), (ContainsShown = "application/json")))))]
pub async fn list_get(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<ContainsAsked>,
) -> Result<Response> {
    if let Some(value) = asked.contains {
        return Ok(Json(control.list_contains(&who, &name, &value).await?).into_response());
    }
    let parts = control.list_parts(&who, &name)?;
    let etag = control.list_etag(&name).await?;
    let chunks = parts.into_iter().flat_map(|raw| {
        let newline = !raw.body.is_empty() && raw.body.last() != Some(&b'\n');
        let text = Bytes::from_owner(Shared(raw));
        [Some(text), newline.then(|| Bytes::from_static(b"\n"))].into_iter().flatten()
    });
    let body = HttpBody::from_stream(stream::iter(chunks.map(Ok::<_, std::convert::Infallible>)));
    let mut response = ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response();
    tag(&mut response, &etag);
    Ok(response)
}

/// A part's text, sent without a copy.
struct Shared(Arc<graygate_rules::documents::Raw>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.body
    }
}

/// Replace a list.
#[utoipa::path(put, path = "/lists/{name}", tag = "lists", params(("name" = String, Path), WriteAsked),
    request_body(content = Option<String>, content_type = "text/plain"),
    responses((status = 200, description = "it is written; or what a dry run found", body = PutAnswer),
        (status = 201, description = "it is new", body = ChangedShown),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn list_put(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<WriteAsked>,
    request: Request,
) -> Result<Response> {
    who.may_somewhere(Permission::Write)?;
    let text = read_body(request, LIST_LIMIT).await?;
    let intent = Intent { reason: asked.reason, dry_run: asked.dry_run, ..Intent::of("list.put") };
    Ok(answered(control.put_list(&who, &name, text, intent).await?))
}

/// Add and remove members.
#[utoipa::path(post, path = "/lists/{name}/members", tag = "lists", params(("name" = String, Path)),
    request_body = Option<MembersAsked>,
    responses((status = 200, description = "how many came and went", body = MembersShown),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn list_members(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Body(asked): Body<MembersAsked>,
) -> Result<Response> {
    let done = control.change_members(&who, &name, (asked.add, asked.remove), asked.reason).await?;
    Ok(match done {
        MembersDone::Changed(shown) => Json(shown).into_response(),
        MembersDone::Waiting(proposal) => {
            (StatusCode::ACCEPTED, Json(WaitingShown { proposal: *proposal })).into_response()
        }
    })
}
