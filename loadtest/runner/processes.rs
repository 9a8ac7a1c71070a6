//! Processes under test: started, watched and ended, with everything below them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::stage::Stage;
use crate::systems::System;

/// Longest wait for a system to answer; a million entries take a while to read.
pub const START_LIMIT: Duration = Duration::from_secs(120);

/// A running process; killed with this, children included.
pub struct Running(pub Child);

impl Running {
    /// Started on a processor of its own where there is one to spare.
    pub fn start(mut command: Command, processor: &str, root: &Path) -> Result<Running> {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", processor]).arg(command.get_program()).args(command.get_args());
        command = pinned;
        let log = fs::File::create(root.join("started.log"))?;
        let child =
            command.current_dir(root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Running(child))
    }

    /// The process and everything below it.
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![self.0.id()];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            at += 1;
        }
        family
    }

    /// Processor time so far, user and system.
    pub fn ticks(&self) -> u64 {
        let ticks = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<u64> = stat
                .rsplit_once(')')
                .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
                .unwrap_or_default();
            fields.get(11..13).map_or(0, |times| times.iter().sum())
        };
        self.family().iter().map(ticks).sum()
    }

    pub fn resident_mib(&self) -> u64 {
        let resident = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
            line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
        };
        self.family().iter().map(resident).sum::<u64>() / 1_024
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that was waited for is gone, and its number may be another's by now.
        if !matches!(self.0.try_wait(), Ok(None)) {
            return;
        }
        let family = self.family();
        // Parents first: one that lives would start a killed child again.
        let pids: Vec<String> = family.iter().map(u32::to_string).collect();
        let _ = Command::new("kill").arg("-9").args(&pids).status();
        let _ = self.0.wait();
    }
}

pub fn free<const N: usize>() -> Result<[SocketAddr; N]> {
    let listeners: Vec<_> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let addresses: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;
    addresses.try_into().ok().context("not as many addresses as were asked for")
}

pub fn ready(stage: &Stage, system: System, running: &mut Running) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect(stage.listen).is_err() {
        ensure!(running.0.try_wait()?.is_none(), "it ended by itself");
        ensure!(begun.elapsed() < START_LIMIT, "no process listens");
        std::thread::sleep(Duration::from_millis(5));
    }
    if matches!(system, System::Graygate | System::GraygateLogging) {
        while !ask(stage.admin, "/readyz", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            ensure!(begun.elapsed() < START_LIMIT, "not ready");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    answered(stage.listen)
}

pub fn answered(address: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while !ask(address, "/", "").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
        ensure!(begun.elapsed() < START_LIMIT, "no process answers on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

pub fn ask(address: SocketAddr, path: &str, headers: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: medical.example.com\r\nconnection: close\r\n{headers}\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
