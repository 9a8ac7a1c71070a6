//! Spring Cloud's Eureka server and py-eureka-client.

use std::time::Duration;

use graygate_control::registries::entry::EntryState;
use graygate_control::registries::settings::{EurekaSettings, RegistrySettings};

use crate::watch::{Watch, query};
use graygate_testing::registries::providers;
use graygate_testing::registries::servers::{self, free_port};

const EVERY: Duration = Duration::from_millis(500);

fn settings(addresses: Vec<String>) -> RegistrySettings {
    let addresses = addresses.into_iter().map(|address| format!("http://{address}/eureka")).collect();
    RegistrySettings::Eureka(EurekaSettings { addresses, login: None, tls: None, every: EVERY })
}

/// One server for all of it: it takes ten seconds to start.
#[tokio::test(flavor = "multi_thread")]
async fn instances_come_change_and_go_and_a_restart_is_empty() {
    let mut server = servers::eureka();
    let dead = format!("127.0.0.1:{}", free_port());
    let mut watch = Watch::new(settings(vec![dead, server.address()]), &["patient-server"]);
    watch.shows("patient-server", &[]).await;
    let mut first = providers::eureka(&server, "patient-server", "10.0.0.1:80", r#"{"version":"gray"}"#);
    watch.shows("patient-server", &["10.0.0.1:80"]).await;
    assert_eq!(watch.metadata("patient-server", "version"), ["gray"]);
    let second = providers::eureka(&server, "PATIENT-SERVER", "10.0.0.2:80", "{}");
    watch.shows("patient-server", &["10.0.0.1:80", "10.0.0.2:80"]).await;
    let out = format!(
        "http://{}/eureka/apps/PATIENT-SERVER/10.0.0.1:patient-server:80/status?value=OUT_OF_SERVICE",
        server.address()
    );
    assert!(std::process::Command::new("curl").args(["-sf", "-X", "PUT", &out]).status().unwrap().success());
    let offline = |watch: &Watch| watch.state("patient-server", "10.0.0.1:80") == Some(EntryState::Offline);
    watch.until("out of service", offline).await;
    assert_eq!(watch.client.ask(1, &query("patient-server")).await.unwrap().entries.len(), 2);
    first.tell("leave");
    watch.shows("patient-server", &["10.0.0.2:80"]).await;
    // A client that has left may still send heartbeats, and would register again with a server that is empty.
    first.crash();

    server.kill();
    watch.until("down", |watch| !watch.is_up).await;
    server.start();
    watch.until("up", |watch| watch.is_up).await;
    // Either empty, or the living client was quicker with its heartbeat.
    watch.shows("patient-server", &["10.0.0.2:80"]).await;
    second.crash();
    watch.shows("patient-server", &[]).await;
}
