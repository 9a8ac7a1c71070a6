//! Questions, messages, events and what runs.

use graygate_control::api::Front;
use graygate_control::notices::{Channels, Event, Notice};
use graygate_control::people::Role;
use graygate_control::settings::Config;
use graygate_control::state::Transaction;
use graygate_rules::documents::fields::Notes;
use serde_json::json;

use crate::harness::Plane;

#[tokio::test]
async fn a_question_is_answered_today_and_with_drafts() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let puts = json!({"routes/all": "service: patient\n", "rules/x": "version: gray\nservices: [patient]\nwhen: {attribute: header:x-tester, exists: true}\n"});
    li.post("/changes", json!({"puts": puts})).await.is(200);
    let question = json!({"url": "http://h/list", "headers": [["x-tester", "yes"]]});
    let told = li.post("/explain", question).await.is(200).json();
    assert_eq!(
        (&told["version"], &told["reason"], &told["rule"]),
        (&json!("gray"), &json!("rule"), &json!("x"))
    );
    let drafts = json!({"rules/x": null, "rules/y": "version: feat1\nservices: [patient]\n"});
    let question = json!({"url": "http://h/list", "headers": [["x-tester", "yes"]], "drafts": drafts});
    let told = li.post("/explain", question).await.is(200).json();
    assert_eq!((&told["version"], &told["draft"]["version"]), (&json!("gray"), &json!("feat1")));
    li.post("/explain", json!({"url": "ftp://h"})).await.is(422);
    li.post("/explain", json!({"path": "/"})).await.is(422);
    li.get("/documents/rules/y").await.is(404);

    let drafts = json!({"rules/x": "version: gray\nservices: [patient]\n"});
    let moved =
        li.post("/replay", json!({"drafts": drafts, "sample": {"identities": 100}})).await.is(200).json();
    assert_eq!(moved["moved"], 100);
    assert_eq!(
        moved["by"][0],
        json!({"service": "patient", "from": "release", "to": "gray", "requests": 100})
    );
    let log = "{\"method\": \"GET\", \"host\": \"h\", \"path\": \"/\", \"client\": \"203.0.113.7\", \"user_agent\": \"t\"}\n";
    let moved = li.post("/replay", json!({"drafts": drafts, "sample": {"log": log}})).await.is(200).json();
    assert_eq!((&moved["requests"], &moved["moved"]), (&json!(1), &json!(1)), "{moved}");
    li.post("/replay", json!({"drafts": {}, "sample": {"log": "/etc/passwd"}})).await.is(200);
}

#[tokio::test]
async fn messages_are_read_by_each_for_himself() {
    let plane = Plane::start().await;
    let (li, wang) = (plane.person("li", Role::Viewer).await, plane.person("wang", Role::Viewer).await);
    let mut transaction = Transaction::default();
    let message =
        Notice::of_plane(Event::Quota, "it is full".into(), "/fleet", time::OffsetDateTime::now_utc());
    message.queue(&mut transaction).unwrap();
    plane.control.state.commit(transaction).await.unwrap();
    let told = li.get("/messages").await.is(200).json();
    assert_eq!((&told["items"][0]["text"], &told["items"][0]["read"]), (&json!("it is full"), &json!(false)));
    li.post(&format!("/messages/{}/read", message.id), json!({})).await.is(204);
    assert_eq!(li.get("/messages").await.json()["items"][0]["read"], true);
    assert_eq!(wang.get("/messages").await.json()["items"][0]["read"], false);
    li.post("/messages/none/read", json!({})).await.is(404);
}

#[tokio::test]
async fn services_and_fleet_are_told() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Viewer).await;
    let told = li.get("/services").await.is(200).json();
    let names: Vec<_> =
        told["items"].as_array().unwrap().iter().map(|service| service["name"].clone()).collect();
    assert_eq!(names, ["patient", "portal"]);
    assert_eq!(li.get("/fleet").await.is(200).json()["proxies"], json!([]));
}

#[tokio::test]
async fn an_invitation_signs_in_once() {
    let plane = Plane::start().await;
    plane.person("li", Role::Admin).await;
    let invitation = plane.control.invite("li");
    let path = format!("/sign-in/once/{invitation}");
    let answer = plane.stranger().get(&path).await;
    assert_eq!(answer.status, 303);
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(plane.stranger().with("cookie", &cookie).get("/me").await.is(200).json()["user"], "li");
    plane.stranger().get(&path).await.is(404);
    plane.stranger().get("/sign-in/once/x").await.is(404);
}

#[tokio::test]
async fn a_channel_is_tested_and_what_became_of_it_stands_in_the_log() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let got: std::sync::Arc<std::sync::Mutex<Vec<String>>> = std::sync::Arc::default();
    let kept = got.clone();
    let receiver = axum::Router::new().fallback(move |body: String| async move {
        let is_first = kept.lock().unwrap().is_empty();
        kept.lock().unwrap().push(body);
        (
            if is_first { http::StatusCode::OK } else { http::StatusCode::FORBIDDEN },
            "a secret of the other side",
        )
    });
    tokio::spawn(async move { axum::serve(listener, receiver).await });
    let text = format!(
        "documents: {{directory: d}}\nstate: s\nchannels:\n  ops: {{webhook: \"http://{address}/token-in-the-path\"}}\n  other: {{webhook: \"http://{address}/\", language: zh}}\n"
    );
    let config = Config::parse(&text, Notes::of("control.yaml")).unwrap();
    let channels = Channels::new(config.channels, "https://gray.example.com".to_owned());
    let plane = Plane::start_with(|control| control.channels = channels, Front::loopback()).await;
    let (li, wang) = (plane.person("li", Role::Operator).await, plane.person("wang", Role::Editor).await);
    wang.post("/channels/ops/test", json!({})).await.is(403);
    li.post("/channels/none/test", json!({})).await.is(404);
    let told = li.post("/channels/ops/test", json!({})).await.is(200).json();
    assert_eq!(
        (&told["outcome"], &told["event"], &told["attempts"]),
        (&json!("delivered"), &json!("test"), &json!(1))
    );
    let sent: serde_json::Value = serde_json::from_str(&got.lock().unwrap()[0]).unwrap();
    assert_eq!((&sent["event"], &sent["id"]), (&json!("test"), &told["notice"]));
    assert_eq!(sent["link"], "https://gray.example.com/channels");
    // Chats refuse many messages: so do we, each channel for itself.
    li.post("/channels/ops/test", json!({})).await.is(429);
    let failed = li.post("/channels/other/test", json!({})).await.is(200).json();
    assert_eq!((&failed["outcome"], &failed["why"]), (&json!("failed"), &json!("not taken (status 403)")));
    let log = wang.get("/deliveries?limit=1").await.is(200).json();
    assert_eq!(log["items"][0], failed);
    let next = wang.get(&format!("/deliveries?after={}", log["next"].as_str().unwrap())).await.is(200).json();
    assert_eq!((&next["items"], &next["next"]), (&json!([told]), &json!(null)));
    assert_eq!(wang.get("/deliveries?channel=ops").await.json()["items"], json!([told]));
    let shown = wang.get("/channels").await.is(200);
    let text = String::from_utf8_lossy(&shown.body).into_owned();
    assert!(!text.contains("token-in-the-path") && !text.contains("secret of"), "{text}");
    let shown = shown.json();
    assert_eq!(shown["items"][0], json!({"name": "ops", "kind": "json", "language": "en", "last": told}));
    assert_eq!(shown["items"][1]["language"], "zh");
    let audit = li.get("/audit?what=channels").await.is(200).json();
    let actions: Vec<_> =
        audit["items"].as_array().unwrap().iter().map(|one| (&one["action"], &one["result"])).collect();
    assert_eq!(actions[0], (&json!("channel.test"), &json!("ok")));
    assert!(actions.contains(&(&json!("channel.test"), &json!("refused"))), "{audit}");
}

/// Documents, lists and plans as they were, by time and by revision.
#[tokio::test]
async fn a_question_is_answered_as_it_would_have_been() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Operator).await;
    let now =
        || time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap();
    let before = "2001-01-01T00:00:00Z";
    let ask = async |at: serde_json::Value, user: &str| {
        let question = json!({"url": "http://h/list", "headers": [["x-user", user]], "at": at});
        li.post("/explain", question).await
    };
    let put = async |puts: serde_json::Value| {
        let told =
            li.post("/changes", json!({"puts": puts, "if_match": etags(&li).await})).await.is(200).json();
        (told["revision"].clone(), now())
    };
    let empty = now();
    li.post("/lists/pilots/members", json!({"add": ["alice", "bob"]})).await.is(200);
    let rule = "version: gray\nservices: [patient]\nwhen: {attribute: header:x-user, in_list: pilots}\n";
    let first = put(json!({"routes/all": "service: patient\n", "rules/x": rule})).await;
    li.post("/lists/pilots/members", json!({"add": ["zed"], "remove": ["alice"]})).await.is(200);
    let second = put(json!({"rules/x": "version: feat1\nservices: [patient]\n"})).await;
    put(json!({"rules/y": "version: feat2\npriority: 9\nservices: [patient]\n"})).await;
    let versions = async |at: &serde_json::Value| {
        let mut got = Vec::new();
        for user in ["alice", "zed"] {
            got.push(ask(at.clone(), user).await.is(200).json()["version"].clone());
        }
        got
    };
    assert_eq!(versions(&json!(null)).await, ["feat2", "feat2"]);
    assert_eq!(versions(&json!(second.1)).await, ["feat1", "feat1"], "rules/y was not there");
    assert_eq!(versions(&json!(first.1)).await, ["gray", "release"], "as the list was");
    assert_eq!(versions(&json!(empty)).await, [json!(null), json!(null)], "there was no route");
    for (revision, versions_then) in [(&first.0, ["gray", "release"]), (&second.0, ["feat1", "feat1"])] {
        assert_eq!(versions(&json!(revision.to_string())).await, versions_then, "revision {revision}");
    }
    let told = ask(json!(first.1), "alice").await.json();
    assert_eq!((&told["at"]["changed"], &told["at"]["unknown"]), (&json!(3), &json!([])), "{told}");
    ask(json!(before), "alice").await.is(422);
    ask(json!("2999-01-01T00:00:00Z"), "alice").await.is(422);
    ask(json!("yesterday"), "alice").await.is(422);
    // No proxy is known here, and that is what is told.
    let question = json!({"url": "http://h/list", "proxies": true});
    assert_eq!(li.post("/explain", question).await.is(200).json()["proxies"], json!([]));
}

/// The ETags of all rules.
async fn etags(client: &crate::harness::Client) -> serde_json::Value {
    let mut etags = serde_json::Map::new();
    for name in ["rules/x", "rules/y", "routes/all"] {
        let answer = client.get(&format!("/documents/{name}")).await;
        if answer.status == 200 {
            etags.insert(name.to_owned(), json!(answer.headers["etag"].to_str().unwrap()));
        }
    }
    json!(etags)
}
