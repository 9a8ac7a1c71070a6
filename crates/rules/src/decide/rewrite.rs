//! What a route makes of the request's target and headers: rewrites, redirects, edits.
//!
//! Runs after the decision, on what the client sent. A group is decoded in headers and encoded in paths, and can never
//! inject a line, a header or another host.

use http::{HeaderMap, HeaderName, HeaderValue};
use regex::bytes::{Captures, Regex};

use super::candidate::PathMatch;
use super::path::{Path, PathBuffer, encode_view};
use super::request::Request;
use super::route::{PathRewrite, Redirect, Routed, Target};
use crate::vocab::{HeaderEdits, Part, Template};

/// The groups a request's path gave to the texts of its route.
pub struct Groups<'p> {
    path: Option<Captures<'p>>,
    rewrite: Option<Captures<'p>>,
}

impl<'p> Groups<'p> {
    pub fn of(routed: &Routed<'_>, view: &'p str) -> Groups<'p> {
        let path = match routed.path {
            // Only a pattern with names can give something.
            PathMatch::Regex(regex) if regex.captures_len() > 1 => regex.captures(view.as_bytes()),
            _ => None,
        };
        Groups { path, rewrite: None }
    }

    /// The group's text; `None` when it took no part in the match.
    fn get(&self, name: &str) -> Option<&str> {
        let of =
            |captures: &Option<Captures<'p>>| captures.as_ref()?.name(name).map(|found| found.as_bytes());
        // The view is UTF-8, and so is every match of a pattern in it.
        of(&self.rewrite).or_else(|| of(&self.path)).and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    fn path(&self, template: &Template) -> String {
        let mut out = String::new();
        for part in template.parts() {
            match part {
                Part::Literal(text) => encode_view(text, &mut out),
                Part::Group(name) => encode_view(self.get(name).unwrap_or_default(), &mut out),
            }
        }
        out
    }

    /// `None` when a group it names took no part in the match.
    fn text(&self, template: &Template) -> Option<String> {
        let mut out = String::new();
        for part in template.parts() {
            out.push_str(match part {
                Part::Literal(text) => text,
                Part::Group(name) => self.get(name)?,
            });
        }
        Some(out)
    }

    /// A host; `None` when a group would make it something else.
    fn host(&self, template: &Template) -> Option<String> {
        let text = self.text(template)?;
        let allowed =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':' | b'[' | b']');
        (!text.is_empty() && text.bytes().all(allowed)).then_some(text)
    }
}

/// Groups made of a route's text no host, or a path that climbs above `/`.
#[derive(Debug, PartialEq, Eq)]
pub struct BadTarget;

/// Where the upstream request goes, as far as it differs from the normalised request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    pub path: Option<String>,
    pub host: Option<String>,
}

/// What the route's rewrite makes of the request.
pub fn rewrite(routed: &Routed<'_>, path: Path<'_>, groups: &Groups<'_>) -> Result<Rewritten, BadTarget> {
    let Target::Service { path: rewrite, host, .. } = &routed.route.target else {
        return Ok(Rewritten::default());
    };
    let host = host.as_ref().map(|template| groups.host(template).ok_or(BadTarget)).transpose()?;
    let path = rewrite.as_ref().and_then(|rewrite| rewrite_path(rewrite, routed.path, path, groups));
    Ok(Rewritten { path: path.map(normal).transpose()?, host })
}

/// What groups made of a path is brought into normal form again: `${a}` may be `..`, and no group climbs anywhere.
fn normal(path: String) -> Result<String, BadTarget> {
    let mut buffer = PathBuffer::default();
    buffer.normalise(path.as_bytes()).map(|path| path.upstream.to_string()).map_err(|_| BadTarget)
}

/// The new path; `None` when it stays.
fn rewrite_path(
    rewrite: &PathRewrite,
    matched: &PathMatch,
    path: Path<'_>,
    groups: &Groups<'_>,
) -> Option<String> {
    match (rewrite, matched) {
        (PathRewrite::Fixed(template), _) => Some(absolute(groups.path(template))),
        (PathRewrite::Prefix(template), PathMatch::Prefix(prefix)) => {
            let base = groups.path(template);
            let rest = behind_prefix(path.upstream, prefix);
            Some(absolute(format!("{}{rest}", base.trim_end_matches('/'))))
        }
        (PathRewrite::Prefix(_), _) => None,
        (PathRewrite::Regex(regex, template), _) => rewrite_by_pattern(regex, template, path, groups),
    }
}

fn rewrite_by_pattern(
    regex: &Regex,
    template: &Template,
    path: Path<'_>,
    groups: &Groups<'_>,
) -> Option<String> {
    let captures = regex.captures(path.view.as_bytes())?;
    let both = Groups { path: None, rewrite: Some(captures) };
    let mut out = String::new();
    for part in template.parts() {
        match part {
            Part::Literal(text) => encode_view(text, &mut out),
            Part::Group(name) => {
                let text = both.get(name).or_else(|| groups.get(name)).unwrap_or_default();
                encode_view(text, &mut out);
            }
        }
    }
    Some(absolute(out))
}

/// A path begins with exactly one slash: two would read as a host elsewhere.
fn absolute(path: String) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

/// What is left of the upstream form behind a prefix of the view: both have the same segments.
fn behind_prefix<'p>(upstream: &'p str, prefix: &str) -> &'p str {
    let segments = prefix.matches('/').count();
    match upstream.match_indices('/').nth(segments) {
        Some((at, _)) => upstream.get(at..).unwrap_or_default(),
        None => "",
    }
}

/// The `Location` of a redirect. What is not named comes from the request, and the query is kept.
pub fn location(
    redirect: &Redirect,
    routed: &Routed<'_>,
    request: &Request<'_>,
    groups: &Groups<'_>,
) -> Result<String, BadTarget> {
    let scheme = redirect.scheme.unwrap_or(request.scheme);
    let host = match &redirect.host {
        // A group may not bring a port along: it has its own field.
        Some(template) => groups.host(template).filter(|host| !names_port(host)).ok_or(BadTarget)?,
        None if request.host.is_empty() => return Err(BadTarget),
        None => request.host.to_string(),
    };
    let named_port = redirect.port.or(match redirect.scheme {
        Some(_) => None,
        None => request.port,
    });
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port =
        named_port.filter(|port| *port != default_port).map(|port| format!(":{port}")).unwrap_or_default();
    let path = redirect
        .path
        .as_ref()
        .and_then(|rewrite| rewrite_path(rewrite, routed.path, request.path, groups))
        .map(normal)
        .transpose()?
        .unwrap_or_else(|| request.path.upstream.to_string());
    let query = request.query.map(|query| format!("?{}", String::from_utf8_lossy(query)));
    let query = query.unwrap_or_default();
    Ok(format!("{scheme}://{host}{port}{path}{query}"))
}

/// Behind the last bracket of an address a colon begins a port.
fn names_port(host: &str) -> bool {
    host.rsplit(']').next().is_some_and(|rest| rest.contains(':'))
}

/// One edit of a header, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    Remove(HeaderName),
    Set(HeaderName, HeaderValue),
    SetIfAbsent(HeaderName, HeaderValue),
    Add(HeaderName, HeaderValue),
}

/// The edits in the order they run. One that names a group which took no part in the match is left out.
pub fn edits(edits: &HeaderEdits, groups: &Groups<'_>) -> Vec<Edit> {
    if edits.is_empty() {
        return Vec::new();
    }
    type Make = fn(HeaderName, HeaderValue) -> Edit;
    let texts: [(&Vec<(HeaderName, Template)>, Make); 3] =
        [(&edits.set, Edit::Set), (&edits.set_if_absent, Edit::SetIfAbsent), (&edits.add, Edit::Add)];
    let removals = edits.remove.iter().cloned().map(Edit::Remove);
    let filled = texts.into_iter().flat_map(|(list, make)| {
        list.iter().filter_map(move |(name, template)| {
            // The view has no control characters, so a group cannot end a line.
            let value = HeaderValue::from_bytes(groups.text(template)?.as_bytes()).ok()?;
            Some(make(name.clone(), value))
        })
    });
    removals.chain(filled).collect()
}

/// Runs edits on a header map.
pub fn apply(edits: &[Edit], headers: &mut HeaderMap) {
    for edit in edits {
        match edit {
            Edit::Remove(name) => {
                headers.remove(name);
            }
            Edit::Set(name, value) => {
                headers.insert(name, value.clone());
            }
            Edit::SetIfAbsent(name, value) => {
                if !headers.contains_key(name) {
                    headers.insert(name, value.clone());
                }
            }
            Edit::Add(name, value) => {
                headers.append(name, value.clone());
            }
        }
    }
}
