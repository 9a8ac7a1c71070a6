//! Canary Ingresses: versions, and the rules that lead to them.

use std::collections::{BTreeMap, BTreeSet};

use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::pattern::found_anywhere;
use super::super::shares::{percent, percentages};
use super::super::yaml::Yaml;
use super::{Backend, Object, PREFIX, PathRule, Services};
use crate::documents::Kind;

/// The word for the canary of a service. ingress-nginx asks one canary of a Service and no second.
const VERSION: &str = "canary";

/// The order in which ingress-nginx asks, as priorities.
const BY_HEADER: i32 = 300;
const BY_COOKIE: i32 = 200;
const BY_WEIGHT: i32 = 100;

pub fn write(
    canaries: &[&Object],
    rules: &[PathRule<'_>],
    shadows: &[PathRule<'_>],
    services: &mut Services<'_>,
    drafts: &mut Drafts,
) {
    // Which canary each main Service has: the first one counts.
    let mut chosen: BTreeMap<Backend, Backend> = BTreeMap::new();
    for ingress in canaries {
        let mut own = BTreeSet::new();
        for shadow in shadows.iter().filter(|shadow| std::ptr::eq(shadow.ingress, *ingress)) {
            let Some(main) = rules.iter().find(|rule| rule.place() == shadow.place()) else {
                drafts.left_out(
                    shadow.called(),
                    "no main Ingress has the same host, path and pathType; ingress-nginx drops it as well",
                );
                continue;
            };
            if main.backend == shadow.backend {
                drafts.left_out(shadow.called(), "it leads to the Service that the main Ingress leads to");
                continue;
            }
            if !drafts.has(Kind::Service, services.names.get(&main.backend)) {
                drafts.left_out(shadow.called(), "its main Ingress has no route here");
                continue;
            }
            let known = chosen.entry(main.backend.clone()).or_insert_with(|| shadow.backend.clone());
            if *known != shadow.backend {
                let why = format!(
                    "Service {} has the canary {} already, and ingress-nginx asks one",
                    main.backend.service, known.service
                );
                drafts.left_out(shadow.called(), why);
                continue;
            }
            let service = services.names.get(&main.backend).to_string();
            services.place(&shadow.backend, &service, VERSION, drafts);
            drafts.same(shadow.called(), vec![format!("services/{service}")]);
            own.insert(service);
        }
        if !own.is_empty() {
            write_policy(ingress, &own, drafts);
        }
    }
}

/// One rule of a policy.
struct PolicyRule {
    /// As they write it.
    said: String,
    suffix: &'static str,
    priority: i32,
    when: Condition,
    outcome: (&'static str, Yaml),
    differences: Vec<String>,
}

fn write_policy(ingress: &Object, services: &BTreeSet<String>, drafts: &mut Drafts) {
    let says = |name: &str| ingress.annotation(&format!("{PREFIX}canary-{name}"));
    let mut found = Vec::new();
    match by_header(&says) {
        Ok(rules) => found.extend(rules),
        Err((said, why)) => drafts.left_out(format!("{}, {said}", ingress.called()), why),
    }
    if let Some(cookie) = says("by-cookie") {
        found.extend(always_never(
            &format!("cookie:{cookie}"),
            BY_COOKIE,
            &format!("canary-by-cookie: {cookie}"),
        ));
    }
    match by_weight(&says) {
        Ok(rule) => found.extend(rule),
        Err((said, why)) => drafts.left_out(format!("{}, {said}", ingress.called()), why),
    }
    if found.is_empty() {
        drafts.same(format!("{}, no policy: it takes no requests", ingress.called()), Vec::new());
    }
    for rule in found {
        let mut document = Yaml::of("services", Yaml::texts(services));
        document.set("priority", Yaml::number(rule.priority));
        rule.when.put(&mut document);
        let (key, outcome) = rule.outcome;
        document.set(key, outcome);
        let id = drafts.add(Kind::Rule, &format!("{}-{}", ingress.name, rule.suffix), document);
        drafts.judged(format!("{}, {}", ingress.called(), rule.said), rule.differences, vec![id]);
    }
    for (name, _) in ingress.annotations() {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        let policy = [
            "canary",
            "canary-by-header",
            "canary-by-header-value",
            "canary-by-header-pattern",
            "canary-by-cookie",
            "canary-weight",
            "canary-weight-total",
        ];
        if !policy.contains(&name) {
            let why = "a canary has the settings of its main Ingress; ingress-nginx ignores this one too";
            drafts.left_out(format!("{}, {name}", ingress.called()), why);
        }
    }
}

type Refused = (String, String);

fn version(word: &str) -> (&'static str, Yaml) {
    ("version", Yaml::text(word))
}

fn by_header(says: &dyn Fn(&str) -> Option<String>) -> Result<Vec<PolicyRule>, Refused> {
    let Some(header) = says("by-header") else {
        return match says("by-header-value").or_else(|| says("by-header-pattern")) {
            Some(value) => {
                Err((format!("a header's value `{value}`"), "no `canary-by-header` names the header".into()))
            }
            None => Ok(Vec::new()),
        };
    };
    let attribute = format!("header:{}", header.to_ascii_lowercase());
    let one = |said: String, when| {
        vec![PolicyRule {
            said,
            suffix: "by-header",
            priority: BY_HEADER,
            when,
            outcome: version(VERSION),
            differences: Vec::new(),
        }]
    };
    if let Some(value) = says("by-header-value") {
        return Ok(one(
            format!("canary-by-header: {header} = {value}"),
            Condition::equals(&attribute, &value),
        ));
    }
    if let Some(pattern) = says("by-header-pattern") {
        let said = format!("canary-by-header-pattern: {header} ~ {pattern}");
        return match found_anywhere(&pattern) {
            Ok(regex) => Ok(one(said, Condition::test(&attribute, "regex", Yaml::text(regex)))),
            Err(why) => Err((said, why)),
        };
    }
    Ok(always_never(&attribute, BY_HEADER, &format!("canary-by-header: {header}")))
}

/// `always` is in, `never` is out, everything else is asked further.
fn always_never(attribute: &str, priority: i32, said: &str) -> Vec<PolicyRule> {
    let (always, never) = match priority {
        BY_HEADER => ("by-header", "by-header-never"),
        _ => ("by-cookie", "by-cookie-never"),
    };
    let rule = |word: &str, suffix, outcome| PolicyRule {
        said: format!("{said}, `{word}`"),
        suffix,
        priority,
        when: Condition::equals(attribute, word),
        outcome,
        differences: Vec::new(),
    };
    vec![rule("always", always, version(VERSION)), rule("never", never, version("release"))]
}

fn by_weight(says: &dyn Fn(&str) -> Option<String>) -> Result<Option<PolicyRule>, Refused> {
    let Some(text) = says("weight") else { return Ok(None) };
    let said = format!("canary-weight: {text}");
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let Some(weight) = number(&text) else { return Err((said, "it is no number".into())) };
    // A total of 100 or less counts as 100 there.
    let total =
        says("weight-total").and_then(|text| number(&text)).filter(|total| *total > 100).unwrap_or(100);
    let weight = weight.min(total);
    let (outcome, differences) = if weight == 0 {
        return Ok(None);
    } else if weight == total {
        (version(VERSION), Vec::new())
    } else {
        let Some((shares, exact)) = percentages(&[weight, total - weight]) else {
            return Err((said, "its total is too large".into()));
        };
        let share = shares.first().copied().unwrap_or_default();
        let mut differences = vec!["random per request becomes sticky per user".to_string()];
        if !exact {
            differences.push(format!("{weight} of {total} becomes {} %", percent(share)));
        }
        (("split", Yaml::of(VERSION, percent(share))), differences)
    };
    let (suffix, priority, when) = ("by-weight", BY_WEIGHT, Condition::Always);
    Ok(Some(PolicyRule { said, suffix, priority, when, outcome, differences }))
}
