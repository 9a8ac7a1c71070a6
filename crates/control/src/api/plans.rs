//! Plans: their texts, their runs, and what is done with them.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use graygate_judge::plan::Action;
use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answer::{Page, Tagged, tag};
use super::audit::read_limit;
use super::documents::{WaitingShown, WriteAsked, answered, condition};
use super::extract::{Ask, Body, Named, Who, read_body, text};
use crate::control::{ActionAsked, ActionDone, Control, DOCUMENT_LIMIT, Done, DryRun, Intent};
use crate::error::{Error, Result};
use crate::people::Permission;
use crate::plans::{PlanShown, RollbackShown, RunShown};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PlansAsked {
    /// A part of the name.
    filter: Option<String>,
    /// `name` or `-name`.
    sort: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// The name of the last one seen.
    after: Option<String>,
}

/// All plans.
#[utoipa::path(get, path = "/plans", tag = "plans", params(PlansAsked),
    responses((status = 200, description = "a page of plans", body = Page<PlanShown>)))]
pub async fn list(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<PlansAsked>,
) -> Result<Json<Page<PlanShown>>> {
    let limit = read_limit(asked.limit.as_deref())?;
    let is_falling = match asked.sort.as_deref() {
        None | Some("name") => false,
        Some("-name") => true,
        Some(other) => {
            return Err(Error::BadRequest(format!("`{other}` is not a sort; there are `name` and `-name`")));
        }
    };
    let mut items = control.plans_shown(&who, asked.filter.as_deref()).await?;
    if is_falling {
        items.reverse();
    }
    if let Some(after) = &asked.after {
        items.retain(|plan| if is_falling { plan.name < *after } else { plan.name > *after });
    }
    let is_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| is_more).map(|plan| plan.name.clone());
    Ok(Json(Page { items, next }))
}

/// A plan and its run, or its text with `Accept: application/yaml`.
#[utoipa::path(get, path = "/plans/{name}", tag = "plans", params(("name" = String, Path)),
    responses((status = 200, description = "the plan", content(
        (PlanShown = "application/json"), (String = "application/yaml")))))]
pub async fn get(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    headers: HeaderMap,
) -> Result<Response> {
    let read = control.plan(&who, &name).await?;
    let accepted = text(&headers, "accept").unwrap_or_default();
    let wants_text = accepted.contains("yaml") && !accepted.contains("json");
    if !wants_text {
        return Ok(Tagged(StatusCode::OK, read.etag(), read.shown()).into_response());
    }
    let (body, _) = Control::plan_text(&read)?;
    let mut response = ([(header::CONTENT_TYPE, "application/yaml")], body).into_response();
    tag(&mut response, &read.etag());
    Ok(response)
}

/// What a write of a plan answers, or its dry run.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is a description of answers and never made")]
pub enum PlanPutAnswer {
    Plan(Box<PlanShown>),
    DryRun(DryRun),
}

/// Write a plan's document. The copy of a run counts until the run ends.
#[utoipa::path(put, path = "/plans/{name}", tag = "plans",
    params(("name" = String, Path), WriteAsked,
        ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header)),
    request_body(content = Option<serde_json::Value>, content_type = "application/yaml"),
    responses((status = 200, description = "it is written; or what a dry run found", body = PlanPutAnswer),
        (status = 201, description = "it is new", body = PlanShown),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn put(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<WriteAsked>,
    request: Request,
) -> Result<Response> {
    who.may_somewhere(Permission::Write)?;
    let condition = condition(request.headers(), asked.hash.clone());
    let text = read_body(request, DOCUMENT_LIMIT).await?;
    let intent = Intent { reason: asked.reason, dry_run: asked.dry_run, ..Intent::of("document.put") };
    let done = control.put_plan(&who, (&name, Some(text)), condition, intent).await?;
    let Done::Written(changed) = done else { return Ok(answered(done)) };
    let read = control.plan(&who, &name).await?;
    let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(Tagged(status, read.etag(), read.shown()).into_response())
}

/// Take a plan away that does not run.
#[utoipa::path(delete, path = "/plans/{name}", tag = "plans",
    params(("name" = String, Path), WriteAsked, ("If-Match" = Option<String>, Header)),
    responses((status = 204, description = "it is gone"),
        (status = 200, description = "what a dry run found", body = DryRun),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn delete(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<WriteAsked>,
    headers: HeaderMap,
) -> Result<Response> {
    let condition = condition(&headers, asked.hash.clone());
    let intent = Intent { reason: asked.reason, dry_run: asked.dry_run, ..Intent::of("document.delete") };
    Ok(match control.put_plan(&who, (&name, None), condition, intent).await? {
        Done::Written(_) => StatusCode::NO_CONTENT.into_response(),
        other => answered(other),
    })
}

/// What an action answers.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is a description of answers and never made")]
pub enum ActionAnswer {
    Plan(Box<PlanShown>),
    RolledBack(RollbackShown),
}

/// Do something with a plan: start, pause, resume, advance, approve, reject, complete, rollback or promote.
#[utoipa::path(post, path = "/plans/{name}/{action}", tag = "plans",
    params(("name" = String, Path), ("action" = String, Path),
        ("If-Match" = Option<String>, Header, description = "the plan's ETag; not of `rollback`")),
    request_body = Option<ActionAsked>,
    responses((status = 200, description = "it is done", body = ActionAnswer),
        (status = 202, description = "it waits for a second person", body = WaitingShown)))]
pub async fn act(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((name, action)): Named<(String, String)>,
    headers: HeaderMap,
    Body(asked): Body<ActionAsked>,
) -> Result<Response> {
    let action = Action::ALL.into_iter().find(|known| known.as_str() == action);
    let action = action.ok_or_else(|| Error::NotFound("there is no such action".to_owned()))?;
    let if_match = text(&headers, "if-match");
    Ok(match control.act_on_plan(&who, (&name, action), if_match, &asked).await? {
        ActionDone::Moved(shown) => Tagged(StatusCode::OK, shown.etag.clone(), *shown).into_response(),
        ActionDone::RolledBack { shown, etag } => Tagged(StatusCode::OK, etag, shown).into_response(),
        ActionDone::Waiting(proposal) => {
            (StatusCode::ACCEPTED, Json(WaitingShown { proposal })).into_response()
        }
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EvidenceAsked {
    /// Left out: the newest.
    run: Option<u64>,
    /// The rows that were judged, instead of what came of each second.
    #[serde(default)]
    blocks: bool,
}

/// What the judge said of each second, as `graygate judge` prints it, a line each; or the rows it was said of.
#[utoipa::path(get, path = "/plans/{name}/evidence", tag = "plans", params(("name" = String, Path), EvidenceAsked),
    responses((status = 200, description = "one JSON object a line", body = String, content_type = "application/x-ndjson")))]
pub async fn evidence(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<EvidenceAsked>,
) -> Result<Response> {
    let lines = control.plan_evidence(&who, &name, (asked.run, asked.blocks)).await?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

/// The runs of a plan and what happened in them, newest first.
#[utoipa::path(get, path = "/plans/{name}/runs", tag = "plans", params(("name" = String, Path)),
    responses((status = 200, description = "the runs", body = Page<RunShown>)))]
pub async fn runs(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
) -> Result<Json<Page<RunShown>>> {
    Ok(Json(Page { items: control.plan_runs(&who, &name).await?, next: None }))
}
