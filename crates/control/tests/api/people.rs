//! People, tokens and sessions.

use graygate_control::people::Role;
use serde_json::json;

use crate::harness::{PASSWORD, Plane};

#[tokio::test]
async fn a_session_begins_with_a_password_and_ends() {
    let plane = Plane::start().await;
    plane.person("li", Role::Editor).await;
    let stranger = plane.stranger();
    stranger.get("/me").await.is(401);
    stranger.post("/session", json!({"user": "li", "password": "wrong horse battery"})).await.is(401);
    let answer = stranger.post("/session", json!({"user": "li", "password": PASSWORD})).await.is(201);
    let cookie = answer.headers["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
    let pair = cookie.split(';').next().unwrap().to_owned();
    let li = stranger.with("cookie", &pair);
    let me = li.get("/me").await.is(200).json();
    assert_eq!((&me["user"], &me["via"], &me["csrf"]), (&json!("li"), &json!("session"), &json!(csrf)));
    assert_eq!(me["actions"]["document.put"], json!({"allowed": true}));
    assert!(me["actions"]["user.add"]["why"].as_str().unwrap().contains("`admin`"));

    // A write carries the session's token, and comes from our own pages.
    let rule = "version: gray\nservices: [patient]\n";
    let new = li.new_one();
    new.put("/documents/rules/x", rule).await.is(403);
    let new = new.with("x-graygate-csrf", &csrf);
    new.with("origin", "http://evil.example").put("/documents/rules/x", rule).await.is(403);
    new.with("sec-fetch-site", "cross-site").put("/documents/rules/x", rule).await.is(403);
    new.with("sec-fetch-site", "same-origin").put("/documents/rules/x", rule).await.is(201);

    // Another sign-in has another id, and an end is an end.
    let again = stranger.post("/session", json!({"user": "li", "password": PASSWORD})).await.is(201);
    assert_ne!(again.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap(), pair);
    li.with("x-graygate-csrf", &csrf).delete("/session").await.is(204);
    li.get("/me").await.is(401);
}

#[tokio::test]
async fn accounts_and_tokens_are_made_changed_and_taken_away() {
    let plane = Plane::start().await;
    let admin = plane.person("admin", Role::Admin).await;
    let new = json!({"name": "li", "password": "ninechars", "roles": [{"role": "editor", "services": ["patient"]}]});
    admin.post("/users", new).await.is(422);
    let new =
        json!({"name": "li", "password": PASSWORD, "roles": [{"role": "editor", "services": ["patient"]}]});
    let made = admin.post("/users", new.clone()).await.is(201);
    assert_eq!(made.json()["roles"], json!([{"role": "editor", "services": ["patient"]}]));
    admin.post("/users", new).await.is(409);
    let users = admin.get("/users").await.is(200).json();
    assert_eq!(users["items"].as_array().unwrap().len(), 2);
    assert!(!users.to_string().contains("argon2"));
    let token = admin
        .post(
            "/tokens",
            json!({"name": "ci", "user": "li", "role": "viewer", "expires": "2099-01-01T00:00:00Z"}),
        )
        .await
        .is(201)
        .json();
    let li = plane.stranger().with("authorization", &format!("Bearer {}", token["token"].as_str().unwrap()));
    assert_eq!(li.get("/me").await.is(200).json()["via"], "token");
    li.new_one().put("/documents/rules/x", "version: gray\nservices: [patient]\n").await.is(403);
    let tokens = admin.get("/tokens").await.is(200).text();
    assert!(!tokens.contains(token["token"].as_str().unwrap()) && !tokens.contains("hash"));
    let roles = json!({"roles": [{"role": "viewer"}]}).to_string();
    admin.put("/users/li", &roles).await.is(428);
    admin.if_match("\"0\"").put("/users/li", &roles).await.is(412);
    let etag = admin.get("/users/li").await.is(200).etag();
    let changed = admin.if_match(&etag).put("/users/li", &roles).await.is(200).etag();
    admin.if_match(&etag).put("/users/li", &roles).await.is(412);
    admin.delete(&format!("/tokens/{}", token["id"].as_str().unwrap())).await.is(204);
    li.get("/me").await.is(401);
    admin.delete("/users/li").await.is(428);
    admin.if_match(&changed).delete("/users/li").await.is(204);
    admin.delete("/users/li").await.is(404);
    admin.if_match("*").delete("/users/admin").await.is(409);
    let audit = admin.get("/audit").await.is(200);
    for secret in [PASSWORD, "argon2", token["token"].as_str().unwrap()] {
        assert!(!audit.text().contains(secret), "{secret} stands in the audit");
    }
}

#[tokio::test]
async fn five_wrong_tries_are_answered_429() {
    let plane = Plane::start().await;
    plane.person("li", Role::Editor).await;
    let wrong = json!({"user": "li", "password": "wrong horse battery"});
    for _ in 0..5 {
        plane.stranger().post("/session", wrong.clone()).await.is(401);
    }
    let refused =
        plane.stranger().post("/session", json!({"user": "li", "password": PASSWORD})).await.is(429);
    assert!(refused.headers.contains_key("retry-after"));
}
