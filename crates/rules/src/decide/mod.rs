//! The decision: a pure function from a compiled snapshot and a request to a version and a reason.
//!
//! Answers: which version gets this request, and why? Owns conditions, lists, buckets, path normalisation and rewrites
//! at run time. Never: IO, a clock, randomness, locks, allocation in a decision, or a look at which instances are
//! alive. Start at [`Snapshot::decide`].

mod arrival;
mod assets;
mod bucket;
mod candidate;
mod condition;
mod fields;
mod index;
mod list;
mod members;
mod overrides;
mod path;
mod pattern;
mod places;
mod request;
mod rewrite;
mod route;
mod rule;
mod service;
mod snapshot;
mod tester;
mod text;
mod trust;
mod version;

pub use arrival::{Admission, Arrival, BadArrival, Buffers};
pub use assets::AssetsPlan;
pub use bucket::{bucket, hash};
pub use candidate::{Candidate, HostMatch, PathMatch, RouteId};
pub use condition::{Condition, Predicate, Test};
pub use fields::{Field, Fields, text};
pub use index::{Indexed, PatternSets, RuleId, RuleIndex, Scratch};
pub use list::{Hashed, NetworkSet, ValueSet};
pub use overrides::{BadGrant, BadKeys, CookieChange, Grant, OVERRIDE_COOKIE, OVERRIDE_PARAMETER, Overrides};
pub use path::{BadPath, Host, Path, PathBuffer, normalise_host};
pub use pattern::Pattern;
pub use places::{BadPlaces, Places};
pub use request::{Request, Seen, cookies, decode_parameter, parameters, without_parameter};
pub use rewrite::{BadTarget, Edit, Groups, Rewritten, apply, edits, location, rewrite};
pub use route::{PathRewrite, Redirect, RoutePlan, Routed, Routes, ServiceTarget, Target};
pub use rule::{
    Outcome, RELEASE, RuleEdit, RulePlan, Standing, VersionId, index_edited, index_from, index_rules,
    is_closed, reached,
};
pub use service::{Choice, IssueCookie, Pin, ServiceId, ServicePlan, VersionPlan, first_value};
pub use snapshot::{Decision, Snapshot};
pub use tester::Tester;
pub use text::fold;
pub use trust::{Admitted, MIRROR_HEADER, Peer, Trust, remove_attribute, set_baggage};
pub use version::Version;
