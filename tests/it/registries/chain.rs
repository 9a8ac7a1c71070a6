//! Three services behind each other in lanes: a lane that lacks one of them falls back there alone.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use graygate_testing::registries::{providers, servers};

use super::stage::{Control, eureka, nacos};
use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::{Act, Upstream, ok};
use crate::harness::wire::Message;

/// What an application whose callers ask for it passes on: the version header, or baggage as OpenTelemetry does.
const BAGGAGE_ONLY: &str = "?baggage";

/// An application that knows nothing of lanes but keeps what its caller sent: it says who it is, and what the next one
/// behind the same proxy said.
async fn application(name: &'static str, next: Option<(SocketAddr, &'static str)>) -> Upstream {
    Upstream::scripted(move |message| {
        let Some((proxy, path)) = next else { return Act::Answer(ok(name)) };
        let behind = tokio::task::block_in_place(|| ask(proxy, path, message));
        Act::Answer(ok(&format!("{name} {behind}")))
    })
    .await
}

fn ask(proxy: SocketAddr, path: &str, message: &Message) -> String {
    let (kept, query) = match message.target().ends_with(BAGGAGE_ONLY) {
        true => ("baggage", BAGGAGE_ONLY),
        false => ("x-gray-version", ""),
    };
    let value = message.header(kept).expect("every upstream is told the decided version");
    let mut stream = TcpStream::connect(proxy).unwrap();
    let request = format!("GET {path}{query} HTTP/1.0\r\nHost: a\r\n{kept}: {value}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn route(service: &str) -> String {
    format!("paths: [{{prefix: /{service}}}]\nservice: {service}\n")
}

fn lane(name: &str) -> String {
    format!("services: [portal]\nwhen: {{attribute: header:x-lane, equals: {name}}}\nversion: {name}\n")
}

fn discover(registry: &str, service: &str) -> String {
    format!("discover: {{registry: {registry}, name: {service}, version_from: version}}\n")
}

/// Waits until each service has its instances; a Java server on a busy machine takes its time.
async fn all_are_written(proxy: &Proxy, expected: [(&str, usize); 3]) {
    let folder = proxy.file("documents/instances");
    let files = |service: &str| std::fs::read_dir(folder.join(service)).map_or(0, Iterator::count);
    let begun = Instant::now();
    while expected.iter().any(|(service, count)| files(service) != *count) {
        let there: Vec<usize> = expected.iter().map(|(service, _)| files(service)).collect();
        assert!(begun.elapsed() < Duration::from_secs(60), "{expected:?}, and there are {there:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_lane_falls_back_where_it_has_no_instance_and_is_a_lane_again_behind_it() {
    let (nacos_server, eureka_server) = (servers::nacos(), servers::eureka());
    let routes =
        ["portal", "patient", "billing"].map(|service| (format!("routes/{service}.yaml"), route(service)));
    let services = [("portal", "nacos-main"), ("patient", "eureka-main"), ("billing", "nacos-main")]
        .map(|(service, registry)| (format!("services/{service}.yaml"), discover(registry, service)));
    let lanes = ["feat1", "feat2"].map(|name| (format!("rules/{name}.yaml"), lane(name)));
    let documents: Vec<(&str, &str)> = routes
        .iter()
        .chain(&services)
        .chain(&lanes)
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let proxy = Proxy::start("trust: ['127.0.0.1/32']\nbaggage: true\n", &documents).await;
    let registries =
        format!("{{nacos-main: {}, eureka-main: {}}}", nacos(&nacos_server), eureka(&eureka_server));
    let _control = Control::start(&proxy, &registries);

    let at = proxy.address;
    let portal = Some((at, "/patient"));
    let patient = Some((at, "/billing"));
    let portals =
        [application("A", portal).await, application("A1", portal).await, application("A2", portal).await];
    let patients = [application("B", patient).await, application("B1", patient).await];
    let billings =
        [application("C", None).await, application("C1", None).await, application("C2", None).await];
    let marks = [r#"{}"#, r#"{"version":"feat1"}"#, r#"{"version":"feat2"}"#];
    let mut there = Vec::new();
    for (service, instances) in [("portal", &portals), ("billing", &billings)] {
        for (instance, mark) in instances.iter().zip(marks) {
            there.push(providers::nacos(&nacos_server, service, &instance.address.to_string(), mark));
        }
    }
    for (instance, mark) in patients.iter().zip(marks) {
        there.push(providers::eureka(&eureka_server, "patient", &instance.address.to_string(), mark));
    }
    all_are_written(&proxy, [("portal", 3), ("patient", 2), ("billing", 3)]).await;
    until(async || proxy.served_by("/portal", &[("x-lane", "feat1")]).await == "A1 B1 C1").await;

    for (lane, expected) in [("", "A B C"), ("feat1", "A1 B1 C1"), ("feat2", "A2 B C2"), ("feat3", "A B C")] {
        for target in ["/portal", "/portal?baggage"].repeat(5) {
            assert_eq!(
                proxy.served_by(target, &[("x-lane", lane)]).await,
                expected,
                "`{target}` in `{lane}`"
            );
        }
    }
    // The lane's instance comes: from then on it is asked. It goes: the lane is whole but for it.
    let late = application("B2", patient).await;
    let mut provider =
        providers::eureka(&eureka_server, "patient", &late.address.to_string(), r#"{"version":"feat2"}"#);
    until(async || proxy.served_by("/portal", &[("x-lane", "feat2")]).await == "A2 B2 C2").await;
    provider.tell("leave");
    until(async || proxy.served_by("/portal", &[("x-lane", "feat2")]).await == "A2 B C2").await;
}
