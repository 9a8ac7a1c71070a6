//! Everything that is needed to do what can be done.
//!
//! Owns: what one process holds of it. The deeds themselves are beside it, a file for each kind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use graygate_rules::documents::DocumentId;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::clock::Clock;
use super::events::Events;
use super::heard::Live;
use super::plans::board::Board;
use super::stranger::Stranger;
use super::view::View;
use crate::audit::{AUDIT_KEPT, Refusals};
use crate::configs::index::Configs;
use crate::gateway::settings::Hospital;
use crate::metrics::Metrics;
use crate::notices::Channels;
use crate::oidc::Provider;
use crate::people::{FourEyes, KnownTokens, Passwords, SessionSettings, Throttle};
use crate::registries::status::Status;
use crate::state::{Archived, Leadership, State};

/// Everything that is needed to do what can be done.
pub struct Control {
    pub state: Arc<dyn State>,
    pub clock: Arc<dyn Clock>,
    pub sessions: SessionSettings,
    pub events: Events,
    pub metrics: Metrics,
    pub throttle: Throttle,
    pub passwords: Passwords,
    pub refusals: Refusals,
    pub four_eyes: FourEyes,
    /// Whom the gateway API is for; none: it is not there.
    pub hospital: Option<Arc<Hospital>>,
    /// What strangers' changes of documents are called.
    pub stranger: Stranger,
    /// Who answers for people that have no password here.
    pub oidc: Option<Arc<Provider>>,
    /// Whether this process leads the others.
    pub leadership: Leadership,
    /// How long records of the audit are kept.
    pub audit_kept: std::time::Duration,
    /// Where records of the audit lie that the store has no room for, and how many bytes of them it has room for.
    pub archive: Option<Arc<Archived>>,
    pub audit_room: Option<u64>,
    /// What is to be seen of registries.
    pub registries: watch::Sender<Arc<Status>>,
    pub(super) swept: Mutex<Option<OffsetDateTime>>,
    /// What proxies say of themselves, and of their requests.
    pub live: Live,
    /// The plans as this process knows them.
    pub plans: Board,
    /// Where the figures of each second are kept; they may be lost.
    pub figures: Arc<dyn State>,
    /// Prometheus addresses, by the names plans use.
    pub measures: BTreeMap<String, String>,
    /// Where notices go.
    pub channels: Channels,
    /// Tokens that were looked up a moment ago, by id.
    pub(super) known_tokens: KnownTokens,
    /// Configuration values as this process knows them.
    pub configs: Configs,
    /// Set once the documents are read.
    pub(super) is_ready: AtomicBool,
    /// By what is kept of their secrets: for whom, and until when.
    pub(super) invitations: Mutex<HashMap<String, (String, Instant)>>,
    pub(super) view: Mutex<Arc<View>>,
    /// What this process wrote of late: the source may show what was there before for a moment.
    pub(super) recent: Mutex<HashMap<DocumentId, Instant>>,
    /// When a write last found the store away, and why.
    pub(super) failed: Mutex<Option<(Instant, String)>>,
    /// Whether the message was written that tells of a store that is nearly full.
    pub(super) told_crowded: AtomicBool,
    /// One write at a time: they all extend the same chain, so others would only be tried again.
    pub(super) writer: tokio::sync::Mutex<()>,
}

impl Control {
    pub fn new(state: Arc<dyn State>, clock: Arc<dyn Clock>, sessions: SessionSettings) -> Control {
        Control {
            figures: state.clone(),
            measures: BTreeMap::new(),
            channels: Channels::default(),
            state,
            clock,
            sessions,
            events: Events::default(),
            metrics: Metrics::default(),
            throttle: Throttle::default(),
            passwords: Passwords::default(),
            refusals: Refusals::default(),
            four_eyes: FourEyes::default(),
            hospital: None,
            stranger: Stranger::File,
            oidc: None,
            leadership: Leadership::alone(),
            audit_kept: AUDIT_KEPT,
            archive: None,
            audit_room: None,
            registries: watch::Sender::new(Arc::default()),
            swept: Mutex::default(),
            live: Live::default(),
            plans: Board::default(),
            known_tokens: KnownTokens::default(),
            configs: Configs::default(),
            is_ready: AtomicBool::new(false),
            invitations: Mutex::default(),
            view: Mutex::new(Arc::new(View::empty())),
            recent: Mutex::default(),
            failed: Mutex::default(),
            told_crowded: AtomicBool::new(false),
            writer: tokio::sync::Mutex::new(()),
        }
    }
}
