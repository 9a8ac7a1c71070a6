//! `/api/gray-release`: configuration values and their plans, as platforms ask for them.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use graygate_judge::plan::Action;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::answer::Page;
use super::audit::read_limit;
use super::envelope::{Envelope, ProposalWaiting, read, success, waiting};
use super::extract::{Ask, Body, Named, Who, read_body};
use super::site::BODY_LIMIT;
use crate::configs::{
    Asker, DetailShown, InstanceShown, ItemDone, ItemId, ItemPlace, LogShown, MeasuredShown, MonitorShown,
    PlanDone, ValueShown,
};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::people::Principal;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct ValueAsked {
    #[serde(default)]
    app_name: String,
    #[serde(default)]
    environment: String,
    /// `default` where it is left out.
    group_name: Option<String>,
    #[serde(default)]
    config_key: String,
    instance_id: Option<String>,
    /// The caller's where it is left out.
    instance_ip: Option<String>,
    user_id: Option<String>,
    /// Wait up to 30 s for another version than `version`.
    #[serde(default)]
    watch: bool,
    version: Option<u64>,
}

/// An item as it is written.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemSent {
    app_name: String,
    environment: String,
    #[serde(default)]
    group_name: Option<String>,
    config_key: String,
    value: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct ItemNamed {
    #[serde(default)]
    app_name: String,
    #[serde(default)]
    environment: String,
    group_name: Option<String>,
    #[serde(default)]
    config_key: String,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct PlansAsked {
    /// `DRAFT`, `ACTIVE`, `PAUSED`, `COMPLETED` or `ROLLBACK`.
    status: Option<String>,
    app_name: Option<String>,
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// The `planId` of the last one seen.
    after: Option<String>,
}

#[derive(Deserialize, Default, ToSchema)]
pub struct ReasonSent {
    #[serde(default)]
    reason: Option<String>,
}

/// What a client measured.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MeasureSent {
    /// `error_rate`, `response_time`, `resource`, or one of the business.
    metric: String,
    value: f64,
    #[serde(default)]
    instance_id: Option<String>,
}

/// A plan as it is sent, with `planId` and `status` in answers. Further fields are kept and answered again.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[allow(dead_code, reason = "it is a description of what is sent and never made")]
pub struct GrayPlan {
    plan_name: Option<String>,
    app_name: String,
    environment: String,
    group_name: Option<String>,
    /// By key.
    gray_values: std::collections::BTreeMap<String, String>,
    /// `IP_WHITELIST`, `USER_WHITELIST`, `PERCENTAGE` or `CANARY`.
    gray_strategy: Option<String>,
    ip_whitelist: Option<Vec<String>>,
    user_whitelist: Option<Vec<String>>,
    percentage: Option<f64>,
    canary: Option<Value>,
    gray_rules: Option<Value>,
    plan_id: Option<String>,
    status: Option<String>,
}

fn item(app: &str, environment: &str, group: Option<&str>, key: &str) -> Result<ItemId> {
    ItemId::of(ItemPlace::of(app, environment, group)?, key)
}

fn address(asked: Option<&str>, who: &Principal) -> Result<IpAddr> {
    let text = asked.filter(|text| !text.is_empty()).unwrap_or(&who.address);
    let wrong = || Error::BadRequest(format!("`{}` is not an address", text.escape_debug()));
    text.parse::<IpAddr>().map(|address| address.to_canonical()).map_err(|_| wrong())
}

/// The value of a key for an instance.
#[utoipa::path(get, path = "/config/value", tag = "gray-release", params(ValueAsked),
    responses((status = 200, description = "the value", body = Envelope<ValueShown>)))]
pub async fn value(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<ValueAsked>,
) -> Result<Json<Envelope<ValueShown>>> {
    let id = item(&asked.app_name, &asked.environment, asked.group_name.as_deref(), &asked.config_key)?;
    let asker = Asker {
        instance: asked.instance_id.as_deref().filter(|text| !text.is_empty()),
        user: asked.user_id.as_deref().filter(|text| !text.is_empty()),
        address: address(asked.instance_ip.as_deref(), &who)?,
    };
    match asked.watch {
        true => control.watch_config_value(&who, (&id, &asker), asked.version).await.map(success),
        false => control.config_value(&who, &id, &asker).await.map(success),
    }
}

/// Write an item.
#[utoipa::path(put, path = "/config/item", tag = "gray-release", request_body = ItemSent,
    responses((status = 200, description = "it is written", body = Envelope<ItemSent>),
        (status = 202, description = "it waits for a second person", body = Envelope<ProposalWaiting>)))]
pub async fn put_item(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(sent): Body<ItemSent>,
) -> Result<Response> {
    let id = item(&sent.app_name, &sent.environment, sent.group_name.as_deref(), &sent.config_key)?;
    let group_name = Some(id.place.group.to_string());
    match control.put_config_item(&who, (&id, Some(sent.value.clone())), None, None).await? {
        ItemDone::Written { .. } => Ok(success(ItemSent { group_name, ..sent }).into_response()),
        ItemDone::Waiting(proposal) => Ok(waiting(*proposal)),
    }
}

/// Take an item away.
#[utoipa::path(delete, path = "/config/item", tag = "gray-release", params(ItemNamed),
    responses((status = 200, description = "it is gone", body = Envelope<Option<bool>>),
        (status = 202, description = "it waits for a second person", body = Envelope<ProposalWaiting>)))]
pub async fn delete_item(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<ItemNamed>,
) -> Result<Response> {
    let id = item(&asked.app_name, &asked.environment, asked.group_name.as_deref(), &asked.config_key)?;
    match control.put_config_item(&who, (&id, None), None, None).await? {
        ItemDone::Written { .. } => Ok(success(None::<bool>).into_response()),
        ItemDone::Waiting(proposal) => Ok(waiting(*proposal)),
    }
}

async fn body(request: Request) -> Result<Map<String, Value>> {
    let bytes = read_body(request, BODY_LIMIT).await?;
    let mut fields: Map<String, Value> = read(&bytes)?;
    // What an answer carried along is ours to say.
    fields.remove("planId");
    fields.remove("status");
    Ok(fields)
}

fn answered(done: PlanDone) -> Response {
    match done {
        PlanDone::Written(plan) => success(plan).into_response(),
        PlanDone::Removed => success(None::<bool>).into_response(),
        PlanDone::Waiting(proposal) => waiting(*proposal),
    }
}

/// Make a draft of a plan.
#[utoipa::path(post, path = "/plan", tag = "gray-release", request_body = GrayPlan,
    responses((status = 200, description = "the draft, with its `planId`", body = Envelope<GrayPlan>)))]
pub async fn make(State(control): State<Arc<Control>>, Who(who): Who, request: Request) -> Result<Response> {
    who.may_somewhere(crate::people::Permission::Write)?;
    control.make_gray_plan(&who, body(request).await?).await.map(answered)
}

/// All plans of values, or those of a state or an application.
#[utoipa::path(get, path = "/plan", tag = "gray-release", params(PlansAsked),
    responses((status = 200, description = "the plans", body = Envelope<Page<GrayPlan>>)))]
pub async fn list(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<PlansAsked>,
) -> Result<Response> {
    let limit = read_limit(asked.limit.as_deref())?;
    let which = (asked.status.as_deref(), asked.app_name.as_deref());
    let mut items = control.gray_plans(&who, which).await?;
    let id = |plan: &Map<String, Value>| plan.get("planId").and_then(Value::as_str).map(str::to_owned);
    if let Some(after) = &asked.after {
        items.retain(|plan| id(plan).is_some_and(|id| id > *after));
    }
    let is_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| is_more).and_then(id);
    Ok(success(Page { items, next }).into_response())
}

/// A plan.
#[utoipa::path(get, path = "/plan/{id}", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "the plan", body = Envelope<GrayPlan>)))]
pub async fn get(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Response> {
    Ok(success(control.gray_plan(&who, &id).await?).into_response())
}

/// Change a draft.
#[utoipa::path(put, path = "/plan/{id}", tag = "gray-release", params(("id" = String, Path)), request_body = GrayPlan,
    responses((status = 200, description = "the draft", body = Envelope<GrayPlan>)))]
pub async fn change(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
    request: Request,
) -> Result<Response> {
    who.may_somewhere(crate::people::Permission::Write)?;
    control.change_gray_plan(&who, &id, body(request).await?).await.map(answered)
}

/// Take a draft away.
#[utoipa::path(delete, path = "/plan/{id}", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "it is gone", body = Envelope<Option<bool>>)))]
pub async fn remove(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Response> {
    control.remove_gray_plan(&who, &id).await.map(answered)
}

/// Start, pause, resume, complete or roll back.
#[utoipa::path(post, path = "/plan/{id}/{action}", tag = "gray-release",
    params(("id" = String, Path), ("action" = String, Path, description = "`start`, `pause`, `resume`, `complete` or `rollback`")),
    request_body = ReasonSent,
    responses((status = 200, description = "the plan as it is now", body = Envelope<GrayPlan>),
        (status = 202, description = "it waits for a second person", body = Envelope<ProposalWaiting>)))]
pub async fn act(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named((id, action)): Named<(String, String)>,
    Body(sent): Body<ReasonSent>,
) -> Result<Response> {
    let known = [Action::Start, Action::Pause, Action::Resume, Action::Complete, Action::Rollback];
    let action = known.into_iter().find(|known| known.as_str() == action);
    let action = action.ok_or_else(|| Error::NotFound("there is no such call".to_owned()))?;
    control.act_on_gray_plan(&who, (&id, action), sent.reason).await.map(answered)
}

/// Each key of a plan.
#[utoipa::path(get, path = "/plan/{id}/details", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "the keys", body = Envelope<Vec<DetailShown>>)))]
pub async fn details(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Json<Envelope<Vec<DetailShown>>>> {
    control.gray_plan_details(&who, &id).await.map(success)
}

/// What the account says of a plan, newest first.
#[utoipa::path(get, path = "/plan/{id}/logs", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "the records", body = Envelope<Vec<LogShown>>)))]
pub async fn logs(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Json<Envelope<Vec<LogShown>>>> {
    control.gray_plan_logs(&who, &id).await.map(success)
}

/// What instances were given last.
#[utoipa::path(get, path = "/plan/{id}/instances", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "the instances", body = Envelope<Vec<InstanceShown>>)))]
pub async fn instances(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Json<Envelope<Vec<InstanceShown>>>> {
    control.gray_plan_instances(&who, &id).await.map(success)
}

/// The figures of a plan.
#[utoipa::path(get, path = "/plan/{id}/monitor", tag = "gray-release", params(("id" = String, Path)),
    responses((status = 200, description = "the figures", body = Envelope<MonitorShown>)))]
pub async fn monitor(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
) -> Result<Json<Envelope<MonitorShown>>> {
    control.gray_plan_monitor(&who, &id).await.map(success)
}

/// Tell what was measured.
#[utoipa::path(post, path = "/plan/{id}/monitor", tag = "gray-release", params(("id" = String, Path)),
    request_body = MeasureSent,
    responses((status = 200, description = "it is taken in", body = Envelope<MeasuredShown>)))]
pub async fn measure(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(id): Named<String>,
    Body(sent): Body<MeasureSent>,
) -> Result<Json<Envelope<MeasuredShown>>> {
    let instance = sent.instance_id.unwrap_or_default();
    let instance: String = instance.chars().take(INSTANCE_LIMIT).collect();
    control.measure_gray_plan(&who, &id, (&sent.metric, sent.value, &instance)).await.map(success)
}

/// Longest name of an instance that is kept.
const INSTANCE_LIMIT: usize = 256;
