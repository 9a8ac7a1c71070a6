//! `graygate audit`: the records, and whether the account is whole.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use graygate_control::audit;
use http::Method;
use serde_json::Value;

use super::block_on;
use super::people::{Beside, ask};

#[derive(Args, Debug)]
pub struct AuditArguments {
    #[command(subcommand)]
    command: Option<AuditCommand>,
    /// Whose records
    #[arg(long)]
    who: Option<String>,
    /// A part of the object
    #[arg(long)]
    what: Option<String>,
    /// RFC 3339
    #[arg(long)]
    from: Option<String>,
    /// RFC 3339
    #[arg(long)]
    to: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 100)]
    limit: u16,
}

#[derive(Subcommand, Debug)]
enum AuditCommand {
    /// Follow the chain of records in the store itself; 0 where it is whole, 1 with the record where it is not
    Verify {
        /// The control plane's file
        #[arg(long, value_name = "FILE")]
        control: PathBuf,
        /// The end of the chain as a notice or a report said it: finds a cut tail as well
        #[arg(long, value_name = "N:HASH", value_parser = head)]
        head: Option<(u64, String)>,
    },
}

fn head(text: &str) -> Result<(u64, String), String> {
    let read = text.split_once(':').and_then(|(id, hash)| Some((id.parse().ok()?, hash.to_owned())));
    read.ok_or_else(|| "a head is `N:HASH`".to_owned())
}

pub fn audit(arguments: AuditArguments) -> anyhow::Result<ExitCode> {
    if let Some(AuditCommand::Verify { control, head }) = arguments.command {
        return verify(&control, head);
    }
    let mut query = vec![format!("limit={}", arguments.limit)];
    let AuditArguments { who, what, from, to, .. } = arguments;
    for (name, value) in [("who", who), ("what", what), ("from", from), ("to", to)] {
        query.extend(value.map(|value| format!("{name}={}", escaped(&value))));
    }
    let page = block_on(ask(Method::GET, &format!("/audit?{}", query.join("&")), None))?;
    for record in page.get("items").and_then(Value::as_array).into_iter().flatten() {
        println!("{record}");
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(file: &Path, head: Option<(u64, String)>) -> anyhow::Result<ExitCode> {
    let verified = block_on(async {
        let beside = Beside::open(file).await?;
        let known = head.as_ref().map(|(id, hash)| (*id, hash.as_str()));
        audit::verify(&*beside.control.state, known).await.context("the store cannot be read")
    })?;
    Ok(match verified {
        Ok(good) => {
            println!("{} records, whole; head {}", good.records, good.head);
            ExitCode::SUCCESS
        }
        Err(fault) => {
            println!("{fault}");
            ExitCode::FAILURE
        }
    })
}

/// For a query: everything but letters, digits and four marks.
/// Text as a part of a path or a query.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}
