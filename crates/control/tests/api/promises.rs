//! Promises about people, second persons and records that no other page of these tests asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::api::Front;
use graygate_control::control::{Clock, FourEyes};
use graygate_control::people::Role;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::harness::Plane;
use crate::stores::World;

const RULE: &str = "version: gray\nservices: [patient]\n";

/// A clock that a test turns.
struct Turned(std::sync::Mutex<time::Duration>);

impl Clock for Turned {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + *self.0.lock().unwrap()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_dead_on_every_process_within_a_second() {
    let mut world = World::etcd("");
    let (one, other) = (world.start().await, world.start().await);
    let admin = one.person("admin", Role::Admin).await;
    let token = one.token("li", Role::Editor).await;
    let (here, there) = (one.client(&token), other.client(&token));
    let made = admin.get("/tokens").await.is(200).json();
    let tokens = made["items"].as_array().unwrap();
    let id = tokens.iter().find(|one| one["user"] == "li").unwrap()["id"].as_str().unwrap().to_owned();
    for _ in 0..20 {
        here.get("/me").await.is(200);
        there.get("/me").await.is(200);
    }
    admin.delete(&format!("/tokens/{id}")).await.is(204);
    let gone = Instant::now();
    here.get("/me").await.is(401);
    while there.get("/me").await.status == 200 {
        assert!(gone.elapsed() < Duration::from_secs(1), "the other process believes it still");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_proposal_ends_by_an_edit_of_a_list_it_names_and_after_seven_days() {
    let clock = Arc::new(Turned(std::sync::Mutex::new(time::Duration::ZERO)));
    let turned = clock.clone();
    let change = move |control: &mut graygate_control::control::Control| {
        control.four_eyes = FourEyes::Services(["patient".to_owned()].into());
        control.clock = turned;
    };
    let plane = Plane::start_with(change, Front::loopback()).await;
    let li = plane.person("li", Role::Editor).await;
    let wang = plane.person("wang", Role::Approver).await;
    let propose = async |name: &str, rule: &str| {
        let waiting = li.new_one().put(&format!("/documents/rules/{name}"), rule).await.is(202).json();
        let id = waiting["proposal"]["id"].as_str().unwrap().to_owned();
        (format!("/proposals/{id}/approve"), waiting["proposal"]["hash"].clone())
    };
    // The list has members when it is proposed, and others when it is approved.
    li.put("/lists/pilots", "alice\n").await.is(201);
    let by_list = "version: gray\nservices: [patient]\nwhen: {attribute: header:x-user, in_list: pilots}\n";
    let (path, hash) = propose("pilots", by_list).await;
    li.post("/lists/pilots/members", json!({"add": ["mallory"]})).await.is(200);
    wang.post(&path, json!({"hash": hash})).await.is(409);
    li.get("/documents/rules/pilots").await.is(404);

    let (path, hash) = propose("x", RULE).await;
    *clock.0.lock().unwrap() = time::Duration::days(7) - time::Duration::minutes(1);
    let (late, late_hash) = propose("y", "version: v9\nservices: [patient]\n").await;
    *clock.0.lock().unwrap() = time::Duration::days(7) + time::Duration::minutes(1);
    wang.post(&path, json!({"hash": hash})).await.is(409);
    wang.post(&late, json!({"hash": late_hash})).await.is(200);
    li.get("/documents/rules/x").await.is(404);
    li.get("/documents/rules/y").await.is(200);
}

#[tokio::test]
async fn a_record_says_all_that_is_promised() {
    let plane = Plane::start().await;
    let li =
        plane.person("li", Role::Editor).await.with("user-agent", "tester/1").with("x-request-id", "r-1");
    let tag = li.new_one().put("/documents/rules/x?reason=first", RULE).await.is(201).etag();
    let other = "version: v8\nservices: [patient]\n";
    li.if_match(&tag).put("/documents/rules/x?reason=second", other).await.is(200);
    li.if_match(&tag).put("/documents/rules/x", RULE).await.is(412);
    let audit = li.get("/audit?who=li&what=rules/x").await.is(200).json();
    let [refused, second, first] = audit["items"].as_array().unwrap().as_slice() else { panic!("{audit}") };
    let names: BTreeSet<&str> = second.as_object().unwrap().keys().map(String::as_str).collect();
    for name in [
        "id",
        "time",
        "who",
        "via",
        "credential",
        "address",
        "user_agent",
        "request_id",
        "approved_by",
        "action",
        "object",
        "before",
        "after",
        "reason",
        "result",
    ] {
        assert!(names.contains(name), "{name} is missing: {second}");
    }
    assert_eq!(
        (&second["who"], &second["via"], &second["user_agent"], &second["request_id"], &second["address"]),
        (&json!("li"), &json!("token"), &json!("tester/1"), &json!("r-1"), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&second["action"], &second["object"], &second["reason"], &second["result"]),
        (&json!("document.put"), &json!("rules/x"), &json!("second"), &json!("ok"))
    );
    assert_eq!((&first["before"], &first["after"]["text"]), (&Value::Null, &json!(RULE)));
    assert_eq!((&second["before"]["text"], &second["after"]["text"]), (&json!(RULE), &json!(other)));
    assert_eq!(second["before"]["hash"], first["after"]["hash"]);
    assert_eq!(refused["result"], "refused");
    // A long text is kept by its hash alone.
    let long = format!("# {}\n{RULE}", "x".repeat(65 << 10));
    let tag = li.get("/documents/rules/x").await.etag();
    li.if_match(&tag).put("/documents/rules/x", &long).await.is(200);
    let audit = li.get("/audit?what=rules/x&limit=1").await.is(200).json();
    let after = &audit["items"][0]["after"];
    assert!(after["hash"].is_string() && after["text"].is_null(), "{after}");
    let id = audit["items"][0]["id"].as_u64().unwrap();
    assert!(id > second["id"].as_u64().unwrap() && second["id"].as_u64() > first["id"].as_u64());
}
