//! The body a plan of configuration is made of, as platforms send it, and the document it becomes.
//!
//! Owns: which fields are read, where they may stand, and the steps of each strategy. The body itself is kept and
//! answered again as it was sent. Never: a store.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use graygate_rules::vocab::{Share, format_duration, parse_duration};
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::item::{ItemId, ItemPlace};
use crate::error::{Error, Result};

/// Minutes of a step that says nothing else.
const INTERVAL: Duration = Duration::from_secs(30 * 60);
/// Answers with the other value that each step wants to have seen: instances ask seldom.
const REQUESTS: u64 = 1;
/// Longest interval: a year in minutes, so that no sum runs over.
const MINUTES: f64 = 527_040.0;

/// Who gets the other value first.
#[derive(Clone, PartialEq, Debug)]
enum Strategy {
    Addresses(Vec<String>),
    Users(Vec<String>),
    Percentage(Share),
    Canary { instances: Vec<String>, step: Share, interval: Duration },
}

/// A body that was understood.
#[derive(Clone, PartialEq, Debug)]
pub struct PlanBody {
    /// As it was sent.
    pub sent: Map<String, Value>,
    pub place: ItemPlace,
    pub title: Option<String>,
    pub values: BTreeMap<String, String>,
    strategy: Strategy,
    /// By metric: above it three values in a row roll back.
    pub limits: BTreeMap<String, f64>,
}

impl PlanBody {
    pub fn read(sent: Map<String, Value>) -> Result<PlanBody> {
        let text = |name: &str| sent.get(name).and_then(Value::as_str).map(str::to_owned);
        let place = ItemPlace::of(
            &text("appName").unwrap_or_default(),
            &text("environment").unwrap_or_default(),
            text("groupName").as_deref(),
        )?;
        let values = read_values(&sent)?;
        for key in values.keys() {
            ItemId::of(place.clone(), key)?;
        }
        let strategy = read_strategy(&sent)?;
        let limits = read_limits(&sent)?;
        let title = ["planName", "name", "title"].iter().find_map(|name| text(name));
        Ok(PlanBody { title, place, values, strategy, limits, sent })
    }

    /// The text of the plan's document.
    pub fn document(&self) -> String {
        let mut text = String::new();
        let mut line = |written: String| {
            let _ = writeln!(text, "{written}");
        };
        if let Some(title) = &self.title {
            line(format!("title: {}", json!(title)));
        }
        let ItemPlace { app, environment, group } = &self.place;
        line("config:".to_owned());
        line(format!("  app: {}", json!(app.as_str())));
        line(format!("  environment: {}", json!(environment.as_str())));
        line(format!("  group: {}", json!(group.as_str())));
        line("  values:".to_owned());
        for (key, value) in &self.values {
            line(format!("    {}: {}", json!(key), json!(value)));
        }
        line("steps:".to_owned());
        for step in self.strategy.steps() {
            line(format!("  - {step}"));
        }
        text
    }
}

impl Strategy {
    /// Each in flow style.
    fn steps(&self) -> Vec<String> {
        let share = |share: Share, hold: Duration| {
            format!("{{share: {share}, hold: {}, min_requests: {REQUESTS}}}", format_duration(hold))
        };
        let second = Duration::from_secs(1);
        match self {
            Strategy::Addresses(addresses) => vec![format!("{{who: {}, hold: 1s}}", by_address(addresses))],
            Strategy::Users(users) => {
                vec![format!("{{who: {{attribute: \"header:user-id\", in: {}}}, hold: 1s}}", json!(users))]
            }
            Strategy::Percentage(whole) => vec![share(*whole, second)],
            Strategy::Canary { instances, step, interval } => {
                let chosen = chosen(instances);
                let hold = format_duration(*interval);
                let first = chosen.map(|who| format!("{{who: {who}, hold: {hold}}}"));
                let size = u32::from(step.hundredths());
                let all = u32::from(Share::ALL.hundredths());
                let shares = (1..=all.div_ceil(size)).map(|number| (number * size).min(all));
                let shares = shares.filter_map(|hundredths| {
                    let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                    Share::parse(&text)
                });
                first.into_iter().chain(shares.map(|part| share(part, *interval))).collect()
            }
        }
    }
}

fn by_address(addresses: &[String]) -> String {
    format!("{{attribute: ip, cidr: {}}}", json!(addresses))
}

/// By id or by address; none where nothing is named.
fn chosen(instances: &[String]) -> Option<String> {
    let addresses: Vec<String> = instances.iter().filter(|text| is_address(text)).cloned().collect();
    let by_id = format!("{{attribute: \"header:instance-id\", in: {}}}", json!(instances));
    match (instances.is_empty(), addresses.is_empty()) {
        (true, _) => None,
        (false, true) => Some(by_id),
        (false, false) => Some(format!("{{any: [{by_id}, {}]}}", by_address(&addresses))),
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok()
}

fn wrong<T>(field: &str, why: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(format!("`{field}`: {}", why.into())))
}

/// A field may stand beside the strategy, or in `grayRules`.
fn field<'s>(sent: &'s Map<String, Value>, name: &str) -> Option<&'s Value> {
    let inside = sent.get("grayRules").and_then(|rules| rules.get(name));
    sent.get(name).or(inside).filter(|value| !value.is_null())
}

fn read_values(sent: &Map<String, Value>) -> Result<BTreeMap<String, String>> {
    let Some(Value::Object(fields)) = sent.get("grayValues") else {
        return wrong("grayValues", "an object of keys and their other values is needed");
    };
    let values = fields.iter().map(|(key, value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
        _ => wrong("grayValues", format!("the value of `{key}` is a text")),
    });
    let values: BTreeMap<String, String> = values.collect::<Result<_>>()?;
    if values.is_empty() {
        return wrong("grayValues", "name at least one key and its other value");
    }
    if let Some(Value::Array(keys)) = sent.get("configKeys") {
        let missing = keys.iter().filter_map(Value::as_str).find(|key| !values.contains_key(*key));
        if let Some(key) = missing {
            return wrong("configKeys", format!("`{key}` has no value in `grayValues`"));
        }
    }
    Ok(values)
}

fn read_strategy(sent: &Map<String, Value>) -> Result<Strategy> {
    let Some(word) = sent.get("grayStrategy").and_then(Value::as_str) else {
        return wrong("grayStrategy", "one of IP_WHITELIST, USER_WHITELIST, PERCENTAGE, CANARY is needed");
    };
    match word {
        "IP_WHITELIST" => {
            let addresses = texts(field(sent, "ipWhitelist"), "ipWhitelist")?;
            match addresses.iter().find(|text| !is_address(text)) {
                Some(text) => wrong("ipWhitelist", format!("`{text}` is not an address or a CIDR")),
                None if addresses.is_empty() => wrong("ipWhitelist", "name at least one address"),
                None => Ok(Strategy::Addresses(addresses)),
            }
        }
        "USER_WHITELIST" => {
            let users = texts(field(sent, "userWhitelist"), "userWhitelist")?;
            match users.is_empty() {
                true => wrong("userWhitelist", "name at least one user"),
                false => Ok(Strategy::Users(users)),
            }
        }
        "PERCENTAGE" => Ok(Strategy::Percentage(share(field(sent, "percentage"), "percentage")?)),
        "CANARY" => {
            let Some(Value::Object(canary)) = field(sent, "canary") else {
                return wrong("canary", "`{canaryInstances, stepPercentage, stepInterval}` is needed");
            };
            Ok(Strategy::Canary {
                instances: texts(canary.get("canaryInstances"), "canary.canaryInstances")?,
                step: share(canary.get("stepPercentage"), "canary.stepPercentage")?,
                interval: interval(canary.get("stepInterval"))?,
            })
        }
        other => wrong(
            "grayStrategy",
            format!("`{other}` is none of IP_WHITELIST, USER_WHITELIST, PERCENTAGE, CANARY"),
        ),
    }
}

fn texts(value: Option<&Value>, name: &str) -> Result<Vec<String>> {
    let items = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return wrong(name, "a list of texts"),
    };
    let text = |item: &Value| match item {
        Value::String(text) if !text.is_empty() => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => wrong(name, "a list of texts"),
    };
    items.iter().map(text).collect()
}

fn share(value: Option<&Value>, name: &str) -> Result<Share> {
    let number = match value {
        Some(Value::Number(number)) => number.to_string(),
        _ => return wrong(name, "a percentage from 0.01 to 100 is needed"),
    };
    let number = number.strip_suffix(".0").unwrap_or(&number);
    match Share::parse(number).filter(|share| *share != Share::ZERO) {
        Some(share) => Ok(share),
        None => wrong(name, format!("`{number}` is not a percentage from 0.01 to 100")),
    }
}

/// Minutes, fractions too, or a duration with its unit.
fn interval(value: Option<&Value>) -> Result<Duration> {
    let name = "canary.stepInterval";
    let found = match value {
        None | Some(Value::Null) => Some(INTERVAL),
        Some(Value::Number(minutes)) => minutes
            .as_f64()
            .filter(|minutes| *minutes > 0.0 && *minutes <= MINUTES)
            // To the millisecond, which is what a duration can say.
            .map(|minutes| Duration::from_millis((minutes * 60_000.0).round().max(1.0) as u64)),
        Some(Value::String(text)) => parse_duration(text).filter(|duration| !duration.is_zero()),
        Some(_) => None,
    };
    found.map_or_else(|| wrong(name, "minutes as a number, or a duration like `30m`"), Ok)
}

/// `grayRules.rollback`: numbers by metric.
fn read_limits(sent: &Map<String, Value>) -> Result<BTreeMap<String, f64>> {
    let limits = match field(sent, "rollback") {
        None => return Ok(BTreeMap::new()),
        Some(Value::Object(limits)) => limits,
        Some(_) => return wrong("grayRules.rollback", "an object of metrics and their limits"),
    };
    let limit = |(metric, value): (&String, &Value)| match value.as_f64() {
        Some(limit) if limit.is_finite() => Ok((metric.clone(), limit)),
        _ => wrong("grayRules.rollback", format!("the limit of `{metric}` is a number")),
    };
    limits.iter().map(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::Spec;

    fn read(more: Value) -> Result<PlanBody> {
        let mut body = json!({
            "planName": "Pool size", "appName": "user-service", "environment": "prod", "groupName": "database",
            "grayValues": {"database.maxPoolSize": "50"},
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let Value::Object(fields) = body else { unreachable!() };
        PlanBody::read(fields)
    }

    #[test]
    fn every_strategy_becomes_a_plan_that_can_be_read() {
        for (more, steps) in [
            (json!({"grayStrategy": "IP_WHITELIST", "ipWhitelist": ["192.168.1.100", "10.0.0.0/8"]}), 1),
            (json!({"grayStrategy": "IP_WHITELIST", "grayRules": {"ipWhitelist": ["192.168.1.100"]}}), 1),
            (json!({"grayStrategy": "USER_WHITELIST", "userWhitelist": ["u1", 7, "\"}, 名"]}), 1),
            (json!({"grayStrategy": "PERCENTAGE", "percentage": 12.5}), 1),
            (json!({"grayStrategy": "PERCENTAGE", "grayRules": {"percentage": 100}}), 1),
            (
                json!({"grayStrategy": "CANARY", "canary": {"canaryInstances": ["i1", "10.0.0.1"], "stepPercentage": 30, "stepInterval": 0.05}}),
                5,
            ),
            (json!({"grayStrategy": "CANARY", "canary": {"stepPercentage": 50, "stepInterval": "10m"}}), 2),
        ] {
            let body = read(more.clone()).unwrap_or_else(|error| panic!("{more}: {error}"));
            let text = body.document();
            let spec = Spec::read("p", &text, false).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
            assert_eq!(spec.plan.steps.len(), steps, "{text}");
            assert_eq!(spec.plan.title.as_deref(), Some("Pool size"));
        }
        let canary = json!({"grayStrategy": "CANARY", "canary": {"canaryInstances": [], "stepPercentage": 40, "stepInterval": 30}});
        let text = read(canary).unwrap().document();
        assert!(text.contains("{share: 40, hold: 30m, min_requests: 1}"), "{text}");
        assert!(text.contains("{share: 80,") && text.contains("{share: 100,"), "{text}");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_field() {
        for (more, field) in [
            (json!({}), "grayStrategy"),
            (json!({"grayStrategy": "RANDOM"}), "grayStrategy"),
            (json!({"grayStrategy": "PERCENTAGE"}), "percentage"),
            (json!({"grayStrategy": "PERCENTAGE", "percentage": 0}), "percentage"),
            (json!({"grayStrategy": "PERCENTAGE", "percentage": 101}), "percentage"),
            (json!({"grayStrategy": "IP_WHITELIST", "ipWhitelist": ["x"]}), "ipWhitelist"),
            (json!({"grayStrategy": "IP_WHITELIST"}), "ipWhitelist"),
            (json!({"grayStrategy": "USER_WHITELIST"}), "userWhitelist"),
            (json!({"grayStrategy": "CANARY"}), "canary"),
            (
                json!({"grayStrategy": "CANARY", "canary": {"stepPercentage": 10, "stepInterval": "soon"}}),
                "canary.stepInterval",
            ),
            (json!({"grayStrategy": "PERCENTAGE", "percentage": 5, "grayValues": {}}), "grayValues"),
            (json!({"grayStrategy": "PERCENTAGE", "percentage": 5, "configKeys": ["other"]}), "configKeys"),
            (
                json!({"grayStrategy": "PERCENTAGE", "percentage": 5, "grayRules": {"rollback": {"error_rate": "x"}}}),
                "grayRules.rollback",
            ),
        ] {
            let error = read(more.clone()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{field}`")), "{more}: {error}");
        }
    }
}
