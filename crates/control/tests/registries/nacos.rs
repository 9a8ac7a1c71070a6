//! A server of Nacos' protocol (rnacos) and the official Python client.

use graygate_control::registries::entry::EntryState;
use graygate_control::registries::settings::{Login, NacosSettings, RegistrySettings};

use crate::watch::{Watch, query};
use graygate_testing::registries::providers;
use graygate_testing::registries::servers::{self, Server, free_port, set_enabled};

fn settings(addresses: Vec<String>) -> NacosSettings {
    NacosSettings {
        addresses,
        namespace: "public".into(),
        group: "DEFAULT_GROUP".into(),
        clusters: Vec::new(),
        login: None,
        tls: None,
    }
}

fn watch(server: &Server, names: &[&str]) -> Watch {
    Watch::new(RegistrySettings::Nacos(settings(vec![server.address()])), names)
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_change_and_go() {
    let server = servers::nacos();
    let mut watch = watch(&server, &["a"]);
    // Before there is anything at all.
    watch.shows("a", &[]).await;
    let mut first = providers::nacos(&server, "a", "10.0.0.1:80", r#"{"version":"gray","developer":"li"}"#);
    watch.shows("a", &["10.0.0.1:80"]).await;
    assert_eq!(watch.metadata("a", "version"), ["gray"]);
    assert_eq!(watch.metadata("a", "developer"), ["li"]);
    let second = providers::nacos(&server, "a", "10.0.0.2:80", "{}");
    watch.shows("a", &["10.0.0.1:80", "10.0.0.2:80"]).await;
    first.tell("weight 0.4");
    watch
        .until("the weight", |watch| watch.shown["a"].entries.iter().any(|entry| entry.weight == Some(40)))
        .await;
    first.tell("leave");
    watch.shows("a", &["10.0.0.2:80"]).await;
    second.crash();
    watch.shows("a", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_offline_button_is_heard_within_a_second() {
    let server = servers::nacos();
    let mut watch = watch(&server, &["a"]);
    let _first = providers::nacos(&server, "a", "10.0.0.1:80", "{}");
    let _second = providers::nacos(&server, "a", "10.0.0.2:80", "{}");
    watch.shows("a", &["10.0.0.1:80", "10.0.0.2:80"]).await;
    set_enabled(&server, "a", "10.0.0.1:80", false);
    let gone =
        |watch: &Watch| watch.state("a", "10.0.0.1:80").is_none_or(|state| state == EntryState::Offline);
    let took = watch.until("offline", gone).await;
    assert!(took.as_millis() < 1_000, "{took:?}");
    set_enabled(&server, "a", "10.0.0.1:80", true);
    watch.until("online", |watch| watch.state("a", "10.0.0.1:80") == Some(EntryState::Serving)).await;
}

/// The empty answer of a restarted server is what the rule of belief is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_is_linked_again_and_services_wanted_later_are_subscribed() {
    let mut server = servers::nacos();
    let mut watch = watch(&server, &["a"]);
    let _first = providers::nacos(&server, "a", "10.0.0.1:80", "{}");
    watch.shows("a", &["10.0.0.1:80"]).await;
    server.kill();
    watch.until("down", |watch| !watch.is_up).await;
    server.start();
    watch.until("up", |watch| watch.is_up).await;
    watch.shows("a", &[]).await;
    watch.want(&["a", "b"]);
    watch.shows("b", &[]).await;
    let _other = providers::nacos(&server, "b", "10.0.0.3:80", "{}");
    watch.shows("b", &["10.0.0.3:80"]).await;
    // The official client finds its way back by itself.
    watch.shows("a", &["10.0.0.1:80"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_noticed_and_the_next_one_asked() {
    let (first, second) = (servers::nacos(), servers::nacos());
    let dead = format!("127.0.0.1:{}", free_port());
    let addresses = vec![dead, first.address(), second.address()];
    let mut watch = Watch::new(RegistrySettings::Nacos(settings(addresses)), &["a"]);
    let _there = providers::nacos(&second, "a", "10.0.0.1:80", "{}");
    watch.shows("a", &[]).await;
    first.signal("STOP");
    watch.shows("a", &["10.0.0.1:80"]).await;
    first.signal("CONT");
    assert_eq!(watch.client.ask(2, &query("a")).await.unwrap().entries.len(), 1);
    assert_eq!(watch.client.ask(1, &query("a")).await.unwrap().entries.len(), 0);
    assert!(watch.client.ask(0, &query("a")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_who_we_are() {
    let admin = [
        ("RNACOS_ENABLE_OPEN_API_AUTH", "true"),
        ("RNACOS_INIT_ADMIN_USERNAME", "nacos"),
        ("RNACOS_INIT_ADMIN_PASSWORD", "secret-1"),
    ];
    let server = servers::nacos_with(&admin);
    let file = server.folder.path().join("password");
    std::fs::write(&file, "secret-1\n").unwrap();
    let login = Some(Login { username: "nacos".into(), password_file: file.clone() });
    let mut known = Watch::new(
        RegistrySettings::Nacos(NacosSettings { login, ..settings(vec![server.address()]) }),
        &["a"],
    );
    let _there = providers::nacos_as(&server, ("nacos", "secret-1"), "a", "10.0.0.1:80");
    known.shows("a", &["10.0.0.1:80"]).await;
    let mut unknown = watch(&server, &["a"]);
    unknown.until("refused", |watch| watch.links.iter().any(|link| link.contains("refused"))).await;
    std::fs::write(&file, "wrong\n").unwrap();
    let asked = known.client.ask(0, &query("a")).await.unwrap_err().to_string();
    assert!(asked.contains("refused"), "{asked}");
}
