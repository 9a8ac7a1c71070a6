//! Further attacks that worked elsewhere: forged and stolen proofs, guesses, other sites' pages, addresses in documents,
//! markup, repetition, floods and leaks.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use graygate_control::people::{Grant, Passwords, Role};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Client, PASSWORD, Plane};
use crate::stores::World;

const SERVICE: &str = "identity: [header:x-user]\ninstances:\n  - {address: \"127.0.0.1:9001\", version: release}\n  - {address: \"127.0.0.1:9002\", version: gray}\n";
const PLAN: &str =
    "services: [patient]\nversion: gray\nby: [header:x-user]\nsteps: [{share: 5, hold: 10m}, {share: 100}]\n";
const RULE: &str = "version: gray\nservices: [patient]\n";

/// A session's client, and what its writes carry.
async fn session(plane: &Plane, name: &str) -> (Client, String) {
    let answer = plane.stranger().post("/session", json!({"user": name, "password": PASSWORD})).await.is(201);
    let cookie = answer.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    (plane.stranger().with("cookie", &cookie), answer.json()["csrf"].as_str().unwrap().to_owned())
}

/// A service of two versions, and a plan that is a draft; answers its ETag.
async fn planned(li: &Client, plan: &str) -> String {
    let tag = li.get("/documents/services/patient").await.is(200).etag();
    li.if_match(&tag).put("/documents/services/patient", SERVICE).await.is(200);
    li.new_one().put("/plans/p8", plan).await.is(201).etag()
}

/// Attack 2: an address that only the client itself tells is not believed.
#[tokio::test]
async fn a_stranger_does_not_say_where_he_comes_from() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let forged = li.with("x-forwarded-for", "203.0.113.7").with("x-real-ip", "203.0.113.7");
    forged.new_one().put("/documents/rules/x", RULE).await.is(201);
    let audit = li.get("/audit?what=rules/x").await.is(200).json();
    assert_eq!(audit["items"][0]["address"], "127.0.0.1", "{audit}");
}

/// Attack 3: the absolute form of a target, and other methods, are the same call.
#[tokio::test]
async fn another_form_of_a_target_steps_around_nothing() {
    let plane = Plane::start().await;
    let stranger = plane.stranger();
    for path in ["/api/v1/documents", "/api/v1/../v1/documents", "/healthz/..;/api/v1/documents"] {
        let status = stranger.get(&format!("http://{}{path}", plane.address)).await.status;
        assert!(matches!(status, 303 | 401), "{path}: {status}");
    }
    let evil = stranger.with("host", &plane.address.to_string());
    let status = evil.get("http://evil.example/api/v1/documents").await.status;
    assert!(matches!(status, 401 | 421), "{status}");
    for method in ["PATCH", "TRACE", "CONNECTED", "PROPFIND"] {
        assert_eq!(stranger.send(method, "/documents", "").await.status, 401, "{method}");
    }
}

/// Attack 5: what is not exactly a token that was given, and is still good, is nothing.
#[tokio::test]
async fn a_token_is_neither_made_up_nor_outlives_its_person() {
    let plane = Plane::start().await;
    let admin = plane.person("admin", Role::Admin).await;
    let new = json!({"name": "li", "password": PASSWORD, "roles": [{"role": "editor"}]});
    admin.post("/users", new).await.is(201);
    let token = async |expires: Option<&str>| {
        let asked = json!({"name": "t", "user": "li", "role": "editor", "expires": expires});
        let answer = admin.post("/tokens", asked).await.is(201).json();
        (answer["id"].as_str().unwrap().to_owned(), answer["token"].as_str().unwrap().to_owned())
    };
    let bearer = |token: &str| plane.stranger().with("authorization", &format!("Bearer {token}"));
    let (id, first) = token(None).await;
    let (_, second) = token(None).await;
    bearer(&first).get("/me").await.is(200);
    let (head, secret) = first.rsplit_once('_').unwrap();
    let (other, _) = second.rsplit_once('_').unwrap();
    let last = if secret.ends_with('0') { '1' } else { '0' };
    for forged in [
        format!("{head}_{}{last}", &secret[..secret.len() - 1]),
        format!("{other}_{secret}"),
        format!("{head}_"),
        head.to_owned(),
        format!("{first}x"),
        format!("{first} {first}"),
        first.to_uppercase(),
        id.clone(),
    ] {
        bearer(&forged).get("/me").await.is(401);
    }
    admin
        .post(
            "/tokens",
            json!({"name": "t", "user": "li", "role": "editor", "expires": "2001-01-01T00:00:00Z"}),
        )
        .await
        .is(422);
    admin.delete(&format!("/tokens/{id}")).await.is(204);
    bearer(&first).get("/me").await.is(401);
    // Rights that are taken from the person are taken from the token.
    bearer(&second).new_one().put("/documents/rules/x", RULE).await.is(201);
    let tag = admin.get("/users/li").await.etag();
    let lowered = json!({"roles": [{"role": "viewer"}]}).to_string();
    let tag = admin.if_match(&tag).put("/users/li", &lowered).await.is(200).etag();
    bearer(&second).new_one().put("/documents/rules/y", RULE).await.is(403);
    admin.if_match(&tag).delete("/users/li").await.is(204);
    bearer(&second).get("/me").await.is(401);
}

/// Attack 6: names are not found out by answers or their time, and an address has twenty tries.
#[tokio::test]
async fn guesses_learn_nothing_and_are_few() {
    let plane = Plane::start().await;
    for name in ["li", "wang", "zhao", "qian", "sun", "zhou"] {
        plane.person(name, Role::Editor).await;
    }
    let guess = async |name: &str| {
        let begun = Instant::now();
        let answer =
            plane.stranger().post("/session", json!({"user": name, "password": "wrong horse battery"})).await;
        (answer.status, answer.text(), begun.elapsed())
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    let pairs = [
        ("li", "lo"),
        ("wang", "weng"),
        ("zhao", "zheo"),
        ("qian", "qien"),
        ("sun", "son"),
        ("zhou", "zheu"),
    ];
    for (there, not) in pairs {
        known.push(guess(there).await);
        unknown.push(guess(not).await);
    }
    let texts: BTreeSet<_> =
        known.iter().chain(&unknown).map(|(status, text, _)| (*status, text.clone())).collect();
    assert_eq!(texts.len(), 1, "{texts:?}");
    // An unknown name takes as long as the comparison of a password, which is what makes a known one slow.
    let passwords = Passwords::default();
    let hashed = passwords.hash(PASSWORD).await.unwrap();
    let mut comparisons = Vec::new();
    for _ in &pairs {
        let begun = Instant::now();
        assert!(!passwords.is("wrong horse battery", Some(&hashed)).await);
        comparisons.push(begun.elapsed());
    }
    let compared = comparisons.into_iter().min().unwrap();
    let not = unknown.iter().map(|one| one.2).min().unwrap();
    assert!(not * 4 > compared, "a comparison {compared:?}, an unknown name {not:?}");
    let mut tries = 2 * pairs.len();
    while guess(&format!("n{tries}")).await.0 != 429 {
        tries += 1;
        assert!(tries <= 20, "an address has more than twenty tries");
    }
    assert_eq!(
        plane.stranger().post("/session", json!({"user": "li", "password": PASSWORD})).await.status,
        429
    );
}

/// Attack 7: a page of another site changes nothing by a browser that has a session, and reads nothing.
#[tokio::test]
async fn another_sites_page_changes_and_reads_nothing() {
    let plane = Plane::start().await;
    let token = plane.person("li", Role::Operator).await;
    let tag = planned(&token, PLAN).await;
    let (li, csrf) = session(&plane, "li").await;
    // Links and images: nothing changes by reading.
    for path in ["/plans/p8/start", "/plans/p8/rollback", "/session", "/changes"] {
        assert!(matches!(li.get(path).await.status, 404 | 405), "{path}");
    }
    // Forms, which need no permission of ours.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""] {
        let form = li.with("content-type", kind).if_match(&tag);
        form.send("POST", "/plans/p8/start", "{\"reason\": \"x\"}").await.is(403);
        form.with("x-graygate-csrf", "").send("POST", "/plans/p8/start", "{}").await.is(403);
        form.send("POST", "page:/plans/p8/start", "csrf=x").await.is_refused();
    }
    // A token of the session that leaked does not help another site.
    let proven = li.with("x-graygate-csrf", &csrf).if_match(&tag);
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "none"),
    ] {
        proven.with(name, value).post("/plans/p8/start", json!({})).await.is(403);
    }
    assert_eq!(token.get("/plans/p8").await.json()["state"], "DRAFT");
    // No one asks before, and nothing is shared.
    let asked = li.with("origin", "http://evil.example").with("access-control-request-method", "PUT");
    let answer = asked.send("OPTIONS", "/documents/rules/x", "").await;
    assert!(
        answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")),
        "{:?}",
        answer.headers
    );
    proven.with("sec-fetch-site", "same-origin").post("/plans/p8/start", json!({})).await.is(200);
}

/// Attack 8: what belongs to another service is not moved, and what another application measured is not forged.
#[tokio::test(flavor = "multi_thread")]
async fn rights_for_one_service_do_nothing_to_another() {
    let plane = Plane::start().await;
    let tag = planned(&plane.person("li", Role::Operator).await, PLAN).await;
    let bound = |role, service: &str| Grant { role, services: Some([service.to_owned()].into()) };
    let stranger = plane.person_for("wang", bound(Role::Approver, "portal")).await;
    for action in ["start", "pause", "resume", "advance", "approve", "complete", "rollback", "promote"] {
        stranger.if_match(&tag).post(&format!("/plans/p8/{action}"), json!({})).await.is(403);
    }
    stranger.if_match(&tag).put("/plans/p8", PLAN).await.is(403);
    stranger.if_match(&tag).delete("/plans/p8").await.is(403);
    stranger
        .new_one()
        .put("/documents/closures/patient.gray", "service: patient\nversion: gray\nbecause: x\n")
        .await
        .is(403);

    let mut world = World::directory("");
    let process = world.start().await;
    let li = process.person("li", Role::Operator).await;
    let plan = json!({"planName": "x", "appName": "orders", "environment": "prod", "grayValues": {"k": "1"},
        "grayStrategy": "USER_WHITELIST", "grayRules": {"userWhitelist": ["u"], "rollback": {"error_rate": 5}}});
    let made = li.post("/api/gray-release/plan", plan).await.json();
    let id = made["data"]["planId"].as_str().unwrap().to_owned();
    let path = format!("/api/gray-release/plan/{id}/monitor");
    assert_eq!(li.post(&format!("/api/gray-release/plan/{id}/start"), json!({})).await.status, 200);
    let measured = json!({"metric": "error_rate", "value": 99.0, "instanceId": "i"});
    for role in [Role::Viewer, Role::Editor, Role::Approver] {
        let other = process.person(role.as_str(), role).await;
        assert_eq!(other.post(&path, measured.clone()).await.status, 403, "{}", role.as_str());
    }
    let rival = process.client(&process.token_for("rival", bound(Role::Reporter, "payments")).await);
    for _ in 0..4 {
        assert_eq!(rival.post(&path, measured.clone()).await.status, 403);
    }
    let shown = li.get(&format!("/api/gray-release/plan/{id}")).await.json();
    assert_eq!(shown["data"]["status"], "ACTIVE", "{shown}");
}

/// Attack 10: nothing that is sent names an address that this program connects to, and no file's name is opened.
#[tokio::test(flavor = "multi_thread")]
async fn no_document_and_no_call_names_a_place_to_connect_to() {
    let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = trap.local_addr().unwrap();
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Approver).await;
    planned(&li, PLAN).await;
    let guard = |from: &str| {
        format!("{PLAN}guards: {{metrics: [{{name: m, from: '{from}', query: up, above: 1, every: 1s}}]}}\n")
    };
    for address in [
        format!("http://{at}"),
        format!("http://[::ffff:127.0.0.1]:{}", at.port()),
        "http://169.254.169.254".into(),
    ] {
        // A plan's measure and channel are names of the file.
        li.new_one().put("/plans/evil", &guard(&address)).await.is(422);
        li.new_one().put("/plans/evil", &format!("{PLAN}channels: ['{address}']\n")).await.is(422);
        // So is a service's registry.
        let service = format!("discover: {{registry: '{address}', name: x}}\n");
        li.new_one().put("/documents/services/evil", &service).await.is(422);
        li.post("/messages/x/read", json!({"url": address})).await.is(404);
        let log = json!({"drafts": {}, "sample": {"log": address}});
        assert!(matches!(li.post("/replay", log).await.status, 200 | 400 | 422));
    }
    // Instances are where proxies go, not this program.
    let service = format!("instances: [{{address: '{at}', version: gray}}]\n");
    li.new_one().put("/documents/services/own", &service).await.is(201);
    li.get("/services").await.is(200);
    li.post("/explain", json!({"url": format!("http://{at}/"), "headers": []})).await.is(200);
    for file in ["/etc/passwd", "file:///etc/passwd"] {
        let answer = li.post("/replay", json!({"drafts": {}, "sample": {"log": file}})).await;
        assert!(!answer.text().contains("root:"), "{}", answer.text());
    }
    let connected = tokio::time::timeout(Duration::from_millis(300), trap.accept()).await;
    assert!(connected.is_err(), "someone connected: {connected:?}");
}

/// Attack 11: names are names, and all other text is text on every page and in every report.
#[tokio::test]
async fn what_people_write_is_text_wherever_it_is_shown() {
    const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Admin).await;
    let evil = li.with("user-agent", EVIL).with("x-request-id", EVIL);
    let tag = planned(&li, &format!("title: {}\n{PLAN}", json!(EVIL))).await;
    let begun = evil.if_match(&tag).post("/plans/p8/start", json!({"reason": EVIL})).await.is(200).etag();
    evil.if_match(&begun).post("/plans/p8/pause", json!({"reason": EVIL})).await.is(200);
    evil.post("/plans/p8/rollback", json!({"reason": EVIL})).await.is(200);
    let rule = format!("# {EVIL}\n{RULE}");
    evil.new_one().put("/documents/rules/x?reason=%3Cscript%3Ealert(1)%3C/script%3E", &rule).await.is(201);
    evil.put("/lists/pilots", &format!("{EVIL}\n")).await.is(201);
    // Names that are markup are none.
    for name in ["%3Cscript%3E", "x%22y", "x%0d%0ay", "=1+1"] {
        let status = evil.new_one().put(&format!("/plans/{name}"), PLAN).await.status;
        assert!(matches!(status, 400 | 404 | 422), "{name}: {status}");
    }
    let user = json!({"name": EVIL, "password": PASSWORD, "roles": [{"role": "viewer"}]});
    evil.post("/users", user).await.is(422);

    let (browser, _) = session(&plane, "li").await;
    for page in [
        "page:/",
        "page:/plans",
        "page:/plans/p8",
        "page:/documents",
        "page:/documents/rules/x",
        "page:/lists/pilots",
        "page:/audit",
        "page:/messages",
        "page:/people",
        "page:/services/patient",
        "page:/why?url=%3Cscript%3Ealert(1)%3C/script%3E",
        "page:/audit?who=%3Cscript%3Ealert(1)%3C/script%3E",
        "page:/%3Cscript%3Ealert(1)%3C/script%3E",
        "page:/sign-in?error=%3Cscript%3Ealert(1)%3C/script%3E",
        "/plans/p8/report",
    ] {
        let shown = browser.get(page).await.text();
        assert!(!shown.contains("<script>alert") && !shown.contains("<img src=x"), "{page}: {shown}");
    }
    assert!(browser.get("page:/audit").await.text().contains("&lt;script&gt;"), "the audit shows it");
    let markdown = li.with("accept", "text/markdown").get("/plans/p8/report").await.is(200).text();
    // What is indented is code, which shows markup as it is.
    let text: String = markdown.lines().filter(|line| !line.starts_with("    ")).collect();
    let text = text.replace("\\<", "");
    assert!(!text.contains("<script>alert") && !text.contains("<img src=x"), "{markdown}");
}

/// Attack 12: a request that someone kept does nothing the second time.
#[tokio::test]
async fn a_request_that_is_sent_again_does_nothing_again() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Operator).await;
    let tag = planned(&li, PLAN).await;
    let start = li.if_match(&tag).with("idempotency-key", "k");
    let began = start.post("/plans/p8/start", json!({})).await.is(200).etag();
    start.post("/plans/p8/start", json!({})).await.is(409);
    let pause = li.if_match(&began);
    let paused = pause.post("/plans/p8/pause", json!({})).await.is(200).etag();
    let resumed = li.if_match(&paused).post("/plans/p8/resume", json!({})).await.is(200).etag();
    // The state would allow it again: the ETag does not.
    pause.post("/plans/p8/pause", json!({})).await.is(412);
    assert_eq!(li.get("/plans/p8").await.etag(), resumed);
    let first = li.post("/plans/p8/rollback", json!({})).await.is(200).json();
    assert_eq!(li.post("/plans/p8/rollback", json!({})).await.is(200).json(), first);
    let count =
        async || li.get("/audit?what=plans/p8&limit=1000").await.json()["items"].as_array().unwrap().len();
    let before = count().await;
    li.post("/plans/p8/rollback", json!({})).await.is(200);
    assert_eq!(count().await, before);

    let made = li.new_one().put("/documents/rules/x", RULE).await.is(201).etag();
    let change = li.if_match(&made);
    change.put("/documents/rules/x", "version: other\nservices: [patient]\n").await.is(200);
    change.put("/documents/rules/x", RULE).await.is(412);
    // A session that was ended is not to be had again.
    let (browser, csrf) = session(&plane, "li").await;
    browser.with("x-graygate-csrf", &csrf).delete("/session").await.is(204);
    browser.get("/me").await.is(401);
    browser.with("x-graygate-csrf", &csrf).new_one().put("/documents/rules/y", RULE).await.is(401);
}

/// Attack 13: bodies without an end, many streams, and readers that do not read.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_end_is_cut_off() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Admin).await;
    // A stranger has a few kilobytes.
    let long = json!({"user": "li", "password": "x".repeat(20 << 10)});
    plane.stranger().post("/session", long).await.is(413);
    // A body that says no length ends at the limit.
    let mut stream = tokio::net::TcpStream::connect(plane.address).await.unwrap();
    let head = format!(
        "POST /api/v1/changes HTTP/1.1\r\nhost: {}\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        plane.address,
        li.header("authorization").unwrap()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let flood = tokio::spawn(async move {
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let mut sent = 0_usize;
        while sent < 64 << 20 && write.write_all(chunk.as_bytes()).await.is_ok() {
            sent += 0x10000;
        }
        sent
    });
    let mut answer = [0_u8; 12];
    read.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(read);
    let sent = flood.await.unwrap();
    assert!(sent < 32 << 20, "{sent} bytes were taken");
    // A list that is too long is refused before it is read.
    let mut stream = tokio::net::TcpStream::connect(plane.address).await.unwrap();
    let head = head
        .replace("POST /api/v1/changes", "PUT /api/v1/lists/x")
        .replace("transfer-encoding: chunked", "content-length: 300000000");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");

    // Sixteen streams that no one reads cost others nothing.
    let mut streams = Vec::new();
    for _ in 0..16 {
        let stream = li.open("GET", "/events", "").await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    li.get("/events").await.is(429);
    let other = plane.person("wang", Role::Viewer).await;
    let mut others = other.open("GET", "/events", "").await;
    assert_eq!(others.status(), 200);
    let mut tag = li.new_one().put("/documents/rules/x", RULE).await.is(201).etag();
    for i in 0..50 {
        let rule = format!("version: v{i}\nservices: [patient]\n");
        tag = li.if_match(&tag).put("/documents/rules/x", &rule).await.is(200).etag();
    }
    let mut heard = String::new();
    while !heard.contains("rules\",\"name\":\"x") && !heard.contains("\"name\":\"x\"") {
        let frame = tokio::time::timeout(Duration::from_secs(20), others.body_mut().frame()).await;
        heard += &String::from_utf8_lossy(frame.unwrap().unwrap().unwrap().data_ref().unwrap());
    }
    drop(streams);
    let begun = Instant::now();
    loop {
        let again = li.open("GET", "/events", "").await;
        if again.status() == 200 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "a stream that ended counts for ever");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Attack 14: the one that writes does not say who he is, and a record that is not written is a change that is not made.
#[tokio::test]
async fn no_client_writes_history_for_others() {
    let plane = Plane::start().await;
    let li = plane.person("li", Role::Editor).await;
    let forged = li.with("x-operator", "admin").with("from", "admin").with("x-approved-by", "admin");
    forged.new_one().put("/documents/rules/x?operator=admin&who=admin", RULE).await.is(201);
    forged.post("/changes", json!({"puts": {"rules/z": RULE}, "operator": "admin"})).await.is_refused();
    forged.post("/changes", json!({"puts": {"rules/z": RULE}})).await.is(200);
    let audit = li.get("/audit?what=rules&limit=1000").await.is(200).json();
    for one in audit["items"].as_array().unwrap() {
        assert_eq!((&one["who"], &one["approved_by"]), (&json!("li"), &Value::Null), "{one}");
    }
    for (method, path) in
        [("DELETE", "/audit"), ("PUT", "/audit"), ("POST", "/audit"), ("DELETE", "/audit/1")]
    {
        assert!(matches!(li.send(method, path, "[]").await.status, 404 | 405), "{method} {path}");
    }
}

/// Attack 15: secrets stand in no answer, and no one is sent elsewhere.
#[tokio::test]
async fn no_answer_has_a_secret_and_no_header_leads_elsewhere() {
    let plane = Plane::start().await;
    let admin = plane.person("admin", Role::Admin).await;
    let asked = json!({"name": "ci", "user": "admin", "role": "viewer"});
    let made = admin.post("/tokens", asked).await.is(201).json();
    let token = made["token"].as_str().unwrap();
    let (browser, csrf) = session(&plane, "admin").await;
    let secret = token.rsplit_once('_').unwrap().1;
    for page in [
        "/tokens",
        "/users",
        "/users/admin",
        "/audit?limit=1000",
        "/metrics",
        "/messages",
        "page:/people",
        "page:/audit",
    ] {
        let text = browser.get(page).await.text();
        for (what, hidden) in [("a token", secret), ("a hash", "argon2"), ("a password", PASSWORD)] {
            assert!(!text.contains(hidden), "{page} has {what}");
        }
        assert!(page.starts_with("page:") || !text.contains(&csrf), "{page} has the session's token");
    }
    let elsewhere = plane
        .stranger()
        .with("x-forwarded-prefix", "//evil.example")
        .with("x-forwarded-host", "evil.example")
        .with("x-forwarded-proto", "https");
    let led = elsewhere.get("page:/plans").await;
    assert_eq!((led.status, led.headers["location"].to_str().unwrap()), (303, "/sign-in"));
    for there in ["//evil.example", "/\\evil.example", "https://evil.example"] {
        let form = format!("user=admin&password={}", PASSWORD.replace(' ', "+"));
        let signed_in = plane
            .stranger()
            .with("cookie", &format!("graygate-there={there}"))
            .with("content-type", "application/x-www-form-urlencoded")
            .send("POST", "page:/sign-in", &form)
            .await;
        assert_eq!(
            (signed_in.status, signed_in.headers["location"].to_str().unwrap()),
            (303, "/"),
            "{there}"
        );
    }
}
