//! The decision: a pure function from a compiled snapshot and a request to a version and a reason.
//!
//! Answers: which version gets this request, and why? Owns conditions, lists, buckets, path normalisation and rewrites
//! at run time. Never: IO, a clock, randomness, locks, allocation in a decision, or a look at which instances are
//! alive. Start at [`Snapshot::decide`].

mod arrival;
mod bucket;
mod condition;
mod index;
mod list;
mod members;
mod path;
mod request;
mod rewrite;
mod route;
mod snapshot;
mod trust;
mod version;

pub use arrival::{Admission, Arrival, BadArrival, Buffers};
pub use bucket::{bucket, hash};
pub use condition::{Condition, Predicate, Test, fold};
pub use index::{Pattern, PatternSets, RuleIndex, reached};
pub use list::{Hashed, NetworkSet, ValueSet};
pub use path::{BadPath, Host, Path, PathBuffer, normalise_host};
pub use request::{Request, Scratch, Seen, cookies, decode_parameter, parameters};
pub use rewrite::{BadTarget, Edit, Groups, Rewritten, apply, edits, location, rewrite};
pub use route::{
    Candidate, HostMatch, PathMatch, PathRewrite, Redirect, RouteId, RoutePlan, Routed, Routes,
    ServiceTarget, Target,
};
pub use snapshot::{
    Choice, Decision, IssueCookie, Outcome, Pin, RELEASE, RuleId, RulePlan, ServiceId, ServicePlan, Snapshot,
    Standing, VersionId, VersionPlan,
};
pub use trust::{Admitted, Peer, Trust, remove_attribute, set_baggage, without_parameter};
