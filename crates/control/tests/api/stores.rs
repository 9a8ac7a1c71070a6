//! Whole control processes over each kind of store: several beside one etcd, one beside a directory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::control::{Control, NewUser};
use graygate_control::people::{Grant, Principal, Role, Via};
use graygate_control::run::Plane;
use graygate_control::settings::Config;
use graygate_rules::documents::fields::Notes;
use graygate_testing::registries::servers::{self, Server, free_port};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::{Client, PASSWORD};

/// Longest wait for what one process did to be seen by another, on a machine that has much to do.
const LIMIT: Duration = Duration::from_secs(20);

pub struct World {
    pub folder: TempDir,
    etcd: Option<Server>,
    more: String,
    ends: Vec<watch::Sender<bool>>,
}

/// One control process of a world.
pub struct Process {
    pub control: Arc<Control>,
    pub address: SocketAddr,
}

impl World {
    /// `more` is written into each process's file.
    pub fn directory(more: &str) -> World {
        World::of(None, more)
    }

    pub fn etcd(more: &str) -> World {
        World::of(Some(servers::etcd()), more)
    }

    fn of(etcd: Option<Server>, more: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("documents")).unwrap();
        World { folder, etcd, more: more.to_owned(), ends: Vec::new() }
    }

    /// Writes many documents past the API, before a process is started.
    pub async fn fill(&self, documents: &[(String, String)]) {
        let Some(etcd) = &self.etcd else {
            for (name, text) in documents {
                let ending = if name.starts_with("lists/") { "txt" } else { "yaml" };
                let file = self.folder.path().join(format!("documents/{name}.{ending}"));
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            return;
        };
        let client = etcd_client::Client::connect([etcd.address()], None).await.unwrap();
        for some in documents.chunks(100) {
            let put = |(name, text): &(String, String)| {
                etcd_client::TxnOp::put(format!("/graygate/{name}"), text.as_str(), None)
            };
            let written = etcd_client::Txn::new().and_then(some.iter().map(put).collect::<Vec<_>>());
            client.kv_client().txn(written).await.unwrap();
        }
    }

    pub async fn start(&mut self) -> Process {
        let documents = match &self.etcd {
            Some(etcd) => format!("{{etcd: {{endpoints: ['http://{}']}}}}", etcd.address()),
            None => format!("{{directory: '{}'}}", self.folder.path().join("documents").display()),
        };
        let state = self.folder.path().join(format!("state-{}", self.ends.len()));
        let state = if self.etcd.is_some() { state } else { self.folder.path().join("state") };
        let file = format!(
            "listen: {{address: '127.0.0.1:{}'}}\ndocuments: {documents}\nstate: {}\n{}",
            free_port(),
            state.display(),
            self.more
        );
        let config =
            Config::parse(&file, Notes::of("control.yaml")).unwrap_or_else(|e| panic!("{file}\n{e:?}"));
        let (stop, shutdown) = watch::channel(false);
        let plane = Plane::open(&config, shutdown).await.unwrap();
        let process = Process { control: plane.control.clone(), address: plane.address().unwrap() };
        tokio::spawn(plane.serve(axum::Router::new()));
        self.ends.push(stop);
        until("it is ready", async || process.control.check_ready().is_ok()).await;
        process
    }
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Process {
    /// Makes an account, and answers a token with the rights of its role.
    pub async fn token(&self, name: &str, role: Role) -> String {
        self.token_for(name, Grant::all(role)).await
    }

    pub async fn token_for(&self, name: &str, grant: Grant) -> String {
        let root = Principal::own("command", Via::Command);
        let new = NewUser { name: name.into(), password: PASSWORD.into(), roles: vec![grant.clone()] };
        self.control.add_user(&root, new).await.unwrap();
        let body = json!({"name": "test", "user": name, "role": grant.role, "services": grant.services});
        let made = self.control.add_token(&root, serde_json::from_value(body).unwrap()).await.unwrap();
        made.token
    }

    pub fn client(&self, token: &str) -> Client {
        Client::at(self.address).with("authorization", &format!("Bearer {token}"))
    }

    pub async fn person(&self, name: &str, role: Role) -> Client {
        let token = self.token(name, role).await;
        self.client(&token)
    }
}
