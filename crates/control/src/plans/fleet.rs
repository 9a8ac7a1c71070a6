//! What a proxy says of itself, and whether that is what a plan wrote.
//!
//! Owns: the part of `/status` that plans look at. Never: asking.

use std::borrow::Cow;
use std::collections::BTreeMap;

use graygate_rules::documents::owner::plan_rules;
use serde::Deserialize;

/// A share the proxy's rule gives, in percent; none of a rule that decides nothing.
type Shares = BTreeMap<String, Option<f64>>;

/// What a proxy runs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ProxyStatus {
    pub running: u64,
    /// The rules of plans, by service and rule.
    pub rules: BTreeMap<String, Shares>,
    /// The documents it has problems with.
    pub problems: Vec<String>,
    /// Whether an instance takes requests, by service and label.
    pub takes: BTreeMap<(String, String), bool>,
}

/// What a proxy has to run.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Wanted {
    pub plan: String,
    pub services: Vec<String>,
    /// The shares of the plan's rules; none after a rollback.
    pub rules: BTreeMap<String, f64>,
    /// The store's revision it was written at; none where revisions are each proxy's own.
    pub revision: Option<u64>,
    /// The plan's rules and lists as problems name them.
    pub documents: Vec<String>,
}

/// The part of `/status` that is read.
#[derive(Deserialize)]
struct Status<'a> {
    #[serde(default)]
    revision: Revision,
    #[serde(borrow, default)]
    problems: Vec<Problem<'a>>,
    #[serde(borrow, default)]
    services: BTreeMap<Cow<'a, str>, Service<'a>>,
}

#[derive(Default, Deserialize)]
struct Revision {
    running: Option<u64>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow)]
    document: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Service<'a> {
    #[serde(borrow, default)]
    plan_rules: BTreeMap<Cow<'a, str>, Option<f64>>,
    #[serde(borrow, default)]
    versions: BTreeMap<Cow<'a, str>, Version<'a>>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow, default)]
    instances: Vec<Instance<'a>>,
}

#[derive(Deserialize)]
struct Instance<'a> {
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    weight: Option<u64>,
}

impl ProxyStatus {
    pub fn read(status: &[u8]) -> Result<ProxyStatus, String> {
        let status: Status<'_> = serde_json::from_slice(status).map_err(|error| error.to_string())?;
        let mut read =
            ProxyStatus { running: status.revision.running.unwrap_or(0), ..ProxyStatus::default() };
        let problems = status.problems.into_iter().filter_map(|problem| problem.document);
        read.problems = problems.map(Cow::into_owned).collect();
        for (service, told) in status.services {
            let rules = told.plan_rules.into_iter().map(|(rule, share)| (rule.into_owned(), share));
            read.rules.insert(service.to_string(), rules.collect());
            for (label, version) in told.versions {
                let takes = |instance: &Instance<'_>| {
                    instance.state.as_deref() == Some("healthy") && instance.weight != Some(0)
                };
                let key = (service.to_string(), label.into_owned());
                read.takes.insert(key, version.instances.iter().any(takes));
            }
        }
        Ok(read)
    }

    /// Whether it runs what the plan wrote, the whole of it and nothing else of the plan.
    pub fn follows(&self, wanted: &Wanted) -> bool {
        if wanted.revision.is_some_and(|revision| self.running < revision) {
            return false;
        }
        if self.problems.iter().any(|document| wanted.documents.contains(document)) {
            return false;
        }
        let prefix = plan_rules(&wanted.plan);
        wanted.services.iter().all(|service| {
            let Some(rules) = self.rules.get(service) else { return wanted.rules.is_empty() };
            let own: Vec<_> = rules.iter().filter(|(name, _)| is_own(name, &prefix)).collect();
            own.len() == wanted.rules.len()
                && own.iter().all(|(name, share)| wanted.rules.get(*name).copied() == **share)
        })
    }
}

/// A rule of this plan, and not of one whose name begins with it.
fn is_own(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        rest == "share"
            || rest.strip_prefix("who-").is_some_and(|step| step.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_proxy_follows_once_it_runs_all_of_it_and_no_more() {
        let status = json!({
            "revision": {"running": 12},
            "problems": [{"document": "lists/other"}],
            "services": {"patient": {
                "plan_rules": {"plan.p.share": 5.0, "plan.p.who-0": 100.0, "plan.p.x.share": 50.0},
                "versions": {"gray": {"instances": [{"state": "unhealthy", "weight": 1}]},
                    "release": {"instances": [{"state": "healthy", "weight": 1}]}}}}
        });
        let read = ProxyStatus::read(status.to_string().as_bytes()).unwrap();
        assert!(!read.takes[&("patient".to_owned(), "gray".to_owned())]);
        assert!(read.takes[&("patient".to_owned(), "release".to_owned())]);
        let wanted = |rules: &[(&str, f64)], revision| Wanted {
            plan: "p".into(),
            services: vec!["patient".into()],
            rules: rules.iter().map(|(name, share)| ((*name).to_owned(), *share)).collect(),
            revision,
            documents: vec!["lists/pilots".into()],
        };
        let both = [("plan.p.share", 5.0), ("plan.p.who-0", 100.0)];
        for (wanted, follows) in [
            (wanted(&both, None), true),
            (wanted(&both, Some(12)), true),
            (wanted(&both, Some(13)), false),
            (wanted(&both[..1], None), false),
            (wanted(&[("plan.p.share", 25.0), ("plan.p.who-0", 100.0)], None), false),
            (wanted(&[], None), false),
            (Wanted { documents: vec!["lists/other".into()], ..wanted(&both, None) }, false),
        ] {
            assert_eq!(read.follows(&wanted), follows, "{wanted:?}");
        }
        let without = json!({"revision": {"running": 12}, "services": {"patient": {}}}).to_string();
        let without = ProxyStatus::read(without.as_bytes()).unwrap();
        assert!(without.follows(&wanted(&[], Some(12))));
    }
}
