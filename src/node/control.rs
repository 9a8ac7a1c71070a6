//! The life of a control process: opened, served until a signal, ended in order.

use std::process::ExitCode;

use anyhow::Context as _;
use graygate_control::console;
use graygate_control::run::Plane;
use graygate_control::settings::Config;
use graygate_telemetry::{LogSettings, start_log};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Runs until a signal ends the process.
pub fn control(config: &Config) -> anyhow::Result<ExitCode> {
    start_log(&LogSettings::default())?;
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let (end, ended) = watch::channel(false);
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let plane = Plane::open(config, ended).await.map_err(anyhow::Error::msg)?;
        tracing::info!(address = %plane.address()?, "the control plane listens");
        let served = tokio::spawn(plane.serve(console::rooms()));
        // No listener is there where no service manager started the process.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        end.send_replace(true);
        served.await?.map_err(anyhow::Error::msg)?;
        Ok(ExitCode::SUCCESS)
    })
}
