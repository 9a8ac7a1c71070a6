//! Which thread serves a connection, and what happens when none can be accepted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::in_front_of;
use crate::harness::upstream::Upstream;

/// How often each thread that serves has waited, by its number.
fn waits(proxy: &Proxy) -> BTreeMap<String, u64> {
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    let of = |task: &Path| {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let is_serving = field(&status, "Name:").starts_with("proxy-");
        let count = field(&status, "voluntary_ctxt_switches:").parse().unwrap();
        is_serving.then(|| (task.file_name().unwrap().to_str().unwrap().to_owned(), count))
    };
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.pid())).unwrap();
    tasks.filter_map(|task| of(&task.unwrap().path())).collect()
}

/// Requests of one connection, one after the other: a thread that takes part in serving one mostly waits for the next.
const REQUESTS: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_wakes_the_thread_of_its_connection_and_no_other() {
    // Connections to upstreams are kept by the thread that opened them, whichever way a request goes.
    for way in ["short_path: on\n", "short_path: off\n"] {
        let upstream = Upstream::named("up").await;
        let proxy = in_front_of(way, &upstream).await;
        let mut served = BTreeMap::<String, u32>::new();
        let mut open = Vec::new();
        for _ in 0..4 {
            let mut connection = proxy.connect().await;
            assert_eq!(connection.get("/", &[]).await.status(), 200);
            let before = waits(&proxy);
            for _ in 0..REQUESTS {
                assert_eq!(connection.get("/", &[]).await.status(), 200);
            }
            let grown = waits(&proxy).into_iter().map(|(thread, count)| (count - before[&thread], thread));
            let mut grown: Vec<_> = grown.collect();
            grown.sort();
            let [(other, _), (own, thread)] = &grown[..] else { panic!("two threads serve: {grown:?}") };
            assert!(other < own && *other < REQUESTS / 10, "{grown:?}");
            *served.entry(thread.clone()).or_default() += 1;
            open.push(connection);
        }
        assert_eq!(served.into_values().collect::<Vec<_>>(), [2, 2], "connections are spread evenly");
    }
}

fn open_files(proxy: &Proxy) -> u64 {
    fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_while_the_system_has_no_room_for_them() {
    let upstream = Upstream::named("up").await;
    let proxy = in_front_of("", &upstream).await;
    let mut first = proxy.connect().await;
    assert_eq!(first.get("/", &[]).await.status(), 200);
    let pid = Pid::from_raw(proxy.pid() as i32);
    let full = Rlimit { current: Some(open_files(&proxy)), maximum: getrlimit(Resource::Nofile).maximum };
    let roomy = prlimit(pid, Resource::Nofile, full).unwrap();
    let mut waiting = proxy.connect().await;
    until(async || proxy.stderr().contains("connections wait to be accepted")).await;
    assert_eq!(first.get("/", &[]).await.status(), 200, "who is here is served");
    prlimit(pid, Resource::Nofile, roomy).unwrap();
    assert_eq!(waiting.get("/", &[]).await.status(), 200);
    assert_eq!(proxy.stderr().matches("connections wait to be accepted").count(), 1);
}
