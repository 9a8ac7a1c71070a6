//! The other annotations of a main Ingress: what becomes a field of its routes or services, and what does not.

use std::collections::BTreeSet;

use super::super::beside;
use super::super::condition::Condition;
use super::super::drafts::Drafts;
use super::super::terms::{attribute_of, redirect_to, size};
use super::super::tree::Tree;
use super::super::yaml::Yaml;
use super::paths::Written;
use super::{Names, Object, PREFIX, PathRule};
use crate::documents::Kind;

/// What an annotation became.
enum Became {
    /// Fields of documents; what differs.
    Written(Vec<String>),
    /// What is so here without a word.
    Already,
    LeftOut(String),
}

/// The documents of one Ingress.
struct Target<'t> {
    routes: Vec<&'t str>,
    services: BTreeSet<&'t str>,
    hosts: BTreeSet<&'t str>,
}

impl Target<'_> {
    fn set_routes(&self, drafts: &mut Drafts, key: &str, value: &Yaml) {
        for route in &self.routes {
            drafts.edit(Kind::Route, route, |document| document.set(key, value.clone()));
        }
    }

    fn set_in_routes(&self, drafts: &mut Drafts, key: &str, inner: &str, value: &Yaml) {
        for route in &self.routes {
            drafts.edit(Kind::Route, route, |document| document.set_in(key, inner, value.clone()));
        }
    }

    fn set_services(&self, drafts: &mut Drafts, key: &str, value: &Yaml) {
        for service in &self.services {
            drafts.edit(Kind::Service, service, |document| document.set(key, value.clone()));
        }
    }

    fn ids(&self) -> Vec<String> {
        let routes = self.routes.iter().map(|route| format!("routes/{route}"));
        routes.chain(self.services.iter().map(|service| format!("services/{service}"))).collect()
    }
}

pub fn apply(
    ingress: &Object,
    rules: &[&PathRule<'_>],
    written: &[Written<'_>],
    (names, drafts): (&Names, &mut Drafts),
) {
    let own: Vec<&Written<'_>> =
        written.iter().filter(|route| std::ptr::eq(route.ingress, ingress)).collect();
    let target = Target {
        routes: own.iter().map(|route| route.name.as_str()).collect(),
        services: rules.iter().map(|rule| names.get(&rule.backend)).collect(),
        hosts: own.iter().map(|route| route.host.as_str()).collect(),
    };
    for (name, value) in ingress.annotations() {
        let Some(name) = name.strip_prefix(PREFIX) else { continue };
        let Some(value) = value.scalar() else { continue };
        let said = format!("{}, {name}: {}", ingress.called(), first_line(&value));
        let became = match target.routes.is_empty() {
            true => Became::LeftOut("the Ingress has no route here".into()),
            false => become_of(ingress, (name, value.trim()), &target, drafts),
        };
        match became {
            Became::Written(differences) => drafts.judged(said, differences, target.ids()),
            Became::Already => drafts.same(said, Vec::new()),
            Became::LeftOut(why) => drafts.left_out(said, why),
        }
    }
    write_tls(ingress, &target, drafts);
}

fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    match line.len() < text.trim().len() {
        true => format!("{line} ..."),
        false => line.into(),
    }
}

/// One flat table of the annotations.
fn become_of(
    ingress: &Object,
    (name, value): (&str, &str),
    target: &Target<'_>,
    drafts: &mut Drafts,
) -> Became {
    let says = |name: &str| ingress.annotation(&format!("{PREFIX}{name}"));
    let is = |text: &str| value.eq_ignore_ascii_case(text);
    let same = || Became::Written(Vec::new());
    let left_out = |why: &str| Became::LeftOut(why.into());
    match name {
        // Read with the paths.
        "rewrite-target" | "use-regex" | "server-alias" => Became::Already,
        "canary" => Became::Already,
        name if name.starts_with("canary-") => {
            left_out("the Ingress is no canary: `canary: \"true\"` is missing")
        }
        // Read with `tls`.
        "ssl-redirect" | "force-ssl-redirect" => Became::Already,
        "service-upstream" | "proxy-http-version" | "proxy-buffering" if !is("on") => Became::Already,
        "enable-access-log" if is("true") => Became::Already,
        "affinity" if is("cookie") => {
            let cookie = says("session-cookie-name").unwrap_or_else(|| "INGRESSCOOKIE".into());
            let age =
                says("session-cookie-max-age").and_then(|age| age.parse::<u64>().ok()).filter(|age| *age > 0);
            let issue = Yaml::of("name", Yaml::text(&cookie))
                .with("max_age", Yaml::text(format!("{}s", age.unwrap_or(30 * 86_400))));
            target.set_services(drafts, "identity", &Yaml::texts([format!("cookie:{cookie}")]));
            target.set_services(drafts, "issue_cookie", &issue);
            target.set_services(drafts, "balance", &Yaml::text("hash"));
            Became::Written(vec![
                "the cookie names a user and not an instance, which a hash of it chooses; shares are drawn by it".into(),
            ])
        }
        "affinity" | "affinity-mode" | "affinity-canary-behavior"
            if says("affinity").is_none_or(|a| a != "cookie") =>
        {
            left_out("only `affinity: cookie` is read")
        }
        "affinity-mode" | "session-cookie-name" | "session-cookie-max-age" => Became::Already,
        "affinity-canary-behavior" => Became::Written(vec![
            "a user stays in a version while the share that decides for it stays".into(),
        ]),
        name if name.starts_with("session-cookie-") => {
            left_out("the cookie is `HttpOnly; SameSite=Lax; Path=/` here")
        }
        "load-balance" if is("round_robin") => Became::Already,
        "load-balance" => {
            target.set_services(drafts, "balance", &Yaml::text("least_requests"));
            Became::Written(vec![format!("`{value}` becomes least requests")])
        }
        "upstream-hash-by" => match attribute_of(value) {
            Some(attribute) => {
                target.set_services(drafts, "identity", &Yaml::texts([attribute]));
                target.set_services(drafts, "balance", &Yaml::text("hash"));
                Became::Written(vec!["another hash: who meets which instance changes once".into()])
            }
            None => Became::LeftOut(format!("`{value}` is no single attribute of a request")),
        },
        "backend-protocol" => backend_protocol(value, target, drafts),
        "proxy-connect-timeout" => seconds(value, "connect", target, drafts),
        "proxy-read-timeout" => seconds(value, "read", target, drafts),
        "proxy-send-timeout" => {
            left_out("`limits.body_rate` of the process file says how slowly a body may come")
        }
        "proxy-next-upstream-tries" => match value.parse::<u64>() {
            Ok(tries @ 1..=9) => {
                target.set_services(drafts, "retries", &Yaml::number(tries - 1));
                same()
            }
            _ => left_out("at most 8 further tries can be said"),
        },
        "proxy-body-size" => match size(value) {
            Some(size) => {
                target.set_routes(drafts, "max_body", &Yaml::text(size));
                same()
            }
            None => left_out(
                "a limit has to be a number; `limits.body` of the process file holds where none is written",
            ),
        },
        "upstream-vhost" => {
            target.set_in_routes(drafts, "rewrite", "host", &Yaml::text(value));
            same()
        }
        "x-forwarded-prefix" => {
            target.set_in_routes(
                drafts,
                "request_headers",
                "set",
                &Yaml::of("x-forwarded-prefix", Yaml::text(value)),
            );
            same()
        }
        "permanent-redirect" | "temporal-redirect" => {
            let code = says(&format!("{name}-code")).and_then(|code| code.parse::<u16>().ok());
            let status = code.unwrap_or(if name == "permanent-redirect" { 301 } else { 302 });
            redirect_all(value, status, target, drafts)
        }
        "permanent-redirect-code" | "temporal-redirect-code" => Became::Already,
        "app-root" => {
            for host in &target.hosts {
                let mut route = Yaml::map();
                set_host(&mut route, host);
                route.set("paths", Yaml::List(vec![Yaml::of("exact", Yaml::text("/"))]));
                let to = Yaml::of("path", Yaml::text(value)).with("status", Yaml::number(302));
                route.set("redirect", to);
                drafts.add(Kind::Route, &format!("{}-root", ingress.name), route);
            }
            same()
        }
        "from-to-www-redirect" if is("true") => {
            for host in target.hosts.iter().filter(|host| !host.is_empty()) {
                let other = host.strip_prefix("www.").map_or_else(|| format!("www.{host}"), str::to_string);
                let mut route = Yaml::of("hosts", Yaml::texts([other]));
                let to = Yaml::of("host", Yaml::text(*host)).with("status", Yaml::number(308));
                route.set("redirect", to);
                drafts.add(Kind::Route, &format!("{}-www", ingress.name), route);
            }
            same()
        }
        "whitelist-source-range" | "allowlist-source-range" | "denylist-source-range" => {
            let nets: Vec<&str> = value.split(',').map(str::trim).filter(|net| !net.is_empty()).collect();
            let inside = Condition::test("ip", "cidr", Yaml::texts(nets));
            let allowed = if name.starts_with("deny") { inside.negated() } else { inside };
            for route in &target.routes {
                drafts.edit(Kind::Route, route, |document| allowed.put(document));
            }
            Became::Written(vec!["others get 404 instead of 403, or the next route that fits".into()])
        }
        "limit-rpm" if says("limit-rps").is_some() => left_out("a route has one limit, which `limit-rps` is"),
        "limit-rps" => rate(value, 1, &says, (target, drafts)),
        "limit-rpm" => rate(value, 60, &says, (target, drafts)),
        "limit-burst-multiplier" if says("limit-rps").or_else(|| says("limit-rpm")).is_some() => {
            Became::Already
        }
        "limit-whitelist" | "limit-allowlist" => {
            left_out("write a further route with `when` and `cidr`, and without `limit`")
        }
        "limit-connections" => left_out("`limits.connections_per_ip` of the process file counts connections"),
        name if name.starts_with("limit-") => left_out("it limits no number of requests"),
        name if name.starts_with("auth-") => left_out("requests are not authenticated here"),
        name if name.ends_with("-snippet") => left_out("it is text of nginx's own configuration"),
        "mirror-target" => match beside::shadow(value, drafts) {
            Some((service, differences)) => {
                target.set_routes(drafts, "mirror", &beside::mirror(&service, "release", None));
                Became::Written(differences)
            }
            None => Became::LeftOut(format!("`{value}` is no URL that a copy keeps its path at")),
        },
        "mirror-request-body" if is("on") => Became::Already,
        "mirror-request-body" => left_out("requests are copied with their bodies, up to `body` of `mirror`"),
        "mirror-host" => left_out("a copy has the Host of its request"),
        name if name.contains("cors") => {
            left_out("CORS headers are the application's; `response_headers` can add fixed ones")
        }
        name if name.contains("modsecurity") => left_out("requests are not inspected here"),
        _ => left_out("it has no meaning here"),
    }
}

fn backend_protocol(value: &str, target: &Target<'_>, drafts: &mut Drafts) -> Became {
    // ingress-nginx does not verify certificates of upstreams unless it is told to.
    let unverified = Yaml::of("verify", Yaml::Flag(false));
    match value.to_ascii_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => return Became::Already,
        "HTTPS" => target.set_services(drafts, "tls", &unverified),
        "GRPC" => target.set_services(drafts, "protocol", &Yaml::text("h2c")),
        "GRPCS" => {
            target.set_services(drafts, "tls", &unverified);
            target.set_services(drafts, "protocol", &Yaml::text("h2"));
        }
        _ => return Became::LeftOut(format!("`{value}` is not spoken to upstreams")),
    }
    Became::Written(Vec::new())
}

fn seconds(value: &str, timeout: &str, target: &Target<'_>, drafts: &mut Drafts) -> Became {
    match value.trim_end_matches('s').parse::<u64>() {
        Ok(seconds) if seconds > 0 => {
            target.set_in_routes(drafts, "timeouts", timeout, &Yaml::text(format!("{seconds}s")));
            Became::Written(Vec::new())
        }
        _ => Became::LeftOut("it is no number of seconds".into()),
    }
}

/// A rate for each client address, with nginx's burst on top of the one request that is due.
fn rate(
    value: &str,
    seconds: u64,
    says: &dyn Fn(&str) -> Option<String>,
    (target, drafts): (&Target<'_>, &mut Drafts),
) -> Became {
    /// As the controller multiplies where nothing is written.
    const MULTIPLIER: u64 = 5;
    let count = value.parse::<u64>().ok().filter(|count| *count > 0);
    let Some((count, rate)) = count.and_then(|count| Some((count, beside::rate(count, seconds)?))) else {
        return Became::LeftOut("it is no number of requests".into());
    };
    let multiplier = says("limit-burst-multiplier").and_then(|text| text.parse().ok()).unwrap_or(MULTIPLIER);
    let burst = count.saturating_mul(multiplier).saturating_add(1);
    target.set_routes(drafts, "limit", &beside::limit(rate, burst, Some("ip".into())));
    let mut differences: Vec<String> = beside::other_status(503).into_iter().collect();
    if target.routes.len() > 1 {
        differences.push("each route has a limit of its own".into());
    }
    Became::Written(differences)
}

fn set_host(route: &mut Yaml, host: &str) {
    if !host.is_empty() {
        route.set("hosts", Yaml::texts([host]));
    }
}

/// Turns the routes into redirects to a fixed URL.
fn redirect_all(url: &str, status: u16, target: &Target<'_>, drafts: &mut Drafts) -> Became {
    let Some(mut to) = redirect_to(url) else {
        return Became::LeftOut(format!("`{url}` is no plain URL or path"));
    };
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return Became::LeftOut(format!("{status} is no redirect"));
    }
    to.set("status", Yaml::number(status));
    for route in &target.routes {
        drafts.edit(Kind::Route, route, |document| {
            if let Yaml::Map(fields) = document {
                fields.retain(|(key, _)| !matches!(key.as_str(), "service" | "rewrite"));
            }
            document.set("redirect", to.clone());
        });
    }
    Became::Written(vec!["the query is kept".into()])
}

/// Certificates belong to the process file, and plain requests to such hosts are sent to HTTPS.
fn write_tls(ingress: &Object, target: &Target<'_>, drafts: &mut Drafts) {
    let says = |name: &str| ingress.annotation(&format!("{PREFIX}{name}"));
    let is_on = |name: &str| says(name).is_some_and(|value| value == "true");
    let entries = ingress.root.down(&["spec", "tls"]).map(Tree::items).unwrap_or_default();
    for entry in entries {
        let secret = entry.text_at("secretName").unwrap_or_else(|| "of the controller".into());
        drafts.left_out(
            format!("{}, the certificate {secret}", ingress.called()),
            "put its `tls.crt` and `tls.key` as a pair into `listen.tls.certificates` of the process file",
        );
    }
    let covered: BTreeSet<String> = entries.iter().flat_map(|entry| entry.texts_at("hosts")).collect();
    let has_tls = |host: &str| !entries.is_empty() && (covered.is_empty() || covered.contains(host));
    let redirected: Vec<&str> = target
        .hosts
        .iter()
        .copied()
        .filter(|host| {
            is_on("force-ssl-redirect") || (has_tls(host) && says("ssl-redirect").as_deref() != Some("false"))
        })
        .collect();
    if redirected.is_empty() {
        return;
    }
    let mut route = Yaml::map();
    if !redirected.contains(&"") {
        route.set("hosts", Yaml::texts(redirected));
    }
    Condition::equals("scheme", "http").put(&mut route);
    // Before every route of these hosts, as there.
    route.set("priority", Yaml::number(1000));
    route.set("redirect", Yaml::of("scheme", Yaml::text("https")).with("status", Yaml::number(308)));
    let id = drafts.add(Kind::Route, &format!("{}-to-https", ingress.name), route);
    drafts.same(format!("{}, plain requests go to HTTPS", ingress.called()), vec![id]);
}
