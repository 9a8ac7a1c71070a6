//! Every role tries every call.

use graygate_control::people::Role;
use serde_json::{Value, json};

use crate::harness::{Client, Plane};
use crate::session::is_of;
use crate::stores::World;

/// A call, and the roles that may make it.
type Call = (&'static str, &'static str, Value, &'static [Role]);

const READERS: &[Role] = &[Role::Viewer, Role::Editor, Role::Operator, Role::Approver, Role::Admin];
const WRITERS: &[Role] = &[Role::Editor, Role::Operator, Role::Approver, Role::Admin];
const OPERATORS: &[Role] = &[Role::Operator, Role::Approver, Role::Admin];
const APPROVERS: &[Role] = &[Role::Approver, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];
const REPORTERS: &[Role] = &[Role::Reporter, Role::Admin];
const RULE: &str = "version: gray\nservices: [patient]\n";

fn calls() -> Vec<Call> {
    [live(), documents(), plans(), people(), platforms()].concat()
}

fn live() -> Vec<Call> {
    let question = json!({"url": "/"});
    vec![
        ("GET", "/me", Value::Null, &Role::ALL),
        ("DELETE", "/session", Value::Null, &Role::ALL),
        ("GET", "/metrics", Value::Null, READERS),
        ("GET", "/services", Value::Null, READERS),
        ("GET", "/fleet", Value::Null, READERS),
        ("GET", "/registries", Value::Null, READERS),
        ("GET", "/events", Value::Null, READERS),
        ("GET", "/audit", Value::Null, READERS),
        ("GET", "/messages", Value::Null, READERS),
        ("POST", "/messages/none/read", Value::Null, READERS),
        ("GET", "/channels", Value::Null, READERS),
        ("GET", "/deliveries", Value::Null, READERS),
        ("POST", "/channels/none/test", Value::Null, OPERATORS),
        ("POST", "/explain", question, READERS),
        ("POST", "/replay", json!({"drafts": {}, "sample": {"identities": 1}}), READERS),
    ]
}

fn documents() -> Vec<Call> {
    let (none, undo) = (Value::Null, json!({"to": 1}));
    let instance = json!("address: \"127.0.0.1:9009\"\nversion: gray\n");
    vec![
        ("GET", "/documents", none.clone(), READERS),
        ("GET", "/documents/services/patient", none.clone(), READERS),
        ("GET", "/documents/services/patient/history", none.clone(), READERS),
        ("PUT", "/documents/rules/new", json!(RULE), WRITERS),
        ("PUT", "/documents/rules/new?dry_run=true", json!(RULE), WRITERS),
        ("DELETE", "/documents/rules/none", none.clone(), WRITERS),
        ("POST", "/documents/rules/none/undo", undo.clone(), WRITERS),
        ("GET", "/documents/instances/patient/none", none.clone(), READERS),
        ("GET", "/documents/instances/patient/none/history", none.clone(), READERS),
        ("PUT", "/documents/instances/patient/p9", instance, WRITERS),
        ("DELETE", "/documents/instances/patient/none", none.clone(), WRITERS),
        ("POST", "/documents/instances/patient/none/undo", undo, WRITERS),
        ("POST", "/changes", json!({"deletes": ["rules/none"]}), WRITERS),
        ("GET", "/lists/pilots", none.clone(), READERS),
        ("PUT", "/lists/pilots", json!("alice\n"), WRITERS),
        ("POST", "/lists/pilots/members", json!({"add": ["bob"]}), WRITERS),
        ("GET", "/configs", none.clone(), READERS),
        ("GET", "/configs/a/prod/g/none", none.clone(), READERS),
        ("PUT", "/configs/a/prod/g/k", json!({"value": "1"}), WRITERS),
        ("DELETE", "/configs/a/prod/g/none", none, WRITERS),
    ]
}

fn plans() -> Vec<Call> {
    let (none, reason) = (Value::Null, json!({"reason": "x"}));
    let plan = json!("services: [patient]\nversion: gray\nsteps: [{share: 5}]\n");
    let mut calls: Vec<Call> = vec![
        ("GET", "/plans", none.clone(), READERS),
        ("GET", "/plans/p", none.clone(), READERS),
        ("GET", "/plans/p/runs", none.clone(), READERS),
        ("GET", "/plans/p/evidence", none.clone(), READERS),
        ("GET", "/plans/p/report", none.clone(), READERS),
        ("PUT", "/plans/p", plan, WRITERS),
        ("DELETE", "/plans/none", none.clone(), WRITERS),
        ("GET", "/proposals", none.clone(), READERS),
        ("GET", "/proposals/none", none, READERS),
        ("POST", "/proposals/none/approve", json!({"hash": "x"}), APPROVERS),
        ("POST", "/proposals/none/reject", json!({}), APPROVERS),
    ];
    for action in ["start", "pause", "resume", "advance", "complete", "rollback", "promote"] {
        calls.push(("POST", format!("/plans/p/{action}").leak(), reason.clone(), OPERATORS));
    }
    for action in ["approve", "reject"] {
        calls.push(("POST", format!("/plans/p/{action}").leak(), reason.clone(), APPROVERS));
    }
    calls
}

fn people() -> Vec<Call> {
    let none = Value::Null;
    vec![
        ("GET", "/users", none.clone(), ADMINS),
        ("GET", "/users/stranger", none.clone(), ADMINS),
        ("POST", "/users", json!({"name": "x", "password": "short", "roles": []}), ADMINS),
        ("PUT", "/users/stranger", json!({"roles": [{"role": "admin"}]}), ADMINS),
        ("DELETE", "/users/stranger", none.clone(), ADMINS),
        ("GET", "/tokens", none.clone(), ADMINS),
        ("POST", "/tokens", json!({"name": "x", "user": "stranger", "role": "admin"}), ADMINS),
        ("DELETE", "/tokens/none", none, ADMINS),
    ]
}

/// What platforms speak that know `/gateway` and `/api/gray-release`.
fn platforms() -> Vec<Call> {
    let none = Value::Null;
    let plan = json!({"planName": "x", "appName": "a", "environment": "prod", "grayValues": {"k": "1"},
        "grayStrategy": "USER_WHITELIST", "grayRules": {"userWhitelist": ["u"]}});
    let item = json!({"appName": "a", "environment": "prod", "configKey": "k", "value": "1"});
    let place = "appName=a&environment=prod&configKey=none";
    let mut calls: Vec<Call> = vec![
        ("GET", "/gateway/infoByUserId?userId=u", none.clone(), READERS),
        ("GET", "/gateway/info?customerId=u", none.clone(), READERS),
        ("GET", "/gateway/isGrayUser?userId=u", none.clone(), READERS),
        ("GET", "/gateway/syn", none.clone(), READERS),
        ("POST", "/gateway/setting", json!({}), WRITERS),
        ("POST", "/gateway/version/info", json!({}), READERS),
        ("POST", "/gateway/version/update", json!({"grayVersion": "v8"}), WRITERS),
        ("POST", "/api/gray-release/plan", plan.clone(), WRITERS),
        ("GET", "/api/gray-release/plan", none.clone(), READERS),
        ("GET", "/api/gray-release/plan/none", none.clone(), READERS),
        ("PUT", "/api/gray-release/plan/none", plan, WRITERS),
        ("DELETE", "/api/gray-release/plan/none", none.clone(), WRITERS),
        ("GET", "/api/gray-release/plan/none/details", none.clone(), READERS),
        ("GET", "/api/gray-release/plan/none/logs", none.clone(), READERS),
        ("GET", "/api/gray-release/plan/none/monitor", none.clone(), READERS),
        ("GET", "/api/gray-release/plan/none/instances", none.clone(), READERS),
        (
            "POST",
            "/api/gray-release/plan/none/monitor",
            json!({"metric": "error_rate", "value": 1.0}),
            REPORTERS,
        ),
        ("GET", format!("/api/gray-release/config/value?{place}").leak(), none.clone(), READERS),
        ("PUT", "/api/gray-release/config/item", item, WRITERS),
        ("DELETE", format!("/api/gray-release/config/item?{place}").leak(), none, WRITERS),
    ];
    for action in ["start", "pause", "resume", "complete", "rollback"] {
        calls.push(("POST", format!("/api/gray-release/plan/none/{action}").leak(), json!({}), OPERATORS));
    }
    calls
}

/// The status and the body; of a stream, which has no end, nothing.
async fn send(client: &Client, (method, path, body, _): &Call) -> (u16, String) {
    let text = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if *path == "/events" {
        return (client.open(method, path, &text).await.status().as_u16(), String::new());
    }
    let answer = client.send(method, path, &text).await;
    (answer.status, answer.text())
}

#[test]
fn the_table_has_every_call() {
    let calls = calls();
    for (described, item) in &graygate_control::api::openapi().paths.paths {
        let here = described.strip_prefix("/api/v1").unwrap_or(described);
        let methods =
            [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)];
        for (method, _) in methods.into_iter().filter(|(_, call)| call.is_some()) {
            let is_open = (method, here) == ("POST", "/session");
            let is_tried = calls.iter().any(|call| call.0 == method && is_of(here, call.1));
            assert!(is_open || is_tried, "{method} {described}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_make_its_calls_and_no_others() {
    let mut world = World::directory("hospital: {services: [patient], gray: gray, release: release}\n");
    let service = "instances: [{address: \"127.0.0.1:9001\", version: release}, {address: \"127.0.0.1:9002\", version: gray}]\n";
    let plan = "services: [patient]\nversion: gray\nsteps: [{share: 5}]\n";
    let documents = [("services/patient", service), ("plans/p", plan), ("lists/pilots", "alice\n")];
    world.fill(&documents.map(|(name, text)| (name.to_owned(), text.to_owned()))).await;
    let process = world.start().await;
    let mut wrong = Vec::new();
    for role in Role::ALL {
        let client = process.person(role.as_str(), role).await.new_one();
        for call in calls() {
            let (status, text) = send(&client, &call).await;
            let may = call.3.contains(&role);
            if (status != 403) != may || matches!(status, 401 | 500..) {
                wrong.push(format!("{} {} {}: {status} {text}", role.as_str(), call.0, call.1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn no_client_makes_no_call_however_it_is_spelled() {
    let plane = Plane::start().await;
    let stranger = plane.stranger();
    for call in calls() {
        let (status, text) = send(&stranger, &call).await;
        assert_eq!(status, 401, "{} {}: {text}", call.0, call.1);
    }
    let openapi = graygate_control::api::openapi();
    for path in openapi.paths.paths.keys() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            let path = path.replace(['{', '}'], "");
            if path.ends_with("/session") && method == "POST" {
                continue;
            }
            assert_eq!(stranger.send(method, &path, "{}").await.status, 401, "{method} {path}");
        }
    }
    for path in [
        "/api/v1//documents",
        "/api/v1/documents/",
        "/api/v1/./documents",
        "/api/v1/%64ocuments",
        "/api/v1/documents.js",
        "/api/v1/documents/x.css",
        "/API/V1/documents",
        "/api/v1/session/../documents",
        "/api/v1/sign-in",
        "/api",
        "/api/v1/documents;x=/healthz",
    ] {
        let status = stranger.get(path).await.status;
        assert!(status == 401, "{path}: {status}");
    }
    for path in ["/", "/console", "//api/v1/documents", "/healthz/../api/v1/documents"] {
        let answer = stranger.get(path).await;
        assert_eq!(
            (answer.status, answer.headers["location"].to_str().unwrap()),
            (303, "/sign-in"),
            "{path}"
        );
    }
    assert_eq!(stranger.get("/healthz").await.status, 200);
    assert_eq!(stranger.get("/readyz").await.status, 200);
}
