//! `/gateway`: what platforms of hospitals speak.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use graygate_rules::import::hospital::Setting;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::envelope::{Envelope, ProposalWaiting, read, success, waiting};
use super::extract::{Ask, Body, Who, read_body};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::gateway::{Question, Saved, SettingFields, SettingShown, VersionTold, Versions, Wanted};

/// Largest setting: its lists are sent with it.
const SETTING_LIMIT: usize = 256 << 20;
/// What a save says beside the setting's own fields; a password is taken, and kept nowhere.
const BESIDE: [&str; 4] = ["revision", "allowEmpty", "reason", "password"];

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct UserAsked {
    user_id: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub struct InfoAsked {
    /// A hospital's source code.
    hospital: Option<String>,
    /// The host.
    domain: Option<String>,
    /// A customer where the header `Domainsign` ends in `CUST`, else a business user.
    customer_id: Option<String>,
    /// The path; `/` where it is left out.
    path: Option<String>,
}

/// The setting, the revision that was read, and whether lists may lose all their members.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it is a description of what is sent and never made")]
pub struct SettingSent {
    #[schema(inline)]
    setting: SettingFields,
    revision: u64,
    allow_empty: bool,
}

fn user(asked: UserAsked) -> Result<String> {
    let user = asked.user_id.filter(|user| !user.is_empty());
    user.ok_or_else(|| Error::BadRequest("`userId` is missing".to_owned()))
}

/// The version of a user, who is asked for as a customer.
#[utoipa::path(get, path = "/infoByUserId", tag = "gateway", params(UserAsked),
    responses((status = 200, description = "the version and role", body = Envelope<VersionTold>)))]
pub async fn info_by_user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<UserAsked>,
) -> Result<Json<Envelope<VersionTold>>> {
    control.gateway_version(&who, &Question::of_user(&user(asked)?)).map(success)
}

/// Whether a user gets gray.
#[utoipa::path(get, path = "/isGrayUser", tag = "gateway", params(UserAsked),
    responses((status = 200, description = "whether the user gets gray", body = Envelope<bool>)))]
pub async fn is_gray_user(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Ask(asked): Ask<UserAsked>,
) -> Result<Json<Envelope<bool>>> {
    let told = control.gateway_version(&who, &Question::of_user(&user(asked)?))?;
    Ok(success(told.application_role == "2"))
}

/// The version of a request from a hospital, a domain and a user.
#[utoipa::path(get, path = "/info", tag = "gateway",
    params(InfoAsked, ("Domainsign" = Option<String>, Header, description = "the application, and `CUST` for customers")),
    responses((status = 200, description = "the version and role", body = Envelope<VersionTold>)))]
pub async fn info(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    headers: HeaderMap,
    Ask(asked): Ask<InfoAsked>,
) -> Result<Json<Envelope<VersionTold>>> {
    let sign = headers.get("domainsign").map(|sign| String::from_utf8_lossy(sign.as_bytes()).into_owned());
    let question = Question {
        hospital: asked.hospital,
        domain: asked.domain,
        path: asked.path,
        user: asked.customer_id,
        sign,
    };
    control.gateway_version(&who, &question).map(success)
}

/// The whole setting.
#[utoipa::path(get, path = "/syn", tag = "gateway",
    responses((status = 200, description = "the setting and its revision", body = Envelope<SettingShown>)))]
pub async fn setting(
    State(control): State<Arc<Control>>,
    Who(who): Who,
) -> Result<Json<Envelope<SettingShown>>> {
    control.gateway_setting(&who).await.map(|kept| success(kept.into()))
}

/// Save the whole setting.
#[utoipa::path(post, path = "/setting", tag = "gateway", request_body = SettingSent,
    responses((status = 200, description = "the setting as it is now", body = Envelope<SettingShown>),
        (status = 202, description = "it waits for a second person", body = Envelope<ProposalWaiting>)))]
pub async fn save(State(control): State<Arc<Control>>, Who(who): Who, request: Request) -> Result<Response> {
    who.may_somewhere(crate::people::Permission::Write)?;
    let body = read_body(request, SETTING_LIMIT).await?;
    let mut fields: Map<String, Value> = read(&body)?;
    let unknown =
        |field: &&String| !Setting::FIELDS.contains(&field.as_str()) && !BESIDE.contains(&field.as_str());
    if let Some(field) = fields.keys().find(unknown) {
        return Err(Error::Invalid(format!("`{field}` is not a field of the setting")));
    }
    let missing = "`revision` is missing: send the one that `GET /gateway/syn` answered".to_owned();
    let revision = match fields.remove("revision") {
        None | Some(Value::Null) => return Err(Error::BadRequest(missing)),
        Some(Value::Number(number)) => number.as_u64().unwrap_or(0),
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        Some(_) => return Err(Error::BadRequest("`revision` is a number".to_owned())),
    };
    let may_empty = matches!(fields.remove("allowEmpty"), Some(Value::Bool(true)));
    let reason = match fields.remove("reason") {
        Some(Value::String(reason)) => Some(reason),
        _ => None,
    };
    fields.remove("password");
    let setting = serde_json::from_value::<Setting>(Value::Object(fields))
        .map_err(|error| Error::Invalid(format!("the setting cannot be read: {error}")))?;
    match control.gateway_save(&who, (revision, Wanted { setting, may_empty }), reason).await? {
        Saved::Kept(kept) => Ok(success(SettingShown::from(kept)).into_response()),
        Saved::Waiting(proposal) => Ok(waiting(*proposal)),
    }
}

/// What the two versions stand for.
#[utoipa::path(post, path = "/version/info", tag = "gateway",
    responses((status = 200, description = "the aliases", body = Envelope<Versions>)))]
pub async fn versions(
    State(control): State<Arc<Control>>,
    Who(who): Who,
) -> Result<Json<Envelope<Versions>>> {
    control.gateway_versions(&who).map(success)
}

/// Let the two versions stand for others.
#[utoipa::path(post, path = "/version/update", tag = "gateway", request_body = Versions,
    responses((status = 200, description = "both as they are now", body = Envelope<Versions>),
        (status = 202, description = "it waits for a second person", body = Envelope<ProposalWaiting>)))]
pub async fn change_versions(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Body(sent): Body<Versions>,
) -> Result<Response> {
    match control.gateway_change_versions(&who, sent).await? {
        Saved::Kept(versions) => Ok(success(versions).into_response()),
        Saved::Waiting(proposal) => Ok(waiting(*proposal)),
    }
}
