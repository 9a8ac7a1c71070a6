//! Attacks that worked elsewhere.

use graygate_control::people::Role;
use serde_json::json;

use crate::harness::{PASSWORD, Plane};

#[tokio::test]
async fn no_well_known_credential_opens_a_fresh_start() {
    let plane = Plane::start().await;
    for (user, password) in [
        ("admin", "admin"),
        ("nacos", "nacos"),
        ("apollo", "admin"),
        ("root", ""),
        ("", ""),
        ("admin", "edd1c9f034335f136f87ad84b625c8f1"),
    ] {
        let status =
            plane.stranger().post("/session", json!({"user": user, "password": password})).await.status;
        assert!(matches!(status, 401 | 429), "{user}: {status}");
    }
    for token in [
        "",
        "edd1c9f034335f136f87ad84b625c8f1",
        "gg_0000000000000000_",
        "null",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
    ] {
        plane.stranger().with("authorization", &format!("Bearer {token}")).get("/me").await.is(401);
        plane.stranger().with("x-api-key", token).get("/me").await.is(401);
    }
}

#[tokio::test]
async fn a_header_never_makes_a_principal() {
    let plane = Plane::start().await;
    for (name, value) in [
        ("user-agent", "Nacos-Server"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-user", "admin"),
        ("x-graygate-user", "admin"),
        ("x-http-method-override", "GET"),
        ("cookie", "graygate="),
        ("cookie", "graygate=x"),
        ("authorization", "Basic YWRtaW46YWRtaW4="),
        ("authorization", "Bearer"),
    ] {
        plane.stranger().with(name, value).get("/documents").await.is(401);
    }
}

#[tokio::test]
async fn another_host_is_misdirected_and_health_is_not() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Viewer).await;
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
        li.with("host", host).get("/me").await.is(421);
        plane.stranger().with("host", host).get("/me").await.is(421);
        assert_eq!(plane.stranger().with("host", host).get("/healthz").await.status, 200);
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "[::1]:9180", "127.0.0.2"] {
        li.with("host", host).get("/me").await.is(200);
    }
}

#[tokio::test]
async fn every_answer_forbids_what_pages_of_others_could_do() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Viewer).await;
    for answer in [
        li.get("/me").await,
        li.get("/none").await,
        plane.stranger().get("/healthz").await,
        plane.stranger().get("/").await,
    ] {
        let header = |name: &str| answer.headers.get(name).unwrap().to_str().unwrap();
        assert!(header("content-security-policy").starts_with("default-src 'none'"));
        assert!(header("content-security-policy").contains("frame-ancestors 'none'"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
}

#[tokio::test]
async fn a_token_makes_no_stronger_token_and_no_one_raises_himself() {
    let plane = Plane::start().await;
    plane.person("admin", Role::Admin).await;
    let li = plane.person("li", Role::Approver).await;
    li.post("/tokens", json!({"name": "x", "user": "admin", "role": "admin"})).await.is(403);
    li.put("/users/li", &json!({"roles": [{"role": "admin"}]}).to_string()).await.is(403);
    li.put("/users/admin", &json!({"password": "another password"}).to_string()).await.is(403);
}

#[tokio::test]
async fn an_account_someone_made_does_not_approve_for_him() {
    let plane = Plane::with_four_eyes().await;
    let admin = plane.person("admin", Role::Admin).await;
    let new = json!({"name": "puppet", "password": PASSWORD, "roles": [{"role": "approver"}]});
    admin.post("/users", new).await.is(201);
    let token = admin
        .post("/tokens", json!({"name": "t", "user": "puppet", "role": "approver"}))
        .await
        .is(201)
        .json();
    let puppet =
        plane.stranger().with("authorization", &format!("Bearer {}", token["token"].as_str().unwrap()));
    let waiting = admin
        .new_one()
        .put("/documents/rules/x", "version: gray\nservices: [patient]\n")
        .await
        .is(202)
        .json();
    let path = format!("/proposals/{}/approve", waiting["proposal"]["id"].as_str().unwrap());
    puppet.post(&path, json!({"hash": waiting["proposal"]["hash"]})).await.is(403);
    let second = admin
        .post("/tokens", json!({"name": "t2", "user": "admin", "role": "approver"}))
        .await
        .is(201)
        .json();
    let second =
        plane.stranger().with("authorization", &format!("Bearer {}", second["token"].as_str().unwrap()));
    second.post(&path, json!({"hash": waiting["proposal"]["hash"]})).await.is(403);
}

#[tokio::test]
async fn bodies_have_limits() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let large = "#".repeat((1 << 20) + 1);
    li.new_one().put("/documents/rules/x", &large).await.is(413);
    li.post("/changes", json!({"puts": {"rules/x": "#".repeat(11 << 20)}})).await.is(413);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let status = li.with("content-type", "application/json").send("POST", "/changes", &deep).await.status;
    assert!(matches!(status, 400 | 422), "{status}");
    li.new_one().put("/documents/rules/x", &deep).await.is(422);
}

#[tokio::test]
async fn names_lead_nowhere_else() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    for path in [
        "/documents/rules/..%2f..%2fetc%2fpasswd",
        "/documents/rules/%00",
        "/documents/lists/..%2fx",
        "/lists/..%2f..%2fx",
        "/documents/rules/.x%2f..",
        "/documents/rules/%ff",
    ] {
        let status = li.get(path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
        let status = li.new_one().put(path, "version: gray\n").await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
}

#[tokio::test]
async fn refusals_do_not_fill_the_audit() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Viewer).await;
    for _ in 0..40 {
        li.new_one().put("/documents/rules/x", "version: gray\n").await.is(403);
    }
    let audit = li.get("/audit?who=li&limit=1000").await.is(200).json();
    let refused = audit["items"].as_array().unwrap().iter().filter(|one| one["result"] == "refused").count();
    assert_eq!(refused, 10);
}
