//! `graygate explain`: which version a request would get, and why, without a running proxy.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use super::{ExplainArguments, block_on, print_problems};
use crate::config::Config;
use crate::decide::{NetworkSet, Trust};
use crate::documents::DocumentSet;
use crate::live::{self, Admitted, Asked, Explanation, Live, Publisher};
use crate::pools::Registry;
use crate::sources::directory;
use crate::telemetry::Metrics;

pub fn explain(arguments: ExplainArguments) -> anyhow::Result<ExitCode> {
    let (set, trust) = match (&arguments.documents, &arguments.config) {
        (Some(directory), _) => (directory::load(directory)?, nobody()),
        (None, Some(file)) => match Config::load(file) {
            Ok(config) => (block_on(async { Ok(config.documents.load().await?) })?, config.proxy.trust),
            Err(problems) => {
                print_problems(&problems);
                return Ok(ExitCode::FAILURE);
            }
        },
        (None, None) => anyhow::bail!("no documents"),
    };
    let generation = publish(set);
    let problems: Vec<_> = generation.problems.iter().map(|(problem, _)| problem.clone()).collect();
    print_problems(&problems);
    let asked = Asked {
        method: arguments.method,
        url: arguments.url,
        headers: arguments.headers,
        address: arguments.ip,
        trusted: arguments.trusted,
    };
    let explanation = live::explain(&generation, &trust, &asked, SystemTime::now())?;
    match arguments.json {
        true => println!("{}", serde_json::to_string(&explanation)?),
        false => print(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

/// The trust of a process file that says nothing about it.
fn nobody() -> Trust {
    Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: crate::config::VERSION_HEADER,
        baggage: false,
    }
}

/// A generation that nobody sends requests to.
fn publish(set: DocumentSet) -> Arc<live::Generation> {
    let registry = Arc::new(Registry::new(0));
    let mut publisher = Publisher::new(Arc::new(Live::default()), registry, Metrics::new());
    let admitted = Admitted::as_offered(Arc::new(set));
    publisher.publish(&admitted, SystemTime::now(), &|path| std::fs::read(path))
}

fn print(explanation: &Explanation) {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    println!("status    {}", explanation.status);
    println!("route     {}", or_none(&explanation.route));
    println!("service   {}", or_none(&explanation.service));
    println!("version   {}", or_none(&explanation.version));
    println!("reason    {}", explanation.reason);
    println!("rule      {}", or_none(&explanation.rule));
    println!("bucket    {}", or_none(&explanation.bucket.map(|bucket| bucket.to_string())));
    println!("path      {}", or_none(&explanation.path));
    println!("chain     {}", explanation.chain.join(" -> "));
    println!("ip        {}", explanation.ip);
    println!("identity  {}", or_none(&explanation.identity));
    println!("pin       {}", or_none(&explanation.pin));
    if let Some(location) = &explanation.location {
        println!("location  {location}");
    }
    for step in &explanation.trace {
        let mark = if step.matched { "matches" } else { "no match" };
        println!("rule {}: {mark}: {}", step.rule, step.because);
    }
}
