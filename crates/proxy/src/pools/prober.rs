//! The background task that runs all active checks.
//!
//! Answers: are the instances of the latest generation well? Owns: how many checks run at once,
//! and the edge where the clock and chance come in. Never: stops because one check went wrong.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::{Id, JoinError, JoinSet};

use super::probe::{Checks, ProbeError};
use super::registry::{Registry, Target};
use super::schedule::Schedule;

/// Checks under way at once: enough for thousands of instances, far below descriptor limits.
pub(super) const CHECKS_AT_ONCE: usize = 256;

/// Runs the checks of every generation the registry builds, until `shutdown` resolves.
///
/// Checks that are under way then are dropped. Needs a Tokio runtime with IO and time.
pub async fn run_checks(registry: Arc<Registry>, shutdown: impl Future<Output = ()>) {
    tokio::pin!(shutdown);
    let mut prober = Prober::start();
    prober.schedule.adopt(registry.targets(), Instant::now());
    loop {
        prober.begin_due(Instant::now());
        let wake = prober.wake();
        tokio::select! {
            () = &mut shutdown => return,
            () = registry.built.notified() => {
                prober.schedule.adopt(registry.targets(), Instant::now());
            }
            Some(ended) = prober.running.join_next_with_id() => prober.end(ended),
            () = sleep_until(wake), if wake.is_some() => {}
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    if let Some(wake) = wake {
        tokio::time::sleep_until(wake.into()).await;
    }
}

struct Prober {
    schedule: Schedule,
    checks: Arc<Checks>,
    running: JoinSet<Result<(), ProbeError>>,
    /// Which instance each running check is about; a check that panics is still known by its id.
    targets: HashMap<Id, Target>,
}

impl Prober {
    fn start() -> Prober {
        Prober {
            schedule: Schedule::default(),
            checks: Arc::default(),
            running: JoinSet::new(),
            targets: HashMap::new(),
        }
    }

    fn begin_due(&mut self, now: Instant) {
        while self.running.len() < CHECKS_AT_ONCE {
            let Some(target) = self.schedule.take_due(now) else {
                return;
            };
            let checks = self.checks.clone();
            let health = target.health.clone();
            let address: SocketAddr = target.instance.address;
            let check = async move { checks.check(address, &health).await };
            let id = self.running.spawn(check).id();
            self.targets.insert(id, target);
        }
    }

    /// When to look again; at the limit only an ending check makes room.
    fn wake(&self) -> Option<Instant> {
        match self.running.len() < CHECKS_AT_ONCE {
            true => self.schedule.next(),
            false => None,
        }
    }

    fn end(&mut self, ended: Result<(Id, Result<(), ProbeError>), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(target) = self.targets.remove(&id) else {
            return;
        };
        let now = Instant::now();
        self.schedule.ended(&target, now, rand::random());
        let why = match ended {
            Ok((_, Ok(()))) => None,
            Ok((_, Err(error))) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        judge(&target, why.as_deref(), now);
    }
}

/// Counts the answer, and says so where it changes anything.
fn judge(target: &Target, why_not: Option<&str>, now: Instant) {
    let Some(vitals) = target.vitals.upgrade() else {
        return;
    };
    if !vitals.checked(&target.health, why_not.is_none(), now) {
        return;
    }
    let (service, instance) = (&target.service, &target.instance);
    let (version, address) = (&instance.version, instance.address);
    match why_not {
        None => tracing::info!(%service, %version, %address, "instance is healthy"),
        Some(why) => tracing::warn!(%service, %version, %address, why, "instance is unhealthy"),
    }
}
