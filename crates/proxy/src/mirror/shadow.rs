//! The pool that gets the copies of one route or rule.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use http::{HeaderName, HeaderValue};
use parking_lot::Mutex;
use pingora::connectors::http::Connector;

use super::absent::Absent;
use crate::metrics::{Metrics, MirrorMetrics};
use crate::pools::{Instance, PeerTemplate, ServicePools};
use graygate_rules::vocab::{DocumentId, Mirror, MirrorOutcome, Name, Share, Timeouts};

/// What all mirrors of the process share; it outlives generations, so that a change of a document sends no more.
#[derive(Default)]
pub struct Mirrors {
    /// Made when the first copy is: it reads the system's authorities.
    connector: OnceLock<Arc<Connector>>,
    budgets: Mutex<HashMap<Origin, Arc<AtomicU32>>>,
    absent: Arc<Absent>,
}

/// Whose requests are copied: the document that says so, and the service they are for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Origin {
    pub document: DocumentId,
    pub service: Name,
}

/// What the copy's pool is told of its version.
pub struct Told {
    pub word: HeaderValue,
    /// Further request headers of that version.
    pub headers: Box<[(HeaderName, HeaderValue)]>,
}

/// Where the copies of one route or rule go.
pub struct Shadow {
    origin: Origin,
    pub(super) mirror: Mirror,
    pub(super) pool: ShadowPool,
    pub told: Told,
    pub(super) connector: Arc<Connector>,
    pub(super) metrics: MirrorMetrics,
    pub(super) absent: Arc<Absent>,
    under_way: Arc<AtomicU32>,
}

/// The pool of a shadow, and how its instances are reached.
pub struct ShadowPool {
    pub pools: Arc<ServicePools>,
    pub peers: Arc<PeerTemplate>,
    /// `None`: no document of the service names the version.
    pub version: Option<usize>,
    pub timeouts: Timeouts,
}

impl Mirrors {
    pub fn shadow(&self, of: Origin, mirror: &Mirror, pool: (ShadowPool, Told), metrics: &Metrics) -> Shadow {
        let connector = self.connector.get_or_init(|| Arc::new(Connector::new(None))).clone();
        let (service, to) = (of.service.as_str(), mirror.service.as_str());
        let metrics = metrics.mirror(service, to, mirror.version.as_str());
        let under_way = self.budgets.lock().entry(of.clone()).or_default().clone();
        let (pool, told) = pool;
        let (mirror, absent) = (mirror.clone(), self.absent.clone());
        Shadow { origin: of, mirror, pool, told, connector, metrics, absent, under_way }
    }

    /// Forgets the budgets of mirrors that no document says any more, and pauses that are over.
    pub fn sweep(&self) {
        self.absent.sweep(Instant::now());
        self.budgets.lock().retain(|_, under_way| Arc::strong_count(under_way) > 1);
    }
}

impl Shadow {
    /// Whether a request is one of those to copy; `roll` is any number.
    pub fn wants(&self, roll: u16) -> bool {
        self.mirror.share == Share::ALL || roll % Share::ALL.hundredths() < self.mirror.share.hundredths()
    }

    /// Copies under way.
    pub fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    pub(super) fn count(&self, outcome: MirrorOutcome) {
        self.metrics.count(outcome);
    }

    /// A place among the copies under way.
    pub(super) fn take_place(&self) -> Option<Place> {
        let one_more = |count: u32| (count < self.mirror.max).then_some(count + 1);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place(self.under_way.clone()))
    }

    /// Who gets the next copy: an instance of this very version, and of no other. A copy in another pool would be one more
    /// request of users there.
    pub(super) fn instance(&self, now: Instant) -> Option<Arc<Instance>> {
        self.pool.pools.available(self.pool.version?, now).cloned()
    }
}

/// Given back when the copy has ended, however it did.
pub(super) struct Place(Arc<AtomicU32>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
