//! Routes: host, path, method and more lead to a service or a redirect.

use std::net::Ipv6Addr;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::condition::{Condition, PATTERNS, Pattern};
use super::fields::{Emptiness, Field, Map};
use super::{limit, mirror};
use crate::vocab::{ByteSize, HeaderEdits, Limit, Mirror, Name, Part, Template, Timeouts};

#[derive(Clone, Debug)]
pub struct Route {
    /// `None`: any host.
    pub hosts: Option<Vec<HostPattern>>,
    /// `None`: any path.
    pub paths: Option<Vec<PathPattern>>,
    /// `None`: any method.
    pub methods: Option<Vec<String>>,
    pub when: Option<Condition>,
    pub priority: i32,
    pub target: Target,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    pub timeouts: TimeoutOverrides,
    pub max_body: Option<ByteSize>,
    pub limit: Option<Limit>,
    pub mirror: Option<Mirror>,
}

/// Lower case, without a port or trailing dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostPattern {
    Exact(String),
    /// `*.x`, kept as `.x`: one or more labels before it, and not `x` itself.
    Wildcard(String),
}

#[derive(Clone, Debug)]
pub enum PathPattern {
    Exact(String),
    /// By path element, without a trailing slash: the prefix `/` is empty here.
    Prefix(String),
    Regex(Pattern),
}

#[derive(Clone, Debug)]
pub enum Target {
    Service { name: Name, rewrite: Rewrite },
    Redirect(Redirect),
}

#[derive(Clone, Default, Debug)]
pub struct Rewrite {
    pub path: Option<PathRewrite>,
    pub host: Option<Template>,
}

#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replaces the matched prefix.
    Prefix(Template),
    Fixed(Template),
    /// Matches the whole path or changes nothing.
    Regex(Pattern, Template),
}

#[derive(Clone, Debug)]
pub struct Redirect {
    pub status: u16,
    pub scheme: Option<&'static str>,
    pub host: Option<Template>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
}

/// Timeouts of a service, or those a route sets for its own requests.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TimeoutOverrides {
    pub connect: Option<Duration>,
    pub read: Option<Duration>,
    pub request: Option<Duration>,
    pub idle: Option<Duration>,
}

impl TimeoutOverrides {
    pub fn read(field: &Field<'_>) -> Option<TimeoutOverrides> {
        let mut map = field.map()?;
        let mut duration = |key| map.get(key).and_then(|f| f.duration());
        let timeouts = TimeoutOverrides {
            connect: duration("connect"),
            read: duration("read"),
            request: duration("request"),
            idle: duration("idle"),
        };
        map.note_unknown();
        Some(timeouts)
    }

    pub fn over(self, base: Timeouts) -> Timeouts {
        Timeouts {
            connect: self.connect.unwrap_or(base.connect),
            read: self.read.unwrap_or(base.read),
            request: self.request.unwrap_or(base.request),
            idle: self.idle.unwrap_or(base.idle),
        }
    }
}

impl Route {
    pub fn read(field: &Field<'_>) -> Option<Route> {
        let mut map = field.map()?;
        let hosts = map.get("hosts").and_then(|f| f.list_of(Emptiness::Refused, read_host));
        let paths = map.get("paths").and_then(|f| read_paths(&f));
        let methods = map.get("methods").and_then(|f| f.list_of(Emptiness::Refused, read_method));
        let when = map.get("when").and_then(|f| Condition::read_when(&f));
        let priority = map.or("priority", 0, Field::priority);
        let context = PathContext::of(paths.as_deref(), map.has("paths"));
        let target = read_target(&mut map, &context);
        let request_headers = map.or("request_headers", HeaderEdits::default(), |f| read_edits(f, &context));
        let response_headers =
            map.or("response_headers", HeaderEdits::default(), |f| read_edits(f, &context));
        let timeouts = map.or("timeouts", TimeoutOverrides::default(), TimeoutOverrides::read);
        let max_body = map.get("max_body").and_then(|f| f.size());
        let limit = map.get("limit").and_then(|f| limit::read(&f));
        let mirror = map.get("mirror").and_then(|f| match &target {
            Some(Target::Redirect(_)) => {
                f.wrong("a redirect has no request to copy: nothing goes upstream", "")
            }
            _ => mirror::read(&f),
        });
        map.note_unknown();
        Some(Route {
            hosts,
            paths,
            methods,
            when,
            priority,
            target: target?,
            request_headers,
            response_headers,
            timeouts,
            max_body,
            limit,
            mirror,
        })
    }
}

/// What the texts of a route may refer to.
struct PathContext {
    groups: Vec<String>,
    has_prefix: bool,
    /// The paths themselves were wrong: what depends on them is not judged as well.
    unknown: bool,
}

impl PathContext {
    fn of(paths: Option<&[PathPattern]>, written: bool) -> PathContext {
        let mut context =
            PathContext { groups: Vec::new(), has_prefix: false, unknown: written && paths.is_none() };
        for path in paths.unwrap_or_default() {
            match path {
                PathPattern::Regex(pattern) => context.groups.extend(pattern.groups().map(String::from)),
                PathPattern::Prefix(_) => context.has_prefix = true,
                PathPattern::Exact(_) => {}
            }
        }
        context
    }

    /// A text whose groups all exist, here or in `more`.
    fn template(&self, field: &Field<'_>, more: Option<&Pattern>) -> Option<Template> {
        let template = match Template::parse(field.text()?) {
            Ok(template) => template,
            Err(message) => return field.wrong(message, ""),
        };
        let known = |group: &str| {
            self.unknown
                || self.groups.iter().any(|known| known == group)
                || more.is_some_and(|pattern| pattern.groups().any(|known| known == group))
        };
        let missing = template.groups().find(|group| !known(group)).map(str::to_string);
        match missing {
            Some(group) => field.wrong(
                format!("no path of this route has a group `{group}`"),
                format!("name it in a regex: `(?<{group}>...)`"),
            ),
            None => Some(template),
        }
    }

    fn prefix(&self, field: &Field<'_>) -> Option<Template> {
        if !self.has_prefix && !self.unknown {
            return field
                .wrong("there is no prefix to replace", "give `paths` a `prefix`, or use `path` or `regex`");
        }
        self.path(field)
    }

    /// A template for a path, which has to begin with a slash.
    fn path(&self, field: &Field<'_>) -> Option<Template> {
        match field.text()?.starts_with('/') {
            true => self.template(field, None),
            false => field.wrong("a path begins with `/`", ""),
        }
    }
}

fn read_target(map: &mut Map<'_>, context: &PathContext) -> Option<Target> {
    let rewrite = map.get("rewrite");
    match map.one_of(&["service", "redirect"])? {
        ("service", field) => {
            let rewrite = match rewrite {
                Some(rewrite) => read_rewrite(&rewrite, context),
                None => Some(Rewrite::default()),
            };
            Some(Target::Service { name: field.name()?, rewrite: rewrite? })
        }
        (_, field) => {
            if let Some(rewrite) = rewrite {
                rewrite.wrong::<()>(
                    "a redirect has no upstream to rewrite for",
                    "use `path` or `prefix` of `redirect`",
                );
            }
            read_redirect(&field, context).map(Target::Redirect)
        }
    }
}

fn read_rewrite(field: &Field<'_>, context: &PathContext) -> Option<Rewrite> {
    let mut map = field.map()?;
    let path = match map.written(&["prefix", "path", "regex"]).as_slice() {
        [] => {
            map.know(&["prefix", "path", "regex"]);
            None
        }
        _ => match map.one_of(&["prefix", "path", "regex"]) {
            Some(("prefix", f)) => context.prefix(&f).map(PathRewrite::Prefix),
            Some(("path", f)) => context.path(&f).map(PathRewrite::Fixed),
            Some((_, f)) => {
                let parts = map.required("replace").zip(read_pattern(&f));
                parts.and_then(|(replace, pattern)| {
                    let template = read_replace(&replace, context, &pattern)?;
                    Some(PathRewrite::Regex(pattern, template))
                })
            }
            None => None,
        },
    };
    if map.has("replace") && !map.has("regex") {
        map.know(&["replace"]);
        map.wrong::<()>("`replace` needs a `regex` beside it", "");
    }
    let host = map.get("host").and_then(|f| read_host_template(&f, context));
    map.note_unknown();
    Some(Rewrite { path, host })
}

fn read_replace(field: &Field<'_>, context: &PathContext, pattern: &Pattern) -> Option<Template> {
    match field.text()?.starts_with(['/', '$']) {
        true => context.template(field, Some(pattern)),
        false => field.wrong("a path begins with `/`", ""),
    }
}

fn read_redirect(field: &Field<'_>, context: &PathContext) -> Option<Redirect> {
    let mut map = field.map()?;
    let status = map.or("status", 302, |f| {
        let status = f.integer(300, 399)?;
        match status {
            301 | 302 | 303 | 307 | 308 => u16::try_from(status).ok(),
            _ => f.wrong(format!("`{status}` is no redirect"), "one of 301, 302, 303, 307, 308"),
        }
    });
    let scheme = map.get("scheme").and_then(|f| f.word(&[("http", "http"), ("https", "https")]));
    let host = map.get("host").and_then(|f| {
        let template = read_host_template(&f, context)?;
        // Behind the last bracket of an address a colon begins a port.
        let names_port = |part: &Part| matches!(part, Part::Literal(text) if text.rsplit(']').next().is_some_and(|rest| rest.contains(':')));
        match template.parts().iter().any(names_port) {
            true => f.wrong("a redirect's host has no port", "name it in `port`"),
            false => Some(template),
        }
    });
    let port = map.get("port").and_then(|f| f.integer(1, 65_535)).and_then(|port| u16::try_from(port).ok());
    let path = match map.written(&["path", "prefix"]).as_slice() {
        [] => {
            map.know(&["path", "prefix"]);
            None
        }
        _ => match map.one_of(&["path", "prefix"]) {
            Some(("path", f)) => context.path(&f).map(PathRewrite::Fixed),
            Some((_, f)) => context.prefix(&f).map(PathRewrite::Prefix),
            None => None,
        },
    };
    let misspelt = map.note_unknown();
    if !misspelt && map.written(&["scheme", "host", "port", "path", "prefix"]).is_empty() {
        return map
            .wrong("a redirect to the same place never ends", "name a scheme, host, port, path or prefix");
    }
    Some(Redirect { status, scheme, host, port, path })
}

fn read_host(field: &Field<'_>) -> Option<HostPattern> {
    let text = field.text()?.to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let (wildcard, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    if !is_host(name) || (wildcard && name.starts_with('[')) {
        return field.wrong(
            format!("`{text}` is not a host"),
            "write `name.example`, `*.name.example` or `[::1]`, without a port; leave `hosts` out for any host",
        );
    }
    Some(match wildcard {
        true => HostPattern::Wildcard(format!(".{name}")),
        false => HostPattern::Exact(canonical_host(name)),
    })
}

/// IPv6 literals have one spelling.
fn canonical_host(name: &str) -> String {
    let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside.and_then(|text| text.parse::<Ipv6Addr>().ok()) {
        Some(address) => format!("[{address}]"),
        None => name.into(),
    }
}

fn is_host(name: &str) -> bool {
    if let Some(inside) = name.strip_prefix('[') {
        return inside.strip_suffix(']').is_some_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    !name.is_empty() && name.split('.').all(is_label)
}

fn read_host_template(field: &Field<'_>, context: &PathContext) -> Option<Template> {
    let template = context.template(field, None)?;
    let literal_is_fine = template.as_literal().is_none_or(|text| {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        is_host(host) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    });
    match literal_is_fine {
        true => Some(template),
        false => field.wrong("this is not a host", ""),
    }
}

pub(super) fn read_paths(field: &Field<'_>) -> Option<Vec<PathPattern>> {
    let paths = field.list_of(Emptiness::Refused, read_path)?;
    let patterns = paths.iter().filter(|path| matches!(path, PathPattern::Regex(_))).count();
    match patterns {
        0..=PATTERNS => Some(paths),
        many => field.wrong(
            format!("{many} patterns in one `paths`, and {PATTERNS} are the most"),
            "join them with `|`, use `prefix` or `exact`, or write several routes",
        ),
    }
}

fn read_path(field: &Field<'_>) -> Option<PathPattern> {
    let mut map = field.map()?;
    let path = match map.one_of(&["exact", "prefix", "regex"]) {
        Some(("exact", f)) => read_plain_path(&f).map(|path| PathPattern::Exact(path.into())),
        Some(("prefix", f)) => {
            read_plain_path(&f).map(|path| PathPattern::Prefix(path.trim_end_matches('/').into()))
        }
        Some((_, f)) => read_pattern(&f).map(PathPattern::Regex),
        None => None,
    };
    map.note_unknown();
    path
}

/// A path that a normalised request can have; another one would never match.
fn read_plain_path<'n>(field: &Field<'n>) -> Option<&'n str> {
    let path = field.text()?;
    if !path.starts_with('/') {
        return field.wrong(format!("`{path}` does not begin with `/`"), "");
    }
    let odd = path.contains("//")
        || path.split('/').any(|segment| matches!(segment, "." | ".."))
        || path.contains(|c: char| c.is_ascii_control());
    if odd {
        return field.wrong(
            format!("`{path}` can never match"),
            "requests are compared without repeated slashes, dot segments and control characters",
        );
    }
    match ["\\", "%2f", "%5c"].into_iter().find(|spelling| path.contains(spelling)) {
        Some(spelling) => field.wrong(
            format!("`{path}` can never match: no request is seen with `{spelling}`"),
            "write an encoded slash as `%2F`, a backslash as `%5C`",
        ),
        None => Some(path),
    }
}

fn read_pattern(field: &Field<'_>) -> Option<Pattern> {
    match Pattern::parse(field.text()?, false) {
        Ok(pattern) => Some(pattern),
        Err(message) => field.wrong(format!("the pattern is wrong: {message}"), ""),
    }
}

fn read_method(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let token = !text.is_empty() && http::Method::from_bytes(text.as_bytes()).is_ok();
    match token && text == text.to_ascii_uppercase() {
        true => Some(text.into()),
        false => field.wrong(format!("`{text}` is not a method"), "methods are upper case, like `GET`"),
    }
}

/// Headers that say how a message is framed or where it goes: an edit of them would break the connection.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn read_edits(field: &Field<'_>, context: &PathContext) -> Option<HeaderEdits> {
    let mut map = field.map()?;
    let remove =
        map.get("remove").and_then(|f| f.list_of(Emptiness::Allowed, |item| header_name(item, item.text()?)));
    let mut texts = |key| {
        let entries = map.get(key).and_then(|f| f.entries()).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|(name, value)| {
                let name = header_name(&value, name);
                let template = header_text(&value, context);
                Some((name?, template?))
            })
            .collect::<Vec<_>>()
    };
    let edits = HeaderEdits {
        set: texts("set"),
        set_if_absent: texts("set_if_absent"),
        add: texts("add"),
        remove: remove.unwrap_or_default(),
    };
    map.note_unknown();
    Some(edits)
}

/// A header's name that may be edited.
pub(super) fn header_name(field: &Field<'_>, text: &str) -> Option<HeaderName> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        return field.wrong(format!("`{text}` is not a header's name"), "");
    };
    match FRAMING.contains(&name.as_str()) {
        true if name == "host" => field.wrong("`host` is not edited here", "use `rewrite: {host: ...}`"),
        true => field.wrong(format!("`{name}` belongs to the connection and cannot be edited"), ""),
        false => Some(name),
    }
}

fn header_text(field: &Field<'_>, context: &PathContext) -> Option<Template> {
    match HeaderValue::from_bytes(field.text()?.as_bytes()) {
        Ok(_) => context.template(field, None),
        Err(_) => field.wrong("a header's text has no line breaks and no control characters", ""),
    }
}
