//! How long after a change in a registry the first request reaches an instance, and the last one.
//!
//! With `GRAYGATE_REGISTRIES` naming a file, the table of many rounds is written there (`make registries`).

use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use graygate_testing::registries::providers::{self, Provider};
use graygate_testing::registries::servers::{self, Server, set_enabled};

use super::load::Load;
use super::stage::{Control, eureka, nacos};
use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::Upstream;

/// Rounds of each registry where no one wants the table, and where someone does.
const FEW: usize = 2;
const MANY: usize = 20;
/// An instance that was not asked for so long while others were is out of service.
const SILENCE: Duration = Duration::from_millis(500);
/// How often the polled registries are asked, which the record's lifetime is as well.
const POLL: Duration = Duration::from_secs(1);
/// The promise behind a push, and behind a poll.
const LIMIT: Duration = Duration::from_secs(1);

/// What takes the instance out of service and puts it back, as an operator of that registry would.
enum Switch {
    Nacos {
        address: String,
    },
    /// An instance by its name in Eureka; the provider keeps it registered.
    Eureka {
        instance: String,
        _kept: Provider,
    },
    Provider {
        provider: Provider,
        off: &'static str,
        on: &'static str,
    },
    Zone {
        off: String,
        on: String,
        serial: u32,
    },
}

impl Switch {
    fn turn(&mut self, server: &Server, is_on: bool) {
        match self {
            Switch::Nacos { address } => set_enabled(server, "a", address, is_on),
            Switch::Eureka { instance, .. } => {
                let status = if is_on { "UP" } else { "OUT_OF_SERVICE" };
                let url =
                    format!("http://{}/eureka/apps/A/{instance}/status?value={status}", server.address());
                let put = Command::new("curl").args(["-sf", "-X", "PUT", &url]).status().unwrap();
                assert!(put.success(), "{url}");
            }
            Switch::Provider { provider, off, on } => provider.tell(if is_on { on } else { off }),
            Switch::Zone { off, on, serial } => {
                *serial += 1;
                server.set_zone(*serial, if is_on { on } else { off });
            }
        }
    }
}

struct Case {
    name: &'static str,
    server: Server,
    settings: String,
    discover: &'static str,
    limit: Duration,
}

fn case(name: &'static str) -> Case {
    let discover = "discover: {registry: r, name: a}\n";
    match name {
        "Nacos" => {
            let server = servers::nacos();
            Case { name, settings: nacos(&server), server, discover, limit: LIMIT }
        }
        "ZooKeeper" => {
            let server = servers::zookeeper();
            let settings =
                format!("{{zookeeper: {{addresses: ['{}'], layout: host_port}}}}", server.address());
            Case { name, server, settings, discover, limit: LIMIT }
        }
        "Eureka" => {
            let server = servers::eureka();
            Case { name, settings: eureka(&server), server, discover, limit: POLL + LIMIT }
        }
        _ => {
            let server = servers::dns("");
            let settings = format!("{{dns: {{servers: ['{}']}}}}", server.address());
            let discover = "discover: {registry: r, name: _http._tcp.a.test}\n";
            Case { name, server, settings, discover, limit: POLL + LIMIT }
        }
    }
}

/// Registers both instances; the first is the one that is switched.
fn register(case: &Case, one: &Upstream, two: &Upstream) -> (Switch, Option<Provider>) {
    let (first, second) = (one.address.to_string(), two.address.to_string());
    let node = |address: &str| format!("/services/a/{}", address.replace(':', "_"));
    match case.name {
        "Nacos" => {
            let kept = providers::nacos(&case.server, "a", &second, "{}");
            let switched = providers::nacos(&case.server, "a", &first, "{}");
            // The one that is switched stays registered as long as the test.
            std::mem::forget(switched);
            (Switch::Nacos { address: first }, Some(kept))
        }
        "ZooKeeper" => {
            let kept = providers::zookeeper(&case.server, &node(&second), "{}");
            let provider = providers::zookeeper(&case.server, &node(&first), "{}");
            let off = r#"update {"instance_status":"OUT_OF_SERVICE"}"#;
            (Switch::Provider { provider, off, on: "update {}" }, Some(kept))
        }
        "Eureka" => {
            let kept = providers::eureka(&case.server, "a", &second, "{}");
            let provider = providers::eureka(&case.server, "a", &first, "{}");
            let instance = first.replace(':', ":a:");
            (Switch::Eureka { instance, _kept: provider }, Some(kept))
        }
        _ => {
            let record = |port: u16| format!("_http._tcp.a 1 IN SRV 0 0 {port} ns.test.\n");
            let off = record(two.address.port());
            let on = format!("{off}{}", record(one.address.port()));
            let mut switch = Switch::Zone { off, on, serial: 1 };
            switch.turn(&case.server, true);
            (switch, None)
        }
    }
}

struct Times {
    on: Vec<Duration>,
    off: Vec<Duration>,
}

async fn measure(case: &Case, rounds: usize) -> Times {
    let documents = [("routes/all.yaml", "service: s\n"), ("services/s.yaml", case.discover)];
    let proxy = Proxy::start("", &documents).await;
    let _control = Control::start(&proxy, &format!("{{r: {}}}", case.settings));
    let (one, two) = (Upstream::named("one").await, Upstream::named("two").await);
    let (mut switch, _kept) = register(case, &one, &two);
    until(async || proxy.served_by("/", &[]).await == "one").await;
    until(async || proxy.served_by("/", &[]).await == "two").await;
    let load = Load::on(&proxy);
    let mut times = Times { on: Vec::new(), off: Vec::new() };
    for _ in 0..rounds {
        let clicked = Instant::now();
        switch.turn(&case.server, false);
        times.off.push(last_request(&one, clicked).await);
        let seen = one.count();
        let clicked = Instant::now();
        switch.turn(&case.server, true);
        until(async || one.count() != seen).await;
        times.on.push(clicked.elapsed());
    }
    assert_eq!(load.failed().await, Vec::<String>::new());
    times
}

/// From the click to the last request before a silence.
async fn last_request(upstream: &Upstream, clicked: Instant) -> Duration {
    let (mut seen, mut last) = (upstream.count(), clicked);
    while last.elapsed() < SILENCE + POLL || seen != upstream.count() {
        if upstream.count() != seen {
            (seen, last) = (upstream.count(), Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last.duration_since(clicked)
}

/// The smallest value at or above which a share of the values are.
fn quantile(values: &[Duration], share: f64) -> Duration {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.max(1) - 1]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_a_registry_is_soon_one_of_requests() {
    let file = std::env::var_os("GRAYGATE_REGISTRIES");
    // Beside other tests, one change that a busy processor holds up is no broken promise.
    let (rounds, slack) = if file.is_some() { (MANY, 1) } else { (FEW, 2) };
    let mut table = format!(
        "{rounds} changes each, milliseconds, with four clients that ask all the time.\n\n\
         | registry | back → first request: median | p99 | out → last request: median | p99 |\n|---|---|---|---|---|\n"
    );
    for name in ["Nacos", "ZooKeeper", "Eureka", "DNS"] {
        let case = case(name);
        let times = measure(&case, rounds).await;
        let ms = |values: &[Duration], share| quantile(values, share).as_millis();
        writeln!(
            table,
            "| {name} | {} | {} | {} | {} |",
            ms(&times.on, 0.5),
            ms(&times.on, 0.99),
            ms(&times.off, 0.5),
            ms(&times.off, 0.99)
        )
        .unwrap();
        for values in [&times.on, &times.off] {
            let p99 = quantile(values, 0.99);
            assert!(p99 <= case.limit * slack, "{name}: {p99:?} of {:?}\n{table}", case.limit);
        }
    }
    println!("{table}");
    if let Some(file) = file {
        std::fs::write(file, table).unwrap();
    }
}
