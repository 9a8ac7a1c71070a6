//! How long calls take beside many documents, and what one member of a long list costs, over each kind of store.
//!
//! A short form runs with every test; `make control-figures` sets `GRAYGATE_CONTROL`, measures 10,000 documents and ten
//! million members, and writes the table there.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use graygate_control::people::Role;
use serde_json::json;

use crate::harness::Client;
use crate::stores::{World, until};

struct Sizes {
    documents: usize,
    calls: usize,
    members: usize,
}

struct Took(Vec<Duration>);

/// What was measured, how often, how long it took, and its target in milliseconds.
type Row = (&'static str, Took, Option<f64>);

impl Took {
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let place = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len());
        sorted[place - 1].as_secs_f64() * 1_000.0
    }
}

async fn measure(calls: usize, mut call: impl AsyncFnMut(usize)) -> Took {
    let mut took = Vec::new();
    let begun = Instant::now();
    for i in 0..calls {
        let begun = Instant::now();
        call(i).await;
        took.push(begun.elapsed());
    }
    println!("{calls} calls in {:?}", begun.elapsed());
    Took(took)
}

fn rule(i: usize) -> String {
    format!("services: [patient]\nversion: gray\nwhen: {{attribute: header:x-user, equals: \"user-{i}\"}}\n")
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Memory of this process in MiB, of which the control plane is by far the most.
fn resident() -> u64 {
    let told = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = told.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_quick_beside_many_documents() {
    let out = std::env::var_os("GRAYGATE_CONTROL");
    let sizes = match &out {
        Some(_) => Sizes {
            documents: number("GRAYGATE_DOCUMENTS", 10_000),
            calls: 500,
            members: number("GRAYGATE_MEMBERS", 10_000_000),
        },
        None => Sizes { documents: 200, calls: 20, members: 10_000 },
    };
    let mut table =
        String::from("| store | call | calls | p50 | p99 | target |\n|---|---|--:|--:|--:|--:|\n");
    for (store, mut world) in [("directory", World::directory("")), ("etcd", World::etcd(""))] {
        let service = "instances: [{address: \"127.0.0.1:9001\", version: gray}]\n".to_owned();
        let mut documents = vec![("services/patient".to_owned(), service)];
        documents.extend((0..sizes.documents).map(|i| (format!("rules/r{i:05}"), rule(i))));
        world.fill(&documents).await;
        let process = world.start().await;
        let li = process.person("li", Role::Editor).await;
        let mut rows = measure_documents(&li, &sizes).await;
        rows.extend(measure_list(&li, &sizes).await);
        for (name, took, target) in rows {
            let (calls, half, most) = (took.0.len(), took.at(0.5), took.at(0.99));
            let target = target.map_or_else(String::new, |target: f64| format!("{target:.0} ms"));
            writeln!(table, "| {store} | {name} | {calls} | {half:.1} ms | {most:.1} ms | {target} |")
                .unwrap();
        }
        writeln!(table, "| {store} | memory with both, and their test | | {} MiB | | |", resident()).unwrap();
    }
    println!("{table}");
    if let Some(out) = out {
        let head = format!(
            "{} documents, then a list of {} members beside them; one caller over loopback.\n\n",
            sizes.documents, sizes.members
        );
        std::fs::write(out, head + &table).unwrap();
    }
}

async fn measure_documents(li: &Client, sizes: &Sizes) -> Vec<Row> {
    let name = |i: usize| format!("/documents/rules/r{:05}", i * 7 % sizes.documents);
    let list =
        measure(sizes.calls, async |_| drop(li.get("/documents?kind=rule&limit=100").await.is(200))).await;
    let read = measure(sizes.calls, async |i| drop(li.get(&name(i)).await.is(200))).await;
    let dry = measure(sizes.calls, async |i| {
        let tried = li.put(&format!("{}?dry_run=true", name(i)), &rule(i + 1_000_000)).await.is(200).json();
        assert!(tried["hash"].is_string(), "{tried}");
    })
    .await;
    let mut etags = Vec::new();
    for i in 0..sizes.calls {
        etags.push(li.get(&name(i)).await.is(200).etag());
    }
    let write = measure(sizes.calls, async |i| {
        li.if_match(&etags[i]).put(&name(i), &rule(i + 2_000_000)).await.is(200);
    })
    .await;
    vec![
        ("a page of 100", list, Some(20.0)),
        ("read", read, Some(5.0)),
        ("dry run", dry, Some(30.0)),
        ("write", write, Some(50.0)),
    ]
}

async fn measure_list(li: &Client, sizes: &Sizes) -> Vec<Row> {
    let members: String = (0..sizes.members).map(|i| format!("user-{i:08}\n")).collect();
    let put = measure(1, async |_| drop(li.put("/lists/everyone", &members).await.is(201))).await;
    drop(members);
    let known = async || li.get("/lists/everyone?contains=user-00000001").await.is(200).json();
    until("all are members", async || known().await["members"] == sizes.members).await;
    let few = (sizes.calls / 20).max(3);
    let contains = measure(few, async |i| {
        let value = format!("user-{:08}", i * 991 % sizes.members);
        let told = li.get(&format!("/lists/everyone?contains={value}")).await.is(200).json();
        assert_eq!(told["contains"], true);
    })
    .await;
    let add = measure(few, async |i| {
        let body = json!({"add": [format!("new-{i}")]});
        assert_eq!(li.post("/lists/everyone/members", body).await.is(200).json()["added"], 1);
    })
    .await;
    assert_eq!(known().await["members"], sizes.members + few);
    vec![
        ("a long list as a whole", put, None),
        ("whether a value is a member", contains, None),
        ("one member added", add, None),
    ]
}
