//! What a request costs in instructions of the proxy's own code: nearly the same in every run, however busy the machine.
//!
//! Callgrind counts them while clients ask in waves, so that the proxy finds as much to do at once as under load. What
//! the kernel does for it is not counted.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::Arguments;
use crate::processes::Running;
use crate::stage::Stage;
use crate::systems::System;
use crate::workload::{Request, Workload};

/// Graygate and the smallest proxy that its framework makes.
const SYSTEMS: [System; 4] =
    [System::Bare, System::Graygate, System::GraygateLogging, System::GraygatePipeline];
/// Clients that ask at the same time.
const CLIENTS: usize = 32;
/// Before anything is counted: pools, buffers and automata are there afterwards.
const WARMING: usize = 12_800;
const COUNTED: usize = 3_200;
/// Longest wait for an answer; below callgrind everything takes its time.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn instructions(arguments: &Arguments) -> Result<String> {
    let stage = Stage::new(arguments)?;
    let workload = Workload { rules: arguments.rules[0], users: arguments.users };
    let _upstream = stage.upstream()?;
    let mut text = format!(
        "\n{} rules, a list of {} users, one thread; {COUNTED} requests in waves of {CLIENTS}\n\n\
         | system | instructions a request | beside bare |\n|---|--:|--:|\n",
        workload.rules, workload.users
    );
    let mut bare = None;
    for system in SYSTEMS {
        let count = count(system, &stage, &workload).with_context(|| system.name().to_owned())?;
        let beside = count as f64 / *bare.get_or_insert(count) as f64;
        let _ = writeln!(text, "| {} | {count} | {beside:.2} |", system.name());
    }
    Ok(text)
}

fn count(system: System, stage: &Stage, workload: &Workload) -> Result<usize> {
    let command = system.prepare(stage, workload)?;
    let out = stage.root().join("counted");
    let mut below = Command::new("valgrind");
    below.args(["--tool=callgrind", "--instr-atstart=no"]);
    below.arg(format!("--callgrind-out-file={}", out.display()));
    below.arg(command.get_program()).args(command.get_args());
    let running = stage.run(system, below, "0")?;
    let mut clients = Clients::connect(stage, &workload.requests())?;
    clients.ask(WARMING)?;
    control(&running, &["--instr=on"])?;
    // What is translated for the first time is not counted.
    clients.ask(COUNTED)?;
    control(&running, &["--zero"])?;
    clients.ask(COUNTED)?;
    control(&running, &["--dump"])?;
    Ok(total(&out.with_extension("1"))? / COUNTED)
}

fn control(running: &Running, what: &[&str]) -> Result<()> {
    let told = Command::new("callgrind_control").args(what).arg(running.0.id().to_string()).output()?;
    ensure!(told.status.success(), "callgrind_control {what:?}: {}", String::from_utf8_lossy(&told.stderr));
    Ok(())
}

/// All that a dump counted; it is there once callgrind has written it whole.
fn total(dump: &Path) -> Result<usize> {
    for _ in 0..600 {
        let text = fs::read_to_string(dump).unwrap_or_default();
        if let Some(total) = text.lines().find_map(|line| line.strip_prefix("totals: ")) {
            return Ok(total.trim().parse()?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    anyhow::bail!("callgrind wrote no {}", dump.display())
}

/// Clients that send one request each, and then read one answer each.
struct Clients {
    connections: Vec<TcpStream>,
    requests: Vec<Vec<u8>>,
    asked: usize,
}

impl Clients {
    fn connect(stage: &Stage, requests: &[Request]) -> Result<Clients> {
        let connect = || {
            let stream = TcpStream::connect(stage.listen)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            anyhow::Ok(stream)
        };
        let connections = (0..CLIENTS).map(|_| connect()).collect::<Result<_>>()?;
        Ok(Clients { connections, requests: requests.iter().map(bytes).collect(), asked: 0 })
    }

    fn ask(&mut self, count: usize) -> Result<()> {
        for _ in 0..count / CLIENTS {
            for connection in &mut self.connections {
                connection.write_all(&self.requests[self.asked % self.requests.len()])?;
                self.asked += 1;
            }
            self.connections.iter_mut().try_for_each(read)?;
        }
        Ok(())
    }
}

fn bytes(request: &Request) -> Vec<u8> {
    let mut text = format!("GET {} HTTP/1.1\r\nhost: medical.example.com\r\n", request.path);
    for (name, value) in request.headers() {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    (text + "\r\n").into_bytes()
}

/// Reads one answer with its body, whose length every upstream says.
fn read(connection: &mut TcpStream) -> Result<()> {
    let (mut answer, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        let count = connection.read(&mut piece)?;
        ensure!(count > 0, "a connection ended: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..count]);
        if is_whole(&String::from_utf8_lossy(&answer))? {
            return Ok(());
        }
    }
}

fn is_whole(answer: &str) -> Result<bool> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return Ok(false) };
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut fields = head.lines().filter_map(|line| line.split_once(": "));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("an answer without a length")?.1.parse()?;
    Ok(body.len() >= length)
}
