//! `graygate pull`: documents of etcd into a directory.

use std::path::Path;
use std::process::ExitCode;

use super::{StoreArguments, block_on, print_problems};
use graygate_store::push;

pub fn pull(path: &Path, store: &StoreArguments) -> anyhow::Result<ExitCode> {
    let settings = store.settings()?;
    block_on(async {
        let pulled = push::pull(&settings, path).await?;
        println!(
            "revision {}: {} documents written, {} unchanged",
            pulled.revision,
            pulled.written.len(),
            pulled.unchanged
        );
        if pulled.leased > 0 {
            println!("{} instances live by a lease and were left out", pulled.leased);
        }
        if pulled.owned > 0 {
            println!("{} documents are written by the program and were left out", pulled.owned);
        }
        print_problems(&pulled.strays);
        Ok(ExitCode::SUCCESS)
    })
}
