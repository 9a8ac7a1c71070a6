//! The API: thin handlers around the functions of [`Control`](crate::control::Control), and the guard before all of them.
//!
//! Owns: paths, status codes, headers, bodies and their limits, and the OpenAPI document, which is made of the handlers'
//! types. Never: logic of its own; the console calls the same functions. Start at [`router`].

mod accounts;
mod answer;
mod ask;
mod audit;
mod channels;
mod configs;
mod documents;
mod envelope;
mod extract;
mod gateway;
mod gray_release;
mod guard;
mod headers;
mod lists;
mod live;
mod messages;
mod oidc;
mod plans;
mod proposals;
mod registries;
mod report;
mod short;
mod site;
mod stream;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use answer::{Page, Tagged, problem};
pub use extract::{Ask, Body, Named, Who, read_body, text};
pub use guard::{From, Peer, THERE_COOKIE, Unproven, is_place, session_cookie, set_cookie};
pub use short::Answers;
pub use site::{BASE, BODY_LIMIT, Front, Site};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "graygate control plane",
    description = "Who gets which version: documents, plans, people and what happened. Errors are RFC 9457 \
                   problems; see the documentation for the meaning of each call.",
    license(name = "Apache-2.0", identifier = "Apache-2.0")
))]
struct Description;

fn calls() -> OpenApiRouter<Site> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(accounts::sign_in, accounts::sign_out))
        .routes(routes!(accounts::me))
        .routes(routes!(accounts::users, accounts::add_user))
        .routes(routes!(accounts::user, accounts::change_user, accounts::remove_user))
        .routes(routes!(accounts::tokens, accounts::add_token))
        .routes(routes!(accounts::remove_token))
        .routes(routes!(audit::audit))
        .routes(routes!(stream::events))
        .routes(routes!(documents::list))
        .routes(routes!(documents::get, documents::put, documents::delete))
        .routes(routes!(documents::get_part, documents::put_part, documents::delete_part))
        .routes(routes!(documents::changes))
        .routes(routes!(documents::history))
        .routes(routes!(documents::history_part))
        .routes(routes!(documents::undo))
        .routes(routes!(documents::undo_part))
        .routes(routes!(lists::list_get, lists::list_put))
        .routes(routes!(lists::list_members))
        .routes(routes!(proposals::proposals))
        .routes(routes!(proposals::proposal))
        .routes(routes!(proposals::approve))
        .routes(routes!(proposals::reject))
        .routes(routes!(ask::explain))
        .routes(routes!(ask::replay))
        .routes(routes!(plans::list))
        .routes(routes!(plans::get, plans::put, plans::delete))
        .routes(routes!(plans::act))
        .routes(routes!(plans::evidence))
        .routes(routes!(report::report))
        .routes(routes!(plans::runs))
        .routes(routes!(registries::registries))
        .routes(routes!(live::services))
        .routes(routes!(live::fleet))
        .routes(routes!(messages::messages))
        .routes(routes!(messages::read))
        .routes(routes!(channels::channels))
        .routes(routes!(channels::test))
        .routes(routes!(channels::deliveries))
        .routes(routes!(configs::list))
        .routes(routes!(configs::get, configs::put, configs::delete))
}

/// What platforms of hospitals speak.
fn gateway_calls() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(gateway::info_by_user))
        .routes(routes!(gateway::info))
        .routes(routes!(gateway::is_gray_user))
        .routes(routes!(gateway::setting))
        .routes(routes!(gateway::save))
        .routes(routes!(gateway::versions))
        .routes(routes!(gateway::change_versions))
}

/// What platforms speak that move configuration values.
fn gray_release_calls() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .routes(routes!(gray_release::make, gray_release::list))
        .routes(routes!(gray_release::get, gray_release::change, gray_release::remove))
        .routes(routes!(gray_release::act))
        .routes(routes!(gray_release::details))
        .routes(routes!(gray_release::logs))
        .routes(routes!(gray_release::instances))
        .routes(routes!(gray_release::monitor, gray_release::measure))
        .routes(routes!(gray_release::value))
        .routes(routes!(gray_release::put_item, gray_release::delete_item))
}

/// Everything that is described.
fn described() -> OpenApiRouter<Site> {
    OpenApiRouter::new()
        .nest(BASE, calls())
        .nest(envelope::GATEWAY, gateway_calls())
        .nest(envelope::GRAY_RELEASE, gray_release_calls())
}

/// The OpenAPI document.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = described().into_openapi();
    document.info = Description::openapi().info;
    answer::describe_problems(&mut document);
    document
}

/// Everything that answers at the control address. `rooms` are what others add beside it, such as the console.
pub fn router(site: Site, rooms: Router<Site>) -> Answers {
    let document = Arc::new(openapi().to_pretty_json().unwrap_or_default());
    let served = {
        let document = document.clone();
        get(move || answer::openapi_document(document.clone()))
    };
    let (calls, _) = described().split_for_parts();
    let whole = Router::new()
        .merge(calls)
        .route("/api/v1/openapi.json", served.clone())
        .route("/api/openapi.json", served)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(answer::readyz))
        .route("/metrics", get(answer::metrics))
        .route("/sign-in/once/{invitation}", get(accounts::accept))
        .route("/sign-in/oidc", get(oidc::begin))
        .route("/sign-in/oidc/callback", get(oidc::finish))
        .merge(rooms)
        .fallback(answer::no_such_call)
        .method_not_allowed_fallback(answer::no_such_method)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(site.clone(), guard::guard))
        .layer(from_fn(envelope::envelop));
    let whole = match site.front.path.as_str() {
        "" => whole,
        // What is not below the prefix is nothing, and takes a principal all the same.
        path => {
            let outside = Router::new()
                .fallback(answer::no_such_call)
                .layer(from_fn_with_state(site.clone(), guard::guard))
                .with_state(site.clone());
            // The prefix with a slash behind it is the first page too, which a nested router does not take for its root.
            let first = tower::ServiceBuilder::new()
                .map_request(at_root)
                .service(whole.clone().with_state(site.clone()));
            let slash = format!("{path}/");
            Router::new().nest(path, whole).route_service(&slash, first).fallback_service(outside)
        }
    };
    let whole = whole.layer(from_fn_with_state(site.clone(), headers::dress)).with_state(site.clone());
    Answers::new(&site, whole)
}

/// The same request for the root.
fn at_root(mut request: Request) -> Request {
    let query = request.uri().query().map(|query| format!("/?{query}"));
    let root = query.as_deref().unwrap_or("/").parse();
    if let Ok(root) = root {
        *request.uri_mut() = root;
    }
    request
}
