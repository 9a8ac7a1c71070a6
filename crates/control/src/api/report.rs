//! The report of a run.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Ask, Named, Who, text};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::report::{Language, policy};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ReportAsked {
    /// Left out: the newest.
    run: Option<u64>,
    /// `en` or `zh`.
    lang: Option<String>,
}

/// What was planned, what happened, on which figures, and who did what: one self-contained page, or Markdown.
#[utoipa::path(get, path = "/plans/{name}/report", tag = "plans", params(("name" = String, Path), ReportAsked),
    responses((status = 200, description = "the report", content(
        (String = "text/html"), (String = "text/markdown")))))]
pub async fn report(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    Named(name): Named<String>,
    Ask(asked): Ask<ReportAsked>,
    headers: HeaderMap,
) -> Result<Response> {
    let language = match asked.lang.as_deref() {
        None => Language::default(),
        Some(code) => Language::parse(code).ok_or_else(|| {
            Error::BadRequest(format!("`{code}` is not a language; there are `en` and `zh`"))
        })?,
    };
    let story = control.plan_report(&who, &name, (asked.run, language)).await?;
    if text(&headers, "accept").is_some_and(|accepted| accepted.contains("text/markdown")) {
        return Ok(
            ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], story.markdown()).into_response()
        );
    }
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], story.html()).into_response();
    if let Ok(policy) = HeaderValue::try_from(policy()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
