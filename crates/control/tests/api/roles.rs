//! Every role tries every call.

use graygate_control::people::Role;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, Plane};

/// A call, and the roles that may make it.
type Call = (&'static str, &'static str, Value, &'static [Role]);

const READERS: &[Role] = &[Role::Viewer, Role::Editor, Role::Operator, Role::Approver, Role::Admin];
const WRITERS: &[Role] = &[Role::Editor, Role::Operator, Role::Approver, Role::Admin];
const APPROVERS: &[Role] = &[Role::Approver, Role::Admin];
const ADMINS: &[Role] = &[Role::Admin];

fn calls() -> Vec<Call> {
    let none = Value::Null;
    vec![
        ("GET", "/me", none.clone(), &Role::ALL),
        ("GET", "/documents", none.clone(), READERS),
        ("GET", "/documents/services/patient", none.clone(), READERS),
        ("GET", "/documents/services/patient/history", none.clone(), READERS),
        ("GET", "/lists/pilots", none.clone(), READERS),
        ("GET", "/audit", none.clone(), READERS),
        ("GET", "/proposals", none.clone(), READERS),
        ("GET", "/metrics", none.clone(), READERS),
        ("PUT", "/documents/rules/new", json!("version: gray\nservices: [patient]\n"), WRITERS),
        ("PUT", "/documents/rules/new?dry_run=true", json!("version: gray\nservices: [patient]\n"), WRITERS),
        ("DELETE", "/documents/rules/none", none.clone(), WRITERS),
        ("POST", "/documents/rules/none/undo", json!({"to": 1}), WRITERS),
        ("POST", "/changes", json!({"deletes": ["rules/none"]}), WRITERS),
        ("PUT", "/lists/pilots", json!("alice\n"), WRITERS),
        ("POST", "/lists/pilots/members", json!({"add": ["bob"]}), WRITERS),
        ("POST", "/proposals/none/approve", json!({"hash": "x"}), APPROVERS),
        ("POST", "/proposals/none/reject", json!({}), APPROVERS),
        ("GET", "/users", none.clone(), ADMINS),
        ("GET", "/users/nobody", none.clone(), ADMINS),
        ("POST", "/users", json!({"name": "x", "password": "short", "roles": []}), ADMINS),
        ("PUT", "/users/nobody", json!({"roles": [{"role": "admin"}]}), ADMINS),
        ("DELETE", "/users/nobody", none.clone(), ADMINS),
        ("GET", "/tokens", none.clone(), ADMINS),
        ("POST", "/tokens", json!({"name": "x", "user": "nobody", "role": "admin"}), ADMINS),
        ("DELETE", "/tokens/none", none, ADMINS),
    ]
}

async fn send(client: &Client, (method, path, body, _): &Call) -> Answer {
    let text = match body {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    client.send(method, path, &text).await
}

#[tokio::test]
async fn each_role_may_make_its_calls_and_no_others() {
    let plane = Plane::start().await;
    let setup = plane.person("setup", Role::Admin).await;
    setup.put("/lists/pilots", "alice\n").await.is(201);
    for role in Role::ALL {
        let client = plane.person(role.as_str(), role).await.new_one();
        for call in calls() {
            let answer = send(&client, &call).await;
            let may = call.3.contains(&role);
            let name = format!("{} {} {}", role.as_str(), call.0, call.1);
            assert_eq!(answer.status != 403, may, "{name}: {} {}", answer.status, answer.text());
            assert!(!matches!(answer.status, 401 | 500..), "{name}: {} {}", answer.status, answer.text());
        }
    }
}

#[tokio::test]
async fn nobody_makes_no_call_however_it_is_spelled() {
    let plane = Plane::start().await;
    let nobody = plane.nobody();
    for call in calls() {
        let answer = send(&nobody, &call).await;
        assert_eq!(answer.status, 401, "{} {}: {}", call.0, call.1, answer.text());
    }
    let openapi = graygate_control::api::openapi();
    for path in openapi.paths.paths.keys() {
        for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "HEAD", "OPTIONS"] {
            let path = path.replace(['{', '}'], "");
            if path.ends_with("/session") && method == "POST" {
                continue;
            }
            assert_eq!(nobody.send(method, &path, "{}").await.status, 401, "{method} {path}");
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
        let status = nobody.get(path).await.status;
        assert!(status == 401, "{path}: {status}");
    }
    for path in ["/", "/console", "//api/v1/documents", "/healthz/../api/v1/documents"] {
        let answer = nobody.get(path).await;
        assert_eq!(
            (answer.status, answer.headers["location"].to_str().unwrap()),
            (303, "/sign-in"),
            "{path}"
        );
    }
    assert_eq!(nobody.get("/healthz").await.status, 200);
    assert_eq!(nobody.get("/readyz").await.status, 200);
}
