//! Server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::extract::{Who, text};
use crate::control::{Control, EventKind};
use crate::error::{Error, Result};
use crate::people::Permission;

/// Between two signs of life of a stream without events.
const ALIVE: Duration = Duration::from_secs(10);
/// How long a stream lasts before its reader has to come again: rights that were taken away end with it. Each batch
/// is checked as well.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// What happens, as it happens.
#[utoipa::path(get, path = "/events", tag = "live",
    params(("Last-Event-ID" = Option<String>, Header, description = "go on behind this event")),
    responses((status = 200, description = "server-sent events", body = String, content_type = "text/event-stream")))]
pub async fn events(
    State(control): State<Arc<Control>>,
    Who(who): Who,
    headers: HeaderMap,
) -> Result<Response> {
    who.may_somewhere(Permission::Read)?;
    let last = text(&headers, "last-event-id");
    let Some(place) = control.events.subscribe(&who.name, last) else {
        let detail = format!("{} streams of one principal are open already", crate::control::STREAM_LIMIT);
        return Err(Error::TooMany { detail, after: ALIVE });
    };
    let batches = stream::unfold((control, place, who), |(control, mut place, who)| async move {
        loop {
            let next = tokio::time::timeout(CHECK_EVERY, control.events.next(&mut place)).await;
            if !control.is_still(&who).await {
                return None;
            }
            if let Ok(batch) = next {
                let shown: Vec<_> = batch
                    .iter()
                    .map(|event| {
                        let id = control.events.id(event.number);
                        let body = event.body.to_string();
                        debug_assert!(event.kind != EventKind::Reset || !body.contains('\n'));
                        Ok::<_, Infallible>(Event::default().id(id).event(event.kind.as_str()).data(body))
                    })
                    .collect();
                return Some((stream::iter(shown), (control, place, who)));
            }
        }
    });
    let alive = KeepAlive::new().interval(ALIVE).text("alive");
    let mut response = Sse::new(batches.flatten()).keep_alive(alive).into_response();
    // An ingress that gathers what it forwards would hold events back.
    let unbuffered = HeaderName::from_static("x-accel-buffering");
    response.headers_mut().insert(unbuffered, HeaderValue::from_static("no"));
    Ok(response)
}
