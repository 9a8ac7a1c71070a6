//! `graygate echo`: an upstream to try things with.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::echo;
use graygate_rules::vocab::Name;

pub fn echo(address: SocketAddr, version: &Name) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        let mut terminate = signal(SignalKind::terminate())?;
        let ended = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        echo::serve(listener, version.as_str(), ended).await?;
        Ok(ExitCode::SUCCESS)
    })
}
