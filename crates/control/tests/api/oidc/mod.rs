//! Sign-in by an identity provider: by a real one as a browser does it, and by one that forges.

mod forger;

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::api::Front;
use graygate_control::client;
use graygate_control::control::Clock;
use graygate_control::oidc::Provider;
use graygate_control::people::{Grant, Principal, Role, Via};
use graygate_control::settings::{OidcSettings, RoleOfClaim};
use parking_lot::Mutex;
use serde_json::json;
use time::OffsetDateTime;

use crate::harness::{Answer, Plane};
use forger::{Forger, Token};

const SECRET: &str = "a secret of the client";

fn settings(issuer: &str, folder: &std::path::Path) -> OidcSettings {
    let file = folder.join("client-secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let role = |value: &str, grant| RoleOfClaim { value: value.into(), grant };
    let bound = Grant { role: Role::Editor, services: Some(["patient".to_owned()].into()) };
    OidcSettings {
        issuer: issuer.into(),
        client_id: "graygate".into(),
        client_secret_file: Some(file),
        claim: "groups".into(),
        roles: vec![role("gray-admins", Grant::all(Role::Admin)), role("staff", bound)],
        hosts: Vec::new(),
    }
}

/// A clock that can be put forward.
struct Later(Mutex<time::Duration>);

impl Clock for Later {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc() + *self.0.lock()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The provider of the package, as a process of its own.
struct Real {
    child: Child,
    issuer: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    async fn start(port: u16, plane: &Plane) -> Real {
        let tools = graygate_testing::registries::servers::tools().with_file_name("oidc");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/oidc/provider.mjs");
        let back = format!("http://{}/sign-in/oidc/callback", plane.address);
        let child = Command::new("node")
            .arg(script)
            .args([tools.to_str().unwrap(), &port.to_string(), &back])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("`make provider-tools` brings the provider");
        let mut real = Real { child, issuer: format!("http://127.0.0.1:{port}") };
        let begun = Instant::now();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(
                real.child.try_wait().unwrap().is_none(),
                "the provider ended; run `make provider-tools`"
            );
            assert!(begun.elapsed().as_secs() < 60, "the provider does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        real
    }

    /// Walks a browser through the provider's pages, to the address it is sent back to.
    async fn walk(&self, there: &str, who: &str) -> String {
        let mut there = format!("{there}&login_hint={who}");
        let mut jar: Vec<(String, String)> = Vec::new();
        for _ in 0..12 {
            let cookies: Vec<String> = jar.iter().map(|(key, value)| format!("{key}={value}")).collect();
            let request = http::Request::get(&there).header("cookie", cookies.join("; "));
            let request = request.header("accept", "text/html").body(Vec::new()).unwrap();
            let answer = client::send(request, Duration::from_secs(30), 1 << 20).await.unwrap();
            for set in answer.headers().get_all("set-cookie") {
                let pair = set.to_str().unwrap().split(';').next().unwrap();
                let (key, value) = pair.split_once('=').unwrap();
                jar.retain(|(known, _)| known != key);
                jar.push((key.into(), value.into()));
            }
            let text = String::from_utf8_lossy(answer.body()).into_owned();
            let next = answer.headers().get("location").unwrap_or_else(|| panic!("{there}: {text}"));
            let next = next.to_str().unwrap();
            there = if next.starts_with('/') { format!("{}{next}", self.issuer) } else { next.to_owned() };
            if !there.starts_with(&self.issuer) {
                return there;
            }
        }
        panic!("the provider leads in a circle: {there}")
    }
}

/// What a browser has after the first step: where it is sent, and its cookie.
async fn begin(plane: &Plane) -> (String, String) {
    let answer = plane.stranger().get("/sign-in/oidc").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    (answer.headers["location"].to_str().unwrap().to_owned(), cookie.split(';').next().unwrap().to_owned())
}

fn path_of(url: &str) -> String {
    url.split_once("://").unwrap().1.split_once('/').map(|(_, rest)| format!("/{rest}")).unwrap()
}

fn session_of(answer: &Answer) -> String {
    let cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    let session = cookies.into_iter().find(|cookie| cookie.starts_with("graygate="));
    session.unwrap_or_else(|| panic!("{}", answer.text())).split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_a_real_provider_sign_in_and_have_the_roles_it_says() {
    let port = graygate_testing::registries::servers::free_port();
    let issuer = format!("http://127.0.0.1:{port}");
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(Later(Mutex::default()));
    let (kept, provider) = (clock.clone(), Provider::new(settings(&issuer, folder.path())));
    let plane = Plane::start_with(
        |control| {
            control.oidc = Some(Arc::new(provider));
            control.clock = kept;
        },
        Front::loopback(),
    )
    .await;
    let real = Real::start(port, &plane).await;

    let (there, cookie) = begin(&plane).await;
    for part in ["response_type=code", "code_challenge_method=S256", "state=", "nonce=", "scope=openid"] {
        assert!(there.contains(part), "{part}: {there}");
    }
    let back = real.walk(&there, "li").await;
    let li = plane.stranger().with("cookie", &cookie);
    let signed_in = li.get(&path_of(&back)).await;
    assert_eq!(signed_in.status, 200, "{}", signed_in.text());
    assert!(signed_in.text().contains("http-equiv=\"refresh\" content=\"0;url=/\""));
    let session = plane.stranger().with("cookie", &session_of(&signed_in));
    let me = session.get("/me").await.is(200).json();
    assert_eq!(me["user"], format!("{issuer}#li"));
    assert_eq!(me["roles"], json!([{"role": "admin"}, {"role": "editor", "services": ["patient"]}]));

    // The same way back leads nowhere a second time, with whatever cookie.
    li.get(&path_of(&back)).await.is(400);
    plane.stranger().get(&path_of(&back)).await.is(400);

    // Another person; another browser's way back is not taken.
    let (there, cookie) = begin(&plane).await;
    let back = real.walk(&there, "wang").await;
    let (_, others) = begin(&plane).await;
    plane.stranger().with("cookie", &others).get(&path_of(&back)).await.is(400);
    let wang = plane.stranger().with("cookie", &cookie).get(&path_of(&back)).await;
    let wang = plane.stranger().with("cookie", &session_of(&wang));
    assert_eq!(wang.get("/me").await.json()["roles"], json!([{"role": "editor", "services": ["patient"]}]));
    wang.get("/users").await.is(403);

    // Groups that no one named give nothing.
    let (there, cookie) = begin(&plane).await;
    let back = real.walk(&there, "zhao").await;
    plane.stranger().with("cookie", &cookie).get(&path_of(&back)).await.is(403);

    // A local name is never such a person, and neither has a password.
    let users = session.get("/users").await.is(200).json();
    let names: Vec<_> = users["items"].as_array().unwrap().iter().map(|user| &user["name"]).collect();
    assert_eq!(names.len(), 2, "{users}");
    let sign_in = json!({"user": format!("{issuer}#li"), "password": ""});
    plane.stranger().post("/session", sign_in).await.is(401);

    // His tokens stop 30 days after his last sign-in.
    let root = Principal::own("command", Via::Command);
    let body = json!({"name": "ci", "user": format!("{issuer}#wang"), "role": "viewer"});
    let token = plane.control.add_token(&root, serde_json::from_value(body).unwrap()).await.unwrap();
    let bearer = plane.stranger().with("authorization", &format!("Bearer {}", token.token));
    bearer.get("/me").await.is(200);
    *clock.0.lock() = time::Duration::days(30) - time::Duration::minutes(1);
    bearer.get("/me").await.is(200);
    *clock.0.lock() = time::Duration::days(30) + time::Duration::minutes(1);
    bearer.get("/me").await.is(401);
    let (there, cookie) = begin(&plane).await;
    let back = real.walk(&there, "wang").await;
    let answer = plane.stranger().with("cookie", &cookie).get(&path_of(&back)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    bearer.get("/me").await.is(200);

    // Whose account is taken away is gone at once.
    let again = plane.stranger().with("cookie", &session_of(&answer));
    again.get("/me").await.is(200);
    plane.control.remove_user(&root, &format!("{issuer}#wang"), Some("*")).await.unwrap();
    again.get("/me").await.is(401);
    bearer.get("/me").await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_answer_of_the_provider_signs_no_one_in() {
    let forger = Forger::start().await;
    let folder = tempfile::tempdir().unwrap();
    let provider = Provider::new(settings(&forger.issuer, folder.path()));
    let plane = Plane::start_with(|control| control.oidc = Some(Arc::new(provider)), Front::loopback()).await;
    for (name, token, expected) in Token::table(&forger) {
        let (there, cookie) = begin(&plane).await;
        let query: std::collections::HashMap<_, _> =
            form_urlencoded::parse(there.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
        forger.answer_with(token.made(&forger, &query["nonce"]));
        let back = format!("/sign-in/oidc/callback?code=c&state={}", query["state"]);
        let answer = plane.stranger().with("cookie", &cookie).get(&back).await;
        assert_eq!(answer.status, expected, "{name}: {}", answer.text());
        assert!(!answer.text().contains("what the provider said"), "{name}: {}", answer.text());
    }
    // The state and the browser's cookie have to fit, and another issuer's answer is none.
    let (there, cookie) = begin(&plane).await;
    let state = there.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let li = plane.stranger().with("cookie", &cookie);
    li.get("/sign-in/oidc/callback?code=c&state=x").await.is(400);
    li.get("/sign-in/oidc/callback?code=c").await.is(400);
    plane.stranger().get(&format!("/sign-in/oidc/callback?code=c&state={state}")).await.is(400);
    li.get(&format!("/sign-in/oidc/callback?code=c&state={state}&iss=https://evil.example")).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_leads_nowhere_the_file_does_not_name() {
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}", stranger.local_addr().unwrap());
    for endpoint in ["jwks_uri", "token_endpoint", "authorization_endpoint"] {
        let forger = Forger::start().await;
        forger.lead(endpoint, &format!("{elsewhere}/x"));
        let folder = tempfile::tempdir().unwrap();
        let provider = Provider::new(settings(&forger.issuer, folder.path()));
        let plane =
            Plane::start_with(|control| control.oidc = Some(Arc::new(provider)), Front::loopback()).await;
        let begun = plane.stranger().get("/sign-in/oidc").await;
        let answer = match begun.status {
            303 => {
                let there = begun.headers["location"].to_str().unwrap();
                let state = there.split("state=").nth(1).unwrap().split('&').next().unwrap();
                let cookie = begun.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap();
                let back = format!("/sign-in/oidc/callback?code=c&state={state}");
                plane.stranger().with("cookie", cookie).get(&back).await
            }
            _ => begun,
        };
        assert_eq!(answer.status, 503, "{endpoint}: {}", answer.text());
    }
    let asked = tokio::time::timeout(Duration::from_millis(50), stranger.accept()).await;
    assert!(asked.is_err(), "an address was asked that no file names");
}

#[tokio::test]
async fn without_a_provider_there_is_no_such_sign_in() {
    let plane = Plane::start().await;
    plane.stranger().get("/sign-in/oidc").await.is(404);
    plane.stranger().get("/sign-in/oidc/callback?code=c&state=s").await.is(404);
}
