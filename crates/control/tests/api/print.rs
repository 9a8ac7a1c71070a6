//! The small print: shapes and statuses that no other page of these tests asks.

use std::time::{Duration, Instant};

use graygate_control::api::Front;
use graygate_control::control::FourEyes;
use graygate_control::people::Role;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::{Client, Plane};

const RULE: &str = "version: gray\nservices: [patient]\n";
const OTHER: &str = "version: v8\nservices: [patient]\n";
const SERVICE: &str = "instances:\n  - {address: \"127.0.0.1:9001\", version: release}\n  - {address: \"127.0.0.1:9002\", version: gray}\n";
const PLAN: &str = "services: [patient]\nversion: gray\nsteps: [{share: 5, hold: 10m}, {share: 100}]\n";

/// A plane with a service of two versions.
async fn plane() -> (Plane, Client) {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Admin).await;
    li.if_match("*").put("/documents/services/patient", SERVICE).await.is(200);
    (plane, li)
}

fn has(shown: &Value, fields: &[&str]) {
    let fields: Vec<_> = fields.iter().filter(|field| shown.get(**field).is_none()).collect();
    assert!(fields.is_empty(), "{fields:?} are missing: {shown}");
}

#[tokio::test]
async fn hashes_bind_every_call_that_writes() {
    let (_plane, li) = plane().await;
    let tag = li.new_one().put("/documents/rules/x", RULE).await.is(201).etag();
    let tried = li.post("/changes", json!({"puts": {"rules/y": RULE}, "dry_run": true})).await.is(200).json();
    has(&tried, &["problems", "notes", "diff", "hash"]);
    li.get("/documents/rules/y").await.is(404);
    li.post("/changes", json!({"puts": {"rules/y": OTHER}, "hash": tried["hash"]})).await.is(412);
    li.post("/changes", json!({"puts": {"rules/y": RULE}, "hash": tried["hash"]})).await.is(200);
    let gone = li.delete("/documents/rules/x?dry_run=true").await.is(200).json();
    assert!(gone["diff"].as_str().unwrap().contains("-version: gray"), "{gone}");
    let hash = gone["hash"].as_str().unwrap();
    let tag2 = li.if_match(&tag).put("/documents/rules/x", OTHER).await.is(200).etag();
    assert_ne!(tag, tag2, "an ETag is made of revision and text");
    let third = li.if_match(&tag2).put("/documents/rules/x", RULE).await.is(200).etag();
    assert_ne!(tag, third, "the same text at another revision");
    assert_eq!(tag.rsplit('-').next(), third.rsplit('-').next());
    li.if_match(&third).delete("/documents/rules/x?hash=00").await.is(412);
    li.if_match(&third).delete(&format!("/documents/rules/x?hash={hash}&reason=over")).await.is(204);
    let audit = li.get("/audit?what=rules/x&limit=1").await.is(200).json();
    assert_eq!(audit["items"][0]["reason"], "over");
}

#[tokio::test]
async fn histories_and_the_audit_are_found_by_what_and_by_whom() {
    let (plane, li) = plane().await;
    let tag = li.new_one().put("/documents/rules/x", RULE).await.is(201).etag();
    li.if_match(&tag).put("/documents/rules/x", OTHER).await.is(200);
    let history = li.get("/documents/rules/x/history?limit=1").await.is(200).json();
    assert_eq!(history["items"].as_array().unwrap().len(), 1);
    has(&history["items"][0], &["revision", "time", "who", "before", "after"]);
    let next = history["next"].as_str().unwrap();
    let rest = li.get(&format!("/documents/rules/x/history?limit=1&after={next}")).await.is(200).json();
    assert_eq!((&rest["items"][0]["before"], &rest["next"]), (&Value::Null, &Value::Null));
    let wang = plane.person("li2", Role::Viewer).await;
    let count = async |query: &str| {
        wang.get(&format!("/audit?{query}")).await.is(200).json()["items"].as_array().unwrap().len()
    };
    assert_eq!((count("who=li&what=les/x").await, count("who=l&what=les/x").await), (2, 0));
    // What is kept of long texts is their hash, so nothing leads back to them.
    let long = format!("# {}\n{RULE}", "x".repeat(65 << 10));
    let tag = li.new_one().put("/documents/rules/long", &long).await.is(201).etag();
    let tag = li.if_match(&tag).put("/documents/rules/long", RULE).await.is(200).etag();
    let history = li.get("/documents/rules/long/history").await.is(200).json();
    let to = json!({"to": history["items"][1]["revision"]});
    li.if_match(&tag).post("/documents/rules/long/undo", to).await.is(409);
}

#[tokio::test]
async fn what_the_program_writes_has_an_owner_by_every_call() {
    let (plane, li) = plane().await;
    let tag = li.new_one().put("/plans/p8", PLAN).await.is(201).etag();
    li.if_match(&tag).post("/plans/p8/start", json!({})).await.is(200);
    let own = "rules/plan.p8.share";
    let any = li.if_match("*");
    for refused in [
        any.put(&format!("/documents/{own}"), RULE).await,
        any.delete(&format!("/documents/{own}")).await,
        any.post(&format!("/documents/{own}/undo"), json!({"to": 1})).await,
        any.post("/changes", json!({"puts": {own: RULE}, "if_match": {own: "*"}})).await,
        any.post("/changes", json!({"deletes": [own], "if_match": {own: "*"}})).await,
    ] {
        let refused = refused.is(409).json();
        assert!(refused["detail"].as_str().unwrap().contains("`p8`"), "{refused}");
    }
    let found = "address: \"127.0.0.1:9009\"\nversion: gray\nby: zk\n";
    std::fs::create_dir_all(plane.file("instances/patient")).unwrap();
    std::fs::write(plane.file("instances/patient/found.yaml"), found).unwrap();
    let refused = any.delete("/documents/instances/patient/found").await.is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("zk"), "{refused}");
}

#[tokio::test]
async fn plans_and_proposals_have_the_shapes_that_are_promised() {
    let four = |control: &mut graygate_control::control::Control| {
        control.four_eyes = FourEyes::Services(["portal".to_owned()].into());
    };
    let plane = Plane::start_with(four, Front::loopback()).await;
    let li = plane.person("li", Role::Admin).await;
    li.if_match("*").put("/documents/services/patient", SERVICE).await.is(200);
    let waits = li.new_one().put("/documents/rules/x", "version: gray\nservices: [portal]\n").await.is(202);
    let fields = ["id", "hash", "who", "action", "object", "diff", "created", "expires", "state"];
    has(&waits.json()["proposal"], &fields);

    let follower = plane.control.clone();
    tokio::spawn(async move { follower.follow_plans().await });
    let mut events = li.open("GET", "/events", "").await.into_body();
    let tag = li.new_one().put("/plans/p8", PLAN).await.is(201).etag();
    let started = li.if_match(&tag).post("/plans/p8/start", json!({"reason": "go"})).await.is(200).json();
    has(
        &started,
        &[
            "name",
            "text",
            "state",
            "run",
            "step",
            "share",
            "waiting_for",
            "why",
            "running",
            "edited",
            "guards",
            "hash",
            "etag",
        ],
    );
    let (begun, mut heard) = (Instant::now(), String::new());
    let told = |heard: &str, kind: &str| {
        let at = heard.find(&format!("event: {kind}\n"))?;
        let line = heard[at..].lines().find_map(|line| line.strip_prefix("data: "))?;
        serde_json::from_str::<Value>(line).ok()
    };
    while told(&heard, "plan").is_none() || told(&heard, "document").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{heard}");
        let frame = tokio::time::timeout(Duration::from_secs(30), events.frame()).await.unwrap();
        let frame = frame.unwrap().unwrap();
        heard += &String::from_utf8_lossy(frame.data_ref().unwrap());
    }
    has(&told(&heard, "plan").unwrap(), &["plan", "run", "to", "state", "step", "by", "why"]);
    has(&told(&heard, "document").unwrap(), &["kind", "name", "revision", "action"]);

    // A start of what has problems says so as a write of it would.
    let broken = "services: [patient]\nversion: gray\nsteps: [{share: 500}]\n";
    std::fs::create_dir_all(plane.file("plans")).unwrap();
    std::fs::write(plane.file("plans/broken.yaml"), broken).unwrap();
    let begun = Instant::now();
    let started = loop {
        let started = li.if_match("*").post("/plans/broken/start", json!({})).await;
        if started.status != 404 {
            break started;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    has(&started.is(422).json(), &["problems"]);
}

#[tokio::test]
async fn questions_trust_what_they_say_themselves() {
    let (_plane, li) = plane().await;
    let puts = json!({"routes/all": "service: patient\n", "rules/x": "version: gray\nservices: [patient]\nwhen: {attribute: ip, equals: 203.0.113.7}\n"});
    li.post("/changes", json!({"puts": puts})).await.is(200);
    let mut question =
        json!({"url": "http://h/", "ip": "198.51.100.1", "headers": [["x-gray-version", "gray"]]});
    let version = async |question: &Value| {
        li.post("/explain", question.clone()).await.is(200).json()["version"].clone()
    };
    assert_eq!(version(&question).await, "release");
    question["trusted"] = json!(true);
    assert_eq!(version(&question).await, "gray");
    let replayed = json!({"drafts": {"rules/y": RULE}, "sample": {"identities": 10}});
    let told = li.post("/replay", replayed).await.is(200).json();
    has(&told, &["requests", "moved", "by", "examples"]);
}
