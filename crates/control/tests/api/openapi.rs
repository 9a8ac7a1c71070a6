//! The description of the API is the one that is committed, and it names every call.

use std::path::Path;

use serde_json::Value;

#[test]
fn the_committed_description_is_the_handlers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let now = format!("{}\n", graygate_control::api::openapi().to_pretty_json().unwrap());
    if std::env::var_os("GRAYGATE_WRITE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == now,
        "the handlers have changed: run this test with GRAYGATE_WRITE=1 and look at the difference"
    );
}

#[test]
fn every_call_says_what_else_it_may_answer() {
    let described: Value = serde_json::to_value(graygate_control::api::openapi()).unwrap();
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, call) in item.as_object().unwrap() {
            if ["get", "put", "post", "delete"].contains(&method.as_str()) {
                assert!(call["responses"].get("default").is_some(), "{method} {path}");
            }
        }
    }
    let calls = described["paths"].as_object().unwrap();
    for path in [
        "/documents",
        "/documents/{kind}/{name}",
        "/changes",
        "/documents/{kind}/{name}/history",
        "/documents/{kind}/{name}/undo",
        "/lists/{name}",
        "/lists/{name}/members",
        "/explain",
        "/replay",
        "/services",
        "/fleet",
        "/audit",
        "/messages",
        "/messages/{id}/read",
        "/channels",
        "/channels/{name}/test",
        "/deliveries",
        "/session",
        "/me",
        "/users",
        "/users/{name}",
        "/tokens",
        "/tokens/{id}",
        "/events",
        "/proposals",
        "/proposals/{id}/approve",
        "/proposals/{id}/reject",
    ] {
        assert!(calls.contains_key(&format!("/api/v1{path}")), "{path} is not described");
    }
}
