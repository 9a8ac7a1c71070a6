//! Documents from the first draft to the undo.

use graygate_control::people::{Grant, Role};
use serde_json::json;

use crate::harness::Plane;

const RULE: &str =
    "# pilots first\nservices: [patient]\nversion: gray\nwhen: {attribute: header:x-tester, exists: true}\n";

#[tokio::test]
async fn a_document_is_written_read_changed_and_brought_back() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;

    // A dry run shows the difference and its hash, and changes nothing.
    let dry = li.put("/documents/rules/pilots?dry_run=true", RULE).await.is(200).json();
    assert_eq!(dry["problems"], json!([]));
    assert!(dry["diff"].as_str().unwrap().contains("+version: gray"));
    let hash = dry["hash"].as_str().unwrap();
    li.get("/documents/rules/pilots").await.is(404);

    // A new one says that it is new.
    li.put("/documents/rules/pilots", RULE).await.is(428);
    let made =
        li.new_one().put(&format!("/documents/rules/pilots?hash={hash}&reason=pilots"), RULE).await.is(201);
    let first = made.etag();
    let read = li.get("/documents/rules/pilots").await.is(200);
    assert_eq!((read.text().as_str(), read.etag()), (RULE, first.clone()));
    assert_eq!(std::fs::read_to_string(plane.file("rules/pilots.yaml")).unwrap(), RULE);

    // Another one over it says what it replaces.
    li.new_one().put("/documents/rules/pilots", RULE).await.is(412);
    li.put("/documents/rules/pilots", RULE).await.is(428);
    li.if_match("\"1-x\"").put("/documents/rules/pilots", RULE).await.is(412);
    let changed = RULE.replace("x-tester", "x-pilot");
    let second = li.if_match(&first).put("/documents/rules/pilots", &changed).await.is(200).etag();
    assert_ne!(first, second);
    li.if_match(&first).put("/documents/rules/pilots", RULE).await.is(412);

    // A hash that is not the difference's.
    let wrong = format!("/documents/rules/pilots?hash={hash}");
    li.if_match(&second).put(&wrong, RULE).await.is(412);

    // What is wrong is told with its place.
    let broken = li.if_match(&second).put("/documents/rules/pilots", "verson: gray\n").await.is(422).json();
    assert_eq!(broken["problems"][0]["document"], "rules/pilots");
    assert!(broken["problems"][0]["help"].as_str().unwrap().contains("version"), "{broken}");
    let dry = li.put("/documents/rules/pilots?dry_run=true", "verson: gray\n").await.is(200).json();
    assert!(dry.get("hash").is_none() && !dry["problems"].as_array().unwrap().is_empty());

    // History, newest first, and back to the first text.
    let history = li.get("/documents/rules/pilots/history").await.is(200).json();
    let items = history["items"].as_array().unwrap();
    assert_eq!(items.len(), 2);
    assert_eq!(items[0]["before"]["text"], RULE);
    assert_eq!((&items[1]["before"], &items[1]["after"]["text"]), (&json!(null), &json!(RULE)));
    assert_eq!(items[1]["who"], "li");
    let to = items[1]["revision"].as_u64().unwrap();
    li.post("/documents/rules/pilots/undo", json!({"to": to})).await.is(428);
    li.if_match(&second).post("/documents/rules/pilots/undo", json!({"to": to})).await.is(200);
    let now = li.get("/documents/rules/pilots").await.is(200);
    assert_eq!(now.text(), RULE);

    // Taken away, and brought back as a new one.
    li.delete("/documents/rules/pilots").await.is(428);
    li.if_match(&now.etag()).delete("/documents/rules/pilots").await.is(204);
    li.get("/documents/rules/pilots").await.is(404);
    li.new_one().post("/documents/rules/pilots/undo", json!({"to": to})).await.is(200);
    assert_eq!(li.get("/documents/rules/pilots").await.is(200).text(), RULE);

    // The audit has it all, in the chain.
    let audit = li.get("/audit?what=rules/pilots&who=li").await.is(200).json();
    let actions: Vec<_> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["result"] == "ok")
        .map(|one| one["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        actions,
        ["document.undo", "document.delete", "document.undo", "document.put", "document.put"]
    );
    let refused = audit["items"].as_array().unwrap().iter().filter(|one| one["result"] == "refused").count();
    assert!(refused > 0);
}

#[tokio::test]
async fn several_documents_change_together_or_not_at_all() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let good = json!({"lists/pilots": "alice\n", "rules/a": "version: gray\nservices: [patient]\nwhen: {attribute: cookie:uid, in_list: pilots}\n"});
    let dry = li.post("/changes?dry_run=true", json!({"puts": good})).await.is(200).json();
    assert_eq!(dry["problems"], json!([]));
    let bad = json!({"puts": {"rules/a": "version: gray\nservices: [patient]\n", "rules/b": "version: 7\n"}});
    let refused = li.post("/changes", bad).await.is(422).json();
    assert_eq!(refused["problems"][0]["document"], "rules/b");
    li.get("/documents/rules/a").await.is(404);
    let written = li
        .post("/changes", json!({"puts": good, "hash": dry["hash"], "reason": "pilots"}))
        .await
        .is(200)
        .json();
    let etag = written["etags"]["rules/a"].as_str().unwrap();
    let other = "version: feat1\nservices: [patient]\n";
    li.post("/changes", json!({"puts": {"rules/a": other}})).await.is(428);
    li.post("/changes", json!({"puts": {"rules/a": other}, "if_match": {"rules/a": "\"0-0\""}}))
        .await
        .is(412);
    li.post("/changes", json!({"puts": {"rules/a": other, "rules/c": other}, "if_match": {"rules/a": etag}}))
        .await
        .is(200);
    let many: serde_json::Map<_, _> = (0..20).map(|i| (format!("rules/m{i}"), json!(other))).collect();
    li.post("/changes", json!({"puts": many})).await.is(200);
    let too_many: serde_json::Map<_, _> = (0..200).map(|i| (format!("rules/n{i}"), json!(other))).collect();
    li.post("/changes", json!({"puts": too_many})).await.is(413);
    li.get("/documents/rules/n0").await.is(404);
    li.post("/changes", json!({"deletes": ["rules/gone"]})).await.is(404);
}

#[tokio::test]
async fn documents_are_listed_page_by_page() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    for i in 0..5 {
        li.new_one()
            .put(&format!("/documents/rules/r{i}"), "version: gray\nservices: [patient]\n")
            .await
            .is(201);
    }
    let names = |page: &serde_json::Value| {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let page = li.get("/documents?kind=rule&limit=3").await.is(200).json();
    assert_eq!(names(&page), ["r0", "r1", "r2"]);
    let next = page["next"].as_str().unwrap();
    let page = li.get(&format!("/documents?kind=rule&limit=3&after={next}")).await.is(200).json();
    assert_eq!((names(&page), &page["next"]), (vec!["r3".into(), "r4".into()], &json!(null)));
    let page = li.get("/documents?kind=rule&sort=-name&filter=r").await.is(200).json();
    assert_eq!(names(&page), ["r4", "r3", "r2", "r1", "r0"]);
    assert_eq!(names(&li.get("/documents?kind=service").await.json()), ["patient", "portal"]);
    for bad in ["sort=age", "limit=0", "limit=1001", "limit=x", "after=zzz", "kind=rules"] {
        li.get(&format!("/documents?{bad}")).await.is(400);
    }
}

#[tokio::test]
async fn a_list_changes_member_by_member() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    li.put("/lists/pilots", "# pilots\nalice\nbob\n").await.is(201);
    li.put("/lists/pilots", "# pilots\nalice\nbob\n").await.is(200);
    let contains = li.get("/lists/pilots?contains=bob").await.is(200).json();
    assert_eq!(contains, json!({"contains": true, "members": 2}));
    let changed = li
        .post("/lists/pilots/members", json!({"add": ["zoe", "bob"], "remove": ["alice", "stranger"]}))
        .await
        .is(200)
        .json();
    assert_eq!(changed, json!({"added": 1, "removed": 1}));
    assert_eq!(li.get("/lists/pilots").await.is(200).text(), "# pilots\nbob\nzoe\n");
    li.post("/lists/pilots/members", json!({"add": ["good", "#bad"]})).await.is(422);
    assert_eq!(li.get("/lists/pilots?contains=good").await.json()["contains"], false);
    li.get("/lists/none?contains=x").await.is(404);

    // Back to what it was.
    let history = li.get("/documents/lists/pilots/history").await.is(200).json();
    let items = history["items"].as_array().unwrap();
    let to = items.last().unwrap()["revision"].as_u64().unwrap();
    let etag = li.get("/documents/lists/pilots").await.is(200).etag();
    li.if_match(&etag).post("/documents/lists/pilots/undo", json!({"to": to})).await.is(200);
    assert_eq!(li.get("/lists/pilots").await.text(), "alice\nbob\n");
}

#[tokio::test]
async fn a_hand_with_an_editor_wins_and_is_recorded() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let etag =
        li.new_one().put("/documents/rules/x", "version: gray\nservices: [patient]\n").await.is(201).etag();
    std::fs::write(plane.file("rules/x.yaml"), "version: feat1\nservices: [patient]\n").unwrap();
    li.if_match(&etag).put("/documents/rules/x", "version: gray\n").await.is(412);
    assert!(li.get("/documents/rules/x").await.text().contains("feat1"));
    let begun = std::time::Instant::now();
    loop {
        let audit = li.get("/audit?who=file").await.is(200).json();
        if let Some(record) = audit["items"].as_array().unwrap().iter().find(|one| one["object"] == "rules/x")
        {
            assert_eq!((&record["via"], &record["action"]), (&json!("file"), &json!("document.put")));
            assert!(record["after"]["text"].as_str().unwrap().contains("feat1"));
            break;
        }
        assert!(begun.elapsed().as_secs() < 10, "it is never recorded: {audit}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_hundred_writers_of_one_document_have_one_winner_a_revision() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let mut etag =
        li.new_one().put("/documents/rules/x", "version: gray\nservices: [patient]\n").await.is(201).etag();
    for _ in 0..3 {
        let writers =
            (0..100).map(|i| {
                let client = li.if_match(&etag);
                async move {
                    client.put("/documents/rules/x", &format!("version: v{i}\nservices: [patient]\n")).await
                }
            });
        let answers = futures_util::future::join_all(writers).await;
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1);
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 412)));
        etag = won[0].etag();
    }
}

#[tokio::test]
async fn a_role_for_one_service_writes_for_that_one_alone() {
    let plane = Plane::start().await;
    let bound = Grant { role: Role::Editor, services: Some(["patient".to_owned()].into()) };
    let li = plane.person_for("li", bound).await.new_one();
    li.put("/documents/rules/mine", "version: gray\nservices: [patient]\n").await.is(201);
    li.put("/documents/rules/all", "version: gray\n").await.is(403);
    li.put("/documents/rules/theirs", "version: gray\nservices: [portal]\n").await.is(403);
    li.put("/documents/rules/both", "version: gray\nservices: [patient, portal]\n").await.is(403);
    li.put("/documents/instances/patient/p1", "address: \"127.0.0.1:9001\"\nversion: gray\n").await.is(201);
    li.put("/documents/instances/portal/p1", "address: \"127.0.0.1:9001\"\nversion: gray\n").await.is(403);
    let admin = plane.person("admin", Role::Admin).await;
    admin
        .new_one()
        .put(
            "/documents/rules/portal",
            "version: gray\nservices: [portal]\nwhen: {attribute: cookie:uid, in_list: staff}\n",
        )
        .await
        .is(422);
    admin.put("/lists/staff", "alice\n").await.is(201);
    admin
        .new_one()
        .put(
            "/documents/rules/portal",
            "version: gray\nservices: [portal]\nwhen: {attribute: cookie:uid, in_list: staff}\n",
        )
        .await
        .is(201);
    li.post("/lists/staff/members", json!({"add": ["bob"]})).await.is(403);
    let etag = admin.get("/documents/rules/portal").await.etag();
    let li = plane.stranger().with("authorization", "");
    drop((li, etag));
}

#[tokio::test]
async fn what_the_program_writes_is_not_written_by_hand() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await.new_one();
    let refused =
        li.put("/documents/rules/plan.p8.share", "version: gray\nservices: [patient]\n").await.is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("`p8`"), "{refused}");
}

#[tokio::test]
async fn four_eyes_see_what_is_written() {
    let plane = Plane::with_four_eyes().await;
    let li = plane.person("li", Role::Approver).await;
    let wang = plane.person("wang", Role::Approver).await;
    let rule = "version: gray\nservices: [patient]\n";
    let waiting = li.new_one().put("/documents/rules/x?reason=trial", rule).await.is(202).json();
    let (id, hash) =
        (waiting["proposal"]["id"].as_str().unwrap(), waiting["proposal"]["hash"].as_str().unwrap());
    assert!(waiting["proposal"]["diff"].as_str().unwrap().contains("+version: gray"));
    li.get("/documents/rules/x").await.is(404);
    let approve = format!("/proposals/{id}/approve");
    li.post(&approve, json!({"hash": hash})).await.is(403);
    wang.post(&approve, json!({"hash": "other"})).await.is(412);
    wang.post(&approve, json!({"hash": hash})).await.is(200);
    assert_eq!(li.get("/documents/rules/x").await.is(200).text(), rule);
    wang.post(&approve, json!({"hash": hash})).await.is(409);
    let audit = li.get("/audit?what=rules/x").await.json();
    let written =
        &audit["items"].as_array().unwrap().iter().find(|one| one["result"] == "ok").unwrap().clone();
    assert_eq!((&written["who"], &written["approved_by"]), (&json!("li"), &json!("wang")));

    // What was changed meanwhile is void.
    let etag = li.get("/documents/rules/x").await.etag();
    let first = li
        .if_match(&etag)
        .put("/documents/rules/x", "version: a\nservices: [patient]\n")
        .await
        .is(202)
        .json();
    let second = wang
        .if_match(&etag)
        .put("/documents/rules/x", "version: b\nservices: [patient]\n")
        .await
        .is(202)
        .json();
    let path = |proposal: &serde_json::Value| {
        format!("/proposals/{}/approve", proposal["proposal"]["id"].as_str().unwrap())
    };
    li.post(&path(&second), json!({"hash": second["proposal"]["hash"]})).await.is(200);
    wang.post(&path(&first), json!({"hash": first["proposal"]["hash"]})).await.is(409);
    let states = li.get("/proposals").await.is(200).json();
    let of = |proposal: &serde_json::Value| {
        states["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["id"] == proposal["proposal"]["id"])
            .unwrap()["state"]
            .clone()
    };
    assert_eq!((of(&first), of(&second)), (json!("voided"), json!("approved")));
}
