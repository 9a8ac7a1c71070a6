//! Promises about people, second persons, records and figures that no other page of these tests asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::api::Front;
use graygate_control::control::{Clock, FourEyes};
use graygate_control::people::Role;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::harness::{Client, Plane};
use crate::stores::World;

const RULE: &str = "version: gray\nservices: [patient]\n";
const SERVICE: &str = "instances: [{address: \"127.0.0.1:9001\", version: release}, {address: \"127.0.0.1:9002\", version: gray}]\n";

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
async fn whatever_changes_a_service_with_four_eyes_waits() {
    let change = |control: &mut graygate_control::control::Control| {
        control.four_eyes = FourEyes::Services(["patient".to_owned()].into());
    };
    let plane = Plane::start_with(change, Front::loopback()).await;
    let li = plane.person("li", Role::Admin).await;
    // A hand wrote these, twice.
    let by_list = "version: gray\nservices: [patient]\nwhen: {attribute: header:x-user, in_list: pilots}\n";
    for kind in ["rules", "lists"] {
        std::fs::create_dir_all(plane.file(kind)).unwrap();
    }
    std::fs::write(plane.file("lists/pilots.txt"), "alice\n").unwrap();
    std::fs::write(plane.file("rules/pilots.yaml"), by_list).unwrap();
    let begun = Instant::now();
    let mut history = Value::Null;
    for (count, rule) in [(1, RULE), (2, "version: v8\nservices: [patient]\n")] {
        std::fs::write(plane.file("rules/x.yaml"), rule).unwrap();
        while history["items"].as_array().is_none_or(|items| items.len() < count)
            || li.get("/lists/pilots?contains=alice").await.status != 200
            || li.get("/documents/rules/pilots").await.status != 200
        {
            assert!(begun.elapsed() < Duration::from_secs(30), "{history}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            history = li.get("/documents/rules/x/history").await.json();
        }
    }
    let first = history["items"][1]["revision"].clone();
    let any = li.if_match("*");
    any.put("/documents/rules/x", RULE).await.is(202);
    any.delete("/documents/rules/x").await.is(202);
    any.post("/documents/rules/x/undo", json!({"to": first})).await.is(202);
    li.new_one().put("/documents/rules/all", "version: gray\n").await.is(202);
    li.new_one()
        .put("/documents/instances/patient/p1", "address: \"127.0.0.1:9009\"\nversion: gray\n")
        .await
        .is(202);
    any.put("/documents/services/patient", &format!("aliases: {{gray: v8}}\n{SERVICE}")).await.is(202);
    let several = json!({"puts": {"rules/a": RULE, "rules/b": "version: gray\nservices: [portal]\n"}});
    li.post("/changes", several).await.is(202);
    li.post("/lists/pilots/members", json!({"add": ["bob"]})).await.is(202);
    li.put("/lists/pilots", "bob\n").await.is(202);
    li.new_one()
        .put("/documents/closures/patient.gray", "service: patient\nversion: gray\nbecause: x\n")
        .await
        .is(202);
    // What concerns another service alone does not.
    li.new_one().put("/documents/rules/portal", "version: gray\nservices: [portal]\n").await.is(201);
    // Nothing of it was done.
    li.get("/documents/rules/all").await.is(404);
    assert_eq!(li.get("/lists/pilots?contains=bob").await.json()["contains"], false);
    let waiting = li.get("/proposals").await.is(200).json();
    assert_eq!(waiting["items"].as_array().unwrap().len(), 10);
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

async fn metrics(li: &Client) -> String {
    li.get("/metrics").await.is(200).text()
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_have_the_names_that_are_promised() {
    let mut world = World::directory(
        "channels: {ops: {webhook: \"http://127.0.0.1:9/\"}}\nregistries: {zk: {zookeeper: {addresses: [\"127.0.0.1:9\"]}}}\n",
    );
    let service = format!("discover: {{registry: zk, name: patient}}\n{SERVICE}");
    world.fill(&[("services/patient".to_owned(), service)]).await;
    let process = world.start().await;
    let li = process.person("li", Role::Operator).await;
    let plan =
        "services: [patient]\nversion: gray\nchannels: [ops]\nsteps: [{share: 5, hold: 10m}, {share: 100}]\n";
    let tag = li.new_one().put("/plans/p8", plan).await.is(201).etag();
    li.if_match(&tag).post("/plans/p8/start", json!({})).await.is(200);
    let item = json!({"appName": "a", "environment": "prod", "configKey": "k", "value": "1"});
    assert_eq!(li.put("/api/gray-release/config/item", &item.to_string()).await.status, 200);
    let value = "/api/gray-release/config/value?appName=a&environment=prod&configKey=k&instanceId=i&instanceIp=127.0.0.1";
    assert_eq!(li.get(value).await.status, 200);
    let begun = Instant::now();
    for name in [
        "graygate_plan_state{plan=\"p8\",state=\"ACTIVE\"} 1",
        "graygate_plan_step{plan=\"p8\"}",
        "graygate_plan_share{plan=\"p8\"} 5",
        "graygate_plan_evidence{plan=\"p8\",guard=\"errors\"}",
        "graygate_plan_transitions_total{plan=\"p8\",to=\"ACTIVE\",by=\"person\"} 1",
        "graygate_leader 1",
        "graygate_observations_late_total 0",
        "graygate_api_requests_total{path=\"/api/v1/plans/{name}\",status=\"201\"} 1",
        "graygate_api_duration_seconds_count",
        "graygate_notices_total{channel=\"ops\",outcome=",
        "graygate_registry_up{registry=\"zk\"} 0",
        "graygate_registry_instances{registry=\"zk\",service=\"patient\"} 0",
        "graygate_config_requests_total{app=\"a\",gray=",
    ] {
        while !metrics(&li).await.contains(name) {
            assert!(begun.elapsed() < Duration::from_secs(30), "{name}: {}", metrics(&li).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
