//! Servers and locations as routes.
//!
//! nginx takes `=` first, then the longest prefix if it is `^~`, then patterns in their order, then the longest prefix.
//! Here prefixes come before patterns, so where a file has patterns the classes get priorities.

use super::super::beside;
use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::pattern::{found_anywhere, named_groups, replacement, whole};
use super::super::terms::{attribute_of, size};
use super::super::yaml::Yaml;
use super::Http;
use super::server::{Server, is_default, returned, set_if, settings_of_server};
use super::services::Services;
use super::syntax::Directive;
use super::variables::{Choices, Part, Variables, parts};
use crate::documents::Kind;

type Written<'w, 'd> = (&'w mut Services<'d>, &'w mut Drafts);

pub fn write<'d>(
    directive: &'d Directive,
    http: &Http<'d>,
    variables: &Variables<'d>,
    (services, drafts): Written<'_, 'd>,
) {
    let server = Server::of(directive, http, drafts);
    if server.hosts.is_empty() && !is_default(directive, http) {
        return drafts.left_out(
            format!("line {}, server {}", directive.line, server.name),
            "no host that can be named here leads to it",
        );
    }
    let mut variables = variables.clone();
    settings_of_server(directive, &server, &mut variables, drafts);
    let mut scope = Scope { server: &server, http, inherited: directive.inside(), number: 0 };
    for location in directive.inside().iter().filter(|directive| directive.name == "location") {
        scope.write(location, &variables, (services, drafts));
    }
}

/// The locations of one server.
struct Scope<'s, 'd> {
    server: &'s Server,
    http: &'s Http<'d>,
    /// Directives of the server, which locations have where they do not say otherwise.
    inherited: &'d [Directive],
    number: usize,
}

impl<'d> Scope<'_, 'd> {
    fn write(
        &mut self,
        location: &'d Directive,
        variables: &Variables<'d>,
        (services, drafts): Written<'_, 'd>,
    ) {
        let said = format!(
            "{}, location {} (line {})",
            self.server.name,
            location.arguments.join(" "),
            location.line
        );
        for inner in location.inside().iter().filter(|directive| directive.name == "location") {
            self.write(inner, variables, (services, drafts));
        }
        self.number += 1;
        match self.route(location, variables, (services, drafts)) {
            Ok((route, differences, mut documents)) => {
                let name = format!("{}-{:03}", self.server.name, self.number);
                documents.insert(0, drafts.add(Kind::Route, &name, route));
                drafts.judged(&said, differences, documents);
            }
            Err(why) => drafts.left_out(&said, why),
        }
    }

    fn route(
        &self,
        location: &Directive,
        variables: &Variables<'d>,
        (services, drafts): Written<'_, 'd>,
    ) -> Result<(Yaml, Vec<String>, Vec<String>), String> {
        let mut differences = Vec::new();
        let (mut route, when) = self.server.route();
        when.put(&mut route);
        let path = self.path(location, &mut route, &mut differences)?;
        let mut variables = variables.clone();
        let mut passed: Option<(Choices, &Directive)> = None;
        let mut redirect = None;
        let said = format!("{}, location {}", self.server.name, location.arguments.join(" "));
        for inside in location.inside() {
            let done = match inside.name.as_str() {
                "set" => variables.set(
                    inside.first(),
                    inside.arguments.get(1).map_or("", String::as_str),
                    &Condition::Always,
                ),
                "if" => match inside.inside() {
                    [only] if only.name == "proxy_pass" => {
                        let when = variables.condition(&inside.arguments)?;
                        let chosen = target(only, &variables)?;
                        let before = passed
                            .take()
                            .map(|(choices, _)| choices)
                            .map_or_else(|| self.unconditional(location, &variables), Ok)?;
                        passed = Some((before.unless(&when, chosen), only));
                        Ok(())
                    }
                    // What is chosen wrongly would be worse than a location that is left out.
                    _ => set_if(inside, &mut variables).map_err(|why| format!("{}: {why}", inside.called())),
                },
                "proxy_pass" if passed.is_none() => {
                    passed = Some((target(inside, &variables)?, inside));
                    Ok(())
                }
                "return" => {
                    redirect = Some(returned(inside)?);
                    Ok(())
                }
                _ => self.setting(inside, &mut route, &mut differences),
            };
            if let Err(why) = done {
                if inside.name == "if" || inside.name == "set" {
                    return Err(why);
                }
                drafts.left_out(format!("{said}, {}", inside.called()), why);
            }
        }
        if let Some(to) = redirect {
            route.set("redirect", to);
            return Ok((route, differences, Vec::new()));
        }
        let (choices, pass) = passed.ok_or("it passes nothing to an upstream")?;
        match self.mirror(location, &variables, (&mut *services, &mut *drafts)) {
            None => {}
            Some(Ok((mirror, found))) => {
                route.set("mirror", mirror);
                differences.extend(found);
            }
            Some(Err(why)) => drafts.left_out(format!("{said}, mirror"), why),
        }
        rewrite(location, pass, path, (&mut route, &mut differences))?;
        self.host(location, pass, &mut route, &mut differences);
        let tls = pass.first().starts_with("https://") || pass.first().starts_with("grpcs://");
        let name = service_name(pass);
        let (service, found) = services.write(&name, &choices, if tls { 443 } else { 80 }, drafts)?;
        differences.extend(found);
        differences.extend(services.balance(&choices, &service, drafts));
        if tls {
            let unverified = Yaml::of("verify", Yaml::Flag(false));
            drafts.edit(Kind::Service, &service, |document| document.set("tls", unverified));
        }
        route.set("service", Yaml::text(&service));
        Ok((route, differences, vec![format!("services/{service}")]))
    }

    /// The `proxy_pass` of a location, wherever it stands in it.
    fn unconditional(&self, location: &Directive, variables: &Variables<'_>) -> Result<Choices, String> {
        let pass = location.inside().iter().find(|directive| directive.name == "proxy_pass");
        target(pass.ok_or("it passes only some requests to an upstream")?, variables)
    }

    /// Writes the path; the prefix that a `proxy_pass` with a path replaces.
    fn path<'l>(
        &self,
        location: &'l Directive,
        route: &mut Yaml,
        differences: &mut Vec<String>,
    ) -> Result<Option<&'l str>, String> {
        let (mark, text) = match location.arguments.as_slice() {
            [text] => match ["^~", "~*", "~", "="]
                .into_iter()
                .find_map(|mark| Some((mark, text.strip_prefix(mark)?)))
            {
                Some((mark, text)) if !text.is_empty() => (mark, text),
                _ => ("", text.as_str()),
            },
            [mark, text] => (mark.as_str(), text.as_str()),
            _ => return Err("it has no path".into()),
        };
        if text.starts_with('@') {
            return Err("named locations are reached from others only".into());
        }
        let class = match mark {
            "=" => 3,
            "^~" => 2,
            "~" | "~*" => 1,
            _ => 0,
        };
        if self.http.has_patterns {
            route.set("priority", Yaml::number(self.server.rank * 10 + class));
        }
        let path = match mark {
            "=" => Yaml::of("exact", Yaml::text(text)),
            "~" | "~*" => {
                let flag = if mark == "~*" { "(?i)" } else { "" };
                let pattern = format!("{flag}{}", named_groups(text));
                Yaml::of("regex", Yaml::text(found_anywhere(&pattern)?))
            }
            _ if text == "/" => return Ok(Some("/")),
            _ => {
                differences.push(match text.ends_with('/') {
                    true => format!(
                        "`{}` without the slash is taken too, there it is redirected",
                        text.trim_end_matches('/')
                    ),
                    false => format!("only whole path elements: `{text}x` was taken there and is not here"),
                });
                Yaml::of("prefix", Yaml::text(text))
            }
        };
        route.set("paths", Yaml::List(vec![path]));
        Ok(matches!(class, 0 | 2).then_some(text))
    }

    /// Directives that become fields of the route.
    fn setting(
        &self,
        directive: &Directive,
        route: &mut Yaml,
        differences: &mut Vec<String>,
    ) -> Result<(), String> {
        let value = directive.arguments.get(1).map_or("", String::as_str);
        match directive.name.as_str() {
            "location" | "rewrite" | "proxy_http_version" | "proxy_pass" | "break" => {}
            "proxy_set_header" => return request_header(directive.first(), value, route),
            "add_header" => {
                if value.contains('$') {
                    return Err("a variable of nginx in a header".into());
                }
                let mut edits = route.get("response_headers").cloned().unwrap_or_else(Yaml::map);
                edits.set_in("add", &directive.first().to_ascii_lowercase(), Yaml::text(value));
                route.set("response_headers", edits);
            }
            "proxy_hide_header" => {
                let mut edits = route.get("response_headers").cloned().unwrap_or_else(Yaml::map);
                edits.append("remove", Yaml::text(directive.first().to_ascii_lowercase()));
                route.set("response_headers", edits);
            }
            "proxy_connect_timeout" | "proxy_read_timeout" => {
                let key = if directive.name.contains("connect") { "connect" } else { "read" };
                let duration = duration(directive.first()).ok_or("it is no duration")?;
                route.set_in("timeouts", key, Yaml::text(duration));
            }
            "client_max_body_size" => {
                route.set(
                    "max_body",
                    Yaml::text(size(directive.first()).ok_or("a limit has to be a number")?),
                );
            }
            name if name.starts_with("proxy_buffer")
                || name.starts_with("proxy_busy")
                || name.ends_with("_log") => {}
            "proxy_next_upstream"
            | "proxy_redirect"
            | "proxy_send_timeout"
            | "proxy_request_buffering"
            | "proxy_cache_bypass" => {
                differences.push(format!("without `{}`", directive.name));
            }
            "allow" | "deny" => return Err("write `when` with `cidr` into the route".into()),
            "limit_req" => {
                let (limit, found) = self.limit(directive)?;
                route.set("limit", limit);
                differences.extend(found);
            }
            "limit_conn" => {
                return Err("`max_connections` of the service bounds requests under way".into());
            }
            name if name.starts_with("limit_") => return Err("it limits no number of requests".into()),
            // Read where the location is known to pass requests on.
            "mirror" => {}
            name if name.contains("_by_lua") => return Err("it is a program".into()),
            _ => return Err("it has no meaning here".into()),
        }
        Ok(())
    }

    /// `limit_req` with its zone's rate and key.
    fn limit(&self, directive: &Directive) -> Result<(Yaml, Vec<String>), String> {
        let named = |directive: &Directive, key: &str| {
            let found = directive.arguments.iter().find_map(|word| word.strip_prefix(key));
            found.map(str::to_string)
        };
        let zone = named(directive, "zone=").ok_or("it names no zone")?;
        let is_it = |other: &&&Directive| {
            let name = named(other, "zone=").unwrap_or_default();
            other.name == "limit_req_zone" && name.split(':').next() == Some(&zone)
        };
        let defined = self.http.others.iter().find(is_it).ok_or("its zone is defined nowhere")?;
        let key = attribute_of(defined.first());
        let key = key.ok_or_else(|| format!("`{}` is no attribute of a request", defined.first()))?;
        let rate = named(defined, "rate=").unwrap_or_default();
        let (count, seconds) = match (rate.strip_suffix("r/s"), rate.strip_suffix("r/m")) {
            (Some(count), _) => (count, 1),
            (_, Some(count)) => (count, 60),
            _ => return Err("its zone has no rate".into()),
        };
        let rate = count.parse().ok().and_then(|count| beside::rate(count, seconds));
        let rate = rate.ok_or("its zone has no rate")?;
        let burst: u64 = named(directive, "burst=").and_then(|burst| burst.parse().ok()).unwrap_or(0);
        let mut differences: Vec<String> = beside::other_status(503).into_iter().collect();
        if burst > 0 && !directive.arguments.iter().any(|word| word == "nodelay") {
            differences.push("what is within the burst is not delayed".into());
        }
        differences.push("each route has a limit of its own".into());
        Ok((beside::limit(rate, burst.saturating_add(1), Some(key)), differences))
    }

    /// `mirror` of a location: to what the location it names passes requests.
    fn mirror(
        &self,
        location: &Directive,
        variables: &Variables<'d>,
        (services, drafts): Written<'_, 'd>,
    ) -> Option<Result<(Yaml, Vec<String>), String>> {
        let named =
            |directives: &'d [Directive]| directives.iter().rev().find(|found| found.name == "mirror");
        let own = location.inside().iter().rev().find(|found| found.name == "mirror");
        let uri = own.or_else(|| named(self.inherited))?.first();
        if uri == "off" {
            return None;
        }
        let is_it = |found: &&Directive| {
            found.name == "location" && found.arguments.last().is_some_and(|path| path == uri)
        };
        let target_of = self.inherited.iter().find(is_it);
        let pass = target_of.and_then(|found| found.inside().iter().find(|inner| inner.name == "proxy_pass"));
        let Some(pass) = pass else { return Some(Err(format!("no location `{uri}` passes copies on"))) };
        if !pass.first().ends_with("$request_uri") {
            return Some(Err("a copy keeps the path of its request".into()));
        }
        let written = target(pass, variables).and_then(|choices| {
            services.write(&service_name(pass), &choices, 80, drafts).map(|(service, _)| service)
        });
        Some(written.map(|service| (beside::mirror(&service, "release", None), Vec::new())))
    }

    /// Which Host the upstream gets: the name in `proxy_pass`, unless a header says otherwise.
    fn host(&self, location: &Directive, pass: &Directive, route: &mut Yaml, differences: &mut Vec<String>) {
        let headers = |directives: &[Directive]| {
            let sets: Vec<Directive> =
                directives.iter().filter(|found| found.name == "proxy_set_header").cloned().collect();
            sets
        };
        // A location that sets any header has none of its server's.
        let own = headers(location.inside());
        let all = if own.is_empty() { headers(self.inherited) } else { own };
        let host = all.iter().rev().find(|found| found.first().eq_ignore_ascii_case("host"));
        match host.and_then(|host| host.arguments.get(1)).map(String::as_str) {
            Some("$host" | "$http_host" | "$host:$server_port") => {}
            Some(host) if !host.contains('$') => route.set_in("rewrite", "host", Yaml::text(host)),
            Some("$proxy_host") | None => {
                let name = pass.first().split_once("://").map_or("", |(_, rest)| rest);
                let name = name.split(['/', '$']).next().unwrap_or_default();
                let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
                match !name.is_empty() && name.chars().all(fits) {
                    true => route.set_in("rewrite", "host", Yaml::text(name)),
                    false => differences
                        .push("the upstream gets the client's Host, and not the upstream's name".into()),
                }
            }
            Some(host) => differences.push(format!("the upstream gets the client's Host, and not `{host}`")),
        }
    }
}

/// What follows the scheme, up to a path: it may be a variable.
fn authority(pass: &Directive) -> &str {
    let rest = pass.first().split_once("://").map_or(pass.first(), |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn target(pass: &Directive, variables: &Variables<'_>) -> Result<Choices, String> {
    if pass.first().contains("unix:") {
        return Err("an instance is an address with a port".into());
    }
    // A whole URL in a variable has its scheme in the texts.
    let text = authority(pass).trim_end_matches("$request_uri").trim_end_matches("$uri");
    variables.text(text, 0).map(without_schemes)
}

fn without_schemes(choices: Choices) -> Choices {
    use super::variables::{Split, Value};
    let cut = |text: String| match text.split_once("://") {
        Some((_, rest)) => rest.trim_end_matches('/').to_string(),
        None => text,
    };
    let each = choices.0.into_iter().map(|(when, value)| match value {
        Value::Text(text) => (when, Value::Text(cut(text))),
        Value::Split(split) => {
            let shares = split.shares.into_iter().map(|(share, text)| (share, cut(text))).collect();
            (when, Value::Split(Split { shares, rest: cut(split.rest), ..split }))
        }
    });
    Choices(each.collect())
}

/// A service is named after the upstream, or after the variable that chooses one.
fn service_name(pass: &Directive) -> String {
    let text = authority(pass);
    let variables: Vec<String> = parts(text)
        .into_iter()
        .filter_map(|part| match part {
            Part::Variable(name) if !matches!(name.as_str(), "request_uri" | "uri") => Some(name),
            _ => None,
        })
        .collect();
    match variables.is_empty() {
        true => text.trim_end_matches("$request_uri").trim_end_matches("$uri").into(),
        false => variables.join("-"),
    }
}

/// A `proxy_pass` with a path replaces the location's prefix; `rewrite ... break` the whole path.
fn rewrite(
    location: &Directive,
    pass: &Directive,
    prefix: Option<&str>,
    (route, differences): (&mut Yaml, &mut Vec<String>),
) -> Result<(), String> {
    let rewrites: Vec<&Directive> =
        location.inside().iter().filter(|directive| directive.name == "rewrite").collect();
    if let [rewrite] = rewrites.as_slice() {
        let [pattern, to, ..] = rewrite.arguments.as_slice() else {
            return Err("a `rewrite` lacks a part".into());
        };
        if to.contains('?') || to.contains("://") {
            return Err(format!("`rewrite` to `{to}` changes more than the path"));
        }
        route.set_in("rewrite", "regex", Yaml::text(whole(&found_anywhere(&named_groups(pattern))?)?));
        route.set_in("rewrite", "replace", Yaml::text(replacement(to)?));
        return Ok(());
    }
    if rewrites.len() > 1 {
        return Err("it rewrites more than once".into());
    }
    let rest = pass.first().split_once("://").map_or("", |(_, rest)| rest);
    let Some(slash) = rest.find('/') else { return Ok(()) };
    let path = rest.get(slash..).unwrap_or_default();
    if path.contains('$') {
        return match path.trim_start_matches('/') {
            "$request_uri" | "$uri" | "$uri$is_args$args" => Ok(()),
            _ => Err(format!("the path `{path}` has a variable in it")),
        };
    }
    match prefix {
        None => route.set_in("rewrite", "path", Yaml::text(path)),
        Some("/") if path == "/" => {}
        Some(prefix) => {
            if prefix.ends_with('/') != path.ends_with('/') {
                differences.push(format!("`{prefix}` becomes `{path}` between whole path elements"));
            }
            if prefix == "/" {
                route.set("paths", Yaml::List(vec![Yaml::of("prefix", Yaml::text("/"))]));
            }
            route.set_in("rewrite", "prefix", Yaml::text(path));
        }
    }
    Ok(())
}

/// Headers towards the upstream; those about the way are set here without a word.
fn request_header(name: &str, value: &str, route: &mut Yaml) -> Result<(), String> {
    let name = name.to_ascii_lowercase();
    let about_the_way = [
        "host",
        "connection",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-request-id",
    ];
    if about_the_way.contains(&name.as_str()) {
        return Ok(());
    }
    match value {
        "" => {
            let mut edits = route.get("request_headers").cloned().unwrap_or_else(Yaml::map);
            edits.append("remove", Yaml::text(name));
            route.set("request_headers", edits);
            Ok(())
        }
        "$remote_addr" => Err("the client's address stands in X-Forwarded-For".into()),
        value if value.contains('$') => Err("a variable of nginx in a header".into()),
        value => {
            let mut edits = route.get("request_headers").cloned().unwrap_or_else(Yaml::map);
            edits.set_in("set", &name, Yaml::text(value));
            route.set("request_headers", edits);
            Ok(())
        }
    }
}

/// A duration as nginx writes it: seconds, or with a unit.
fn duration(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
    match unit {
        "" | "s" => Some(format!("{number}s")),
        "ms" | "m" | "h" | "d" => Some(format!("{number}{unit}")),
        _ => None,
    }
}
