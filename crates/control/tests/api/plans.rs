//! Plans over the API: what may be done when, with which answer.

use crate::harness::{Client, Plane};
use graygate_control::people::Role;
use serde_json::{Value, json};

const PLAN: &str = "services: [patient]\nversion: gray\nby: [header:x-user]\nsteps:\n  - {share: 5, hold: 10m}\n  - {share: 25, hold: 30m, approval: true}\n  - {share: 100}\n";
const SERVICE: &str = "identity: [header:x-user]\ninstances:\n  - {address: \"127.0.0.1:9001\", version: release}\n  - {address: \"127.0.0.1:9002\", version: gray}\n";

/// A plane with a service of two versions, and a plan that is a draft.
async fn planned() -> (Plane, Client, String) {
    let plane = Plane::start().await;
    let operator = plane.person("li", Role::Operator).await;
    let tag = operator.get("/documents/services/patient").await.is(200).etag();
    operator.if_match(&tag).put("/documents/services/patient", SERVICE).await.is(200);
    let tag = operator.new_one().put("/plans/p8", PLAN).await.is(201).etag();
    (plane, operator, tag)
}

fn rule(plane: &Plane, name: &str) -> Option<String> {
    std::fs::read_to_string(plane.file(&format!("rules/{name}.yaml"))).ok()
}

async fn act(client: &Client, action: &str, tag: &str, body: Value) -> crate::harness::Answer {
    client.if_match(tag).post(&format!("/plans/p8/{action}"), body).await
}

#[tokio::test]
async fn a_plan_starts_and_is_rolled_back() {
    let (plane, li, tag) = planned().await;
    let draft = li.get("/plans/p8").await.is(200);
    assert_eq!((draft.json()["state"].as_str(), draft.json()["run"].as_u64()), (Some("DRAFT"), Some(0)));
    assert_eq!(draft.etag(), tag);
    let started = act(&li, "start", &tag, json!({"reason": "go"})).await.is(200);
    let shown = started.json();
    assert_eq!((&shown["state"], &shown["run"], &shown["step"], &shown["share"]), (&json!("ACTIVE"), &json!(1), &json!(0), &json!(5.0)));
    let text = rule(&plane, "plan.p8.share").unwrap();
    assert_eq!(text, "services: [patient]\npriority: -1001\nsplit: {gray: 5}\nby: [header:x-user]\nsalt: p8\n");
    assert_eq!(act(&li, "start", &tag, json!({})).await.is(409).json()["status"], 409);
    li.post("/plans/p8/pause", json!({})).await.is(428);
    act(&li, "pause", &tag, json!({})).await.is(412);
    let rolled = li.post("/plans/p8/rollback", json!({"reason": "errors"})).await.is(200);
    let outcome = rolled.json();
    assert_eq!((&outcome["confirmed"], &outcome["of"], &outcome["stragglers"], &outcome["lost"]), (&json!(0), &json!(0), &json!([]), &json!([])));
    assert_eq!(rule(&plane, "plan.p8.share"), None);
    let closure = std::fs::read_to_string(plane.file("closures/patient.gray.yaml")).unwrap();
    assert!(closure.contains("service: patient") && closure.contains("plan `p8`"), "{closure}");
    let again = li.post("/plans/p8/rollback", json!({})).await.is(200);
    assert_eq!(again.json(), outcome);
    li.delete("/documents/closures/patient.gray").await.is(409);
    // A new run has no evidence, the same people, and no closure.
    let tag = li.get("/plans/p8").await.etag();
    let second = act(&li, "start", &tag, json!({})).await.is(200);
    assert_eq!((&second.json()["run"], rule(&plane, "plan.p8.share")), (&json!(2), Some(text)));
    assert!(!plane.file("closures/patient.gray.yaml").exists());
    let runs = li.get("/plans/p8/runs").await.is(200).json();
    let told: Vec<_> = runs["items"].as_array().unwrap().iter().map(|run| (run["run"].clone(), run["transitions"].as_array().unwrap().len())).collect();
    assert_eq!(told, [(json!(2), 1), (json!(1), 2)]);
}

#[tokio::test]
async fn what_runs_is_neither_taken_away_nor_written_by_others() {
    let (_plane, li, tag) = planned().await;
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    li.if_match(&tag).delete("/plans/p8").await.is(409);
    let documents = li.get("/documents/plans/p8").await.etag();
    li.if_match(&documents).delete("/documents/plans/p8").await.is(409);
    let own = li.get("/documents/rules/plan.p8.share").await.is(200).etag();
    li.if_match(&own).put("/documents/rules/plan.p8.share", "version: gray\n").await.is(409);
    // An edit counts once the run has ended.
    let edited = PLAN.replace("share: 5", "share: 7");
    let put = li.if_match(&tag).put("/plans/p8", &edited).await.is(200);
    let shown = put.json();
    assert_eq!((&shown["edited"], &shown["share"], &shown["text"]), (&json!(true), &json!(5.0), &json!(edited)));
    assert_eq!(shown["running"]["text"], PLAN);
    li.post("/plans/p8/rollback", json!({})).await.is(200);
    let tag = li.get("/plans/p8").await.etag();
    li.if_match(&tag).delete("/plans/p8").await.is(204);
    li.get("/plans/p8").await.is(404);
    li.post("/plans/p8/rollback", json!({})).await.is(404);
}

#[tokio::test]
async fn each_state_allows_what_its_table_says() {
    let (plane, li, tag) = planned().await;
    for action in ["pause", "resume", "advance", "approve", "reject", "complete", "promote"] {
        let who = if ["approve", "reject"].contains(&action) { plane.person(&format!("a-{action}"), Role::Approver).await } else { li.clone() };
        act(&who, action, &tag, json!({})).await.is(409);
    }
    li.post("/plans/p8/rollback", json!({})).await.is(409);
    li.post("/plans/p8/fly", json!({})).await.is(404);
    li.post("/plans/none/start", json!({})).await.is(404);
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    let tag = act(&li, "pause", &tag, json!({})).await.is(200).etag();
    act(&li, "advance", &tag, json!({})).await.is(409);
    let tag = act(&li, "resume", &tag, json!({})).await.is(200).etag();
    // Nobody steps around an approval.
    act(&li, "advance", &tag, json!({})).await.is(409);
    act(&li, "complete", &tag, json!({})).await.is(409);
    li.post("/plans/p8/rollback", json!({})).await.is(200);
}
