//! Documents, changes, history and undo.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use graygate_rules::documents::{DocumentId, Format, Kind};
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::{Page, Tagged, tag};
use super::audit::{bad_cursor, read_limit};
use super::extract::{Ask, Body, Named, Who, read_body, text};
use crate::control::{
    ChangedShown, Changes, Control, DOCUMENT_LIMIT, DocumentShown, Done, DryRun, HistoryShown, Intent,
    Precondition, ProposalShown, kind_of,
};
use crate::error::{Error, Result};
use crate::people::Permission;
use crate::state::Revision;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListAsked {
    /// Such as `rule`.
    kind: Option<String>,
    /// A part of the name.
    filter: Option<String>,
    /// `name` or `-name`.
    sort: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WriteAsked {
    pub reason: Option<String>,
    /// Of the difference that a dry run showed.
    pub hash: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageAsked {
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UndoAsked {
    /// The revision whose text it gets.
    to: Revision,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    hash: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangesAsked {
    /// New texts, by document.
    #[serde(default)]
    puts: BTreeMap<String, String>,
    #[serde(default)]
    deletes: Vec<String>,
    /// The ETags of those that exist.
    #[serde(default)]
    if_match: BTreeMap<String, String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    hash: Option<String>,
    #[serde(default)]
    dry_run: Option<bool>,
}

#[derive(Serialize, ToSchema)]
pub struct WaitingShown {
    pub proposal: ProposalShown,
}

/// All documents, or those of a kind.
#[utoipa::path(get, path = "/documents", tag = "documents", params(ListAsked),
    responses((status = 200, description = "a page of documents", body = Page<DocumentShown>)))]
pub async fn list(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<ListAsked>,
) -> Result<Json<Page<DocumentShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    let kind = asked.kind.as_deref().map(|word| {
        let kinds = || Kind::ALL.map(|kind| format!("`{}`", kind.word())).join(", ");
        let unknown =
            || Error::BadRequest(format!("`{word}` is not a kind of document; there are {}", kinds()));
        kind_of(word).ok_or_else(unknown)
    });
    let mut found = control.documents(&who, kind.transpose()?, asked.filter.as_deref())?;
    let is_falling = match asked.sort.as_deref() {
        None | Some("name") => false,
        Some("-name") => true,
        Some(other) => {
            return Err(Error::BadRequest(format!("`{other}` is not a sort; there are `name` and `-name`")));
        }
    };
    if is_falling {
        found.reverse();
    }
    if let Some(after) = asked.after {
        let last = read_cursor(&after)?;
        found.retain(|id| if is_falling { *id < last } else { *id > last });
    }
    let next = found.get(limit.saturating_sub(1)).filter(|_| found.len() > limit).map(cursor);
    let items = found.iter().take(limit).map(|id| control.document_shown(id)).collect();
    Ok(Json(Page { items, next }))
}

fn cursor(id: &DocumentId) -> String {
    URL_SAFE_NO_PAD.encode(id.to_string())
}

fn read_cursor(text: &str) -> Result<DocumentId> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let name = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    name.and_then(|name| DocumentId::parse(&name)).ok_or_else(|| bad_cursor(text))
}

fn id_of(kind: &str, name: &str) -> Result<DocumentId> {
    let kind =
        Kind::from_folder(kind).ok_or_else(|| Error::NotFound(format!("there is no kind `{kind}`")))?;
    // A directory passes over names that begin with a dot, and two of them lead out of it.
    let is_plain = !name.split('/').any(|part| part.starts_with('.'));
    DocumentId::of(kind, name).filter(|_| is_plain).ok_or_else(|| {
        Error::BadRequest(format!("`{name}` is not the name of a document of `{}`", kind.folder()))
    })
}

pub fn condition(headers: &HeaderMap, hash: Option<String>) -> Precondition {
    Precondition {
        if_match: text(headers, "if-match").map(str::to_owned),
        if_none_match: text(headers, "if-none-match").map(str::to_owned),
        hash,
    }
}

/// A document's text as it was written.
#[utoipa::path(get, path = "/documents/{kind}/{name}", tag = "documents",
    params(("kind" = String, Path, description = "such as `rules`"), ("name" = String, Path)),
    responses((status = 200, description = "the text", content(
        (String = "application/yaml"), (String = "application/json"), (String = "text/plain")))))]
pub async fn get(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name)): Named<(String, String)>,
) -> Result<Response> {
    read(&control, &who, id_of(&kind, &name)?).await
}

/// An instance's text, or that of a list's part.
#[utoipa::path(get, path = "/documents/{kind}/{name}/{id}", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), ("id" = String, Path)),
    responses((status = 200, description = "the text", content(
        (String = "application/yaml"), (String = "application/json"), (String = "text/plain")))))]
pub async fn get_part(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name, part)): Named<(String, String, String)>,
) -> Result<Response> {
    read(&control, &who, id_of(&kind, &format!("{name}/{part}"))?).await
}

async fn read(control: &Control, who: &crate::people::Principal, id: DocumentId) -> Result<Response> {
    let document = control.document(who, &id).await?;
    let media = match document.format {
        Format::Json => "application/json",
        Format::List => "text/plain; charset=utf-8",
        Format::Yaml => "application/yaml",
    };
    let mut response = ([(header::CONTENT_TYPE, media)], document.text).into_response();
    tag(&mut response, &document.etag);
    Ok(response)
}

/// Write a document's text.
#[utoipa::path(put, path = "/documents/{kind}/{name}", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body(content = Option<serde_json::Value>, content_type = "application/yaml"),
    responses((status = 200, description = "it is written; or what a dry run found", body = PutAnswer),
        (status = 201, description = "it is new", body = ChangedShown),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn put(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name)): Named<(String, String)>,
    Ask(asked): Ask<WriteAsked>,
    request: Request,
) -> Result<Response> {
    write(&control, &who, id_of(&kind, &name)?, asked, request).await
}

/// Write an instance.
#[utoipa::path(put, path = "/documents/{kind}/{name}/{id}", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), ("id" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body(content = Option<serde_json::Value>, content_type = "application/yaml"),
    responses((status = 200, description = "it is written; or what a dry run found", body = PutAnswer),
        (status = 201, description = "it is new", body = ChangedShown),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn put_part(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name, part)): Named<(String, String, String)>,
    Ask(asked): Ask<WriteAsked>,
    request: Request,
) -> Result<Response> {
    write(&control, &who, id_of(&kind, &format!("{name}/{part}"))?, asked, request).await
}

/// What a write answers, or its dry run.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum PutAnswer {
    Changed(ChangedShown),
    DryRun(DryRun),
}

async fn write(
    control: &Control,
    who: &crate::people::Principal,
    id: DocumentId,
    asked: WriteAsked,
    request: Request,
) -> Result<Response> {
    who.may_somewhere(Permission::Write)?;
    let condition = condition(request.headers(), asked.hash);
    let text = read_body(request, DOCUMENT_LIMIT).await?;
    let intent = Intent { reason: asked.reason, dry_run: asked.dry_run, ..Intent::of("document.put") };
    let done = match id.kind {
        Kind::List if id.tail().is_none() => {
            control.put_list_document(who, (id.head(), text), &condition, intent).await?
        }
        _ => control.put_document(who, (id, Some(text)), &condition, intent).await?,
    };
    Ok(answered(done))
}

pub fn answered(done: Done) -> Response {
    match done {
        Done::Shown(shown) => Json(PutAnswer::DryRun(shown)).into_response(),
        Done::Waiting(proposal) => (StatusCode::ACCEPTED, Json(WaitingShown { proposal })).into_response(),
        Done::Written(changed) => {
            let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
            let etag = match changed.etags.len() {
                1 => changed.etags.values().next().cloned().flatten(),
                _ => None,
            };
            match etag {
                Some(etag) => Tagged(status, etag, PutAnswer::Changed(changed)).into_response(),
                None => (status, Json(PutAnswer::Changed(changed))).into_response(),
            }
        }
    }
}

/// Take a document away.
#[utoipa::path(delete, path = "/documents/{kind}/{name}", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), WriteAsked, ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "it is gone"),
        (status = 200, description = "what a dry run found", body = DryRun),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn delete(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name)): Named<(String, String)>,
    Ask(asked): Ask<WriteAsked>,
    headers: HeaderMap,
) -> Result<Response> {
    remove(&control, &who, id_of(&kind, &name)?, (asked, headers)).await
}

/// Take an instance, or a list's part, away.
#[utoipa::path(delete, path = "/documents/{kind}/{name}/{id}", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), ("id" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "it is gone"),
        (status = 200, description = "what a dry run found", body = DryRun),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn delete_part(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name, part)): Named<(String, String, String)>,
    Ask(asked): Ask<WriteAsked>,
    headers: HeaderMap,
) -> Result<Response> {
    remove(&control, &who, id_of(&kind, &format!("{name}/{part}"))?, (asked, headers)).await
}

async fn remove(
    control: &Control,
    who: &crate::people::Principal,
    id: DocumentId,
    (asked, headers): (WriteAsked, HeaderMap),
) -> Result<Response> {
    let condition = condition(&headers, asked.hash);
    let intent = Intent { reason: asked.reason, dry_run: asked.dry_run, ..Intent::of("document.delete") };
    let done = match id.kind {
        Kind::List if id.tail().is_none() => control.remove_list(who, id.head(), &condition, intent).await?,
        _ => control.put_document(who, (id, None), &condition, intent).await?,
    };
    Ok(match done {
        Done::Written(_) => StatusCode::NO_CONTENT.into_response(),
        other => answered(other),
    })
}

/// Several at once, all or nothing.
#[utoipa::path(post, path = "/changes", tag = "documents", request_body = ChangesAsked,
    params(("dry_run" = Option<bool>, Query)),
    responses((status = 200, description = "they are written; or what a dry run found", body = PutAnswer),
        (status = 202, description = "they wait for a second person", body = WaitingShown)))]
pub async fn changes(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(query): Ask<WriteAsked>,
    Body(asked): Body<ChangesAsked>,
) -> Result<Response> {
    let mut changes = Changes::new();
    let puts = asked.puts.into_iter().map(|(name, text)| (name, Some(Bytes::from(text))));
    for (name, text) in puts.chain(asked.deletes.into_iter().map(|name| (name, None))) {
        let id = DocumentId::parse(&name).filter(|id| !id.name.split('/').any(|part| part.starts_with('.')));
        let id = id.ok_or_else(|| Error::Invalid(format!("`{name}` is not a document like `rules/x`")))?;
        if changes.insert(id, text).is_some() {
            return Err(Error::Invalid(format!("`{name}` is named twice")));
        }
    }
    let intent = Intent {
        reason: asked.reason.or(query.reason),
        dry_run: asked.dry_run.unwrap_or(query.dry_run),
        ..Intent::of("document.put")
    };
    let hash = asked.hash.or(query.hash);
    let done = control.change(&who, changes, (&asked.if_match, hash.as_deref()), intent).await?;
    Ok(match done {
        Done::Written(changed) => Json(PutAnswer::Changed(changed)).into_response(),
        other => answered(other),
    })
}

/// How a document came to be as it is, newest first.
#[utoipa::path(get, path = "/documents/{kind}/{name}/history", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), PageAsked),
    responses((status = 200, description = "a page of it", body = Page<HistoryShown>)))]
pub async fn history(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name)): Named<(String, String)>,
    Ask(asked): Ask<PageAsked>,
) -> Result<Json<Page<HistoryShown>>> {
    told(&control, &who, id_of(&kind, &name)?, asked).await
}

/// How an instance came to be as it is.
#[utoipa::path(get, path = "/documents/{kind}/{name}/{id}/history", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), ("id" = String, Path), PageAsked),
    responses((status = 200, description = "a page of it", body = Page<HistoryShown>)))]
pub async fn history_part(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name, part)): Named<(String, String, String)>,
    Ask(asked): Ask<PageAsked>,
) -> Result<Json<Page<HistoryShown>>> {
    told(&control, &who, id_of(&kind, &format!("{name}/{part}"))?, asked).await
}

async fn told(
    control: &Control,
    who: &crate::people::Principal,
    id: DocumentId,
    asked: PageAsked,
) -> Result<Json<Page<HistoryShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    if let Some(after) = asked.after.as_ref().filter(|after| after.parse::<u64>().is_err()) {
        return Err(bad_cursor(after));
    }
    let (items, next) = control.history(who, &id, (limit, asked.after.as_deref())).await?;
    Ok(Json(Page { items, next }))
}

/// Make a document what it was.
#[utoipa::path(post, path = "/documents/{kind}/{name}/undo", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = UndoAsked,
    responses((status = 200, description = "it is as it was; or what a dry run found", body = PutAnswer),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn undo(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name)): Named<(String, String)>,
    Ask(query): Ask<WriteAsked>,
    headers: HeaderMap,
    Body(asked): Body<UndoAsked>,
) -> Result<Response> {
    undone(&control, &who, id_of(&kind, &name)?, (query, headers, asked)).await
}

/// Make an instance what it was.
#[utoipa::path(post, path = "/documents/{kind}/{name}/{id}/undo", tag = "documents",
    params(("kind" = String, Path), ("name" = String, Path), ("id" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body = UndoAsked,
    responses((status = 200, description = "it is as it was; or what a dry run found", body = PutAnswer),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn undo_part(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((kind, name, part)): Named<(String, String, String)>,
    Ask(query): Ask<WriteAsked>,
    headers: HeaderMap,
    Body(asked): Body<UndoAsked>,
) -> Result<Response> {
    undone(&control, &who, id_of(&kind, &format!("{name}/{part}"))?, (query, headers, asked)).await
}

async fn undone(
    control: &Control,
    who: &crate::people::Principal,
    id: DocumentId,
    (query, headers, asked): (WriteAsked, HeaderMap, UndoAsked),
) -> Result<Response> {
    let condition = condition(&headers, asked.hash.or(query.hash));
    let intent = Intent {
        reason: asked.reason.or(query.reason),
        dry_run: query.dry_run,
        ..Intent::of("document.undo")
    };
    let done = control.undo(who, &id, (asked.to, &condition), intent).await?;
    Ok(match done {
        Done::Written(changed) => Json(PutAnswer::Changed(changed)).into_response(),
        other => answered(other),
    })
}
