//! `graygate plan`: plans over the API, with codes that scripts can ask for.
//!
//! Owns: what can be typed and what is printed. It reads a plan before it acts on it and sends the ETag along, so what was not
//! seen is not moved. Exit status: 0 done; 1 refused or failed; 2 wrong usage; 3 it waits for a second person; of `watch`
//! also 4: the time is over. Never: decides anything.

mod line;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use graygate_control::client::{Answer, Client};
use graygate_rules::vocab::parse_duration;
use http::Method;
use serde_json::{Value, json};

use super::block_on;
use line::Plan;

/// It waits for a second person.
const WAITS: u8 = 3;

#[derive(Subcommand, Debug)]
pub enum PlanCommand {
    /// Print all plans with their state
    List {
        /// Print one JSON object a plan
        #[arg(long)]
        json: bool,
    },
    /// Print a plan: its state, steps, guards, and what it waits for
    Show {
        name: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Begin a run: the first step
    Start(ActArguments),
    /// Let the audience stay as it is
    Pause(ActArguments),
    /// Go on where it was paused
    Resume(ActArguments),
    /// Begin the next step now, whatever the hold says
    Advance(ActArguments),
    /// Let the step begin that waits for it; bound to the plan as it was read
    Approve(ActArguments),
    /// Refuse the step that waits for approval; the plan pauses
    Reject(ActArguments),
    /// Give the version to every user
    Complete(ActArguments),
    /// Give `release` to every user, at once
    Rollback(ActArguments),
    /// Make the version the release
    Promote {
        #[command(flatten)]
        act: ActArguments,
        /// Also where some requests of the last hour were still `release`
        #[arg(long)]
        others: bool,
        /// The services have no aliases, and their instances were relabelled
        #[arg(long)]
        relabelled: bool,
    },
    /// Follow a plan with a live line; it ends with the run
    Watch(WatchArguments),
}

#[derive(Args, Debug)]
pub struct ActArguments {
    name: String,
    /// Why; it stands in the audit
    #[arg(long)]
    reason: Option<String>,
    /// Print what the API answers, as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct WatchArguments {
    name: String,
    /// End with 0 once it is there, and with 1 once it cannot come there any more
    #[arg(long, value_enum)]
    until: Option<Until>,
    /// End with 4 after this time, such as `30m`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// Print one JSON object a second instead of a line
    #[arg(long)]
    json: bool,
}

/// What a watch waits for.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    Completed,
    Rollback,
}

fn duration(text: &str) -> Result<Duration, String> {
    let read = parse_duration(text).filter(|duration| !duration.is_zero());
    read.ok_or_else(|| "a duration is `30m`, `2h`, `7d`".into())
}

pub fn plan(command: PlanCommand) -> anyhow::Result<ExitCode> {
    let client = Client::from_env().map_err(anyhow::Error::msg)?;
    block_on(async {
        match command {
            PlanCommand::List { json } => list(&client, json).await,
            PlanCommand::Show { name, json } => show(&client, &name, json).await,
            PlanCommand::Start(act) => move_plan(&client, "start", &act, json!({})).await,
            PlanCommand::Pause(act) => move_plan(&client, "pause", &act, json!({})).await,
            PlanCommand::Resume(act) => move_plan(&client, "resume", &act, json!({})).await,
            PlanCommand::Advance(act) => move_plan(&client, "advance", &act, json!({})).await,
            PlanCommand::Approve(act) => move_plan(&client, "approve", &act, json!({})).await,
            PlanCommand::Reject(act) => move_plan(&client, "reject", &act, json!({})).await,
            PlanCommand::Complete(act) => move_plan(&client, "complete", &act, json!({})).await,
            PlanCommand::Rollback(act) => roll_back(&client, &act).await,
            PlanCommand::Promote { act, others, relabelled } => {
                let more = json!({"others": others, "relabelled": relabelled});
                move_plan(&client, "promote", &act, more).await
            }
            PlanCommand::Watch(arguments) => watch::watch(&client, &arguments).await,
        }
    })
}

/// Where a plan is below the API's base.
fn path(name: &str) -> String {
    format!("/plans/{}", super::audit::escaped(name))
}

async fn read(client: &Client, name: &str) -> anyhow::Result<Answer> {
    client.ask(Method::GET, &path(name), None).await.map_err(anyhow::Error::msg)
}

async fn list(client: &Client, as_json: bool) -> anyhow::Result<ExitCode> {
    let mut after = String::new();
    loop {
        let page = client.ask(Method::GET, &format!("/plans?limit=1000{after}"), None).await;
        let page = page.map_err(anyhow::Error::msg)?.body;
        for plan in page.get("items").and_then(Value::as_array).into_iter().flatten() {
            match as_json {
                true => println!("{plan}"),
                false => println!("{}", Plan(plan).summary()),
            }
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", super::audit::escaped(next)),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

async fn show(client: &Client, name: &str, as_json: bool) -> anyhow::Result<ExitCode> {
    let plan = read(client, name).await?.body;
    match as_json {
        true => println!("{plan}"),
        false => print!("{}", Plan(&plan).page()),
    }
    Ok(ExitCode::SUCCESS)
}

async fn move_plan(
    client: &Client,
    action: &str,
    act: &ActArguments,
    more: Value,
) -> anyhow::Result<ExitCode> {
    let seen = read(client, &act.name).await?;
    let mut body = more;
    if let Some(fields) = body.as_object_mut() {
        fields.extend(act.reason.clone().map(|reason| ("reason".to_owned(), json!(reason))));
        if matches!(action, "approve" | "reject") {
            // What is approved is what was read, and nothing that was written since.
            let hash = seen.body.get("hash").cloned().unwrap_or_default();
            fields.insert("hash".to_owned(), hash);
        }
    }
    let etag = seen.etag.unwrap_or_default();
    let headers = [("if-match", etag.as_str())];
    let path = format!("{}/{action}", path(&act.name));
    let done = client.ask_with(Method::POST, &path, (Some(&body), &headers)).await;
    let done = done.map_err(anyhow::Error::msg)?;
    if act.json {
        println!("{}", done.body);
    }
    if done.status == 202 {
        let id = done.body.pointer("/proposal/id").and_then(Value::as_str).unwrap_or_default();
        eprintln!("it waits for a second person, as proposal {id}");
        return Ok(ExitCode::from(WAITS));
    }
    if !act.json {
        println!("{}", Plan(&done.body).summary());
    }
    for note in done.body.get("notes").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("note: {}", note.as_str().unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

/// Without an ETag: it beats whatever was done meanwhile.
async fn roll_back(client: &Client, act: &ActArguments) -> anyhow::Result<ExitCode> {
    let body = json!({"reason": act.reason});
    let path = format!("{}/rollback", path(&act.name));
    let done = client.ask(Method::POST, &path, Some(&body)).await.map_err(anyhow::Error::msg)?.body;
    if act.json {
        println!("{done}");
        return Ok(ExitCode::SUCCESS);
    }
    let count = |field: &str| done.get(field).and_then(Value::as_u64).unwrap_or_default();
    println!("{}: rolled back; {} of {} proxies confirmed", act.name, count("confirmed"), count("of"));
    for (field, words) in [("stragglers", "does not confirm yet"), ("lost", "is gone"), ("warnings", "")] {
        for what in done.get(field).and_then(Value::as_array).into_iter().flatten() {
            eprintln!("{}", format!("{} {words}", what.as_str().unwrap_or_default()).trim_end());
        }
    }
    Ok(ExitCode::SUCCESS)
}
