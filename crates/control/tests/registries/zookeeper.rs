//! ZooKeeper 3.8 and kazoo.

use graygate_control::registries::entry::EntryState;
use graygate_control::registries::settings::{Auth, Layout, RegistrySettings, ZooKeeperSettings};

use crate::watch::{Watch, query};
use graygate_testing::registries::providers::{self, Provider};
use graygate_testing::registries::servers::{self, Server, free_port};

fn settings(addresses: Vec<String>, layout: Layout) -> RegistrySettings {
    RegistrySettings::ZooKeeper(ZooKeeperSettings { addresses, path: "/services".into(), layout, auth: None })
}

fn curator(address: &str, metadata: &str) -> String {
    let (host, port) = address.rsplit_once(':').unwrap();
    format!(r#"{{"name":"a","address":"{host}","port":{port},"payload":{{"metadata":{metadata}}}}}"#)
}

fn spring(server: &Server, id: &str, address: &str, metadata: &str) -> Provider {
    providers::zookeeper(server, &format!("/services/a/{id}"), &curator(address, metadata))
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_change_and_go() {
    let server = servers::zookeeper();
    let mut watch = Watch::new(settings(vec![server.address()], Layout::Curator), &["a"]);
    // Before there is anything at all.
    watch.shows("a", &[]).await;
    let mut first = spring(&server, "i-1", "10.0.0.1:80", r#"{"version":"gray"}"#);
    watch.shows("a", &["10.0.0.1:80"]).await;
    assert_eq!(watch.metadata("a", "version"), ["gray"]);
    let second = spring(&server, "i-2", "10.0.0.2:80", "{}");
    watch.shows("a", &["10.0.0.1:80", "10.0.0.2:80"]).await;
    // Metadata and status can change where they are.
    let offline = curator("10.0.0.1:80", r#"{"version":"v2","instance_status":"OUT_OF_SERVICE"}"#);
    first.tell(&format!("update {offline}"));
    watch.until("the version", |watch| watch.metadata("a", "version") == ["v2"]).await;
    assert_eq!(watch.state("a", "10.0.0.1:80"), Some(EntryState::Offline));
    first.tell("leave");
    watch.shows("a", &["10.0.0.2:80"]).await;
    second.crash();
    watch.shows("a", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_as_names_of_nodes() {
    let server = servers::zookeeper();
    let mut watch = Watch::new(settings(vec![server.address()], Layout::HostPort), &["a"]);
    let _gray = providers::zookeeper(&server, "/services/a/10.0.0.1_80", r#"{"gray":"true"}"#);
    let _broken = providers::zookeeper(&server, "/services/a/nonsense", "{}");
    let _plain = providers::zookeeper(&server, "/services/a/10.0.0.2_80", "provider");
    watch.shows("a", &["10.0.0.1:80", "10.0.0.2:80"]).await;
    assert_eq!(watch.metadata("a", "gray"), ["true"]);
    assert_eq!(watch.shown["a"].unreadable[0].entry, "nonsense");
}

/// A one-shot watch is lost with its connection: what changed meanwhile has to be seen all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_after_a_restart_is_seen() {
    let mut server = servers::zookeeper();
    let mut watch = Watch::new(settings(vec![server.address()], Layout::Curator), &["a"]);
    let _first = spring(&server, "i-1", "10.0.0.1:80", "{}");
    watch.shows("a", &["10.0.0.1:80"]).await;
    server.kill();
    watch.until("down", |watch| !watch.is_up).await;
    server.start();
    watch.until("up", |watch| watch.is_up).await;
    let mut second = spring(&server, "i-2", "10.0.0.2:80", "{}");
    watch.until("the second", |watch| watch.state("a", "10.0.0.2:80").is_some()).await;
    second.tell("leave");
    watch.until("without the second", |watch| watch.state("a", "10.0.0.2:80").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed_and_the_next_one_asked() {
    let mut first = servers::zookeeper();
    let second = servers::zookeeper();
    let dead = format!("127.0.0.1:{}", free_port());
    let addresses = vec![dead, first.address(), second.address()];
    let mut watch = Watch::new(settings(addresses, Layout::Curator), &["a"]);
    let _there = spring(&second, "i-1", "10.0.0.1:80", "{}");
    watch.shows("a", &[]).await;
    first.signal("STOP");
    watch.shows("a", &["10.0.0.1:80"]).await;
    assert!(watch.links.iter().any(|link| link.contains("a sign of life")), "{:?}", watch.links);
    first.kill();
    let asked = watch.client.ask(2, &query("a")).await.unwrap();
    assert_eq!(asked.entries.len(), 1);
    assert!(watch.client.ask(0, &query("a")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_said() {
    let server = servers::zookeeper();
    let secret = providers::secret_node(&server, "/services/a", "reader", "pw");
    let mut watch = Watch::new(settings(vec![server.address()], Layout::Curator), &["a", "b"]);
    watch.until("silence", |watch| watch.silent.contains_key("a")).await;
    assert!(watch.silent["a"].contains("may not be read"), "{:?}", watch.silent);
    watch.shows("b", &[]).await;
    let auth = Some(Auth { scheme: "digest".into(), secret: "reader:pw".into() });
    let mut known = Watch::new(
        RegistrySettings::ZooKeeper(ZooKeeperSettings {
            addresses: vec![server.address()],
            path: "/services".into(),
            layout: Layout::Curator,
            auth,
        }),
        &["a"],
    );
    known.shows("a", &[]).await;
    drop(secret);
}
