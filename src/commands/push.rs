//! `graygate push`: documents of a directory into etcd.

use std::path::Path;
use std::process::ExitCode;

use super::check::compile_now;
use super::{StoreArguments, block_on, print_problems};
use graygate_store::directory;
use graygate_store::push::{PushError, Surplus, compare, write};

pub fn push(path: &Path, store: &StoreArguments, dry_run: bool, prune: bool) -> anyhow::Result<ExitCode> {
    let local = directory::load(path)?;
    let problems = compile_now(&local).problems;
    if !problems.is_empty() {
        print_problems(&problems);
        eprintln!("nothing was written: mend {} first", if problems.len() == 1 { "this" } else { "these" });
        return Ok(ExitCode::FAILURE);
    }
    let settings = store.settings()?;
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
