//! A version that gets worse in every state a plan can be in: it is taken back, and no other notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::plans::{Control, PATIENCE};
use crate::control::stage::documents_from;
use crate::harness::proxy::Proxy;
use crate::harness::upstream::{answer, ok};
use crate::harness::wire::Connection;
use crate::support::etcd::Etcd;

/// The services, each with a plan of its name that is brought to this state.
const SERVICES: [(&str, &str); 4] =
    [("active", "ACTIVE"), ("paused", "PAUSED"), ("asked", "ACTIVE"), ("completed", "COMPLETED")];
/// Connections of people of one service.
const CONNECTIONS: usize = 16;

/// How gray gets worse.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    /// One in twenty of its answers is 500.
    Errors,
    /// Each takes three times as long.
    Latency,
}

impl Fault {
    /// What an answer takes while all is well.
    fn pace(self) -> Duration {
        Duration::from_millis(if self == Fault::Errors { 40 } else { 150 })
    }

    fn share(self) -> u32 {
        if self == Fault::Errors { 5 } else { 20 }
    }

    /// The guards, of which one has to say regression; behind a step of every user one of the absolute ones.
    fn guards(self) -> [&'static str; 2] {
        match self {
            Fault::Errors => ["{latency: off, fallback: off}", "{latency: off, fallback: off}"],
            Fault::Latency => ["{fallback: off}", "{fallback: off, latency_p99: {above: 350ms}}"],
        }
    }

    fn said(self) -> [&'static str; 2] {
        match self {
            Fault::Errors => ["`errors` says regression", "`error_rate` says regression"],
            Fault::Latency => ["`latency` says regression", "`latency_p99` says regression"],
        }
    }
}

/// An upstream that takes its time.
async fn paced(name: &'static str, pace: Duration, worse: Option<(Fault, Arc<AtomicBool>)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (worse, count) = (worse.clone(), count.clone());
            tokio::spawn(async move {
                let mut connection = Connection::over(stream);
                while let Ok(Some(_)) = connection.message(true).await {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let fault =
                        worse.as_ref().filter(|(_, on)| on.load(Ordering::Relaxed)).map(|(fault, _)| *fault);
                    tokio::time::sleep(if fault == Some(Fault::Latency) { 3 * pace } else { pace }).await;
                    let fails = fault == Some(Fault::Errors) && number.is_multiple_of(20);
                    let said = if fails { answer("500 Internal Server Error", &[], name) } else { ok(name) };
                    connection.send(said).await;
                }
            });
        }
    });
    address
}

/// People of one service, each with a name of his own; counts failures that are not gray's own.
fn people(address: SocketAddr, service: &'static str, stop: &Arc<AtomicBool>) -> JoinSet<usize> {
    let mut people = JoinSet::new();
    for number in 0..CONNECTIONS {
        let stop = stop.clone();
        people.spawn(async move {
            let mut connection = Connection::open(address).await;
            let (mut failed, mut user) = (0, number * 10_000_000);
            while !stop.load(Ordering::Relaxed) {
                user += 1;
                let said = connection.get(&format!("/{service}/"), &[("x-user", &format!("u{user}"))]).await;
                failed += usize::from(said.status() != 200 && said.text() != "gray");
            }
            failed
        });
    }
    people
}

async fn bring_to_their_states(control: &Control, fault: Fault) {
    for (service, state) in SERVICES {
        let share = fault.share();
        let guards = fault.guards()[usize::from(service == "completed")];
        let next = if service == "asked" { "approval: true, hold: 1h" } else { "hold: 1h" };
        let hold = if service == "asked" { "1s" } else { "1h" };
        let plan = format!(
            "services: [{service}]\nversion: gray\non_unknown: advance\nguards: {guards}\nsteps:\n  - {{share: {share}, hold: {hold}}}\n  - {{share: 100, {next}}}\n"
        );
        control.put(&format!("/plans/{service}"), &plan).await;
        let mut actions = vec!["start"];
        actions.extend(match service {
            "paused" => Some("pause"),
            "completed" => Some("complete"),
            _ => None,
        });
        for action in actions {
            let (status, body) = control.act(service, action).await;
            assert_eq!(status, 200, "{service} {action}: {body}");
        }
        control.comes_to(service, state).await;
    }
    let begun = Instant::now();
    while !control.plan("asked").await.1["waiting_for"].to_string().contains("approval of step 1") {
        assert!(begun.elapsed() < PATIENCE, "{}", control.plan("asked").await.1);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_taken_back_in_every_state(fault: Fault) {
    let etcd = Etcd::start().await;
    let breaks = Arc::new(AtomicBool::new(false));
    let release = paced("release", fault.pace(), None).await;
    let gray = paced("gray", fault.pace(), Some((fault, breaks.clone()))).await;
    for (service, _) in SERVICES {
        etcd.put(
            &format!("routes/{service}"),
            format!("paths: [{{prefix: /{service}}}]\nservice: {service}\n"),
        )
        .await;
        let text = format!(
            "identity: [header:x-user]\nretries: 0\noutlier: off\nwarm_up: 1s\ninstances: [{{address: \"{release}\", version: release}}, {{address: \"{gray}\", version: gray}}]\n"
        );
        etcd.put(&format!("services/{service}"), text).await;
    }
    let proxy = Proxy::start(&documents_from(&etcd), &[]).await;
    let control = Control::start(&etcd).await;
    let stop = Arc::new(AtomicBool::new(false));
    let people: Vec<_> = SERVICES.map(|(service, _)| people(proxy.address, service, &stop)).into();
    bring_to_their_states(&control, fault).await;
    // Some seconds in which nothing is wrong: the latency of release is known from them.
    let begun = Instant::now();
    while control.plan("active").await.1["requests"]["release"].as_u64() < Some(300) {
        assert!(begun.elapsed() < PATIENCE, "{}", control.plan("active").await.1);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (service, state) in SERVICES {
        assert_eq!(control.plan(service).await.1["state"], state, "{service} was healthy");
    }
    breaks.store(true, Ordering::Relaxed);
    for (service, _) in SERVICES {
        control.comes_to(service, "ROLLBACK").await;
        let (_, plan) = control.plan(service).await;
        let said = fault.said()[usize::from(service == "completed")];
        assert!(plan["why"].as_str().unwrap().contains(said), "{service}: {plan}");
        assert_eq!(etcd.get(&format!("rules/plan.{service}.share")).await, None);
    }
    stop.store(true, Ordering::Relaxed);
    for people in people {
        assert_eq!(people.join_all().await.into_iter().sum::<usize>(), 0, "requests of release users failed");
    }
    for (service, _) in SERVICES {
        for user in 0..20 {
            let user = format!("after{user}");
            assert_eq!(proxy.served_by(&format!("/{service}/"), &[("x-user", &user)]).await, "release");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_percent_of_errors_are_taken_back_in_every_state() {
    is_taken_back_in_every_state(Fault::Errors).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_latency_is_taken_back_in_every_state() {
    is_taken_back_in_every_state(Fault::Latency).await;
}
