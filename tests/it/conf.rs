//! What `conf/` and the packages hold: every file is read, and every name in it exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use graygate::config::Config;
use graygate_rules::documents::fields::Notes;

use crate::harness::proxy::{BINARY, Proxy, Samples, until};
use crate::harness::upstream::{Refusing, Upstream};

fn conf(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_production_file_is_good_and_its_comments_show_defaults() {
    let text = conf("graygate.yaml");
    let config = Config::parse(&text, Notes::of("graygate.yaml")).unwrap();
    assert_eq!(config.cache, Some(PathBuf::from("/var/lib/graygate")));
    // Each commented-out key is read as well.
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) =
            line.split_once(": ").filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        else {
            continue;
        };
        let without: String = text
            .lines()
            .filter(|own| !own.starts_with(&format!("{key}:")))
            .map(|own| format!("{own}\n"))
            .collect();
        if let Err(problems) = Config::parse(&format!("{without}{line}\n"), Notes::of(key)) {
            panic!("{line}: {problems:?}");
        }
    }
}

#[test]
fn the_control_planes_file_is_good_and_its_comments_as_well() {
    use graygate_control::settings::Config;
    let text = conf("control.yaml");
    Config::parse(&text, Notes::of("control.yaml")).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let Some((key, _)) =
            line.split_once(": ").filter(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        else {
            continue;
        };
        let without: String = text
            .lines()
            .filter(|own| !own.starts_with(&format!("{key}:")))
            .map(|own| format!("{own}\n"))
            .collect();
        if let Err(problems) = Config::parse(&format!("{without}{line}\n"), Notes::of(key)) {
            panic!("{line}: {problems:?}");
        }
    }
}

/// The metrics that appear in a query, each with the label names that stand beside it.
fn metrics_in(query: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for start in query.match_indices("graygate_").chain(query.match_indices("process_")).map(|(at, _)| at) {
        let rest = &query[start..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let labels = found.entry(rest[..end].to_string()).or_default();
        if let Some(selector) = rest[end..].strip_prefix('{').and_then(|rest| rest.split('}').next()) {
            for pair in selector.split(',') {
                labels.insert(pair.split(['=', '!']).next().unwrap().trim().to_string());
            }
        }
    }
    // Grouping is by labels of what is grouped; a query here has one metric, or several of the same shape.
    for group in query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap()) {
        for labels in found.values_mut() {
            labels.extend(group.split(',').map(|label| label.trim().to_string()));
        }
    }
    found
}

/// The queries of the alert rules and of the dashboard.
fn queries() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&conf("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries: Vec<String> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap().to_string())
        .collect();
    assert!(queries.len() >= 14, "{queries:?}");
    let alerts = conf("alerts.yaml");
    let before = queries.len();
    for rule in alerts.split("- alert: ").skip(1) {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        let expression = rest.split("\n        for:").next().unwrap();
        queries.push(expression.trim_start_matches('|').split_whitespace().collect::<Vec<_>>().join(" "));
    }
    assert!(queries.len() >= before + 8);
    queries
}

/// What a control plane shows once everything was counted.
fn of_control() -> Samples {
    use graygate_control::metrics::Metrics;
    use graygate_control::registries::status::{DiscoveredShown, RegistryShown, Status};
    let metrics = Metrics::default();
    metrics.call("/api/v1/me", 200, std::time::Duration::from_millis(1));
    metrics.notice("ops", "sent");
    let services = BTreeMap::from([("patient".to_string(), DiscoveredShown::default())]);
    let registry = RegistryShown {
        name: "nacos-main".into(),
        kind: "nacos".into(),
        up: true,
        since: String::new(),
        server: None,
        why: None,
        services,
        problems: Vec::new(),
    };
    Samples::parse(&(metrics.text() + &Status { registries: vec![registry] }.metrics()))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_of_alerts_and_dashboard_exists_with_its_labels() {
    let up = Upstream::named("up").await;
    let refusing = Refusing::new();
    let service = format!(
        "instances:\n  - {{address: \"{}\", version: release}}\n  - {{address: \"{}\", version: gray}}\n",
        up.address, refusing.address
    );
    let documents = [
        ("routes/s.yaml", "paths: [{prefix: /s}]\nservice: s\n"),
        ("rules/all.yaml", "version: gray\n"),
        ("services/s.yaml", &*service),
        ("lists/l.txt", "a\n"),
    ];
    let proxy = Proxy::start("", &documents).await;
    assert_eq!(proxy.get("/s", &[]).await.status(), 200);
    assert_eq!(proxy.get("/nowhere", &[]).await.status(), 404);
    until(async || proxy.metrics().await.sum("graygate_unrouted_total") == 1.0).await;
    let mut samples = proxy.metrics().await;
    samples.0.extend(of_control().0);
    let mut shown: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in &samples.0 {
        shown.entry(&sample.name).or_default().extend(sample.labels.keys().map(String::as_str));
    }
    for query in queries() {
        let named = metrics_in(&query);
        assert!(!named.is_empty(), "{query}");
        for (name, labels) in named {
            let known = shown.get(&*name).unwrap_or_else(|| panic!("{name} does not exist: {query}"));
            for label in labels {
                assert!(known.contains(&*label), "{name} has no label {label}: {query}");
            }
        }
    }
}

#[test]
fn man_pages_and_completions_name_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let done = Command::new(BINARY).arg("manuals").arg(folder.path()).status().unwrap();
    assert!(done.success());
    for command in ["run", "check", "explain", "push", "pull", "bucket", "fleet", "echo", "demo"] {
        assert!(folder.path().join(format!("graygate-{command}.1")).is_file(), "{command}");
        for file in ["graygate.bash", "graygate.fish", "_graygate"] {
            let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
            assert!(text.contains(command), "{command} in {file}");
        }
    }
    let page = std::fs::read_to_string(folder.path().join("graygate.1")).unwrap();
    assert!(page.contains("decides") && !page.contains("manuals"), "{page}");
}

/// The lists of files of an installation and of a package are the same.
#[test]
fn installation_and_package_hold_what_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = format!("BINARY={}", BINARY);
    let make = |arguments: &[&str]| {
        let made = Command::new("make").current_dir(root).args(arguments).arg(&binary).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let installed = folder.path().join("root");
    make(&["install-files", &format!("DESTDIR={}", installed.display()), "PREFIX=/usr"]);
    let files = [
        "usr/bin/graygate",
        "usr/lib/systemd/system/graygate.service",
        "usr/lib/systemd/system/graygate-control.service",
        "usr/lib/sysusers.d/graygate.conf",
        "usr/share/man/man1/graygate.1",
        "usr/share/man/man1/graygate-run.1",
        "usr/share/bash-completion/completions/graygate",
        "usr/share/fish/vendor_completions.d/graygate.fish",
        "usr/share/zsh/vendor-completions/_graygate",
        "usr/share/graygate/alerts.yaml",
        "usr/share/graygate/dashboard.json",
        "etc/graygate/graygate.yaml",
        "etc/graygate/control.yaml",
        "etc/graygate/documents",
        "etc/logrotate.d/graygate",
    ];
    for file in files {
        assert!(installed.join(file).exists(), "{file} is not installed");
    }
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return;
    }
    let packages = folder.path().join("packages");
    // Uncompressed: this is about what is in it.
    make(&["deb-files", "DEBFLAGS=-Znone", &format!("PACKAGES={}", packages.display())]);
    let package = std::fs::read_dir(&packages).unwrap().next().unwrap().unwrap().path();
    let list = Command::new("dpkg-deb").arg("--contents").arg(&package).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for file in files {
        assert!(
            list.lines().any(|line| line.trim_end_matches('/').ends_with(&format!("./{file}"))),
            "{file} is not in:\n{list}"
        );
    }
    let control = folder.path().join("control");
    let unpacked = Command::new("dpkg-deb").arg("--control").arg(&package).arg(&control).status().unwrap();
    assert!(unpacked.success());
    assert!(std::fs::read_to_string(control.join("postinst")).unwrap().contains("systemd-sysusers"));
    let conffiles = std::fs::read_to_string(control.join("conffiles")).unwrap();
    for file in ["/etc/graygate/graygate.yaml", "/etc/graygate/control.yaml"] {
        assert!(conffiles.lines().any(|line| line == file), "{file} is not in:\n{conffiles}");
    }
}
