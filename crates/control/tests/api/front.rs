//! How the address is reached: over TLS, below a prefix, behind an ingress.

use std::sync::Arc;

use graygate_control::api::Front;
use graygate_control::people::{Grant, Role};
use graygate_control::run;
use graygate_control::settings::Config;
use graygate_rules::documents::fields::Notes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::sync::watch;

use crate::harness::{PASSWORD, Plane, token_for};

#[tokio::test]
async fn everything_stands_below_the_prefix_and_nothing_beside_it() {
    let front = Front { path: "/gray".into(), ..Front::loopback() };
    let plane = Plane::start_with(|_| {}, front).await;
    let li = plane.person("li", Role::Viewer).await;
    assert_eq!(li.get("/gray/api/v1/me").await.is(200).json()["user"], "li");
    plane.stranger().get("/gray/api/v1/me").await.is(401);
    plane.stranger().get("/gray/api/v1/none").await.is(401);
    assert_eq!(plane.stranger().get("/gray/healthz").await.status, 200);
    let page = plane.stranger().get("/gray/").await;
    assert_eq!((page.status, page.headers["location"].to_str().unwrap()), (303, "/gray/sign-in"));
    let credentials = json!({"user": "li", "password": PASSWORD}).to_string();
    let stranger = plane.stranger().with("content-type", "application/json");
    let signed_in = stranger.send("POST", "/gray/api/v1/session", &credentials).await;
    assert_eq!(signed_in.status, 201, "{}", signed_in.text());
    // Beside it there is nothing, and no one learns what there would be.
    li.get("/me").await.is(404);
    for path in ["/me", "/documents", "/api/v1/none", "/metrics"] {
        plane.stranger().get(path).await.is(401);
    }
    plane.stranger().with("host", "evil.example").get("/me").await.is(421);
}

#[tokio::test]
async fn behind_an_ingress_only_the_ingress_is_answered_and_cookies_are_secure() {
    let behind = |net: &str| Front {
        behind_tls: true,
        secure: true,
        trust: vec![net.parse().unwrap()],
        hosts: vec!["gray.example.com".into()],
        ..Front::loopback()
    };
    let plane = Plane::start_with(|_| {}, behind("127.0.0.0/8")).await;
    let li = plane.person("li", Role::Editor).await;
    let ingress =
        plane.stranger().with("host", "gray.example.com").with("x-forwarded-for", "203.0.113.7, 127.0.0.1");
    let signed_in = ingress.post("/session", json!({"user": "li", "password": PASSWORD})).await.is(201);
    let cookie = signed_in.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-graygate=") && cookie.contains("; Secure"), "{cookie}");
    assert!(signed_in.headers.contains_key("strict-transport-security"));
    // The client's address is what the ingress says, and nothing before an address that is not trusted.
    let audit = li.get("/audit?what=users/li&limit=1").await.is(200).json();
    assert_eq!(audit["items"][0]["address"], "203.0.113.7", "{audit}");

    let plane = Plane::start_with(|_| {}, behind("10.0.0.0/8")).await;
    let li = plane.person("li", Role::Viewer).await;
    li.get("/me").await.is(421);
    li.with("host", "gray.example.com").with("x-forwarded-for", "10.0.0.1").get("/me").await.is(421);
    assert_eq!(plane.stranger().get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_whole_process_answers_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["gray.example.com".to_owned()]).unwrap();
    for name in ["documents/services", "certificates"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    std::fs::write(at("certificates/one.crt"), made.cert.pem()).unwrap();
    std::fs::write(at("certificates/one.key"), made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "listen: {{address: \"127.0.0.1:0\", tls: {{certificates: {0}/certificates}}, hosts: [gray.example.com]}}\n\
         documents: {{directory: {0}/documents}}\nstate: {0}/state\nproxies: []\n",
        folder.path().display()
    );
    let config = Config::parse(&text, Notes::of("control.yaml")).unwrap();
    let (_end, ended) = watch::channel(false);
    let plane = run::Plane::open(&config, ended).await.unwrap();
    let address = plane.address().unwrap();
    let token = token_for(&plane.control, "li", Grant::all(Role::Viewer)).await;
    tokio::spawn(plane.serve(axum::Router::new()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    for version in ["h2", "http/1.1"] {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        tls.alpn_protocols = vec![version.as_bytes().to_vec()];
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = rustls_pki_types::ServerName::try_from("gray.example.com").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
        let stream = TokioIo::new(connector.connect(name, stream).await.unwrap());
        let request = http::Request::builder().header("authorization", format!("Bearer {token}"));
        let response = if version == "h2" {
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
            let (mut sender, connection) = handshake.unwrap();
            tokio::spawn(connection);
            let request =
                request.uri("https://gray.example.com/api/v1/me").body(Empty::<bytes::Bytes>::new());
            sender.send_request(request.unwrap()).await.unwrap()
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let request = request.uri("/api/v1/me").header("host", "gray.example.com");
            sender.send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap()
        };
        assert_eq!(response.status(), 200, "{version}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let me: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(me["user"], "li", "{version}");
    }
}
