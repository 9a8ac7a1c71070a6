//! What a request costs, how long it takes and what graygate holds, as one thing grows and the rest stays as it is: rules,
//! users, instances, connections, bodies; and by protocol. A table, and a chart beside it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::Arguments;
use crate::chart::{Column, chart};
use crate::load::{Figures, Load, median_of};
use crate::processes::Running;
use crate::stage::Stage;
use crate::systems::System;
use crate::workload::{self, Workload};

const ROUNDS: usize = 3;
const SECONDS: u32 = 2;

/// What a measurement is made with. One field differs from [`Setting::base`].
struct Setting {
    workload: Workload,
    instances: usize,
    connections: u32,
    /// Bytes of the request's and the response's body, where there is one.
    sent: Option<usize>,
    received: Option<usize>,
    protocol: Option<Protocol>,
}

#[derive(Clone, Copy)]
struct Protocol {
    name: &'static str,
    is_http2: bool,
    is_tls: bool,
}

const PROTOCOLS: [Protocol; 4] = [
    Protocol { name: "1.1", is_http2: false, is_tls: false },
    Protocol { name: "+ TLS", is_http2: false, is_tls: true },
    Protocol { name: "2", is_http2: true, is_tls: false },
    Protocol { name: "+ TLS", is_http2: true, is_tls: true },
];

type Grow = fn(&mut Setting, usize);

/// What grows, the values it takes, and where they go.
const DIMENSIONS: [(&str, &[usize], Grow); 6] = [
    ("rules", &[10, 100, 1_000, 10_000], |setting, n| setting.workload.rules = n),
    ("users in a list", &[10_000, 100_000, 1_000_000, 10_000_000], |setting, n| setting.workload.users = n),
    ("instances", &[10, 100, 1_000, 10_000], |setting, n| setting.instances = n),
    ("connections", &[1, 10, 100, 1_000, 10_000], |setting, n| setting.connections = n as u32),
    ("request bytes", &BODIES, |setting, n| setting.sent = Some(n)),
    ("response bytes", &BODIES, |setting, n| setting.received = Some(n)),
];
const BODIES: [usize; 5] = [0, 1_000, 32_000, 1_000_000, 10 << 20];

/// What was seen at one place of the chart.
struct Point {
    what: &'static str,
    value: String,
    figures: Vec<Figures>,
    mib: u64,
}

impl Point {
    /// Processor time, p50, p99, MiB.
    fn values(&self) -> [f64; 4] {
        let of = |value: fn(&Figures) -> f64| median_of(&self.figures, value);
        [
            of(|figures| figures.micros),
            of(|figures| figures.latency[0]),
            of(|figures| figures.latency[1]),
            self.mib as f64,
        ]
    }
}

pub fn scale(arguments: &Arguments) -> Result<String> {
    let mut points = Vec::new();
    for (what, values, grow) in DIMENSIONS {
        for value in
            values.iter().filter(|value| !what.starts_with("users") || **value <= arguments.most_users)
        {
            let mut setting = Setting::base(arguments);
            grow(&mut setting, *value);
            points.push(setting.measure(arguments, what, short(*value))?);
        }
    }
    for protocol in PROTOCOLS {
        let setting = Setting { protocol: Some(protocol), ..Setting::base(arguments) };
        points.push(setting.measure(arguments, "HTTP", protocol.name.to_owned())?);
    }
    if let Some(out) = &arguments.out {
        fs::write(out.with_extension("svg"), chart(&columns(&points)))?;
    }
    Ok(table(arguments, &points))
}

/// Points beside one another that are about the same thing.
fn columns(points: &[Point]) -> Vec<Column> {
    let column = |points: &[Point]| Column {
        name: points[0].what,
        is_growth: points[0].what != "HTTP",
        labels: points.iter().map(|point| point.value.clone()).collect(),
        values: points.iter().map(Point::values).collect(),
    };
    points.chunk_by(|one, other| one.what == other.what).map(column).collect()
}

fn short(number: usize) -> String {
    match number {
        1_000_000.. => format!("{}M", number / 1_000_000),
        1_000.. => format!("{}k", number / 1_000),
        _ => number.to_string(),
    }
}

fn table(arguments: &Arguments, points: &[Point]) -> String {
    let mut text = format!(
        "\n1,000 rules, a list of {} users, 3 instances, {} connections, no body, HTTP/1.1, but for what the row names; one \
         thread; medians of {} rounds of {} s\n\n\
         | what | | processor µs a request | requests/s | p50 ms | p99 ms | MiB | failed |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
        short(arguments.users),
        arguments.connections,
        arguments.rounds(ROUNDS),
        arguments.load(SECONDS).seconds
    );
    for point in points {
        let [micros, p50, p99, mib] = point.values();
        let _ = writeln!(
            text,
            "| {} | {} | {micros:.1} | {:.0} | {p50:.2} | {p99:.2} | {mib} | {} |",
            point.what,
            point.value,
            median_of(&point.figures, |figures| figures.per_second),
            point.figures.iter().map(|figures| figures.failed).sum::<u64>()
        );
    }
    text
}

impl Setting {
    fn base(arguments: &Arguments) -> Setting {
        Setting {
            workload: Workload { rules: 1_000, users: arguments.users },
            instances: 3,
            connections: arguments.connections,
            sent: None,
            received: None,
            protocol: None,
        }
    }

    /// In a stage and a process of its own, so that nothing is left of what was measured before.
    fn measure(&self, arguments: &Arguments, what: &'static str, value: String) -> Result<Point> {
        let mut stage = Stage::new(arguments)?;
        stage.instances = self.instances;
        let _upstream = stage.upstream()?;
        stage.write_documents(&self.workload)?;
        let listen = self.listener(&stage)?;
        let running = stage.run(System::Graygate, stage.graygate(&[("listen", &listen)])?, "0")?;
        // Ten thousand connections take a while to be there, and bodies of 10 MiB to be counted by the hundred.
        let bodies = (self.sent.unwrap_or(0) + self.received.unwrap_or(0)) >> 21;
        let seconds = arguments.load(SECONDS).seconds.max(self.connections / 1_000).max(bodies as u32);
        let load = Load { connections: self.connections, seconds };
        let script = stage.root().join("requests.lua");
        fs::write(&script, self.script(&stage)?)?;
        let round = |load: Load| match self.protocol {
            Some(protocol) => protocol.round(load, &stage, &running),
            None => load.wrk(&stage, &script, &running),
        };
        round(Load { seconds: seconds.div_ceil(2), ..load })?;
        let rounds = (0..arguments.rounds(ROUNDS)).map(|_| round(load)).collect::<Result<Vec<_>>>();
        let figures = rounds.with_context(|| format!("{what} {value}"))?;
        eprintln!("scale: {what} {value} done");
        Ok(Point { what, value, figures, mib: running.resident_mib() })
    }

    /// What graygate listens for: HTTP/1.1 for those who ask whether it is ready, and the protocol that is measured.
    fn listener(&self, stage: &Stage) -> Result<String> {
        let plain = format!("{{address: \"{}\"}}", stage.listen);
        let Some(protocol) = self.protocol else { return Ok(format!("[{plain}]")) };
        let tls = match protocol.is_tls {
            true => {
                let CertifiedKey { cert, signing_key } = generate_simple_self_signed([HOST.to_owned()])?;
                fs::write(stage.root().join("scale.crt"), cert.pem())?;
                fs::write(stage.root().join("scale.key"), signing_key.serialize_pem())?;
                ", tls: {certificates: .}, h2: true"
            }
            false if protocol.is_http2 => ", h2c: true",
            false => "",
        };
        Ok(format!("[{plain}, {{address: \"{}\"{tls}}}]", stage.spare))
    }

    fn script(&self, stage: &Stage) -> Result<String> {
        let request = match (self.sent, self.received) {
            (Some(sent), _) => {
                format!("wrk.method = 'POST' wrk.path = '/sent' wrk.body = string.rep('x', {sent})\n")
            }
            (None, Some(received)) => {
                fs::create_dir_all(stage.root().join("files"))?;
                fs::write(stage.root().join("files/body"), vec![b'x'; received])?;
                "wrk.path = '/files/body'\n".to_owned()
            }
            (None, None) => return Ok(workload::script(&self.workload.requests())),
        };
        Ok(format!(
            "{request}wrk.headers = {{Host = '{HOST}', ['x-user'] = 'visitor-1'}}\n{}",
            workload::DONE
        ))
    }
}

const HOST: &str = "medical.example.com";

impl Protocol {
    fn round(self, load: Load, stage: &Stage, running: &Running) -> Result<Figures> {
        let url = format!("http{}://{}/patient/list/1", if self.is_tls { "s" } else { "" }, stage.spare);
        let words = ["-H", "x-hospital: h00000"];
        let words = [&words[..], if self.is_http2 { &[] } else { &["--h1"] }].concat();
        load.h2load(stage, &words, &url, running)
    }
}
