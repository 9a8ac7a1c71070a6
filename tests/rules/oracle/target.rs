//! What a route makes of a request: rewritten paths and hosts, locations, edited headers.

use std::collections::BTreeMap;

use graygate_rules::documents::{PathPattern, PathRewrite, Redirect};
use graygate_rules::vocab::{HeaderEdits, Part, Template};
use regex::Regex;

use super::patterns::pattern;
use super::seen::normal_path;
use super::{Headers, Seen};

/// A pattern for whole texts.
pub fn whole(text: &str) -> Regex {
    pattern(&format!("^(?:{text})$"))
}

type Groups = BTreeMap<String, String>;

/// The named groups that took part.
fn groups(text: &str, view: &str) -> Option<Groups> {
    let regex = whole(text);
    let found = regex.captures(view)?;
    let names = regex.capture_names().flatten();
    Some(names.filter_map(|name| Some((name.into(), found.name(name)?.as_str().into()))).collect())
}

fn matched_groups(path: Option<&PathPattern>, seen: &Seen<'_>) -> Groups {
    match path {
        Some(PathPattern::Regex(pattern)) => groups(&pattern.text, &seen.view).unwrap_or_default(),
        _ => Groups::new(),
    }
}

/// Each part of a template with its groups filled in; `None` stands for a group that took no part.
fn filled<'t>(template: &'t Template, groups: &'t Groups) -> Vec<Option<&'t str>> {
    let fill = |part: &'t Part| match part {
        Part::Literal(text) => Some(text.as_str()),
        Part::Group(name) => groups.get(name).map(String::as_str),
    };
    template.parts().iter().map(fill).collect()
}

fn as_text(template: &Template, groups: &Groups) -> Option<String> {
    filled(template, groups).into_iter().collect()
}

fn as_path(template: &Template, groups: &Groups) -> String {
    filled(template, groups).into_iter().flatten().map(encoded).collect()
}

/// Percent-encodes what a path cannot carry; what the view left encoded stays as it is.
fn encoded(text: &str) -> String {
    let left = pattern("%(2F|5C|25(?i:2F|5C))");
    let mut out = String::new();
    for (at, c) in text.char_indices() {
        let stays = left.find_at(text, at).is_some_and(|found| found.start() == at);
        match c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@".contains(c) || stays {
            true => out.push(c),
            false => out.extend(c.to_string().bytes().map(|byte| format!("%{byte:02X}"))),
        }
    }
    out
}

fn with_one_slash(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

/// The upstream's path after the rewrite, normal again; `None` where it climbs.
pub fn path(rewrite: Option<&PathRewrite>, matched: Option<&PathPattern>, seen: &Seen<'_>) -> Option<String> {
    normal_path(rewritten(rewrite, matched, seen).as_bytes()).map(|(_, upstream)| upstream)
}

fn rewritten(rewrite: Option<&PathRewrite>, matched: Option<&PathPattern>, seen: &Seen<'_>) -> String {
    let here = matched_groups(matched, seen);
    match (rewrite, matched) {
        (Some(PathRewrite::Fixed(template)), _) => with_one_slash(&as_path(template, &here)),
        (Some(PathRewrite::Prefix(template)), Some(PathPattern::Prefix(prefix))) => {
            let elements: Vec<&str> = prefix.split('/').collect();
            let rest: String =
                seen.upstream.split('/').skip(elements.len()).map(|element| format!("/{element}")).collect();
            with_one_slash(&format!("{}{rest}", as_path(template, &here).trim_end_matches('/')))
        }
        (Some(PathRewrite::Regex(pattern, template)), _) => match groups(&pattern.text, &seen.view) {
            Some(mut both) => {
                for (name, text) in here {
                    both.entry(name).or_insert(text);
                }
                with_one_slash(&as_path(template, &both))
            }
            None => seen.upstream.clone(),
        },
        _ => seen.upstream.clone(),
    }
}

/// A host; `None` where a group made it something else.
pub fn host(template: &Template, matched: Option<&PathPattern>, seen: &Seen<'_>) -> Option<String> {
    let text = as_text(template, &matched_groups(matched, seen))?;
    pattern(r"^[A-Za-z0-9._:\[\]-]+$").is_match(&text).then_some(text)
}

pub fn location(redirect: &Redirect, matched: Option<&PathPattern>, seen: &Seen<'_>) -> Option<String> {
    let scheme = redirect.scheme.unwrap_or(seen.ask.scheme);
    let host = match &redirect.host {
        Some(template) => {
            let text = host(template, matched, seen)?;
            // The alphabet has no address in brackets here: a colon is a port.
            (!text.contains(':')).then_some(text)?
        }
        None => Some(seen.host.clone()).filter(|host| !host.is_empty())?,
    };
    let port = match (redirect.port, redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => seen.port,
    };
    let port = match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => String::new(),
        (_, Some(port)) => format!(":{port}"),
    };
    let path = path(redirect.path.as_ref(), matched, seen)?;
    let query = seen.ask.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
    Some(format!("{scheme}://{host}{port}{path}{query}"))
}

/// The request's headers after the edits: remove, set, set_if_absent, add.
pub fn edited(edits: &HeaderEdits, matched: Option<&PathPattern>, seen: &Seen<'_>) -> Headers {
    let here = matched_groups(matched, seen);
    let mut headers = Headers::new();
    for (name, value) in &seen.ask.headers {
        headers.entry(name.to_string()).or_default().push(value.as_bytes().escape_ascii().to_string());
    }
    for name in &edits.remove {
        headers.remove(name.as_str());
    }
    for (name, template) in &edits.set {
        if let Some(text) = as_text(template, &here) {
            headers.insert(name.to_string(), vec![readable(&text)]);
        }
    }
    for (name, template) in &edits.set_if_absent {
        if let Some(text) = as_text(template, &here) {
            headers.entry(name.to_string()).or_insert(vec![readable(&text)]);
        }
    }
    for (name, template) in &edits.add {
        if let Some(text) = as_text(template, &here) {
            headers.entry(name.to_string()).or_default().push(readable(&text));
        }
    }
    headers
}

fn readable(text: &str) -> String {
    text.as_bytes().escape_ascii().to_string()
}
