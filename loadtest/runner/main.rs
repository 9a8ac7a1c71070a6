//! Numbers from one command each: `compare` beside other proxies, `changes` under load, `start` and idle memory,
//! `scale`, `settings`, `requests`, `mirror`, `limits`, `soak`.
//! `make loadtest` and `make soak` run them. Each prints a Markdown text and writes it to the file of `--out`.

#![expect(
    clippy::indexing_slicing,
    reason = "arrays of a fixed size, and a load test may die of its own mistake"
)]

mod changes;
mod chart;
mod compare;
mod limits;
mod load;
mod mirror;
mod processes;
mod requests;
mod scale;
mod settings;
mod soak;
mod stage;
mod start;
mod store;
mod systems;
mod workload;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use load::Load;
use workload::Workload;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Where graygate and bare-pingora were built
    #[arg(long, global = true, default_value = "target/release")]
    binaries: PathBuf,
    #[arg(long, global = true, default_value = "envoy")]
    envoy: PathBuf,
    /// Numbers of rules; each is a table of `compare`, and the others take the greatest
    #[arg(long, global = true, value_delimiter = ',', default_value = "1000,10000")]
    rules: Vec<usize>,
    /// Members of the list of users
    #[arg(long, global = true, default_value_t = 1_000_000)]
    users: usize,
    /// The same where a list is as long as it may be
    #[arg(long, global = true, default_value_t = 10_000_000)]
    most_users: usize,
    /// How often each thing is measured [default: what is enough for it]
    #[arg(long, global = true)]
    rounds: Option<usize>,
    /// Seconds under load in each round [default: the same]
    #[arg(long, global = true)]
    seconds: Option<u32>,
    #[arg(long, global = true, default_value_t = 64)]
    connections: u32,
    /// Only the systems whose name contains one of these
    #[arg(long, global = true, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long, global = true)]
    out: Option<PathBuf>,
}

impl Arguments {
    fn rounds(&self, or: usize) -> usize {
        self.rounds.unwrap_or(or)
    }

    fn load(&self, seconds: u32) -> Load {
        Load { connections: self.connections, seconds: self.seconds.unwrap_or(seconds) }
    }

    fn most_rules(&self) -> usize {
        self.rules.iter().copied().max().unwrap_or_default()
    }
}

#[derive(Subcommand)]
enum What {
    /// Processor time, latency and memory beside other proxies
    Compare,
    /// Latency while rules change, and how long a change takes
    Changes,
    /// Start from a large cache, and memory when idle
    Start,
    /// What a request costs as rules, lists, instances, connections and bodies grow, and by protocol
    Scale,
    /// Each setting of the whole path against its opposite
    Settings {
        /// One patch for each setting, which undoes it
        #[arg(long, default_value = "loadtest/settings")]
        patches: PathBuf,
    },
    /// What a request costs in instructions
    Requests,
    /// What copies to a shadow that answers, is dead or never answers cost those who are copied
    Mirror,
    /// What a limit remembers of ten million clients, and what one question costs
    Limits,
    /// Mixed traffic while rules change, upstreams die and the proxy is upgraded
    Soak {
        #[arg(long, default_value = "30m", value_parser = duration)]
        duration: Duration,
    },
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut text = heading()?;
    match &arguments.what {
        What::Compare => {
            for rules in &arguments.rules {
                let workload = Workload { rules: *rules, users: arguments.users };
                text.push_str(&compare::compare(&arguments, &workload)?);
            }
        }
        What::Changes => text.push_str(&changes::changes(&arguments)?),
        What::Start => text.push_str(&start::start(&arguments)?),
        What::Scale => text.push_str(&scale::scale(&arguments)?),
        What::Settings { patches } => text.push_str(&settings::settings(&arguments, patches)?),
        What::Requests => text.push_str(&requests::instructions(&arguments)?),
        What::Mirror => text.push_str(&mirror::mirror(&arguments)?),
        What::Limits => text.push_str(&limits::limits(&arguments)?),
        What::Soak { duration } => text.push_str(&soak::soak(&arguments, *duration)?),
    }
    print!("{text}");
    if let Some(out) = &arguments.out {
        fs::write(out, &text)?;
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err("like `30s`, `5m`, `1h`".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "like `30s`, `5m`, `1h`".to_owned())?;
    Ok(Duration::from_secs(number * seconds))
}

/// Machine, date, commit and command.
fn heading() -> Result<String> {
    let said = |program: &str, arguments: &[&str]| -> Result<String> {
        let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
        let all = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&all).lines().next().unwrap_or_default().trim().to_owned())
    };
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = processor.matches("model name").count();
    let load = fs::read_to_string("/proc/loadavg")?;
    Ok(format!(
        "{} · {cores} x {}, load average before it {} · commit {} · {} · {} · `{}`\n",
        said("date", &["-u", "+%Y-%m-%d"])?,
        model.trim_matches([' ', '\t', ':']),
        load.split(' ').next().unwrap_or_default(),
        said("git", &["describe", "--always", "--dirty"])?,
        said("nginx", &["-v"])?.trim_start_matches("nginx version: "),
        said("haproxy", &["-v"])?.split('-').next().unwrap_or_default(),
        command()
    ))
}

/// What was asked, without the places of this machine.
fn command() -> String {
    let mut words = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(word) = arguments.next() {
        if matches!(word.as_str(), "--envoy" | "--out" | "--binaries" | "--patches") {
            arguments.next();
        } else {
            words.push(word);
        }
    }
    words.join(" ")
}
