//! `graygate explain`: which version a request would get, and why, without a running proxy.

use std::process::ExitCode;
use std::time::SystemTime;

use super::{ExplainArguments, block_on, print_problems};
use crate::config::Config;
use graygate_rules::compile::{Memory, compile};
use graygate_rules::decide::{NetworkSet, Overrides, Trust};
use graygate_rules::explain::{Explainer, Explanation, Question};
use graygate_store::directory;

pub fn explain(arguments: ExplainArguments) -> anyhow::Result<ExitCode> {
    let (set, trust) = match (&arguments.documents, &arguments.config) {
        (Some(directory), _) => (directory::load(directory)?, no_trust()),
        (None, Some(file)) => match Config::load(file) {
            Ok(config) => (block_on(async { Ok(config.documents.load().await?) })?, config.proxy.trust),
            Err(problems) => {
                print_problems(&problems);
                return Ok(ExitCode::FAILURE);
            }
        },
        (None, None) => anyhow::bail!("no documents"),
    };
    let compiled = compile(&set, &Memory::default(), &|path| std::fs::read(path));
    print_problems(&compiled.problems);
    let question = Question {
        method: arguments.method,
        url: arguments.url,
        headers: arguments.headers,
        address: arguments.ip,
        trusted: arguments.trusted,
    };
    let has_instances = |service, version| compiled.has_instances(service, version);
    let explainer = Explainer { snapshot: &compiled.snapshot, trust: &trust, has_instances: &has_instances };
    let explanation = explainer.explain(&question, SystemTime::now().into())?;
    match arguments.json {
        true => println!("{}", serde_json::to_string(&explanation)?),
        false => print(&explanation),
    }
    Ok(ExitCode::SUCCESS)
}

/// The trust of a process file that says nothing about it.
fn no_trust() -> Trust {
    Trust {
        forwarded: NetworkSet::default(),
        version: NetworkSet::default(),
        version_header: crate::config::VERSION_HEADER,
        baggage: false,
        overrides: Overrides::default(),
        places: None,
    }
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
