//! The systems under test: the same policy, written for each as one who knows it would.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use anyhow::Result;

use crate::stage::{Stage, list_file};
use crate::workload::{PERCENT, SEEN_USERS, VERSIONS, Workload};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum System {
    Bare,
    /// On graygate's allocator.
    BareMimalloc,
    NginxForward,
    HaproxyForward,
    Graygate,
    GraygateLogging,
    GraygatePipeline,
    Nginx,
    Haproxy,
    Envoy,
}

impl System {
    pub const ALL: [System; 10] = [
        System::Bare,
        System::BareMimalloc,
        System::NginxForward,
        System::HaproxyForward,
        System::Graygate,
        System::GraygateLogging,
        System::GraygatePipeline,
        System::Nginx,
        System::Haproxy,
        System::Envoy,
    ];

    pub fn name(self) -> &'static str {
        match self {
            System::Bare => "bare Pingora",
            System::BareMimalloc => "bare Pingora, mimalloc",
            System::NginxForward => "nginx, forwarding only",
            System::HaproxyForward => "HAProxy, forwarding only",
            System::Graygate => "graygate",
            System::GraygateLogging => "graygate, access log",
            System::GraygatePipeline => "graygate, short_path: off",
            System::Nginx => "nginx",
            System::Haproxy => "HAProxy",
            System::Envoy => "Envoy",
        }
    }

    /// Whether it has the policy; the others pass everything on to one upstream.
    pub fn decides(self) -> bool {
        use System::{Bare, BareMimalloc, HaproxyForward, NginxForward};
        !matches!(self, Bare | BareMimalloc | NginxForward | HaproxyForward)
    }

    /// Writes the configuration and says how to start with it.
    pub fn prepare(self, stage: &Stage, workload: &Workload) -> Result<Command> {
        match self {
            System::Bare => Ok(bare(stage, "bare-pingora")),
            System::BareMimalloc => Ok(bare(stage, "bare-pingora-mimalloc")),
            System::NginxForward => nginx_forward(stage),
            System::HaproxyForward => haproxy_forward(stage),
            System::Graygate => {
                stage.write_documents(workload)?;
                stage.graygate(&[])
            }
            System::GraygateLogging => {
                stage.write_documents(workload)?;
                stage.graygate(&[("access_log", "{path: access.log}")])
            }
            System::GraygatePipeline => {
                stage.write_documents(workload)?;
                stage.graygate(&[("short_path", "off")])
            }
            System::Nginx => nginx(stage, workload),
            System::Haproxy => haproxy(stage, workload),
            System::Envoy => envoy(stage, workload),
        }
    }
}

fn bare(stage: &Stage, program: &str) -> Command {
    let mut command = Command::new(stage.binaries.join(program));
    command.args([stage.listen.to_string(), stage.upstreams[0].to_string(), "1".into()]);
    command
}

fn nginx_forward(stage: &Stage) -> Result<Command> {
    let text = format!(
        "worker_processes 1; daemon off; error_log stderr crit; pid nginx.pid;\nevents {{ worker_connections 16384; }}\n\
         http {{\naccess_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
         upstream only {{ server {}; keepalive 1024; keepalive_requests 1000000000; }}\n\
         server {{ listen {} backlog=4096; location / {{ proxy_pass http://only; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host; }} }}\n}}",
        stage.upstreams[0], stage.listen
    );
    stage.nginx(&text, "nginx.conf")
}

fn haproxy_forward(stage: &Stage) -> Result<Command> {
    let (listen, upstream) = (stage.listen, stage.upstreams[0]);
    let text = format!(
        "{HAPROXY}frontend f\n  bind {listen}\n  default_backend only\nbackend only\n  server s {upstream} pool-max-conn 1024\n"
    );
    haproxy_command(stage, &text)
}

/// One thread, and connections to upstreams that every client's requests share.
const HAPROXY: &str = "global\n  nbthread 1\n  maxconn 4000\ndefaults\n  mode http\n  timeout client 600s\n  \
    timeout server 60s\n  timeout connect 5s\n  http-reuse always\n";

fn haproxy_command(stage: &Stage, text: &str) -> Result<Command> {
    let file = stage.root().join("haproxy.cfg");
    fs::write(&file, text)?;
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

/// Maps that fall through to one another, evaluated only as far as needed; regexes compiled to machine code.
fn nginx(stage: &Stage, workload: &Workload) -> Result<Command> {
    let mut text = String::from(
        "worker_processes 1; daemon off; pcre_jit on; error_log stderr crit; pid nginx.pid;\nevents { worker_connections 16384; }\n\
         http {\naccess_log off; keepalive_requests 1000000000; keepalive_timeout 600s;\n\
         map_hash_max_size 4194304; map_hash_bucket_size 128; variables_hash_max_size 2048;\n",
    );
    let _ = writeln!(
        text,
        "split_clients \"share:$http_x_user\" $by_share {{ {PERCENT}% {}; * release; }}",
        VERSIONS[0]
    );
    let mut map =
        |of: &str, to: &str, or: &str, entries: &mut dyn Iterator<Item = (String, &'static str)>| {
            let _ = writeln!(text, "map ${of} ${to} {{\ndefault ${or};");
            for (key, version) in entries {
                let _ = writeln!(text, "{key} {version};");
            }
            text.push_str("}\n");
        };
    let regex = |(pattern, version): (String, &'static str)| (format!("\"~^(?:{pattern})$\""), version);
    map("http_user_agent", "by_agent", "by_share", &mut workload.agents().map(regex));
    map("uri", "by_path", "by_agent", &mut workload.paths().map(regex));
    map("cookie_trial", "by_cookie", "by_path", &mut workload.cookies());
    let mut users = (0..workload.users).map(|number| (Workload::user(number), VERSIONS[0]));
    map("http_x_user", "by_user", "by_cookie", &mut users);
    map("http_x_hospital", "version", "by_user", &mut workload.hospitals());
    for (address, version) in stage.versions() {
        let _ = writeln!(
            text,
            "upstream {version} {{ server {address}; keepalive 1024; keepalive_requests 1000000000; }}"
        );
    }
    let _ = writeln!(
        text,
        "server {{ listen {} backlog=4096; location / {{ proxy_pass http://$version; proxy_http_version 1.1; proxy_set_header Connection \"\"; \
         proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header x-gray-version $version; }} }}\n}}",
        stage.listen
    );
    stage.nginx(&text, "nginx.conf")
}

/// Map files, asked in order until one knows; the backend's name is the version.
fn haproxy(stage: &Stage, workload: &Workload) -> Result<Command> {
    let map = |name: &str, entries: &mut dyn Iterator<Item = (String, &'static str)>| -> Result<String> {
        let file = stage.root().join(format!("haproxy-{name}.map"));
        let text: String = entries.map(|(key, version)| format!("{key} {version}\n")).collect();
        fs::write(&file, text)?;
        Ok(file.display().to_string())
    };
    let regex = |(pattern, version): (String, &'static str)| {
        (format!("^(?:{})$", pattern.replace(' ', "\\s")), version)
    };
    let hospitals = map("hospitals", &mut workload.hospitals())?;
    let cookies = map("cookies", &mut workload.cookies())?;
    let paths = map("paths", &mut workload.paths().map(regex))?;
    let agents = map("agents", &mut workload.agents().map(regex))?;
    let users = stage.root().join("haproxy-users.map");
    list_file(&users, workload.users, &format!(" {}", VERSIONS[0]))?;
    let unless = "unless { var(txn.v) -m found }";
    let mut text = format!(
        "{HAPROXY}frontend f\n  bind {}\n  \
         http-request set-var(txn.v) req.hdr(x-hospital),map_str({hospitals})\n  \
         http-request set-var(txn.v) req.hdr(x-user),map_str({}) {unless}\n  \
         http-request set-var(txn.v) req.cook(trial),map_str({cookies}) {unless}\n  \
         http-request set-var(txn.v) path,map_reg({paths}) {unless}\n  \
         http-request set-var(txn.v) req.fhdr(user-agent),map_reg({agents}) {unless}\n  \
         http-request set-var(txn.share) req.hdr(x-user),xxh32,mod(100) {unless}\n  \
         http-request set-var(txn.v) str({}) if {{ var(txn.share) -m int lt {PERCENT} }}\n  \
         http-request set-var(txn.v) str(release) {unless}\n  \
         http-request set-header x-forwarded-for %[src]\n  http-request set-header x-gray-version %[var(txn.v)]\n  \
         use_backend %[var(txn.v)]\n",
        stage.listen,
        users.display(),
        VERSIONS[0]
    );
    for (address, version) in stage.versions() {
        let _ = writeln!(text, "backend {version}\n  server s {address} pool-max-conn 1024");
    }
    haproxy_command(stage, &text)
}

/// Hash lookups by a matcher tree where there is one key, a list of routes for what is left. Of the list of users only
/// those that send requests: a million would be a million routes.
fn envoy(stage: &Stage, workload: &Workload) -> Result<Command> {
    let route = |matched: serde_json::Value, version: &str| {
        serde_json::json!({"match": matched, "route": {"cluster": version, "timeout": "60s"},
            "request_headers_to_add": [{"header": {"key": "x-gray-version", "value": version}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]})
    };
    let any = |kind: &str, mut value: serde_json::Value| {
        value["@type"] = format!("type.googleapis.com/{kind}").into();
        value
    };
    let action = |kind: &str, value| serde_json::json!({"action": {"name": "route", "typed_config": any(&format!("envoy.config.route.v3.{kind}"), value)}});
    let mut routes = Vec::new();
    for (cookie, version) in workload.cookies() {
        let matched = serde_json::json!({"prefix": "/", "cookies": [{"name": "trial", "string_match": {"exact": cookie}}]});
        routes.push(route(matched, version));
    }
    for (path, version) in workload.paths() {
        routes.push(route(serde_json::json!({"safe_regex": {"regex": path}}), version));
    }
    for (agent, version) in workload.agents() {
        let matched = serde_json::json!({"prefix": "/", "headers": [
            {"name": "user-agent", "string_match": {"safe_regex": {"regex": agent}}}]});
        routes.push(route(matched, version));
    }
    let share = serde_json::json!({"weighted_clusters": {"clusters": [
        {"name": VERSIONS[0], "weight": PERCENT}, {"name": "release", "weight": 100 - PERCENT}]}});
    routes.push(serde_json::json!({"match": {"prefix": "/"}, "route": share}));
    let tree = |header: &str, entries: Vec<(String, &'static str)>, or: serde_json::Value| {
        let all = serde_json::json!({"prefix": "/"});
        let map: serde_json::Map<_, _> = entries
            .into_iter()
            .map(|(key, version)| (key, action("Route", route(all.clone(), version))))
            .collect();
        let input = any(
            "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
            serde_json::json!({"header_name": header}),
        );
        serde_json::json!({"matcher_tree": {"input": {"name": "header", "typed_config": input}, "exact_match_map": {"map": map}},
            "on_no_match": or})
    };
    let users = (0..workload.users.min(SEEN_USERS)).map(|n| (Workload::user(n), VERSIONS[0])).collect();
    let rest = action("RouteList", serde_json::json!({"routes": routes}));
    let by_user = tree("x-user", users, rest);
    let matcher = tree("x-hospital", workload.hospitals().collect(), serde_json::json!({"matcher": by_user}));
    let address = |address: &SocketAddr| serde_json::json!({"socket_address": {"address": address.ip().to_string(), "port_value": address.port()}});
    let clusters: Vec<_> = stage
        .versions()
        .map(|(upstream, version)| {
            let endpoint = serde_json::json!({"endpoint": {"address": address(&upstream)}});
            let most = serde_json::json!({"thresholds": [{"max_connections": 20000, "max_pending_requests": 20000, "max_requests": 20000}]});
            serde_json::json!({"name": version, "connect_timeout": "1s", "type": "STATIC", "circuit_breakers": most,
                "load_assignment": {"cluster_name": version, "endpoints": [{"lb_endpoints": [endpoint]}]}})
        })
        .collect();
    let router = any("envoy.extensions.filters.http.router.v3.Router", serde_json::json!({}));
    let manager = any(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        serde_json::json!({"stat_prefix": "in", "use_remote_address": true, "generate_request_id": false,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "matcher": matcher}]},
            "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}]}),
    );
    let config = serde_json::json!({"static_resources": {"clusters": clusters, "listeners": [{"name": "in", "address": address(&stage.listen),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}]}});
    let file = stage.root().join("envoy.json");
    fs::write(&file, serde_json::to_vec(&config)?)?;
    let mut command = Command::new(&stage.envoy);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "critical", "-c"]).arg(file);
    Ok(command)
}
