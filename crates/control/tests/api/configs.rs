//! Configuration values: items, plans that give some another value, and what clients ask and measure, over both stores.

use std::time::{Duration, Instant};

use graygate_control::configs::{Asker, ItemId, ItemPlace};
use graygate_control::people::{Grant, Principal, Role, Via};
use graygate_rules::decide::bucket;
use serde_json::{Value, json};

use crate::harness::{Answer, Client};
use crate::stores::{Process, World, until};

const ROOT: &str = "/api/gray-release";
const KEY: &str = "appName=user-service&environment=prod&groupName=database&configKey=pool";

#[track_caller]
fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!((&told["code"], &told["message"]), (&json!(200), &json!("success")), "{told}");
    told["data"].clone()
}

#[track_caller]
fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    let told = answer.json();
    assert_eq!((&told["code"], told.as_object().unwrap().len()), (&json!(status), 3), "{told}");
    told["message"].as_str().unwrap().to_owned()
}

async fn begin(world: &mut World) -> (Process, Client) {
    let process = world.start().await;
    let li = process.person("li", Role::Operator).await;
    let item = json!({"appName": "user-service", "environment": "prod", "groupName": "database", "configKey": "pool", "value": "10"});
    ok(li.put(&format!("{ROOT}/config/item"), &item.to_string()).await);
    (process, li)
}

fn plan(more: Value) -> Value {
    let mut body = json!({
        "planName": "Pool size", "appName": "user-service", "environment": "prod", "groupName": "database",
        "grayValues": {"pool": "50"}, "createdBy": "li",
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// Makes a plan and answers its id.
async fn made(client: &Client, more: Value) -> String {
    let draft = ok(client.post(&format!("{ROOT}/plan"), plan(more)).await);
    assert_eq!(draft["status"], "DRAFT");
    draft["planId"].as_str().unwrap().to_owned()
}

async fn act(client: &Client, id: &str, action: &str) -> Value {
    ok(client.post(&format!("{ROOT}/plan/{id}/{action}"), json!({})).await)
}

async fn asked(client: &Client, who: &str) -> Value {
    ok(client.get(&format!("{ROOT}/config/value?{KEY}&{who}")).await)
}

async fn gray(client: &Client, who: &str) -> bool {
    let told = asked(client, who).await;
    assert_eq!(told["value"], if told["gray"] == true { "50" } else { "10" }, "{told}");
    told["gray"] == true
}

async fn status(client: &Client, id: &str) -> String {
    ok(client.get(&format!("{ROOT}/plan/{id}")).await)["status"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_kept_over_a_directory() {
    items_are_kept(World::directory("four_eyes: [secret-app]\n")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_kept_over_etcd() {
    items_are_kept(World::etcd("four_eyes: [secret-app]\n")).await;
}

async fn items_are_kept(mut world: World) {
    let (process, li) = begin(&mut world).await;
    let told = asked(&li, "").await;
    assert_eq!(
        (&told["configKey"], &told["value"], &told["gray"]),
        (&json!("pool"), &json!("10"), &json!(false))
    );
    assert_eq!(told["planId"], Value::Null);
    let path = "/configs/user-service/prod/database/pool";
    let kept = li.get(path).await.is(200);
    assert_eq!(kept.json(), json!({"value": "10"}));
    let body = json!({"value": "20"}).to_string();
    li.put(path, &body).await.is(428);
    li.if_match("\"1-x\"").put(path, &body).await.is(412);
    assert_eq!(li.if_match(&kept.etag()).put(path, &body).await.is(200).json(), json!({"value": "20"}));
    li.if_match(&kept.etag()).put(path, &body).await.is(412);
    let later = asked(&li, "").await;
    assert_eq!(later["value"], "20");
    assert!(later["version"].as_u64() > told["version"].as_u64(), "{told} {later}");
    li.new_one().put("/configs/user-service/prod/database/a%2Fb", &body).await.is(201);
    assert_eq!(
        li.get("/configs/user-service/prod/database/a%2Fb").await.is(200).json(),
        json!({"value": "20"})
    );
    let listed = li.get("/configs?app=user-service").await.is(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "{listed}");
    let first = li.get("/configs?limit=1").await.is(200).json();
    assert_eq!(
        (&first["items"][0]["key"], &first["next"]),
        (&json!("a/b"), &json!("user-service/prod/database/a/b"))
    );
    let second = li.get("/configs?limit=1&after=user-service/prod/database/a/b").await.is(200).json();
    assert_eq!((&second["items"][0]["key"], &second["next"]), (&json!("pool"), &Value::Null));

    refused(
        li.get(&format!("{ROOT}/config/value?appName=user-service&environment=prod&configKey=none")).await,
        404,
    );
    refused(li.get(&format!("{ROOT}/config/value?environment=prod&configKey=none")).await, 400);
    refused(li.get(&format!("{ROOT}/config/value?{KEY}&instanceIp=x")).await, 400);
    refused(Client::at(process.address).get(&format!("{ROOT}/config/value?{KEY}")).await, 401);
    li.get("/configs/user-service/prod/database/none").await.is(404);
    // A reporter reads nothing, a viewer writes nothing, and a bound role reaches its application alone.
    let reporter = process.person("rao", Role::Reporter).await;
    refused(reporter.get(&format!("{ROOT}/config/value?{KEY}")).await, 403);
    let viewer = process.person("wang", Role::Viewer).await;
    assert_eq!(asked(&viewer, "").await["value"], "20");
    viewer.if_match("*").put(path, &body).await.is(403);
    let bound = Grant { role: Role::Editor, services: Some(["other".to_owned()].into()) };
    let bound = process.client(&process.token_for("sun", bound).await);
    bound.if_match("*").put(path, &body).await.is(403);
    bound.new_one().put("/configs/other/prod/default/k", &body).await.is(201);
    let waits = li.new_one().put("/configs/secret-app/prod/default/k", &body).await;
    assert_eq!(waits.status, 202, "{}", waits.text());
    li.get("/configs/secret-app/prod/default/k").await.is(404);
    let proposal = &waits.json()["proposal"];
    let zhao = process.person("zhao", Role::Approver).await;
    let approve = format!("/proposals/{}/approve", proposal["id"].as_str().unwrap());
    zhao.post(&approve, json!({"hash": proposal["hash"]})).await.is(200);
    li.get("/configs/secret-app/prod/default/k").await.is(200);

    let history = li.get("/audit?what=configs/user-service/prod/database/pool").await.is(200).json();
    let newest =
        &history["items"].as_array().unwrap().iter().find(|record| record["result"] == "ok").unwrap().clone();
    assert_eq!(
        (&newest["action"], &newest["before"]["text"], &newest["after"]["text"]),
        (&json!("config.put"), &json!("10"), &json!("20"))
    );
    let metrics = li.get("/metrics").await.text();
    assert!(
        metrics.contains("graygate_config_requests_total{app=\"user-service\",gray=\"false\"}"),
        "{metrics}"
    );
    ok(li.delete(&format!("{ROOT}/config/item?{KEY}")).await);
    refused(li.get(&format!("{ROOT}/config/value?{KEY}")).await, 404);
    refused(li.delete(&format!("{ROOT}/config/item?{KEY}")).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_lives_over_a_directory() {
    a_plan_lives(World::directory("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_lives_over_etcd() {
    a_plan_lives(World::etcd("")).await;
}

async fn a_plan_lives(mut world: World) {
    let (process, li) = begin(&mut world).await;
    let strategy = json!({"grayStrategy": "IP_WHITELIST", "ipWhitelist": ["192.168.1.100", "192.168.1.101"]});
    let id = made(&li, strategy.clone()).await;
    let shown = ok(li.get(&format!("{ROOT}/plan/{id}")).await);
    assert_eq!(
        (&shown["createdBy"], &shown["grayStrategy"], &shown["planId"]),
        (&json!("li"), &json!("IP_WHITELIST"), &json!(id))
    );
    assert!(!gray(&li, "instanceIp=192.168.1.100").await, "a draft gives nothing");
    let text = li.with("accept", "application/yaml").get(&format!("/plans/{id}")).await.is(200).text();
    assert!(text.contains("config:") && text.contains("192.168.1.100"), "{text}");
    act(&li, &id, "start").await;
    assert!(gray(&li, "instanceIp=192.168.1.100&instanceId=i1").await);
    assert!(!gray(&li, "instanceIp=192.168.1.102&instanceId=i2").await);
    let told = asked(&li, "instanceIp=192.168.1.100&instanceId=i1").await;
    assert_eq!(told["planId"], json!(id));
    refused(li.put(&format!("{ROOT}/plan/{id}"), &plan(strategy.clone()).to_string()).await, 409);
    refused(li.delete(&format!("{ROOT}/plan/{id}")).await, 409);
    // Two running plans of one key.
    let other = made(&li, json!({"grayStrategy": "PERCENTAGE", "percentage": 10})).await;
    refused(li.post(&format!("{ROOT}/plan/{other}/start"), json!({})).await, 409);

    act(&li, &id, "pause").await;
    assert!(gray(&li, "instanceIp=192.168.1.100&instanceId=i1").await, "who had it keeps it");
    assert!(!gray(&li, "instanceIp=192.168.1.101&instanceId=i9").await, "and no other gets it");
    act(&li, &id, "resume").await;
    assert!(gray(&li, "instanceIp=192.168.1.101&instanceId=i9").await);
    let details = ok(li.get(&format!("{ROOT}/plan/{id}/details")).await);
    assert_eq!(
        details,
        json!([{"configKey": "pool", "grayValue": "50", "originalValue": "10", "status": "ACTIVE"}])
    );
    let instances = ok(li.get(&format!("{ROOT}/plan/{id}/instances")).await);
    let of = |instance: &str| {
        instances.as_array().unwrap().iter().find(|seen| seen["instanceId"] == instance).unwrap().clone()
    };
    assert_eq!((&of("i1")["gray"], &of("i1")["instanceIp"]), (&json!(true), &json!("192.168.1.100")));
    assert_eq!(of("i2")["gray"], false);

    act(&li, &id, "complete").await;
    let told = asked(&li, "instanceIp=10.0.0.1").await;
    assert_eq!((&told["value"], &told["gray"]), (&json!("50"), &json!(false)), "the value is the item's own");
    assert_eq!(
        li.get("/configs/user-service/prod/database/pool").await.is(200).json(),
        json!({"value": "50"})
    );
    assert_eq!(ok(li.get(&format!("{ROOT}/plan/{id}/details")).await)[0]["originalValue"], "10");
    act(&li, &id, "rollback").await;
    assert_eq!(status(&li, &id).await, "ROLLBACK");
    assert_eq!(asked(&li, "instanceIp=192.168.1.100").await["value"], "10", "the former value is back");
    act(&li, &id, "rollback").await;
    let logs = ok(li.get(&format!("{ROOT}/plan/{id}/logs")).await);
    let actions: Vec<_> =
        logs.as_array().unwrap().iter().map(|log| log["action"].as_str().unwrap()).collect();
    for action in ["plan.start", "plan.pause", "plan.resume", "plan.complete", "plan.rollback"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    assert_eq!(logs[0]["operator"], "li");

    // Lists, drafts, and what does not exist.
    let listed = ok(li.get(&format!("{ROOT}/plan?status=DRAFT&appName=user-service")).await);
    assert_eq!((&listed["items"][0]["planId"], &listed["next"]), (&json!(other), &Value::Null));
    assert_eq!(ok(li.get(&format!("{ROOT}/plan?appName=other")).await)["items"], json!([]));
    let changed = plan(json!({"grayStrategy": "PERCENTAGE", "percentage": 20}));
    assert_eq!(ok(li.put(&format!("{ROOT}/plan/{other}"), &changed.to_string()).await)["percentage"], 20);
    ok(li.delete(&format!("{ROOT}/plan/{other}")).await);
    refused(li.get(&format!("{ROOT}/plan/{other}")).await, 404);
    refused(li.post(&format!("{ROOT}/plan"), plan(json!({"grayStrategy": "RANDOM"}))).await, 422);
    let viewer = process.person("wang", Role::Viewer).await;
    refused(viewer.post(&format!("{ROOT}/plan"), plan(strategy)).await, 403);
    refused(viewer.post(&format!("{ROOT}/plan/{id}/start"), json!({})).await, 403);
    refused(li.post(&format!("{ROOT}/plan/{id}/promote"), json!({})).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_percentage_is_sticky_and_the_same_from_every_process() {
    let mut world = World::etcd("");
    let (first, li) = begin(&mut world).await;
    let token = first.token("app", Role::Viewer).await;
    let second = world.start().await;
    let clients = [first.client(&token), second.client(&token)];
    let id = made(&li, json!({"grayStrategy": "PERCENTAGE", "percentage": 30})).await;
    act(&li, &id, "start").await;
    let started = asked(&clients[0], "userId=x").await["version"].clone();
    until("the second process has seen the start", async || {
        asked(&clients[1], "userId=x").await["version"] == started
    })
    .await;
    let mut grays = 0;
    for number in 0..300 {
        let user = format!("user{number}");
        let expected = bucket(id.as_bytes(), user.as_bytes()).number() < 3_000;
        for (which, client) in clients.iter().enumerate() {
            assert_eq!(
                gray(client, &format!("userId={user}&instanceId=i{which}")).await,
                expected,
                "{user} {which}"
            );
        }
        grays += usize::from(expected);
    }
    assert!((60..120).contains(&grays), "{grays}");
    // Paused: who had it keeps it, also from the other process, and no one else gets it.
    let fresh = (0..10_000).map(|number| format!("fresh{number}"));
    let fresh =
        fresh.into_iter().find(|user| bucket(id.as_bytes(), user.as_bytes()).number() < 3_000).unwrap();
    let had = (0..300).map(|number| format!("user{number}"));
    let had = had.into_iter().find(|user| bucket(id.as_bytes(), user.as_bytes()).number() < 3_000).unwrap();
    act(&li, &id, "pause").await;
    let paused = asked(&clients[0], "userId=x").await["version"].clone();
    until("the second process has seen the pause", async || {
        asked(&clients[1], "userId=x").await["version"] == paused
    })
    .await;
    for client in &clients {
        assert!(!gray(client, &format!("userId={fresh}")).await);
        until("who had it has it", async || gray(client, &format!("userId={had}")).await).await;
    }
    act(&li, &id, "resume").await;
    assert!(gray(&clients[0], &format!("userId={fresh}")).await);
    let seen =
        async || ok(clients[1].get(&format!("{ROOT}/plan/{id}/instances")).await).as_array().unwrap().len();
    until("what one process gave is told by the other", async || seen().await >= 2).await;
    // A process that starts later knows who had it.
    act(&li, &id, "pause").await;
    let third = world.start().await;
    let third = third.client(&token);
    until("it knows who had it", async || gray(&third, &format!("userId={had}")).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn canary_widens_by_itself_until_everyone_has_the_value_over_a_directory() {
    canary_widens_by_itself(World::directory("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn canary_widens_by_itself_until_everyone_has_the_value_over_etcd() {
    canary_widens_by_itself(World::etcd("")).await;
}

async fn canary_widens_by_itself(mut world: World) {
    let (_process, li) = begin(&mut world).await;
    let canary = json!({"canaryInstances": ["i1"], "stepPercentage": 50, "stepInterval": 0.02});
    let id = made(&li, json!({"grayStrategy": "CANARY", "canary": canary})).await;
    act(&li, &id, "start").await;
    assert!(gray(&li, "instanceId=i1&instanceIp=10.0.0.1").await);
    let mut had: Vec<bool> = vec![false; 40];
    until("it is completed", async || {
        for (number, had) in had.iter_mut().enumerate() {
            let told = asked(&li, &format!("instanceId=n{number}&instanceIp=10.0.0.2")).await;
            let has = told["value"] == "50";
            assert!(has || !*had, "n{number} lost the value");
            *had |= has;
        }
        status(&li, &id).await == "COMPLETED"
    })
    .await;
    assert_eq!(
        li.get("/configs/user-service/prod/database/pool").await.is(200).json(),
        json!({"value": "50"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_values_in_a_row_above_a_limit_roll_back_over_a_directory() {
    three_values_in_a_row_roll_back(World::directory("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_values_in_a_row_above_a_limit_roll_back_over_etcd() {
    three_values_in_a_row_roll_back(World::etcd("")).await;
}

async fn three_values_in_a_row_roll_back(mut world: World) {
    let (process, li) = begin(&mut world).await;
    let rules = json!({"userWhitelist": ["u1"], "rollback": {"error_rate": 5, "response_time": 1000}});
    let id = made(&li, json!({"grayStrategy": "USER_WHITELIST", "grayRules": rules})).await;
    let rao = process.person("rao", Role::Reporter).await;
    let path = format!("{ROOT}/plan/{id}/monitor");
    let measure = |metric: &str, value: f64| json!({"metric": metric, "value": value, "instanceId": "i1"});
    refused(rao.post(&path, measure("error_rate", 9.0)).await, 409);
    act(&li, &id, "start").await;
    assert!(gray(&li, "userId=u1").await);
    refused(rao.get(&path).await, 403);
    refused(li.post(&path, measure("error_rate", 9.0)).await, 403);
    for value in [9.0, 9.0, 5.0, 9.0, 6.0] {
        assert_eq!(ok(rao.post(&path, measure("error_rate", value)).await)["status"], "ACTIVE");
    }
    ok(rao.post(&path, measure("response_time", 2000.0)).await);
    ok(rao.post(&path, measure("orders", 7.0)).await);
    let told = ok(li.get(&path).await);
    let of = |name: &str| {
        told["metrics"].as_array().unwrap().iter().find(|metric| metric["metric"] == name).unwrap().clone()
    };
    assert_eq!(
        (&of("error_rate")["above"], &of("error_rate")["count"], &of("error_rate")["limit"]),
        (&json!(2), &json!(5), &json!(5.0))
    );
    assert_eq!(of("orders")["limit"], Value::Null);
    let begun = Instant::now();
    assert_eq!(ok(rao.post(&path, measure("error_rate", 8.0)).await)["status"], "ROLLBACK");
    assert!(!gray(&li, "userId=u1").await);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let logs = ok(li.get(&format!("{ROOT}/plan/{id}/logs")).await);
    assert_eq!((&logs[0]["action"], &logs[0]["operator"]), (&json!("plan.rollback"), &json!("controller")));
    assert!(logs[0]["detail"].as_str().unwrap().contains("error_rate"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_wakes_at_changes_over_a_directory() {
    a_watch_wakes(World::directory("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_wakes_at_changes_over_etcd() {
    a_watch_wakes(World::etcd("")).await;
}

async fn a_watch_wakes(mut world: World) {
    let (_process, li) = begin(&mut world).await;
    let id = made(&li, json!({"grayStrategy": "USER_WHITELIST", "userWhitelist": ["u1"]})).await;
    let mut version = asked(&li, "userId=u1").await["version"].as_u64().unwrap();
    assert_eq!(
        ok(li.get(&format!("{ROOT}/config/value?{KEY}&watch=true&version=0")).await)["version"],
        version
    );
    for (change, value) in [("item", "11"), ("start", "50"), ("rollback", "11")] {
        let waiting = {
            let li = li.clone();
            let path = format!("{ROOT}/config/value?{KEY}&userId=u1&watch=true&version={version}");
            tokio::spawn(async move { (ok(li.get(&path).await), Instant::now()) })
        };
        // The other side has to be waiting; what it answers shows that it was not asked before.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        let changed = Instant::now();
        match change {
            "item" => {
                let item = json!({"appName": "user-service", "environment": "prod", "groupName": "database", "configKey": "pool", "value": "11"});
                ok(li.put(&format!("{ROOT}/config/item"), &item.to_string()).await);
            }
            action => drop(act(&li, &id, action).await),
        }
        let (told, at) = waiting.await.unwrap();
        assert_eq!(told["value"], value, "{change}");
        assert!(at.saturating_duration_since(changed) < Duration::from_secs(5), "{change}");
        assert!(told["version"].as_u64().unwrap() > version, "{change}: {told}");
        version = told["version"].as_u64().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_change_answers_after_half_a_minute_over_a_directory() {
    a_watch_without_a_change_answers(World::directory("")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_change_answers_after_half_a_minute_over_etcd() {
    a_watch_without_a_change_answers(World::etcd("")).await;
}

/// By the real clock, while others change what is none of its concern: 200 and the same version.
async fn a_watch_without_a_change_answers(mut world: World) {
    let (process, li) = begin(&mut world).await;
    let version = asked(&li, "").await["version"].as_u64().unwrap();
    let begun = Instant::now();
    let waiting = {
        let path = format!("{ROOT}/config/value?{KEY}&watch=true&version={version}");
        let li = li.clone();
        tokio::spawn(async move { ok(li.get(&path).await) })
    };
    let other = json!({"appName": "other", "environment": "prod", "configKey": "k", "value": "1"});
    ok(li.put(&format!("{ROOT}/config/item"), &other.to_string()).await);
    made(&li, json!({"grayStrategy": "PERCENTAGE", "percentage": 10})).await;
    let told = waiting.await.unwrap();
    let waited = begun.elapsed();
    assert_eq!((&told["version"], &told["value"]), (&json!(version), &json!("10")), "{told}");
    // Others share the machine; to the second it is held by the clock that is stopped below.
    assert!(waited > Duration::from_secs(29) && waited < Duration::from_secs(45), "{waited:?}");
    drop(process);
}

#[tokio::test]
async fn a_watch_takes_at_most_31_seconds() {
    let plane = crate::harness::Plane::start().await;
    let root = Principal::own("command", Via::Command);
    let place = ItemPlace::of("user-service", "prod", None).unwrap();
    let id = ItemId::of(place, "pool").unwrap();
    plane.control.put_config_item(&root, (&id, Some("10".into())), None, None).await.unwrap();
    let asker = Asker { instance: None, user: None, address: [10, 0, 0, 1].into() };
    let known = plane.control.config_value(&root, &id, &asker).await.unwrap();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let told = plane.control.watch_config_value(&root, (&id, &asker), Some(known.version)).await.unwrap();
    let waited = begun.elapsed();
    assert_eq!(told, known);
    assert!(waited >= Duration::from_secs(30) && waited <= Duration::from_secs(31), "{waited:?}");
}

/// A question that nothing is odd about is answered without the whole way; what is answered is the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_question_and_an_escaped_one_get_the_same_answer() {
    let mut world = World::directory("");
    let process = world.start().await;
    let li = process.person("li", Role::Operator).await;
    let item = json!({"appName": "a", "environment": "prod", "configKey": "k", "value": "1"});
    assert_eq!(li.put("/api/gray-release/config/item", &item.to_string()).await.status, 200);
    let plan = json!({"appName": "a", "environment": "prod", "grayValues": {"k": "2"},
        "grayStrategy": "PERCENTAGE", "percentage": 50});
    let made = li.post("/api/gray-release/plan", plan).await.json();
    let id = made["data"]["planId"].as_str().unwrap().to_owned();
    let started = li.post(&format!("/api/gray-release/plan/{id}/start"), json!({})).await;
    assert_eq!(started.status, 200, "{}", started.text());
    let (viewer, reporter) =
        (process.person("wang", Role::Viewer).await, process.person("app", Role::Reporter).await);
    let stranger = process.client("gg_0123456789abcdef_x");
    let strange = viewer.with("host", "evil.example");
    let users: Vec<String> = (0..20).map(|i| format!("configKey=k&userId=u{i}&instanceId=i{i}")).collect();
    let more = ["configKey=k", "configKey=none", "configKey=k&instanceIp=x", "configKey=k&groupName=default"];
    let queries: Vec<&str> = users.iter().map(String::as_str).chain(more).collect();
    let (mut given, mut answered) = (0, 0);
    for (who, status) in [(&viewer, 200), (&reporter, 403), (&stranger, 401), (&strange, 421)] {
        for query in &queries {
            let path = "/api/gray-release/config/value?environment=prod&";
            // The first one may have to look its token up.
            let plain = format!("{path}appName=a&{query}");
            let first = who.get(&plain).await;
            let second = who.get(&plain).await;
            let escaped = who.get(&format!("{path}appName=%61&{query}")).await;
            for other in [&first, &escaped] {
                assert_eq!((second.status, second.text()), (other.status, other.text()), "{query}");
                let headers = |answer: &crate::harness::Answer| {
                    let mut headers = answer.headers.clone();
                    headers.remove("date");
                    headers
                };
                assert_eq!(headers(&second), headers(other), "{query}");
            }
            let is_good = !query.contains("none") && !query.contains("=x");
            assert!(second.status == status || !is_good, "{query}: {}", second.status);
            given += u32::from(second.text().contains("\"gray\":true"));
            answered += if second.status == 200 { 3 } else { 0 };
        }
    }
    assert!((1..20).contains(&given), "{given}");
    let metrics = viewer.get("/metrics").await.text();
    let counted = format!(
        "graygate_api_requests_total{{path=\"/api/gray-release/config/value\",status=\"200\"}} {answered}"
    );
    assert!(metrics.contains(&counted), "{answered}: {metrics}");
    let count = |gray: bool| {
        let mark = format!("graygate_config_requests_total{{app=\"a\",gray=\"{gray}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&mark)?.parse::<u32>().ok()).unwrap()
    };
    assert_eq!((count(true), count(true) + count(false)), (given * 3, answered));
}
