//! What happens to a decided request beside the decision: limits it has to pass, copies made of it, files that other
//! versions are asked for.
//!
//! Never: whether a limit is reached; that is the proxy's own state.

use serde::Serialize;

use crate::decide::{AssetsPlan, Routed, Scratch, Seen, ServicePlan, VersionId, first_value};
use crate::vocab::{DocumentId, Kind, Limit, Mirror, Name};

/// A limit, and what it tells this client apart by.
#[derive(Serialize, Debug)]
pub struct LimitReport {
    /// The document that says it.
    pub of: String,
    pub rate: String,
    pub burst: u32,
    /// Null where all requests are limited together, and where the request has none of the attributes: then it is not
    /// limited.
    pub key: Option<String>,
}

/// Where copies go.
#[derive(Serialize, Debug)]
pub struct MirrorReport {
    pub of: String,
    pub service: String,
    pub version: String,
    pub share: String,
}

pub(super) fn limits(
    routed: &Routed<'_>,
    service: Option<&ServicePlan>,
    seen: Seen<'_>,
    scratch: &mut Scratch,
) -> Vec<LimitReport> {
    let route = routed.route.limit.as_deref().map(|limit| (Kind::Route, &routed.route.name, limit));
    let service = service.and_then(|plan| Some((Kind::Service, &plan.name, plan.limit.as_ref()?)));
    let report = |(kind, name, limit): (Kind, &Name, &Limit)| LimitReport {
        of: document(kind, name),
        rate: limit.rate.to_string(),
        burst: limit.burst,
        key: limit.by.as_deref().and_then(|by| {
            first_value(by, seen, scratch, |value| String::from_utf8_lossy(value).into_owned())
        }),
    };
    route.into_iter().chain(service).map(report).collect()
}

/// The rule's own mirror goes before the route's.
pub(super) fn mirror(routed: &Routed<'_>, rule: Option<(&Name, Option<&Mirror>)>) -> Option<MirrorReport> {
    let of_rule = rule.and_then(|(name, mirror)| Some((Kind::Rule, name, mirror?)));
    let of_route = routed.route.mirror.as_deref().map(|mirror| (Kind::Route, &routed.route.name, mirror));
    let (kind, name, mirror) = of_rule.or(of_route)?;
    Some(MirrorReport {
        of: document(kind, name),
        service: mirror.service.to_string(),
        version: mirror.version.to_string(),
        share: format!("{}%", mirror.share),
    })
}

/// The versions that are asked for a file which the decided one does not have.
pub(super) fn others(assets: &AssetsPlan, service: &ServicePlan, decided: Option<VersionId>) -> Vec<String> {
    let others = assets.others(decided).filter_map(|id| service.version(id));
    others.map(|version| version.word.to_string()).collect()
}

fn document(kind: Kind, name: &Name) -> String {
    DocumentId { kind, name: name.label() }.to_string()
}
