//! Random documents from small alphabets, so that requests meet them.
//!
//! Everything follows from one seed: the same seed gives the same documents.

use std::sync::Arc;

use graygate_rules::documents::{DocumentId, DocumentSet, Documents, Raw};
use graygate_rules::vocab::Problem;

use super::dice::{Dice, quoted};

const SERVICES: [&str; 3] = ["s1", "s2", "s3"];
const VERSIONS: [&str; 6] = ["release", "gray", "feat1", "beta", "v1", "v2"];
const LISTS: [&str; 4] = ["texts", "nets", "mixed", "gone"];
const ATTRIBUTES: [&str; 18] = [
    "header:x-a",
    "header:X-A",
    "header:x-b",
    "header:x-dev",
    "cookie:uid",
    "cookie:gg",
    "query:q",
    "query:a b",
    "path",
    "path",
    "host",
    "method",
    "scheme",
    "ip",
    "ip",
    "header:x-v",
    "geo:country",
    "geo:asn",
];
pub(super) const TEXTS: [&str; 26] = [
    "CN", "64512", "", "a", "b", "A", "ab", "AB", "user1", "USER1", "用户", "k", "\u{212a}", "ß", "ẞ", "ſ",
    "s", "/a", "/a/b", "/A", "GET", "https", "a.test", "10.0.0.1", "a b", "%2F",
];
pub(super) const NUMBERS: [&str; 9] =
    ["0", "10", "9.5", "-3", "9.50", "-3.1", "007", "99999999999999999999", "1"];
const RANGES: [&str; 7] =
    [">=7.0.0, <8", "v7", ">v7.0", "=7.1.0", "<7.1.0-rc.1", "*", "~7.1, >=v7.0.1-alpha"];
const PATTERNS: [&str; 9] =
    ["a|ab", "$ab|b", "[a-z]+", ".*", "(?x) a b # end", "/a(/.*)?", "", "\\w+", "user[0-9]"];
const NETS: [&str; 6] = ["10.0.0.0/8", "10.0.0.1", "10.1.2.3/16", "2001:db8::/32", "::1", "0.0.0.0/0"];
const HOSTS: [&str; 7] = ["a.test", "b.a.test", "*.a.test", "*.b.a.test", "*.test", "[::1]", "A.Test."];
const PATHS: [&str; 18] = [
    r#"{"exact": "/"}"#,
    r#"{"exact": "/a"}"#,
    r#"{"exact": "/a/"}"#,
    r#"{"exact": "/用户"}"#,
    r#"{"exact": "/a%2Fb"}"#,
    r#"{"prefix": "/"}"#,
    r#"{"prefix": "/a"}"#,
    r#"{"prefix": "/a/"}"#,
    r#"{"prefix": "/a/b"}"#,
    r#"{"prefix": "/用户"}"#,
    r#"{"prefix": "/a b"}"#,
    r#"{"prefix": "/a%2Fb"}"#,
    r#"{"regex": "/(?<g>[^/]+)"}"#,
    r#"{"regex": "/a/(?<g>.*)"}"#,
    r#"{"regex": "/(?<g>[^/]*)/(?<h>b)?.*"}"#,
    r#"{"regex": ".*"}"#,
    r#"{"regex": "/A|/a"}"#,
    r#"{"regex": "/(?<h>.*)%2F(?<g>.*)"}"#,
];

/// The documents of two moments: the second has some of the first changed, broken, doubled or deleted.
pub fn document_sets(dice: &mut Dice) -> [DocumentSet; 2] {
    let mut first = Documents::default();
    for service in SERVICES {
        if dice.chance(88) {
            put(&mut first, &format!("services/{service}"), service_text(dice));
        }
    }
    for i in 0..3 + dice.below(5) {
        put(&mut first, &format!("routes/{}{i}", dice.pick(&["r", "R", "q"])), route_text(dice));
    }
    for i in 0..2 + dice.below(9) {
        put(&mut first, &format!("rules/{}{i}", dice.pick(&["a", "B", "z-"])), rule_text(dice));
    }
    for i in 0..dice.below(3) {
        let service = dice.pick(&["s1", "s2", "s4"]);
        let version = dice.pick(&VERSIONS);
        put(
            &mut first,
            &format!("instances/{service}/i{i}"),
            format!(r#"{{"address": "10.0.0.1:{}", "version": "{version}"}}"#, 80 + i),
        );
    }
    lists(&mut first, dice);
    let second = changed(&first, dice);
    [DocumentSet { documents: first, ..DocumentSet::default() }, second]
}

fn put(set: &mut Documents, id: &str, text: String) {
    set.insert(DocumentId::parse(id).unwrap(), Arc::new(Raw::yaml(text.as_str())));
}

fn lists(set: &mut Documents, dice: &mut Dice) {
    let mut part = |id: &str, text: String| {
        set.insert(DocumentId::parse(id).unwrap(), Arc::new(Raw::list(text.as_str())));
    };
    if dice.chance(90) {
        part("lists/texts/one", format!("\u{feff}# users\r\n{}\r\n  user1\t\r\n", dice.pick(&TEXTS)));
    }
    if dice.chance(50) {
        part("lists/texts", format!("{}\n\n{}", dice.pick(&TEXTS), dice.pick(&TEXTS)));
    }
    if dice.chance(90) {
        part("lists/nets", format!("{}\n{}\n", dice.pick(&NETS), dice.pick(&NETS)));
    }
    if dice.chance(50) {
        part("lists/mixed/a", "10.0.0.0/8\n".into());
        part("lists/mixed/b", format!("{}\n", dice.pick(&["10.0.0.1", "no address", "::1"])));
    }
}

fn changed(first: &Documents, dice: &mut Dice) -> DocumentSet {
    let mut set = DocumentSet::default();
    for (id, raw) in first {
        match dice.below(20) {
            0 => {}
            1 => {
                let broken = dice.pick(&["{", "servce: s1", "when:", "version: gray\nwhen: {all: []}"]);
                let body: &[u8] = if id.kind.folder() == "lists" { b"\xff" } else { broken.as_bytes() };
                let raw = Raw { body: body.into(), format: raw.format };
                set.documents.insert(id.clone(), Arc::new(raw));
            }
            2 => {
                let problem = Problem::at(id, "", "is there twice", "");
                set.ambiguous.insert(id.clone(), problem);
            }
            3 => {
                let text = match id.kind.folder() {
                    "services" => service_text(dice),
                    "routes" => route_text(dice),
                    "rules" => rule_text(dice),
                    _ => continue,
                };
                set.documents.insert(id.clone(), Arc::new(Raw::yaml(text.as_str())));
            }
            _ => {
                set.documents.insert(id.clone(), raw.clone());
            }
        }
    }
    set
}

/// Writes, moves, breaks or deletes a few documents, most of them rules and lists.
#[allow(dead_code, reason = "not every user of the oracle changes documents")]
pub fn change(set: &mut DocumentSet, dice: &mut Dice) {
    for _ in 0..1 + dice.below(3) {
        let new = DocumentId::parse(&format!("rules/{}{}", dice.pick(&["a", "B", "z-"]), dice.below(30)));
        let there: Vec<DocumentId> =
            set.documents.keys().filter(|id| id.kind.folder() == "rules").cloned().collect();
        let old = match there.is_empty() {
            true => continue,
            false => &there[dice.below(there.len())],
        };
        let documents = &mut set.documents;
        match dice.below(16) {
            0..3 => drop(documents.insert(new.unwrap(), Arc::new(Raw::yaml(rule_text(dice).as_str())))),
            3 | 4 => drop(documents.insert(new.unwrap(), Arc::new(Raw::yaml(alike_text(dice).as_str())))),
            5 => drop(documents.remove(old)),
            6..11 => {
                if let Some(text) = rewritten(&documents.get(old).unwrap().body, dice) {
                    documents.insert(old.clone(), Arc::new(Raw::yaml(text.as_str())));
                }
            }
            11 => drop(documents.insert(old.clone(), Arc::new(Raw::yaml("version: gray\nwhen: {all: []}")))),
            12 => lists(documents, dice),
            13 => {
                let list = dice.pick(&["lists/texts", "lists/texts/one", "lists/nets", "lists/mixed/b"]);
                documents.remove(&DocumentId::parse(list).unwrap());
            }
            14 => put(documents, &format!("services/{}", dice.pick(&SERVICES)), service_text(dice)),
            _ => put(documents, &format!("routes/r{}", dice.below(6)), route_text(dice)),
        }
    }
}

/// Writes or deletes parts of lists, and sometimes a rule beside.
#[allow(dead_code, reason = "not every user of the oracle changes lists")]
pub fn change_lists(set: &mut DocumentSet, dice: &mut Dice) {
    match dice.below(4) {
        0 => {
            let list = dice.pick(&["lists/texts", "lists/texts/one", "lists/nets", "lists/mixed/b"]);
            set.documents.remove(&DocumentId::parse(list).unwrap());
        }
        1 => {
            lists(&mut set.documents, dice);
            change_rules(set, dice);
        }
        _ => lists(&mut set.documents, dice),
    }
}

/// Writes, moves, breaks, mends or deletes a few rules, and nothing else.
#[allow(dead_code, reason = "not every user of the oracle changes documents")]
pub fn change_rules(set: &mut DocumentSet, dice: &mut Dice) {
    for _ in 0..1 + dice.below(3) {
        let there: Vec<DocumentId> =
            set.documents.keys().filter(|id| id.kind.folder() == "rules").cloned().collect();
        let new = format!("rules/{}{}", dice.pick(&["a", "B", "m0", "z-"]), dice.below(60));
        let documents = &mut set.documents;
        let (Some(old), true) = (there.get(dice.below(there.len().max(1))), dice.chance(80)) else {
            put(documents, &new, rule_text(dice));
            continue;
        };
        let text = documents.get(old).map(|raw| String::from_utf8(raw.body.to_vec()).unwrap());
        let mut fields: serde_json::Value =
            text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        match dice.below(10) {
            0 => drop(documents.remove(old)),
            1 => put(documents, &old.to_string(), "version: gray\nwhen: {all: []}".into()),
            2 | 3 => put(documents, &old.to_string(), rule_text(dice)),
            4 if fields.is_object() => {
                fields["mirror"] = serde_json::json!({ "service": dice.pick(&["s1", "s2", "s9"]) });
                put(documents, &old.to_string(), fields.to_string());
            }
            5 if fields.is_object() => {
                fields["services"] = serde_json::json!([dice.pick(&SERVICES).trim_matches('"')]);
                put(documents, &old.to_string(), fields.to_string());
            }
            _ => {
                if let Some(text) = rewritten(&documents.get(old).unwrap().body, dice) {
                    put(documents, &old.to_string(), text);
                }
            }
        }
    }
}

/// So many rules of which each holds for few requests, so that the one that decides stands anywhere among them.
#[allow(dead_code, reason = "not every user of the oracle asks for many")]
pub fn many_rules(set: &mut DocumentSet, dice: &mut Dice, count: usize) {
    for i in 0..count {
        put(&mut set.documents, &format!("rules/m{i:03}"), selective_text(dice));
    }
}

/// Changes a few of them, or now and then many.
#[allow(dead_code, reason = "not every user of the oracle asks for many")]
pub fn change_many_rules(set: &mut DocumentSet, dice: &mut Dice, count: usize) {
    let documents = &mut set.documents;
    let edits = if dice.chance(5) { count } else { 1 + dice.below(24) };
    for _ in 0..edits {
        let id = DocumentId::parse(&format!("rules/m{:03}", dice.below(count))).unwrap();
        let text = match (dice.below(8), documents.get(&id)) {
            (0, Some(_)) => {
                documents.remove(&id);
                continue;
            }
            (1..5, Some(old)) => rewritten(&old.body, dice),
            _ => Some(selective_text(dice)),
        };
        if let Some(text) = text {
            documents.insert(id, Arc::new(Raw::yaml(text.as_str())));
        }
    }
}

fn selective_text(dice: &mut Dice) -> String {
    let second = match dice.below(3) {
        0 => format!(r#"{{"attribute": "header:x-n", "in": ["{}"]}}"#, dice.pick(&NUMBERS)),
        1 => number_text(dice, "header:x-n"),
        _ => condition_text(dice, 1),
    };
    format!(
        r#"{{"priority": {}, "version": "{}", "when": {{"all": [
            {{"attribute": "header:x-a", "{}": {}}}, {second}, {{"attribute": "{}", "exists": {}}}]}}}}"#,
        dice.below(3),
        dice.pick(&VERSIONS),
        dice.pick(&["equals", "equals", "equals", "prefix", "contains"]),
        quoted(dice.pick(&TEXTS)),
        dice.pick(&["header:x-b", "query:q", "cookie:uid"]),
        dice.chance(50)
    )
}

/// One of many rules that are found by the same text, of which the first that fits decides.
fn alike_text(dice: &mut Dice) -> String {
    format!(
        r#"{{"priority": {}, "version": "{}", "when": {{"all": [
            {{"attribute": "header:x-a", "in": ["{}", "{}"]}}, {{"attribute": "{}", "exists": {}}}]}}}}"#,
        dice.below(4),
        dice.pick(&VERSIONS),
        dice.pick(&["a", "user1"]),
        dice.pick(&["a", "b", "ab"]),
        dice.pick(&["header:x-b", "query:q", "header:x-n", "cookie:uid"]),
        dice.chance(50)
    )
}

/// A rule with one text in its condition changed, or with the same condition in another place, with another outcome,
/// or switched off or on; `None` for what is no JSON.
fn rewritten(body: &[u8], dice: &mut Dice) -> Option<String> {
    let mut fields: serde_json::Value = serde_json::from_slice(body).ok()?;
    match dice.below(6) {
        0..3 => {
            let text = fields.to_string();
            let texts = TEXTS.iter().map(|text| quoted(text)).filter(|quoted| text.contains(quoted.as_str()));
            let texts: Vec<String> = texts.collect();
            if texts.is_empty() {
                return None;
            }
            let old = &texts[dice.below(texts.len())];
            fields = serde_json::from_str(&text.replacen(old, &quoted(dice.pick(&TEXTS)), 1)).ok()?;
        }
        3 => fields["priority"] = (dice.below(5) as i64 - 2).into(),
        4 => fields["enabled"] = (fields["enabled"] == false).into(),
        _ if fields.get("version").is_some() => fields["version"] = dice.pick(&VERSIONS).into(),
        _ => fields["salt"] = dice.pick(&["spring", "autumn"]).into(),
    }
    Some(fields.to_string())
}

fn service_text(dice: &mut Dice) -> String {
    let mut fields = Vec::new();
    if dice.chance(60) {
        let identity =
            dice.some(&["header:x-a", "cookie:uid", "cookie:gg", "query:q", "ip", "header:x-dev"], 3);
        fields.push(format!(r#""identity": [{}]"#, identity.join(", ")));
    }
    if dice.chance(30) {
        fields.push(r#""issue_cookie": {"name": "gg", "max_age": "30d"}"#.into());
    }
    if dice.chance(30) {
        fields.push(r#""pin": {"attribute": "header:x-dev", "tag": "dev"}"#.into());
    }
    if dice.chance(40) {
        fields.push(r#""aliases": {"release": "v1", "gray": "v2"}"#.into());
    }
    if dice.chance(60) {
        let mut chains = Vec::new();
        for version in VERSIONS {
            if dice.chance(40) {
                let others = match dice.chance(25) {
                    true => r#""none""#.into(),
                    false => format!("[{}]", dice.some(&VERSIONS, 4).join(", ")),
                };
                chains.push(format!(r#""{version}": {others}"#));
            }
        }
        fields.push(format!(r#""fallback": {{{}}}"#, chains.join(", ")));
    }
    format!("{{{}}}", fields.join(", "))
}

fn route_text(dice: &mut Dice) -> String {
    let mut fields = Vec::new();
    if dice.chance(40) {
        fields.push(format!(r#""hosts": [{}]"#, dice.some(&HOSTS, 2).join(", ")));
    }
    let paths: Vec<&str> = match dice.chance(75) {
        true => (0..1 + dice.below(3)).map(|_| dice.pick(&PATHS)).collect(),
        false => Vec::new(),
    };
    if !paths.is_empty() {
        fields.push(format!(r#""paths": [{}]"#, paths.join(", ")));
    }
    if dice.chance(30) {
        fields.push(format!(r#""methods": [{}]"#, dice.some(&["GET", "POST"], 2).join(", ")));
    }
    if dice.chance(30) {
        fields.push(format!(r#""when": {}"#, condition_text(dice, 2)));
    }
    if dice.chance(20) {
        fields.push(format!(r#""priority": {}"#, dice.pick(&["1", "-1", "2"])));
    }
    let written = paths.join(" ");
    let text = |dice: &mut Dice, begin: &str| template_text(dice, begin, &written);
    if dice.chance(15) {
        fields.push(redirect_text(dice, &written));
    } else {
        fields.push(format!(
            r#""service": "{}""#,
            dice.pick(&["s1", "s1", "s1", "s2", "s2", "s2", "s3", "s3", "s4"])
        ));
        let mut rewrite = Vec::new();
        match dice.below(6) {
            0 if written.contains("prefix") => rewrite.push(format!(r#""prefix": {}"#, text(dice, "/"))),
            1 => rewrite.push(format!(r#""path": {}"#, text(dice, "/"))),
            2 => rewrite.push(r#""regex": "/(?<x>[^/]*)(?<y>/.*)?", "replace": "/new/${x}${y}""#.into()),
            _ => {}
        }
        if dice.chance(15) {
            rewrite.push(format!(r#""host": {}"#, text(dice, "h")));
        }
        if !rewrite.is_empty() {
            fields.push(format!(r#""rewrite": {{{}}}"#, rewrite.join(", ")));
        }
    }
    if dice.chance(40) {
        let edits = ["set", "set_if_absent", "add"].map(|kind| {
            let name = dice.pick(&["x-a", "x-b", "x-new"]);
            format!(r#""{kind}": {{"{name}": {}}}"#, text(dice, "v"))
        });
        let remove = format!(r#""remove": [{}]"#, dice.some(&["x-a", "x-v", "x-none"], 2).join(", "));
        fields.push(format!(r#""request_headers": {{{}, {remove}}}"#, edits.join(", ")));
    }
    format!("{{{}}}", fields.join(", "))
}

/// A text of a route, with groups its paths have.
fn template_text(dice: &mut Dice, begin: &str, paths: &str) -> String {
    let mut text = begin.to_string();
    for _ in 0..dice.below(3) {
        let part = match dice.below(5) {
            0 if paths.contains("<g>") => "${g}",
            1 if paths.contains("<h>") => "${h}",
            2 if begin != "h" => "/用 户$$%2F",
            3 if begin == "/" => "/",
            _ => "x",
        };
        text.push_str(part);
    }
    quoted(&text)
}

fn redirect_text(dice: &mut Dice, paths: &str) -> String {
    let mut fields = vec![format!(r#""status": {}"#, dice.pick(&["301", "302", "303", "307", "308"]))];
    if dice.chance(50) {
        fields.push(format!(r#""scheme": "{}""#, dice.pick(&["http", "https"])));
    }
    if dice.chance(30) {
        fields.push(format!(r#""host": {}"#, template_text(dice, "h", paths)));
    }
    if dice.chance(30) {
        fields.push(format!(r#""port": {}"#, dice.pick(&["80", "443", "8443"])));
    }
    match dice.below(3) {
        0 if paths.contains("prefix") => {
            fields.push(format!(r#""prefix": {}"#, template_text(dice, "/", paths)));
        }
        1 => fields.push(format!(r#""path": {}"#, template_text(dice, "/", paths))),
        _ if fields.len() == 1 => fields.push(r#""scheme": "https""#.into()),
        _ => {}
    }
    format!(r#""redirect": {{{}}}"#, fields.join(", "))
}

fn rule_text(dice: &mut Dice) -> String {
    let mut fields = Vec::new();
    if dice.chance(50) {
        let services: &[&str] = if dice.chance(90) { &SERVICES } else { &["s1", "s4"] };
        fields.push(format!(r#""services": [{}]"#, dice.some(services, 2).join(", ")));
    }
    if dice.chance(40) {
        fields.push(format!(r#""priority": {}"#, dice.pick(&["1", "-1", "2"])));
    }
    if dice.chance(8) {
        fields.push(r#""enabled": false"#.into());
    }
    if dice.chance(10) {
        fields.push(r#""starts": "1970-01-01T00:00:01Z""#.into());
    }
    if dice.chance(10) {
        fields.push(r#""ends": "1970-01-01T08:00:02+08:00""#.into());
    }
    if dice.chance(80) {
        fields.push(format!(r#""when": {}"#, condition_text(dice, 3)));
    }
    if dice.chance(50) {
        fields.push(format!(r#""version": "{}""#, dice.pick(&VERSIONS)));
    } else if dice.chance(30) {
        fields.extend(edge_split(dice));
    } else {
        let shares = dice.pick(&[
            &["10", "2.5", "0.01"][..],
            &["100"],
            &["0", "100"],
            &["50", "50"],
            &["33.33", "66.67", "0"],
            &["0.5"],
            &["20", "30", "25"],
        ]);
        let from = dice.below(VERSIONS.len());
        let branches: Vec<String> = shares
            .iter()
            .enumerate()
            .map(|(i, share)| format!(r#""{}": {share}"#, VERSIONS[(from + i) % VERSIONS.len()]))
            .collect();
        fields.push(format!(r#""split": {{{}}}"#, branches.join(", ")));
        if dice.chance(30) {
            let by =
                dice.some(&["header:x-a", "query:q", "header:x-dev", "ip", "cookie:uid", "cookie:gg"], 2);
            fields.push(format!(r#""by": [{}]"#, by.join(", ")));
        }
        if dice.chance(30) {
            fields.push(format!(r#""salt": {}"#, dice.pick(&[r#""spring""#, r#""""#, r#""用户""#])));
        }
    }
    format!("{{{}}}", fields.join(", "))
}

/// A split with a range that ends where one of the usual users falls, and one that holds only that user's bucket.
fn edge_split(dice: &mut Dice) -> [String; 3] {
    let user = dice.pick(&["user1", "a", "k", "用户", "10", "10.0.0.1"]);
    let bucket = super::bucket(format!("edge:{user}").as_bytes());
    let percent = format!("{}.{:02}", bucket / 100, bucket % 100);
    [
        format!(r#""split": {{"gray": {percent}, "feat1": 0.01}}"#),
        r#""by": ["header:x-a", "query:q", "cookie:uid", "ip"]"#.into(),
        r#""salt": "edge""#.into(),
    ]
}

fn condition_text(dice: &mut Dice, depth: usize) -> String {
    if depth > 0 && dice.chance(40) {
        let inner: Vec<String> = (0..1 + dice.below(3)).map(|_| condition_text(dice, depth - 1)).collect();
        return match dice.below(3) {
            0 => format!(r#"{{"all": [{}]}}"#, inner.join(", ")),
            1 => format!(r#"{{"any": [{}]}}"#, inner.join(", ")),
            _ => format!(r#"{{"not": {}}}"#, condition_text(dice, depth - 1)),
        };
    }
    // Some operators say something only about values made for them.
    match dice.below(10) {
        0 => return folding_text(dice),
        1 => return number_text(dice, "header:x-n"),
        2 => return format!(r#"{{"attribute": "header:x-v", "semver": "{}"}}"#, dice.pick(&RANGES)),
        _ => {}
    }
    let attribute = dice.pick(&ATTRIBUTES);
    // What the attribute often has, so that conditions hold often enough.
    let usual: &[&str] = match attribute {
        "path" => &["/a", "/a/b", "/", "/A", "/用户", "/a%2Fb", "b"],
        "host" => &["a.test", "b.a.test", ".test", "A.TEST"],
        "ip" => &["10.0.0.1", "10.", "2001:db8::1"],
        "method" | "scheme" => &["GET", "http", "https", "get"],
        _ => &TEXTS,
    };
    let text = |dice: &mut Dice| quoted(dice.pick(usual));
    let case = if dice.chance(40) { r#", "ignore_case": true"# } else { "" };
    let operator = match dice.below(15) {
        0 | 1 => format!(r#""equals": {}{case}"#, text(dice)),
        2 => format!(r#""in": [{}]{case}"#, dice.some(usual, 4).join(", ")),
        3 if dice.chance(20) => r#""in": []"#.into(),
        3 | 4 => format!(
            r#""in_list": "{}""#,
            if attribute == "ip" { dice.pick(&LISTS[1..]) } else { dice.pick(&LISTS) }
        ),
        5 => format!(r#""prefix": {}{case}"#, text(dice)),
        6 => format!(r#""suffix": {}{case}"#, text(dice)),
        7 => format!(r#""contains": {}{case}"#, text(dice)),
        8 => format!(r#""regex": {}{case}"#, quoted(dice.pick(&PATTERNS))),
        9 | 10 if attribute == "ip" => format!(r#""cidr": [{}]"#, dice.some(&NETS, 2).join(", ")),
        9 | 10 => format!(r#""exists": {}"#, dice.chance(60)),
        11 => format!(r#""semver": "{}""#, dice.pick(&RANGES)),
        _ => return number_text(dice, attribute),
    };
    format!(r#"{{"attribute": "{attribute}", {operator}}}"#)
}

/// Texts that are one or another when their case is folded.
pub(super) const FOLDED: [&str; 12] = ["k", "K", "\u{212a}", "s", "S", "ſ", "ß", "ẞ", "ss", "ak", "AK", "Ж"];

fn folding_text(dice: &mut Dice) -> String {
    let text = quoted(dice.pick(&FOLDED));
    let operator = match dice.below(6) {
        0 => format!(r#""in": [{text}, "none"]"#),
        1 => format!(r#""regex": {text}"#),
        at => format!(r#""{}": {text}"#, ["equals", "prefix", "suffix", "contains"][at - 2]),
    };
    format!(r#"{{"attribute": "header:x-f", {operator}, "ignore_case": {}}}"#, dice.chance(70))
}

fn number_text(dice: &mut Dice, attribute: &str) -> String {
    let operator = dice.pick(&["at_least", "above", "at_most", "below"]);
    format!(r#"{{"attribute": "{attribute}", "{operator}": {}}}"#, json_number(dice))
}

fn json_number(dice: &mut Dice) -> &'static str {
    // As JSON writes numbers: no leading zeros.
    dice.pick(&["0", "10", "9.5", "-3", "9.50", "-3.1", "7", "99999999999999999999"])
}
