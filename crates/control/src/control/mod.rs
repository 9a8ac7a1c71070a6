//! What can be done: every call of the API, and every button of the console, is one function of [`Control`].
//!
//! Owns: who may, what has to be unchanged, the audit record that goes with it. A method takes the [`Principal`] who
//! asks, and answers what happened or why not. Never: HTTP, HTML, or a file's place. Start at [`Control::write`].

mod accounts;
mod ask;
mod documents;
mod draft;
mod events;
mod foreign;
mod found;
mod history;
mod journal;
mod lists;
mod live;
mod members;
mod messages;
mod proposals;
mod sign_in;
mod sweep;
mod touch;
mod view;
mod write;

pub use crate::people::FourEyes;
pub use accounts::{NewToken, NewUser, TokenMade, TokenShown, UserChange, UserShown};
pub use ask::{ExplainAsked, ReplayAsked, SampleAsked};
pub use documents::{ChangedShown, DocumentShown, DocumentText, Done, Intent, Precondition, kind_of, owner};
pub use draft::{DOCUMENT_LIMIT, Draft, DryRun};
pub use events::{Event, EventKind, Events, STREAM_LIMIT, Streams, Subscription};
pub use foreign::Stranger;
pub use history::HistoryShown;
pub use journal::{AuditQuery, RecordShown, TextShown};
pub use lists::{ContainsShown, MembersDone, MembersShown};
pub use live::Live;
pub use messages::{Message, MessageShown};
pub use proposals::{Asked, Proposal, ProposalShown, ProposalState, Work};
pub use sign_in::{ActionShown, Me, SignedIn};
pub use view::{Changes, View};
pub use write::{Plan, Written};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use graygate_rules::documents::DocumentId;
use parking_lot::Mutex;
use tokio::sync::watch;

use time::OffsetDateTime;

use crate::audit::{AUDIT_KEPT, Refusals};
use crate::metrics::Metrics;
use crate::people::{Passwords, SessionSettings, Throttle};
use crate::registries::status::Status;
use crate::state::{Leadership, State};

/// Where the time comes from.
pub trait Clock: Send + Sync {
    fn now(&self) -> OffsetDateTime;
    fn instant(&self) -> Instant;
}

/// The machine's.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

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
    /// What strangers' changes of documents are called.
    pub stranger: Stranger,
    /// Whether this process leads the others.
    pub leadership: Leadership,
    /// How long records of the audit are kept.
    pub audit_kept: std::time::Duration,
    /// What is to be seen of registries.
    pub registries: watch::Sender<Arc<Status>>,
    swept: Mutex<Option<OffsetDateTime>>,
    /// What proxies say of themselves, and of their requests.
    pub live: Live,
    /// Set once the documents are read.
    is_ready: AtomicBool,
    /// By what is kept of their secrets: for whom, and until when.
    invitations: Mutex<HashMap<String, (String, Instant)>>,
    view: Mutex<Arc<View>>,
    /// What this process wrote of late: the source may show what was there before for a moment.
    recent: Mutex<HashMap<DocumentId, Instant>>,
    /// One write at a time: they all extend the same chain, so others would only be tried again.
    writer: tokio::sync::Mutex<()>,
}

impl Control {
    pub fn new(state: Arc<dyn State>, clock: Arc<dyn Clock>, sessions: SessionSettings) -> Control {
        Control {
            state,
            clock,
            sessions,
            events: Events::default(),
            metrics: Metrics::default(),
            throttle: Throttle::default(),
            passwords: Passwords::default(),
            refusals: Refusals::default(),
            four_eyes: FourEyes::default(),
            stranger: Stranger::File,
            leadership: Leadership::alone(),
            audit_kept: AUDIT_KEPT,
            registries: watch::Sender::new(Arc::default()),
            swept: Mutex::default(),
            live: Live::default(),
            is_ready: AtomicBool::new(false),
            invitations: Mutex::default(),
            view: Mutex::new(Arc::new(View::empty())),
            recent: Mutex::default(),
            writer: tokio::sync::Mutex::new(()),
        }
    }
}

/// RFC 3339 in UTC, as every time the API says.
pub fn rfc3339(time: OffsetDateTime) -> String {
    use time::format_description::well_known::Rfc3339;
    time.to_offset(time::UtcOffset::UTC).format(&Rfc3339).unwrap_or_default()
}
