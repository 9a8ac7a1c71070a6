//! A control plane for one test, and clients of it.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use graygate_control::api::{Front, Site, router};
use graygate_control::control::{Control, FourEyes, NewUser, SystemClock};
use graygate_control::people::{Grant, Principal, Role, SessionSettings, Via};
use graygate_control::serve::serve;
use graygate_control::state::{Holder, Sqlite};
use graygate_store::directory;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

pub const PASSWORD: &str = "correct horse battery";

/// A running control plane over a directory of documents.
pub struct Plane {
    pub folder: TempDir,
    pub address: std::net::SocketAddr,
    pub control: Arc<Control>,
    _end: watch::Sender<bool>,
}

/// What someone sends.
#[derive(Clone, Default)]
pub struct Client {
    address: Option<std::net::SocketAddr>,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

impl Plane {
    pub async fn start() -> Plane {
        Plane::start_with(|_| {}, Front::loopback()).await
    }

    pub async fn with_four_eyes() -> Plane {
        Plane::start_with(|control| control.four_eyes = FourEyes::All, Front::loopback()).await
    }

    pub async fn start_with(change: impl FnOnce(&mut Control), front: Front) -> Plane {
        let folder = tempfile::tempdir().unwrap();
        let documents = folder.path().join("documents");
        std::fs::create_dir_all(documents.join("services")).unwrap();
        let service = "instances:\n  - {address: \"127.0.0.1:9001\", version: release}\n";
        std::fs::write(documents.join("services/patient.yaml"), service).unwrap();
        std::fs::write(documents.join("services/portal.yaml"), service).unwrap();
        let state = Sqlite::open(&folder.path().join("state"), Some(&documents), Holder::Service).unwrap();
        let mut control = Control::new(Arc::new(state), Arc::new(SystemClock), SessionSettings::default());
        change(&mut control);
        let control = Arc::new(control);
        control.begin(directory::load(&documents).unwrap()).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = watch::channel(false);
        let site = Site { control: control.clone(), front: Arc::new(front) };
        tokio::spawn(serve(listener, None, router(site, graygate_control::console::rooms()), ended.clone()));
        let (updates, incoming) = watch::channel(None);
        let settings = directory::DirectorySettings { path: documents };
        let status = Arc::new(graygate_store::SourceStatus::new(
            graygate_store::SourceKind::Directory,
            std::time::Instant::now(),
        ));
        tokio::spawn(directory::watch(settings, updates, status, ended));
        let follower = control.clone();
        tokio::spawn(async move { follower.follow(incoming).await });
        Plane { folder, address, control, _end: end }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("documents").join(name)
    }

    pub fn stranger(&self) -> Client {
        Client::at(self.address)
    }

    /// Makes an account, and a token with the rights of its role.
    pub async fn person(&self, name: &str, role: Role) -> Client {
        self.person_for(name, Grant::all(role)).await
    }

    pub async fn person_for(&self, name: &str, grant: Grant) -> Client {
        let token = token_for(&self.control, name, grant).await;
        self.stranger().with("authorization", &format!("Bearer {token}"))
    }
}

/// Makes an account, and a token with the rights of its role.
pub async fn token_for(control: &Control, name: &str, grant: Grant) -> String {
    let root = Principal::own("command", Via::Command);
    let new = NewUser { name: name.into(), password: PASSWORD.into(), roles: vec![grant.clone()] };
    control.add_user(&root, new).await.unwrap();
    let body = json!({"name": "test", "user": name, "role": grant.role, "services": grant.services});
    control.add_token(&root, serde_json::from_value(body).unwrap()).await.unwrap().token
}

impl Client {
    pub fn at(address: std::net::SocketAddr) -> Client {
        Client { address: Some(address), headers: Vec::new() }
    }

    pub fn with(&self, name: &str, value: &str) -> Client {
        let mut client = self.clone();
        client.headers.push((name.into(), value.into()));
        client
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn if_match(&self, etag: &str) -> Client {
        self.with("if-match", etag)
    }

    pub fn new_one(&self) -> Client {
        self.with("if-none-match", "*")
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub async fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.with("content-type", "application/json").send("POST", path, &body.to_string()).await
    }

    /// Paths of the API are written without its base, and pages with `page:` before theirs.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let response = self.open(method, path, body).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body }
    }

    /// Asks, and leaves the body for later.
    pub async fn open(&self, method: &str, path: &str, body: &str) -> http::Response<Incoming> {
        let rooted = path.starts_with("//")
            || path.starts_with("http://")
            || ["/api", "/gateway", "/healthz", "/readyz", "/metrics", "/sign-in", "/console", "/gray/"]
                .iter()
                .any(|root| path.starts_with(root))
            || path == "/";
        let path = match path.strip_prefix("page:") {
            Some(page) => page.to_owned(),
            None if rooted => path.to_owned(),
            None => format!("/api/v1{path}"),
        };
        let stream = tokio::net::TcpStream::connect(self.address.unwrap()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = hyper::Request::builder().method(method).uri(path);
        if !self.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", self.address.unwrap().to_string());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        sender.send_request(request).await.unwrap()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn etag(&self) -> String {
        self.headers
            .get("etag")
            .unwrap_or_else(|| panic!("no ETag: {} {}", self.status, self.text()))
            .to_str()
            .unwrap()
            .to_owned()
    }

    #[track_caller]
    pub fn is_refused(&self) {
        assert!((400..500).contains(&self.status), "{}: {}", self.status, self.text());
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}", self.text());
        if status >= 400 {
            let kind = self.headers.get("content-type").map(|value| value.to_str().unwrap());
            assert_eq!(kind, Some("application/problem+json"));
            assert_eq!(self.json()["status"], status);
        }
        self
    }
}
