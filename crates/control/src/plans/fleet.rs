//! What a proxy says of itself, and whether that is what a plan wrote.
//!
//! Owns: the part of `/status` that plans look at. Never: asking.

use std::collections::BTreeMap;

use graygate_rules::documents::owner::plan_rules;
use serde_json::Value;

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

impl ProxyStatus {
    pub fn read(status: &Value) -> ProxyStatus {
        let mut read = ProxyStatus {
            running: status.pointer("/revision/running").and_then(Value::as_u64).unwrap_or(0),
            ..ProxyStatus::default()
        };
        let problems = status.get("problems").and_then(Value::as_array).into_iter().flatten();
        let document = |problem: &Value| Some(problem.get("document")?.as_str()?.to_owned());
        read.problems = problems.filter_map(document).collect();
        let services = status.get("services").and_then(Value::as_object).into_iter().flatten();
        for (service, told) in services {
            let rules = told.get("plan_rules").and_then(Value::as_object).into_iter().flatten();
            read.rules
                .insert(service.clone(), rules.map(|(rule, share)| (rule.clone(), share.as_f64())).collect());
            let versions = told.get("versions").and_then(Value::as_object).into_iter().flatten();
            for (label, version) in versions {
                let instances = version.get("instances").and_then(Value::as_array).into_iter().flatten();
                let takes = |instance: &Value| {
                    instance.get("state").and_then(Value::as_str) == Some("healthy")
                        && instance.get("weight").and_then(Value::as_u64) != Some(0)
                };
                read.takes.insert((service.clone(), label.clone()), instances.into_iter().any(takes));
            }
        }
        read
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
        let read = ProxyStatus::read(&status);
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
        let without = ProxyStatus::read(&json!({"revision": {"running": 12}, "services": {"patient": {}}}));
        assert!(without.follows(&wanted(&[], Some(12))));
    }
}
