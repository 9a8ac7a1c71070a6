//! A whole control plane over each kind of store: from a registry to a file, and to a key of etcd.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use graygate_control::run::Plane;
use graygate_control::settings::Config;
use graygate_rules::documents::fields::Notes;
use tokio::sync::watch;

use graygate_testing::registries::servers::{Server, free_port};
use graygate_testing::registries::{providers, servers};

const LIMIT: Duration = Duration::from_secs(60);
const SERVICE: &str = "discover: {registry: r, name: a}\n";

async fn until(what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

async fn start(documents: &str, state: &Path, registry: &Server) -> watch::Sender<bool> {
    let file = format!(
        "listen: {{address: '127.0.0.1:{}'}}\ndocuments: {documents}\nstate: {}\n\
         registries: {{r: {{zookeeper: {{addresses: ['{}'], layout: host_port}}}}}}\n",
        free_port(),
        state.display(),
        registry.address()
    );
    let config = Config::parse(&file, Notes::of("control.yaml")).unwrap_or_else(|e| panic!("{file}\n{e:?}"));
    let (stop, shutdown) = watch::channel(false);
    let plane = Plane::open(&config, shutdown).await.unwrap();
    tokio::spawn(plane.serve(axum::Router::new()));
    stop
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_become_files() {
    let registry = servers::zookeeper();
    let folder = tempfile::tempdir().unwrap();
    let (documents, state) = (folder.path().join("documents"), folder.path().join("state"));
    std::fs::create_dir_all(documents.join("services")).unwrap();
    std::fs::create_dir_all(&state).unwrap();
    std::fs::write(documents.join("services/s.yaml"), SERVICE).unwrap();
    let _stop = start(&format!("{{directory: '{}'}}", documents.display()), &state, &registry).await;
    let mut gray = providers::zookeeper(&registry, "/services/a/10.0.0.1_80", r#"{"gray":"true"}"#);
    let file = documents.join("instances/s/r.10.0.0.1-80.yaml");
    let took = until("the file", || file.exists()).await;
    println!("registered -> file: {took:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("version: \"gray\"") && text.contains("by: \"r\""), "{text}");
    gray.tell("leave");
    let took = until("no file", || !file.exists()).await;
    println!("left -> no file: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_become_keys() {
    let registry = servers::zookeeper();
    let etcd = servers::etcd();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}", etcd.address());
    let etcdctl = |arguments: &[&str]| {
        let mut command = Command::new("etcdctl");
        let output =
            command.env("ETCDCTL_API", "3").args(["--endpoints", &url]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    etcdctl(&["put", "/graygate/services/s", SERVICE]);
    let _stop = start(&format!("{{etcd: {{endpoints: ['{url}']}}}}"), folder.path(), &registry).await;
    let mut gray = providers::zookeeper(&registry, "/services/a/10.0.0.1_80", r#"{"gray":"true"}"#);
    let key = "/graygate/instances/s/r.10.0.0.1-80";
    until("the key", || etcdctl(&["get", key]).contains("version: \"gray\"")).await;
    // A hand takes it over: it is never touched again.
    etcdctl(&["put", "/graygate/instances/s/hand", "{address: '10.0.0.7:80', version: mine}"]);
    gray.tell("leave");
    let took = until("no key", || etcdctl(&["get", key]).is_empty()).await;
    println!("left -> no key: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(etcdctl(&["get", "/graygate/instances/s/hand"]).contains("mine"));
}
