//! BIND.

use std::collections::BTreeSet;

use graygate_control::registries::link::Query;
use graygate_control::registries::settings::{DnsSettings, RegistrySettings};

use crate::watch::{Watch, query};
use graygate_testing::registries::servers::{self, Server, free_port};

const SERVICES: &str = "
_http._tcp.a 1 IN SRV 1 3 8080 gray.test.
_http._tcp.a 1 IN SRV 1 0 8080 base.test.
_http._tcp.a 1 IN SRV 9 1 8080 spare.test.
gray 1 IN A 10.0.0.1
base 1 IN A 10.0.0.2
spare 1 IN A 10.0.0.3
plain 1 IN A 10.0.0.4
plain 1 IN A 10.0.0.5
plain 1 IN AAAA 2001:db8::1
six 1 IN AAAA 2001:db8::2
";

fn settings(servers: &[String]) -> RegistrySettings {
    let servers = servers.iter().map(|server| server.parse().unwrap()).collect();
    RegistrySettings::Dns(DnsSettings { servers })
}

fn watch(server: &Server, queries: &[(&str, Option<u16>)]) -> Watch {
    let queries: BTreeSet<Query> =
        queries.iter().map(|(name, port)| Query { name: (*name).to_owned(), port: *port }).collect();
    let dead = format!("127.0.0.1:{}", free_port());
    Watch::of(settings(&[dead, server.address()]), queries)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_addresses() {
    let server = servers::dns(SERVICES);
    let service = "_http._tcp.a.test";
    let mut watch = watch(&server, &[(service, None), ("plain.test", Some(80)), ("six.test", Some(80))]);
    watch.shows(service, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
    let weights: Vec<_> = watch.shown[service].entries.iter().map(|entry| entry.weight).collect();
    assert_eq!(BTreeSet::from_iter(weights), [Some(1), Some(3)].into());
    assert_eq!(BTreeSet::from_iter(watch.metadata(service, "label")), ["gray".into(), "base".into()].into());
    watch.shows("plain.test", &["10.0.0.4:80", "10.0.0.5:80"]).await;
    watch.shows("six.test", &["2001:db8::2:80"]).await;

    server.set_zone(2, &SERVICES.replace("_http._tcp.a 1 IN SRV 1 0 8080 base.test.", ""));
    watch.shows(service, &["10.0.0.1:8080"]).await;
}

/// A failure keeps what there was; an answer without records is an answer.
#[tokio::test(flavor = "multi_thread")]
async fn no_client_and_no_answer_are_two_things() {
    let mut server = servers::dns(SERVICES);
    let service = "_http._tcp.a.test";
    let mut watch = watch(&server, &[(service, None), ("plain.test", Some(80))]);
    watch.shows(service, &["10.0.0.1:8080", "10.0.0.2:8080"]).await;
    // No such name.
    let without = SERVICES.lines().filter(|line| !line.starts_with("_http")).collect::<Vec<_>>().join("\n");
    server.set_zone(2, &without);
    watch.until("silence", |watch| watch.silent.contains_key(service)).await;
    assert_eq!(watch.addresses(service).unwrap().len(), 2);
    // The name, and no such records.
    server.set_zone(3, &format!("{without}\n_http._tcp.a 1 IN TXT \"x\"\n"));
    watch.shows(service, &[]).await;
    assert!(watch.client.ask(1, &query(service)).await.unwrap().entries.is_empty());
    server.kill();
    watch.until("down", |watch| !watch.is_up).await;
    watch.shows("plain.test", &["10.0.0.4:80", "10.0.0.5:80"]).await;
    server.start();
    watch.until("up", |watch| watch.is_up).await;
}

/// More than fits into a datagram.
#[tokio::test(flavor = "multi_thread")]
async fn long_answers_come_over_tcp() {
    let records: String = (1..=90)
        .map(|i| format!("_http._tcp.many 1 IN SRV 0 0 8080 host-with-a-long-name-{i}.test.\nhost-with-a-long-name-{i} 1 IN A 10.1.0.{i}\n"))
        .collect();
    let server = servers::dns(&records);
    let service = "_http._tcp.many.test";
    let mut watch = watch(&server, &[(service, None)]);
    watch.until("all of them", |watch| watch.addresses(service).is_some_and(|all| all.len() == 90)).await;
    assert!(watch.shown[service].entries.iter().all(|entry| entry.weight.is_none()));
}
