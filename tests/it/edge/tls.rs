//! TLS: which certificate, which version, and what becomes of changes.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt as _;

use crate::edge::certificate::{Versions, pair, shake, shown};
use crate::harness::proxy::{BINARY, Proxy, until, write};
use crate::harness::sample::in_front_of;
use crate::harness::upstream::Upstream;
use crate::harness::wire::{Connection, request};

fn listener(directory: &std::path::Path, more: &str) -> String {
    format!("also tls: {{certificates: {}{more}}}, h2: true\n", directory.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_chooses_the_certificate_and_requests_are_https() {
    let upstream = Upstream::named("up").await;
    let directory = tempfile::tempdir().unwrap();
    let first = pair(directory.path(), "a", &["first.test"]);
    let exact = pair(directory.path(), "b", &["www.example.test"]);
    let wildcard = pair(directory.path(), "c", &["*.example.test"]);
    let proxy = in_front_of(&listener(directory.path(), ""), &upstream).await;
    for (name, certificate) in [
        ("www.example.test", &exact),
        ("WWW.example.test", &exact),
        ("api.example.test", &wildcard),
        ("a.b.example.test", &first),
        ("example.test", &first),
        ("unknown.test", &first),
        ("127.0.0.1", &first),
    ] {
        assert!(shown(proxy.second, name).await == *certificate, "{name}");
    }
    let mut stream = shake(proxy.second, "first.test", rustls::ALL_VERSIONS, &["http/1.1"]).await.unwrap();
    for _ in 0..2 {
        stream.write_all(&request("GET", "/x", &[])).await.unwrap();
        assert_eq!(Connection::over(&mut stream).answer().await.text(), "up");
    }
    assert_eq!(upstream.last().header("x-forwarded-proto"), Some("https"));
    let labels = [("directory", &*directory.path().display().to_string()), ("certificate", "a")];
    assert!(proxy.metrics().await.get("graygate_certificate_expiry_seconds", &labels) > Some(1e9));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_and_strangers_are_refused_and_counted() {
    let upstream = Upstream::named("up").await;
    let directory = tempfile::tempdir().unwrap();
    pair(directory.path(), "a", &["a.test"]);
    let limits = "limits: {header_timeout: 300ms}";
    let config = listener(directory.path(), ", min_version: \"1.3\"") + limits;
    let proxy = in_front_of(&config, &upstream).await;
    const OLD: Versions = &[&rustls::version::TLS12];
    const NEW: Versions = &[&rustls::version::TLS13];
    assert!(shake(proxy.second, "a.test", OLD, &[]).await.is_err());
    assert!(shake(proxy.second, "a.test", NEW, &[]).await.is_ok());
    let mut plain = Connection::open(proxy.second).await;
    plain.send(request("GET", "/", &[])).await;
    // Whatever is said is no HTTP, and the connection ends.
    while !plain.ended().await {}
    let mut silent = Connection::open(proxy.second).await;
    assert!(silent.ended().await);
    let refused = async || {
        let listener = proxy.second.to_string();
        let labels = [("listener", &*listener), ("reason", "tls")];
        proxy.metrics().await.get("graygate_connections_refused_total", &labels)
    };
    until(async || refused().await >= Some(3.0)).await;
    assert_eq!(upstream.seen().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_pair_is_taken_and_a_broken_one_held_back() {
    let upstream = Upstream::named("up").await;
    let directory = tempfile::tempdir().unwrap();
    let old = pair(directory.path(), "a", &["a.test"]);
    let other = pair(directory.path(), "b", &["b.test"]);
    let proxy = in_front_of(&listener(directory.path(), ""), &upstream).await;
    assert!(shown(proxy.second, "a.test").await == old);
    write(&directory.path().join("a.key"), "garbage");
    until(async || !proxy.status().await["problems"].as_array().unwrap().is_empty()).await;
    let problems = proxy.status().await["problems"].clone();
    assert_eq!(problems[0]["document"], "certificates/a", "{problems}");
    assert!(shown(proxy.second, "a.test").await == old);
    assert!(shown(proxy.second, "b.test").await == other);
    let broken = [("kind", "certificate")];
    assert_eq!(proxy.metrics().await.get("graygate_problems", &broken), Some(1.0));
    let new = pair(directory.path(), "a", &["a.test"]);
    until(async || shown(proxy.second, "a.test").await == new).await;
    until(async || proxy.metrics().await.get("graygate_problems", &broken) == Some(0.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_reloads_behind_a_link_cost_no_request() {
    let upstream = Upstream::named("up").await;
    let home = tempfile::tempdir().unwrap();
    let version = |n: usize| home.path().join(format!("v{n}"));
    let live = home.path().join("live");
    let link = |n: usize| {
        let unfinished = home.path().join("unfinished");
        std::os::unix::fs::symlink(version(n), &unfinished).unwrap();
        std::fs::rename(unfinished, &live).unwrap();
    };
    let first = pair(&version(0), "a", &["a.test"]);
    link(0);
    let proxy = Arc::new(in_front_of(&listener(&live, ""), &upstream).await);
    assert!(shown(proxy.second, "a.test").await == first);
    let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let (proxy, done, served) = (proxy.clone(), done.clone(), served.clone());
            tokio::spawn(async move {
                let mut kept = shake(proxy.second, "a.test", rustls::ALL_VERSIONS, &[]).await.unwrap();
                while !done.load(Ordering::Relaxed) {
                    // Half of the clients keep their connection, half make a new one.
                    if n % 2 == 0 {
                        kept = shake(proxy.second, "a.test", rustls::ALL_VERSIONS, &[]).await.unwrap();
                    }
                    kept.write_all(&request("GET", "/", &[])).await.unwrap();
                    assert_eq!(Connection::over(&mut kept).answer().await.text(), "up");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for n in 1..=5 {
        let next = pair(&version(n), "a", &["a.test"]);
        link(n);
        until(async || shown(proxy.second, "a.test").await == next).await;
    }
    done.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    assert!(served.load(Ordering::Relaxed) > 20);
}

#[test]
fn a_directory_without_a_pair_is_a_mistake_to_check_and_run_alike() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("graygate.yaml");
    let documents = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/documents");
    let listen =
        "listen: [{address: '127.0.0.1:1'}, {address: '127.0.0.1:2', tls: {certificates: /nowhere}}]";
    std::fs::write(&file, format!("documents: {{directory: {documents}}}\n{listen}\n")).unwrap();
    for command in ["check", "run"] {
        let output = Command::new(BINARY).args([command, "--config"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(
            said.contains("listen[1].tls.certificates: the directory cannot be read"),
            "{command}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_chooses_between_the_protocols() {
    let upstream = Upstream::named("up").await;
    let directory = tempfile::tempdir().unwrap();
    pair(directory.path(), "a", &["a.test"]);
    let proxy: Proxy = in_front_of(&listener(directory.path(), ""), &upstream).await;
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let url = format!("https://{}/x", proxy.second);
        let arguments = ["-sk", option, "-w", " %{http_version}", &url];
        let output = tokio::process::Command::new("curl").args(arguments).output().await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("up {version}"));
    }
}
