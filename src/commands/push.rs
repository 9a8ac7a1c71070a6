//! `graygate push` and `graygate pull`: documents between a directory and etcd.

use std::path::Path;
use std::process::ExitCode;

use super::check::{block_on, compile_now};
use super::{StoreArguments, print_problems};
use crate::sources::directory;
use crate::sources::etcd::EtcdSettings;
use crate::sources::push::{PushError, Surplus, compare, write};

pub fn push(path: &Path, store: &StoreArguments, dry_run: bool, prune: bool) -> anyhow::Result<ExitCode> {
    let local = directory::load(path)?;
    let problems = compile_now(&local).problems;
    if !problems.is_empty() {
        print_problems(&problems);
        eprintln!("nothing was written: mend {} first", if problems.len() == 1 { "this" } else { "these" });
        return Ok(ExitCode::FAILURE);
    }
    let settings = settings(store)?;
    let surplus = if prune { Surplus::Prune } else { Surplus::Keep };
    block_on(async {
        let plan = match compare(&settings, &local, surplus).await {
            Ok(plan) => plan,
            Err(PushError::Documents(problems)) => {
                print_problems(&problems);
                return Ok(ExitCode::FAILURE);
            }
            Err(error) => return Err(error.into()),
        };
        println!("{plan}");
        if dry_run || plan.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let written = write(&settings, &plan).await?;
        let noun = if written.transactions == 1 { "transaction" } else { "transactions" };
        println!("written in {} {noun}, revision {}", written.transactions, written.revision);
        Ok(ExitCode::SUCCESS)
    })
}

pub fn pull(path: &Path, store: &StoreArguments) -> anyhow::Result<ExitCode> {
    let settings = settings(store)?;
    block_on(async {
        let pulled = crate::sources::push::pull(&settings, path).await?;
        println!(
            "revision {}: {} documents written, {} unchanged",
            pulled.revision,
            pulled.written.len(),
            pulled.unchanged
        );
        if pulled.leased > 0 {
            println!("{} instances live by a lease and were left out", pulled.leased);
        }
        print_problems(&pulled.strays);
        Ok(ExitCode::SUCCESS)
    })
}

pub fn settings(store: &StoreArguments) -> anyhow::Result<EtcdSettings> {
    let settings = EtcdSettings::new(store.etcd.clone(), &store.prefix);
    match settings.mistakes().into_iter().next() {
        Some((field, message)) => anyhow::bail!("--etcd {}: {field} {message}", store.etcd.join(",")),
        None => Ok(settings),
    }
}
