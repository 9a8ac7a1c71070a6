//! The registries instances come from.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::answer::Page;
use super::extract::Who;
use crate::control::Control;
use crate::error::Result;
use crate::people::Permission;
use crate::registries::status::RegistryShown;

/// Every registry: whether it is linked and, per service, its instances, which are held back, and why.
#[utoipa::path(get, path = "/registries", tag = "registries",
    responses((status = 200, description = "all registries", body = Page<RegistryShown>)))]
pub async fn registries(
    State(control): State<Arc<Control>>,
    Who(who): Who,
) -> Result<Json<Page<RegistryShown>>> {
    who.may_somewhere(Permission::Read)?;
    let items = control.registries.borrow().registries.clone();
    Ok(Json(Page { items, next: None }))
}
