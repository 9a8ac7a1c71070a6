//! What can be done: every call of the API, and every button of the console, is one function of [`Control`].
//!
//! Owns: who may, what has to be unchanged, the audit record that goes with it. A method takes the [`Principal`](crate::people::Principal) who
//! asks, and answers what happened or why not. Never: HTTP, HTML, or a file's place. Start at [`Control::write`].

mod accounts;
mod ask;
mod change;
mod channels;
mod clock;
mod documents;
mod draft;
mod events;
mod foreign;
mod found;
mod heard;
mod history;
mod journal;
mod lists;
mod live;
mod members;
mod messages;
mod plan_report;
mod plane;
mod plans;
mod proposal;
mod proposals;
mod shelve;
mod sign_in;
mod stranger;
mod sweep;
mod then;
mod touch;
mod view;
mod write;

pub use crate::people::FourEyes;
pub use accounts::{NewToken, NewUser, TokenMade, TokenShown, UserChange, UserShown};
pub use ask::{ExplainAsked, ReplayAsked, SampleAsked};
pub use change::{ChangedShown, Done, Intent, Precondition, check_condition, etag};
pub use channels::{ChannelShown, DeliveryShown};
pub use clock::{Clock, SystemClock, rfc3339};
pub use documents::{DocumentShown, DocumentText, kind_of};
pub use draft::{DOCUMENT_LIMIT, Draft, DryRun};
pub use events::{Event, EventKind, Events, STREAM_LIMIT, Streams, Subscription};
pub use heard::{Course, Live, Moment, QUANTILES};
pub use history::HistoryShown;
pub use journal::{AuditQuery, RecordShown, TextShown};
pub use lists::{ContainsShown, MembersDone, MembersShown};
pub use members::{check_member, offload, places, replaced, values, with, without};
pub use messages::MessageShown;
pub use plane::Control;
pub use plans::{ActionAsked, ActionDone, PlanRead};
pub use proposal::{Asked, Proposal, ProposalShown, ProposalState, Work};
pub use sign_in::{ActionShown, Me, SignedIn};
pub use stranger::Stranger;
pub use view::{Changes, View};
pub use write::{Plan, Written};
