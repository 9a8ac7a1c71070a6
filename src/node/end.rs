//! How the process ends.
//!
//! Answers: when may it end, and with which status? Owns: the only way out that does not return from `main`.
//! Never: which signal asks for it (`signals.rs`), or what is still to be written before (`background.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pingora::server::ShutdownWatch;

use super::second_signal::SecondSignal;

/// Between two looks at whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// Why the process ends here and now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// No client is connected any more.
    Drained,
    /// The process waits no longer for the clients that are.
    Cut { connections: usize },
    /// At once: it was told to.
    Interrupted,
    /// It cannot do what it is for, and says why before it calls this.
    Failed,
}

/// What is still to be done before the process ends in another way than [`exit`]'s callers; done once.
#[derive(Clone, Default)]
pub struct AtEnd(Arc<Mutex<Option<Work>>>);

type Work = Box<dyn FnOnce() + Send>;

impl AtEnd {
    pub fn new(work: impl FnOnce() + Send + 'static) -> AtEnd {
        AtEnd(Arc::new(Mutex::new(Some(Box::new(work)))))
    }

    pub fn run(&self) {
        let work = self.0.lock().take();
        if let Some(work) = work {
            work();
        }
    }
}

/// Ends the process. The framework would sleep for the whole grace period, however idle the process is, and a part of
/// it that fails for good must not leave the others running as if nothing had happened.
pub fn exit(end: End) -> ! {
    let status = match end {
        End::Drained => {
            tracing::info!("every connection has ended, and so does the process");
            0
        }
        End::Cut { connections } => {
            tracing::warn!(connections, "the process ends although clients are connected");
            0
        }
        End::Interrupted => 0,
        End::Failed => 1,
    };
    std::process::exit(status)
}

/// What has to be over before the process may end.
pub struct Drain {
    /// Connections of clients.
    pub open: Arc<AtomicUsize>,
    /// How long they may take.
    pub grace: Duration,
    pub second: SecondSignal,
}

impl Drain {
    /// Returns once the process is to end and no client is connected any more, or the wait is over: the grace
    /// period is over, or a second signal came.
    pub async fn finished(&self, mut shutdown: ShutdownWatch) -> End {
        // A dropped sender is an end as well.
        let _ = shutdown.wait_for(|end| *end).await;
        tokio::select! {
            () = self.idle() => End::Drained,
            () = tokio::time::sleep(self.grace) => self.cut(),
            () = self.second.comes() => self.cut(),
        }
    }

    async fn idle(&self) {
        let mut idle_looks = 0;
        // Twice idle: a connection may have been accepted just before the listeners closed.
        while idle_looks < 2 {
            tokio::time::sleep(DRAIN_LOOK).await;
            idle_looks = if self.open.load(Ordering::Relaxed) == 0 { idle_looks + 1 } else { 0 };
        }
    }

    fn cut(&self) -> End {
        End::Cut { connections: self.open.load(Ordering::Relaxed) }
    }
}
