//! Servers: which hosts and which scheme lead to their locations, and what is done before any location is asked.

use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::terms::redirect_to;
use super::super::yaml::Yaml;
use super::Http;
use super::syntax::Directive;
use super::variables::Variables;
use crate::documents::Kind;

/// What a server is for all its locations.
pub struct Server {
    pub name: String,
    /// Empty: any host.
    pub hosts: Vec<String>,
    pub rank: i64,
    /// Where another server has the same names and the other scheme.
    scheme: Option<&'static str>,
}

impl Server {
    pub fn of(directive: &Directive, http: &Http<'_>, drafts: &mut Drafts) -> Server {
        let names = names(directive);
        let mut hosts: Vec<String> = Vec::new();
        for name in &names {
            match name.as_str() {
                "_" | "" | "localhost" => {}
                name if name.starts_with('~') || name.ends_with(".*") || name.contains('$') => {
                    drafts.left_out(
                        format!("line {}, server_name {name}", directive.line),
                        "a host is a name or `*.name` here",
                    );
                }
                name => match name.strip_prefix('.') {
                    Some(rest) => hosts.extend([rest.to_string(), format!("*.{rest}")]),
                    None => hosts.push(name.into()),
                },
            }
        }
        if is_default(directive, http) {
            hosts.clear();
        }
        let name = names.iter().find(|name| !matches!(name.as_str(), "_" | "")).cloned();
        let other_scheme = http.servers.iter().any(|other| {
            !std::ptr::eq(*other, directive)
                && self::names(other) == names
                && is_tls(other) != is_tls(directive)
        });
        let rank = match hosts.as_slice() {
            [] => 0,
            hosts if hosts.iter().any(|host| host.starts_with("*.")) => 1,
            _ => 2,
        };
        Server {
            name: name.unwrap_or_else(|| "server".into()).trim_start_matches(['*', '.', '~']).into(),
            hosts,
            rank,
            scheme: other_scheme.then_some(if is_tls(directive) { "https" } else { "http" }),
        }
    }

    pub fn route(&self) -> (Yaml, Condition) {
        let mut route = Yaml::map();
        if !self.hosts.is_empty() {
            route.set("hosts", Yaml::texts(&self.hosts));
        }
        let when = self.scheme.map_or(Condition::Always, |scheme| Condition::equals("scheme", scheme));
        (route, when)
    }
}

fn names(server: &Directive) -> Vec<String> {
    let named = server.inside().iter().filter(|directive| directive.name == "server_name");
    named.flat_map(|directive| directive.arguments.clone()).map(|name| name.to_ascii_lowercase()).collect()
}

fn listens(server: &Directive) -> impl Iterator<Item = &Directive> {
    server.inside().iter().filter(|directive| directive.name == "listen")
}

fn is_tls(server: &Directive) -> bool {
    listens(server)
        .any(|listen| listen.arguments.iter().any(|word| word == "ssl") || listen.first().ends_with("443"))
}

/// Whether a server takes hosts that no server names: it says so, or is the first of its port.
pub fn is_default(server: &Directive, http: &Http<'_>) -> bool {
    let says = |server: &Directive| {
        listens(server)
            .any(|listen| listen.arguments.iter().any(|word| word == "default_server" || word == "default"))
    };
    let is_said = http.servers.iter().any(|other| is_tls(other) == is_tls(server) && says(other));
    let first = http.servers.iter().find(|other| is_tls(other) == is_tls(server));
    match is_said {
        true => says(server),
        false => first.is_some_and(|first| std::ptr::eq(*first, server)),
    }
}

/// `set`, `if` and `return` of a server, before any location is asked.
pub fn settings_of_server(
    directive: &Directive,
    server: &Server,
    variables: &mut Variables<'_>,
    drafts: &mut Drafts,
) {
    for inside in directive.inside() {
        let said = || format!("{}, {}", server.name, inside.called());
        let done = match inside.name.as_str() {
            "set" => variables.set(
                inside.first(),
                inside.arguments.get(1).map_or("", String::as_str),
                &Condition::Always,
            ),
            "if" => match scheme_redirect(inside) {
                Some(to) => {
                    let (mut route, _) = server.route();
                    Condition::equals("scheme", "http").put(&mut route);
                    route.set("priority", Yaml::number(1_000));
                    route.set("redirect", to);
                    let id = drafts.add(Kind::Route, &format!("{}-to-https", server.name), route);
                    drafts.same(said(), vec![id]);
                    Ok(())
                }
                None => set_if(inside, variables),
            },
            "return" => {
                let (mut route, when) = server.route();
                returned(inside).map(|to| {
                    when.put(&mut route);
                    route.set("redirect", to);
                    let id = drafts.add(Kind::Route, &format!("{}-return", server.name), route);
                    drafts.same(said(), vec![id]);
                })
            }
            "listen" => {
                drafts.left_out(said(), "write it into `listen` of the process file");
                Ok(())
            }
            "ssl_certificate" => {
                drafts.left_out(said(), "put the pair into `listen.tls.certificates` of the process file");
                Ok(())
            }
            "rewrite" | "auth_basic" | "auth_request" | "allow" | "deny" | "limit_req" | "limit_conn" => {
                Err("it holds for a whole server; say it in each route".into())
            }
            "include" => Err("the file is not there; import what `nginx -T` prints".into()),
            _ => Ok(()),
        };
        if let Err(why) = done {
            drafts.left_out(said(), why);
        }
    }
}

/// `if` with nothing but `set` inside.
pub fn set_if(directive: &Directive, variables: &mut Variables<'_>) -> Result<(), String> {
    let when = variables.condition(&directive.arguments)?;
    for inside in directive.inside() {
        match inside.name.as_str() {
            "set" => {
                variables.set(inside.first(), inside.arguments.get(1).map_or("", String::as_str), &when)?
            }
            // Says that no further directive of this kind runs; further ones are read all the same.
            "break" => return Err("`break` in an `if`".into()),
            other => return Err(format!("`{other}` in an `if` has no meaning here")),
        }
    }
    Ok(())
}

/// `if ($scheme = http) { return 301 https://...; }`.
fn scheme_redirect(directive: &Directive) -> Option<Yaml> {
    let about: Vec<&str> =
        directive.arguments.iter().map(|word| word.trim_matches(['(', ')', '"'])).collect();
    let is_plain = matches!(
        about.as_slice(),
        ["$scheme", "=", "http"]
            | ["$scheme", "!=", "https"]
            | ["$http_x_forwarded_proto", "=", "http"]
            | ["$http_x_forwarded_proto", "!=", "https"]
    );
    let [inside] = directive.inside() else { return None };
    returned(inside).ok().filter(|_| is_plain && inside.name == "return")
}

/// `return 301 https://$host$request_uri` and the like, as the fields of a redirect.
pub fn returned(directive: &Directive) -> Result<Yaml, String> {
    let [status, url] = directive.arguments.as_slice() else {
        return Err("only redirects are answered here".into());
    };
    if !matches!(status.as_str(), "301" | "302" | "303" | "307" | "308") {
        return Err("only redirects are answered here".into());
    }
    let plain = url.replace("${", "$").replace('}', "");
    let kept = plain.strip_suffix("$request_uri").or_else(|| plain.strip_suffix("$uri$is_args$args"));
    let to = match kept {
        Some(start) => {
            let (scheme, host) = start.split_once("://").ok_or(format!("`{url}` is no plain redirect"))?;
            let mut to = Yaml::map();
            if scheme != "$scheme" {
                to.set("scheme", Yaml::text(scheme));
            }
            match host.trim_end_matches('/') {
                "$host" | "$http_host" | "$server_name" => {}
                host if host.contains('$') => return Err(format!("`{url}` is no plain redirect")),
                host => match host.split_once(':') {
                    Some((host, port)) => {
                        to.set("host", Yaml::text(host));
                        to.set("port", Yaml::number(port));
                    }
                    None => to.set("host", Yaml::text(host)),
                },
            }
            to
        }
        None => redirect_to(url).ok_or(format!("`{url}` is no plain redirect"))?,
    };
    Ok(to.with("status", Yaml::number(status)))
}
