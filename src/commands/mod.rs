//! The commands: arguments, one call each, and exit codes.
//!
//! Answers: what can be typed, and what is called then? Exit status 0: done; 1: problems found or failed; 2: wrong usage.
//! Never: logic beyond printing what was found. Start at [`Command`].

mod audit;
mod bucket;
mod check;
mod control;
mod demo;
mod echo;
mod explain;
mod fleet;
mod import;
mod judge;
mod lanes;
mod manuals;
mod overriding;
mod people;
mod plan;
mod pull;
mod push;
mod replay;
mod run;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::node::Start;
use graygate_rules::vocab::{Name, Problem};
use graygate_store::etcd::{DEFAULT_PREFIX, EtcdSettings};

/// An edge proxy that decides, for every request, which version of a service answers it.
#[derive(Parser, Debug)]
#[command(name = "graygate", version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the proxy
    Run {
        /// The process file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take the listeners over from the running process
        #[arg(long)]
        upgrade: bool,
    },
    /// Run the control plane: the API, people, the audit, plans
    Control {
        /// The control plane's file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Accounts of the control plane
    #[command(subcommand)]
    User(people::UserCommand),
    /// Tokens of the control plane
    #[command(subcommand)]
    Token(people::TokenCommand),
    /// What happened, by the control plane's account of it
    #[command(args_conflicts_with_subcommands = true)]
    Audit(audit::AuditArguments),
    /// Plans of the control plane, over its API
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Run the proxy with sample documents and three upstreams, and print what to try
    Demo,
    /// Print every problem of a document directory, of a process file and its documents, or of a control plane's file
    Check {
        /// A document directory
        #[arg(value_name = "DIR", required_unless_present_any = ["config", "control"], conflicts_with_all = ["config", "control"])]
        directory: Option<PathBuf>,
        /// A process file
        #[arg(long, value_name = "FILE", conflicts_with = "control")]
        config: Option<PathBuf>,
        /// A control plane's file
        #[arg(long, value_name = "FILE")]
        control: Option<PathBuf>,
    },
    /// Tell which version a request would get, and why
    Explain(ExplainArguments),
    /// Tell which requests would get another version if a draft became the documents, rule by rule
    Replay(ReplayArguments),
    /// Write documents that do what files of another gateway do, and report what is the same, close or left out
    Import(ImportArguments),
    /// Check a document directory, show what differs in etcd, and write it
    Push {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        #[command(flatten)]
        store: StoreArguments,
        /// Show the difference and write nothing
        #[arg(long)]
        dry_run: bool,
        /// Also remove what the directory does not have
        #[arg(long)]
        prune: bool,
    },
    /// Copy the documents of etcd into a directory
    Pull {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Print which proxies run, what they run, and who lags behind or has problems
    Fleet {
        #[command(flatten)]
        store: StoreArguments,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the lanes of messages: how far each is, who takes its messages, and how many wait
    Lanes {
        #[command(flatten)]
        store: StoreArguments,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Tell what a plan's guards make of observed rows, read from standard input, one a line
    Judge(JudgeArguments),
    /// Sign a word that puts its bearer into a version, and print it and a link that sets it
    Override(overriding::OverrideArguments),
    /// Print the bucket of a value under a salt
    Bucket {
        #[arg(allow_hyphen_values = true)]
        salt: String,
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Print completions for a shell
    Completions {
        #[arg(value_enum)]
        shell: manuals::Shell,
    },
    /// Write the man pages and the shells' completions into a directory, for packages
    #[command(hide = true)]
    Manuals {
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Run an upstream that says who it is and echoes requests as JSON
    Echo {
        #[arg(long)]
        address: SocketAddr,
        #[arg(long, value_parser = version_name)]
        version: Name,
    },
}

/// A request to explain, and the documents to explain it with.
#[derive(Args, Debug)]
struct ExplainArguments {
    /// A document directory
    #[arg(long, value_name = "DIR", required_unless_present = "config", conflicts_with = "config")]
    documents: Option<PathBuf>,
    /// A process file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header, `name: value`; `name:` is an empty one
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The peer's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    ip: IpAddr,
    /// Believe the peer, whatever `trust` and `version_from` say
    #[arg(long)]
    trusted: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    url: String,
}

/// Two states of the documents, and the requests to decide by both.
#[derive(Args, Debug)]
struct ReplayArguments {
    /// The document directory as it is
    #[arg(long, value_name = "DIR")]
    documents: PathBuf,
    /// The document directory as it would be
    #[arg(long, value_name = "DIR")]
    draft: PathBuf,
    /// An access log of graygate; `-` is standard input
    #[arg(
        long,
        value_name = "ACCESS_LOG",
        required_unless_present = "identities",
        conflicts_with = "identities"
    )]
    log: Option<PathBuf>,
    /// Make up so many users for every service
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(graygate_rules::replay::IDENTITY_LIMIT)))]
    identities: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A plan to judge, without a control plane.
#[derive(Args, Debug)]
struct JudgeArguments {
    /// The plan's name, which its rules have in theirs
    #[arg(long, value_name = "NAME")]
    plan: String,
    /// The version its audience gets
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// The plan's services, with commas between them; without, those of the first second
    #[arg(long, value_name = "SERVICES", value_delimiter = ',')]
    services: Vec<String>,
    /// The plan's `guards:` in a file; without, the default ones
    #[arg(long, value_name = "FILE")]
    guards: Option<PathBuf>,
}

/// Files of another gateway.
#[derive(Args, Debug)]
struct ImportArguments {
    /// Whose files they are
    #[arg(value_enum)]
    source: ImportSource,
    /// The files, read together; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where the documents go; without it only the report is printed
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum ImportSource {
    /// Ingress objects with canary annotations
    IngressNginx,
    /// Routes, upstreams and traffic-split
    Apisix,
    /// The setting of a hospital's gateway
    Hospital,
    /// VirtualService and DestinationRule
    Istio,
    /// split_clients, map, upstream and location
    Nginx,
}

impl From<ImportSource> for graygate_rules::import::Source {
    fn from(source: ImportSource) -> Self {
        match source {
            ImportSource::IngressNginx => Self::IngressNginx,
            ImportSource::Apisix => Self::Apisix,
            ImportSource::Hospital => Self::Hospital,
            ImportSource::Istio => Self::Istio,
            ImportSource::Nginx => Self::Nginx,
        }
    }
}

/// Which etcd, and where in it.
#[derive(Args, Debug)]
struct StoreArguments {
    /// An endpoint, or several with commas between them
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    etcd: Vec<String>,
    #[arg(long, default_value = DEFAULT_PREFIX)]
    prefix: String,
}

impl StoreArguments {
    fn settings(&self) -> anyhow::Result<EtcdSettings> {
        let settings = EtcdSettings::new(self.etcd.clone(), &self.prefix);
        match settings.mistakes().into_iter().next() {
            Some((field, message)) => anyhow::bail!("--etcd {}: {field} {message}", self.etcd.join(",")),
            None => Ok(settings),
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write `name: value`")?;
    Ok((name.trim().into(), value.trim().into()))
}

fn version_name(text: &str) -> Result<Name, String> {
    Name::parse(text).ok_or_else(|| "a version is 1 to 128 of A-Z a-z 0-9 . _ -".into())
}

/// Reads the arguments, does what they say, and turns the result into an exit status.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run { config, upgrade } => {
            run::run(&config, if upgrade { Start::Upgrade } else { Start::Fresh })
        }
        Command::Demo => demo::demo(),
        Command::Check { control: Some(file), .. } => check::check_control(&file),
        Command::Check { directory, config, .. } => check::check(directory, config),
        Command::Control { config } => control::control(&config),
        Command::User(command) => people::user(command),
        Command::Token(command) => people::token(command),
        Command::Audit(arguments) => audit::audit(arguments),
        Command::Plan(command) => plan::plan(command),
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Override(arguments) => overriding::sign(arguments),
        Command::Replay(arguments) => replay::replay(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Push { directory, store, dry_run, prune } => push::push(&directory, &store, dry_run, prune),
        Command::Pull { directory, store } => pull::pull(&directory, &store),
        Command::Fleet { store, json } => fleet::fleet(&store, json),
        Command::Lanes { store, json } => lanes::lanes(&store, json),
        Command::Judge(arguments) => judge::judge(arguments),
        Command::Bucket { salt, value } => Ok(bucket::bucket(&salt, &value)),
        Command::Completions { shell } => Ok(manuals::completions(shell)),
        Command::Manuals { directory } => manuals::write(&directory),
        Command::Echo { address, version } => echo::echo(address, &version),
    };
    done.unwrap_or_else(|error| {
        eprintln!("graygate: {error:#}");
        ExitCode::FAILURE
    })
}

/// Prints problems, each with its place.
fn print_problems(problems: &[Problem]) {
    for problem in problems {
        eprintln!("{problem}");
    }
}

/// Runs one piece of asynchronous work on a small runtime of its own.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(work)
}
