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
    assert_eq!(
        (&shown["state"], &shown["run"], &shown["step"], &shown["share"]),
        (&json!("ACTIVE"), &json!(1), &json!(0), &json!(5.0))
    );
    let text = rule(&plane, "plan.p8.share").unwrap();
    assert_eq!(
        text,
        "services: [patient]\npriority: -1001\nsplit: {gray: 5}\nby: [header:x-user]\nsalt: p8\n"
    );
    assert_eq!(act(&li, "start", &tag, json!({})).await.is(409).json()["status"], 409);
    li.post("/plans/p8/pause", json!({})).await.is(428);
    act(&li, "pause", &tag, json!({})).await.is(412);
    let rolled = li.post("/plans/p8/rollback", json!({"reason": "errors"})).await.is(200);
    let outcome = rolled.json();
    assert_eq!(
        (&outcome["confirmed"], &outcome["of"], &outcome["stragglers"], &outcome["lost"]),
        (&json!(0), &json!(0), &json!([]), &json!([]))
    );
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
    let told: Vec<_> = runs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["run"].clone(), run["transitions"].as_array().unwrap().len()))
        .collect();
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
    assert_eq!(
        (&shown["edited"], &shown["share"], &shown["text"]),
        (&json!(true), &json!(5.0), &json!(edited))
    );
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
        let who = if ["approve", "reject"].contains(&action) {
            plane.person(&format!("a-{action}"), Role::Approver).await
        } else {
            li.clone()
        };
        act(&who, action, &tag, json!({})).await.is(409);
    }
    li.post("/plans/p8/rollback", json!({})).await.is(409);
    li.post("/plans/p8/fly", json!({})).await.is(404);
    li.post("/plans/none/start", json!({})).await.is(404);
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    let tag = act(&li, "pause", &tag, json!({})).await.is(200).etag();
    act(&li, "advance", &tag, json!({})).await.is(409);
    let tag = act(&li, "resume", &tag, json!({})).await.is(200).etag();
    // No one steps around an approval.
    act(&li, "advance", &tag, json!({})).await.is(409);
    act(&li, "complete", &tag, json!({})).await.is(409);
    li.post("/plans/p8/rollback", json!({})).await.is(200);
}

/// Lets the leader's loop move plans, and waits until one says so.
async fn comes_to(client: &Client, holds: impl Fn(&Value) -> bool) -> crate::harness::Answer {
    let begun = std::time::Instant::now();
    loop {
        let shown = client.get("/plans/p8").await.is(200);
        if holds(&shown.json()) {
            return shown;
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{}", shown.text());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn lead(plane: &Plane) {
    tokio::spawn(plane.control.clone().lead_plans());
}

#[tokio::test]
async fn a_hand_is_not_fought_and_a_resume_takes_the_rules_back() {
    let (plane, li, tag) = planned().await;
    lead(&plane);
    act(&li, "start", &tag, json!({})).await.is(200);
    let own = rule(&plane, "plan.p8.share").unwrap();
    std::fs::write(plane.file("rules/plan.p8.share.yaml"), "services: [patient]\nsplit: {gray: 50}\n")
        .unwrap();
    let paused = comes_to(&li, |plan| plan["state"] == "PAUSED").await;
    assert!(
        paused.json()["why"].as_str().unwrap().contains("someone changed `rules/plan.p8.share`"),
        "{}",
        paused.text()
    );
    assert_eq!(rule(&plane, "plan.p8.share").unwrap(), "services: [patient]\nsplit: {gray: 50}\n");
    act(&li, "complete", &paused.etag(), json!({})).await.is(409);
    let resumed = act(&li, "resume", &paused.etag(), json!({})).await.is(200);
    assert!(resumed.json()["notes"][0].as_str().unwrap().contains("rules/plan.p8.share"));
    assert_eq!(rule(&plane, "plan.p8.share").unwrap(), own);
    let waits = comes_to(&li, |plan| !plan["waiting_for"].as_array().unwrap().is_empty()).await.json();
    assert!(waits["waiting_for"][0].as_str().unwrap().contains("of the step's hold"), "{waits}");
    // The document goes: that is a hand's word as well.
    std::fs::remove_file(plane.file("plans/p8.yaml")).unwrap();
    let paused = comes_to(&li, |plan| plan["state"] == "PAUSED").await.json();
    assert_eq!((&paused["text"], &paused["why"]), (&Value::Null, &json!("the plan's document was deleted")));
    li.post("/plans/p8/rollback", json!({})).await.is(200);
}

#[tokio::test]
async fn a_step_waits_for_someone_who_neither_wrote_nor_started_it() {
    let plan = "services: [patient]\nversion: gray\nby: [header:x-user]\nsteps:\n  - {share: 5, approval: true}\n  - {share: 100}\n";
    let (plane, li, _) = planned().await;
    let tag = li.if_match("*").put("/plans/p8", plan).await.is(200).etag();
    let approver = plane.person("wang", Role::Approver).await;
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    assert_eq!(rule(&plane, "plan.p8.share"), None);
    act(&li, "approve", &tag, json!({})).await.is(403);
    act(&li, "complete", &tag, json!({})).await.is(409);
    act(&approver, "approve", &tag, json!({"hash": "other"})).await.is(412);
    let hash = li.get("/plans/p8").await.json()["hash"].clone();
    let approved = act(&approver, "approve", &tag, json!({"hash": hash})).await.is(200).json();
    assert_eq!((&approved["state"], &approved["share"]), (&json!("ACTIVE"), &json!(5.0)));
    assert!(rule(&plane, "plan.p8.share").is_some());
}

#[tokio::test]
async fn the_version_becomes_the_release_and_the_way_back_is_open() {
    let (plane, li, tag) = planned().await;
    let service = "aliases: {release: v7, gray: v8} # two words\ninstances:\n  - {address: \"127.0.0.1:9001\", version: v7}\n  - {address: \"127.0.0.1:9002\", version: v8}\n";
    li.if_match("*").put("/documents/services/patient", service).await.is(200);
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    li.if_match(&tag).post("/plans/p8/promote", json!({})).await.is(409);
    // Without the step that wants an approval.
    li.post("/plans/p8/rollback", json!({})).await.is(200);
    let tag = li.if_match("*").put("/plans/p8", &PLAN.replace(", approval: true", "")).await.is(200).etag();
    let tag = act(&li, "start", &tag, json!({})).await.is(200).etag();
    let complete = act(&li, "complete", &tag, json!({})).await.is(200);
    assert_eq!((&complete.json()["state"], &complete.json()["share"]), (&json!("COMPLETED"), &json!(100.0)));
    assert_eq!(
        rule(&plane, "plan.p8.share").unwrap(),
        "services: [patient]\npriority: -1001\nversion: gray\n"
    );
    let promoted = act(&li, "promote", &complete.etag(), json!({})).await.is(200).json();
    assert_eq!((&promoted["state"], &promoted["promoted"]), (&json!("COMPLETED"), &json!(true)));
    assert_eq!(rule(&plane, "plan.p8.share"), None);
    let now = std::fs::read_to_string(plane.file("services/patient.yaml")).unwrap();
    assert!(now.contains("release: v8") && now.contains("# two words"), "{now}");
    li.post("/plans/p8/rollback", json!({})).await.is(200);
    let now = std::fs::read_to_string(plane.file("services/patient.yaml")).unwrap();
    assert!(now.contains("release: v7"), "{now}");
}

#[tokio::test]
async fn what_forbids_a_start_is_said() {
    let (plane, li, _) = planned().await;
    let start = async |name: &str| {
        let tag = li.get(&format!("/plans/{name}")).await.is(200).etag();
        li.if_match(&tag).post(&format!("/plans/{name}/start"), json!({})).await
    };
    li.new_one().put("/plans/other", PLAN).await.is(201);
    start("p8").await.is(200);
    assert!(start("other").await.is(409).text().contains("the plan `p8` moves `patient`"));
    li.post("/plans/p8/rollback", json!({})).await.is(200);
    li.new_one().put("/documents/rules/all", "services: [patient]\nversion: release\n").await.is(201);
    assert!(start("p8").await.is(409).text().contains("the rule `all` decides every request"));
    let tag = li.get("/documents/rules/all").await.etag();
    li.if_match(&tag).delete("/documents/rules/all").await.is(204);
    let plan = "services: [patient, portal]\nversion: gray\nsteps: [{share: 5}]\n";
    let portal = "identity: [header:x-other]\ninstances:\n  - {address: \"127.0.0.1:9003\", version: release}\n  - {address: \"127.0.0.1:9004\", version: gray}\n";
    li.if_match("*").put("/documents/services/portal", portal).await.is(200);
    li.new_one().put("/plans/both", plan).await.is(201);
    assert!(start("both").await.is(409).text().contains("say `by`"));
    std::fs::write(plane.file("services/patient.yaml"), SERVICE.replace("version: gray", "version: v9"))
        .unwrap();
    let begun = std::time::Instant::now();
    while start("p8").await.status != 409 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
        li.post("/plans/p8/rollback", json!({})).await.is(200);
    }
    assert!(start("p8").await.is(409).text().contains("no instance of `patient`"));
}

#[tokio::test]
async fn actions_wait_for_a_second_person_and_a_rollback_never_does() {
    let plane = Plane::with_four_eyes().await;
    std::fs::write(plane.file("services/patient.yaml"), SERVICE).unwrap();
    let (li, wang) = (plane.person("li", Role::Operator).await, plane.person("wang", Role::Approver).await);
    let begun = std::time::Instant::now();
    // Saving a draft waits for no one.
    let tag = loop {
        let put = li.new_one().put("/plans/p8", PLAN).await;
        if put.status == 201 {
            break put.etag();
        }
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{}", put.text());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let waits = act(&li, "start", &tag, json!({})).await.is(202).json();
    assert_eq!(li.get("/plans/p8").await.json()["state"], "DRAFT");
    let path = format!("/proposals/{}/approve", waits["proposal"]["id"].as_str().unwrap());
    li.post(&path, json!({"hash": waits["proposal"]["hash"]})).await.is(403);
    wang.post(&path, json!({"hash": waits["proposal"]["hash"]})).await.is(200);
    assert_eq!(li.get("/plans/p8").await.json()["state"], "ACTIVE");
    li.post("/plans/p8/rollback", json!({})).await.is(200);
}
