//! The figures of plans: how soon a request is decided by an action, how soon the last one meets a version that breaks, and
//! what a leader of a large fleet takes.
//!
//! With `GRAYGATE_PLANS` naming a file, many rounds and a thousand proxies are measured and the tables written there
//! (`make plan-figures`).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use graygate_store::fleet::Report;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::plans::{Control, PATIENCE, Stage, Traffic, stage};
use crate::harness::upstream::ok;
use crate::harness::wire::Connection;
use crate::support::etcd::Etcd;

/// Rounds, proxies, plans and seconds where no one wants the tables.
const SMALL: Size = Size { actions: 3, breaks: 1, proxies: 20, plans: 5, seconds: 3 };
/// And where someone does.
const WHOLE: Size = Size { actions: 200, breaks: 20, proxies: 1_000, plans: 100, seconds: 30 };

struct Size {
    actions: usize,
    breaks: usize,
    proxies: usize,
    plans: usize,
    seconds: u64,
}

/// The smallest value at or above which a share of the values are, in milliseconds.
fn quantile(values: &[Duration], share: f64) -> u128 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.max(1) - 1].as_millis()
}

/// From the moment an action is sent to the answer to the first request that it decided.
async fn action(stage: &Stage, (name, wanted): (&str, &str)) -> Duration {
    let (tag, _) = stage.control.plan("p").await;
    let path = format!("/plans/p/{name}");
    let mut people = stage.proxy.connect().await;
    let sent = Instant::now();
    let asked = async {
        let (status, _, body) = stage.control.send("POST", &path, Some(&tag), "{}").await;
        assert_eq!(status, 200, "{body}");
    };
    let seen = async {
        loop {
            if people.get("/", &[("x-user", "someone")]).await.text() == wanted {
                return sent.elapsed();
            }
            assert!(sent.elapsed() < PATIENCE, "{name} decided nothing");
        }
    };
    tokio::join!(asked, seen).1
}

async fn actions(rounds: usize) -> [Vec<Duration>; 2] {
    let stage = stage(100).await;
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        times[0].push(action(&stage, ("start", "gray")).await);
        times[1].push(action(&stage, ("rollback", "release")).await);
    }
    times
}

/// From the first answer of a version that breaks to the last one, for people who come all the time.
async fn breaks(rounds: usize) -> Vec<Duration> {
    let stage = stage(20).await;
    let traffic = Traffic::on(stage.proxy.address);
    let mut times = Vec::new();
    for round in 0..rounds {
        stage.start_plan().await;
        // The leader has seen some seconds of the run, at another part of its second in each round.
        let begun = Instant::now();
        while stage.control.plan("p").await.1["requests"]["gray"].as_u64() < Some(100) {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis((round as u64 * 379) % 1_000)).await;
        stage.breaks.store(true, Ordering::Relaxed);
        let broken = Instant::now();
        let (mut last, mut user) = (broken, 0);
        let mut connection = stage.proxy.connect().await;
        while last.elapsed() < Duration::from_millis(500) {
            user += 1;
            let name = format!("round{round}-{user}");
            if connection.get("/", &[("x-user", &name)]).await.text() == "gray" {
                last = Instant::now();
            }
            assert!(broken.elapsed() < PATIENCE, "it was not rolled back");
        }
        times.push(last.duration_since(broken));
        stage.control.comes_to("p", "ROLLBACK").await;
        stage.breaks.store(false, Ordering::Relaxed);
    }
    traffic.stop().await;
    times
}

/// Proxies that answer for themselves alone: what each runs, and what each counted.
struct Crowd {
    plans: usize,
    /// The rows of the newest second that was asked for: they are the same for all.
    rows: Mutex<(u64, Arc<str>)>,
    edges: String,
    status: String,
}

impl Crowd {
    fn new(plans: usize) -> Crowd {
        let service = |plan: usize| {
            format!(
                r#""s{plan}":{{"plan_rules":{{"plan.p{plan}.share":5.0}},"versions":{{"gray":{{"instances":[{{"state":"healthy","weight":1}}]}},"release":{{"instances":[{{"state":"healthy","weight":1}}]}}}}}}"#
            )
        };
        let services: Vec<_> = (0..plans).map(service).collect();
        let edges: Vec<_> = (0..=60).map(|k| format!("{}", 1.2_f64.powi(k))).collect();
        Crowd {
            plans,
            rows: Mutex::new((0, "".into())),
            edges: edges.join(","),
            status: format!(
                r#"{{"revision":{{"running":4000000000}},"problems":[],"services":{{{}}}}}"#,
                services.join(",")
            ),
        }
    }

    fn rows(&self, second: u64) -> Arc<str> {
        let mut known = self.rows.lock();
        if known.0 != second {
            let mut rows = Vec::new();
            for plan in 0..self.plans {
                for (version, requests) in [("gray", 5), ("release", 95)] {
                    rows.push(format!(
                        r#"{{"second":{second},"service":"s{plan}","route":"all","rule":"plan.p{plan}.share","share":5,"version":"{version}","requests":{requests},"timed":{requests},"undrawn":0,"errors":0,"error_clients":[],"sampled":0,"fallbacks":0,"slower":[{requests},{requests},{requests},{requests},{requests},{requests}]}}"#
                    ));
                }
            }
            *known = (second, rows.join(",").into());
        }
        known.1.clone()
    }

    fn answer(&self, id: usize, target: &str) -> String {
        if !target.starts_with("/observations") {
            return ok(&self.status);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let asked = target.split("after=b.").nth(1).and_then(|after| after.parse::<u64>().ok());
        let rows = if asked.is_some_and(|next| next >= now) { "".into() } else { self.rows(now - 1) };
        ok(&format!(
            r#"{{"proxy":"crowd-{id}","boot":"b","cursor":"b.{now}","lost":0,"edges_ms":[{}],"now":{now},"counting_since":1,"left_out":0,"seconds":[{rows}]}}"#,
            self.edges
        ))
    }

    /// One that has a key in the fleet.
    async fn join(self: Arc<Self>, etcd: &mut etcd_client::Client, id: usize) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let report = Report {
            host: "crowd".into(),
            address: admin.clone(),
            admin: Some(admin),
            pid: id as u32,
            version: "0".into(),
            running: 1,
            offered: 1,
            documents: None,
            problems: 0,
            started: "2026-01-01T00:00:00Z".into(),
            updated: "2026-01-01T00:00:00Z".into(),
        };
        let key = crate::support::etcd::key(&format!("fleet/crowd-{id}"));
        etcd.put(key, serde_json::to_vec(&report).unwrap(), None).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let crowd = self.clone();
                tokio::spawn(async move {
                    let mut connection = Connection::over(stream);
                    while let Ok(Some(asked)) = connection.message(true).await {
                        connection.send(crowd.answer(id, asked.target())).await;
                    }
                });
            }
        });
    }
}

/// Processor time of a process so far, and the memory it has now, in MiB.
fn taken(pid: u32) -> (Duration, u64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = read("status");
    let resident = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kib: u64 = resident.split_whitespace().nth(1).unwrap().parse().unwrap();
    // A tick is a hundredth of a second on every Linux that runs this.
    (Duration::from_millis(10 * ticks), kib >> 10)
}

/// What the leader takes of a core, its most memory in MiB, and how many seconds of all proxies it judged meanwhile.
async fn leader(size: &Size) -> (f64, u64, u64) {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    for plan in 0..size.plans {
        let text = "identity: [header:x-user]\ninstances: [{address: \"127.0.0.1:1\", version: release}, {address: \"127.0.0.1:2\", version: gray}]\n";
        client.put(crate::support::etcd::key(&format!("services/s{plan}")), text, None).await.unwrap();
    }
    let crowd = Arc::new(Crowd::new(size.plans));
    for id in 0..size.proxies {
        crowd.clone().join(&mut client, id).await;
    }
    let control = Control::start(&etcd).await;
    for plan in 0..size.plans {
        let name = format!("p{plan}");
        let text =
            format!("services: [s{plan}]\nversion: gray\nsteps: [{{share: 5, hold: 1h}}, {{share: 100}}]\n");
        control.put(&format!("/plans/{name}"), &text).await;
        let (status, body) = control.act(&name, "start").await;
        assert_eq!(status, 200, "{body}");
    }
    let last = format!("p{}", size.plans - 1);
    let begun = Instant::now();
    let all = (5 * size.proxies) as u64;
    while control.plan(&last).await.1["requests"]["gray"].as_u64() < Some(3 * all) {
        assert!(begun.elapsed() < 2 * PATIENCE, "{}", control.plan(&last).await.1);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let pid = control.child.id();
    let (before, mut most) = taken(pid);
    let (begun, seen) = (Instant::now(), control.plan(&last).await.1["requests"]["gray"].as_u64().unwrap());
    while begun.elapsed() < Duration::from_secs(size.seconds) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        most = most.max(taken(pid).1);
    }
    let (passed, spent) = (begun.elapsed(), taken(pid).0 - before);
    let (_, plan) = control.plan(&last).await;
    assert_eq!(plan["state"], "ACTIVE", "{plan}");
    let judged = (plan["requests"]["gray"].as_u64().unwrap() - seen) / all;
    (spent.as_secs_f64() / passed.as_secs_f64(), most, judged)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_are_as_quick_as_their_table_promises() {
    let file = std::env::var_os("GRAYGATE_PLANS");
    let size = if file.is_some() { WHOLE } else { SMALL };
    let wants = |part: &str| std::env::var("GRAYGATE_PARTS").map_or(true, |parts| parts.contains(part));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let cores = std::thread::available_parallelism().unwrap();
    let load = load.split(' ').next().unwrap();
    let mut table = format!("{cores} processors, load average {load} before · `make plan-figures`\n\n");
    if wants("actions") {
        let [started, back] = actions(size.actions).await;
        writeln!(
            table,
            "{} starts and rollbacks over etcd: from the action in the API to the answer to the first request that it decided, milliseconds.\n\n\
             | action | median | p99 | most | promised p99 |\n|---|--:|--:|--:|--:|",
            size.actions
        )
        .unwrap();
        for (name, times) in [("start", started), ("rollback", back)] {
            let at = |share| quantile(&times, share);
            writeln!(table, "| {name} | {} | {} | {} | 150 |", at(0.5), at(0.99), at(1.0)).unwrap();
        }
    }
    if wants("breaks") {
        let times = breaks(size.breaks).await;
        let at = |share| quantile(&times, share);
        writeln!(
            table,
            "\n{} times every second answer of gray became 500 at 20 %: from that moment to the last answer of gray, milliseconds. \
             The evidence is complete some tens of milliseconds after that moment.\n\n\
             | median | p99 | most | promised p99, from complete evidence |\n|--:|--:|--:|--:|\n| {} | {} | {} | 2500 |",
            size.breaks,
            at(0.5),
            at(0.99),
            at(1.0)
        )
        .unwrap();
        assert!(at(1.0) < 30_000, "{table}");
    }
    if wants("leader") {
        let (cores, most, judged) = leader(&size).await;
        writeln!(
            table,
            "\nThe leader of {} proxies and {} running plans, each proxy with rows of every plan, for {} s.\n\n\
             | of a core | promised | MiB | promised | seconds judged |\n|--:|--:|--:|--:|--:|\n| {cores:.2} | 0.5 | {most} | 200 | {judged} |",
            size.proxies, size.plans, size.seconds
        )
        .unwrap();
    }
    println!("{table}");
    if let Some(file) = file {
        std::fs::write(Path::new(&file), table).unwrap();
    }
}
