//! A control plane for one test, as its process wires it, that can be ended and started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use graygate_control::console;
use graygate_control::control::{Control, NewUser};
use graygate_control::people::{Grant, Principal, Role, Via};
use graygate_control::run::Plane;
use graygate_control::settings::Config;
use graygate_rules::documents::fields::Notes;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::proxy::Proxy;

pub const PASSWORD: &str = "correct horse battery";
/// A port that was free a moment ago may be someone's by now; a start tries so many.
const PORTS: usize = 5;

const DOCUMENTS: [(&str, &str); 6] = [
    ("routes/portal.yaml", "paths: [{prefix: /patient}]\nservice: patient\n"),
    (
        "services/patient.yaml",
        "identity: [header:x-user]\ninstances:\n  - {address: \"127.0.0.1:9001\", version: release}\n  - {address: \"127.0.0.1:9002\", version: release}\n  - {address: \"127.0.0.1:9003\", version: gray}\n",
    ),
    (
        "rules/10-testers.yaml",
        "# Testers come first.\npriority: 10\nservices: [patient]\nwhen: {attribute: header:x-tester, equals: \"yes\"}\nversion: gray\n",
    ),
    (
        "rules/20-pilots.yaml",
        "services: [patient]\nwhen: {attribute: header:x-user, in_list: pilots}\nversion: gray\n",
    ),
    ("rules/30-share.yaml", "services: [patient]\npriority: -10\nsplit: {gray: 20}\n"),
    ("lists/pilots.txt", "# pilot users\nalice\nbob\n"),
];

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub struct Stage {
    folder: TempDir,
    pub address: SocketAddr,
    pub proxy: Proxy,
    more: String,
    running: Option<Running>,
    /// How often it was started again.
    starts: usize,
}

struct Running {
    control: Arc<Control>,
    end: watch::Sender<bool>,
    serving: JoinHandle<Result<(), String>>,
}

impl Stage {
    pub async fn start() -> Stage {
        Stage::with("").await
    }

    /// `more` are further lines of control.yaml.
    pub async fn with(more: &str) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in DOCUMENTS {
            let path = folder.path().join("documents").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut stage = Stage {
            folder,
            address: free_address(),
            proxy: Proxy::start().await,
            more: more.to_owned(),
            running: None,
            starts: 0,
        };
        for _ in 1..PORTS {
            if stage.try_to_begin().await.is_ok() {
                return stage;
            }
            (stage.address, stage.starts) = (free_address(), stage.starts + 1);
        }
        stage.begin().await;
        stage
    }

    pub async fn begin(&mut self) {
        self.try_to_begin().await.unwrap();
    }

    async fn try_to_begin(&mut self) -> Result<(), String> {
        let folder = self.folder.path();
        let more = &self.more;
        let listen = if more.contains("listen:") {
            String::new()
        } else {
            format!("listen: {{address: \"{}\"}}\n", self.address)
        };
        let text = format!(
            "{listen}documents: {{directory: {:?}}}\nstate: {:?}\nproxies: [\"http://{}\"]\n{}",
            folder.join("documents").display().to_string(),
            folder.join(format!("state-{}", self.starts)).display().to_string(),
            self.proxy.address,
            more.replace("ADDRESS", &self.address.to_string()),
        );
        let config =
            Config::parse(&text, Notes::of("control.yaml")).unwrap_or_else(|problems| panic!("{problems:?}"));
        let (end, ended) = watch::channel(false);
        let plane = Plane::open(&config, ended).await?;
        let control = plane.control.clone();
        let serving = tokio::spawn(plane.serve(console::rooms()));
        self.running = Some(Running { control, end, serving });
        Ok(())
    }

    /// Ends the process, as far as pages can tell. What it kept goes on in another place: within one process, the first
    /// holder of the place never lets go of it.
    pub async fn end(&mut self) {
        let running = self.running.take().unwrap();
        running.end.send_replace(true);
        running.serving.await.unwrap().unwrap();
        let folder = self.folder.path();
        let (old, new) = (
            folder.join(format!("state-{}", self.starts)),
            folder.join(format!("state-{}", self.starts + 1)),
        );
        std::fs::create_dir(&new).unwrap();
        for entry in std::fs::read_dir(old).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), new.join(entry.file_name())).unwrap();
        }
        self.starts += 1;
    }

    pub fn control(&self) -> &Arc<Control> {
        &self.running.as_ref().unwrap().control
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("documents").join(name)
    }

    pub async fn person(&self, name: &str, role: Role) {
        self.person_for(name, Grant::all(role)).await;
    }

    pub async fn person_for(&self, name: &str, grant: Grant) {
        let root = Principal::own("command", Via::Command);
        let new = NewUser { name: name.into(), password: PASSWORD.into(), roles: vec![grant] };
        self.control().add_user(&root, new).await.unwrap();
    }
}
