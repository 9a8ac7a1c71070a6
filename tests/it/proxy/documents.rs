//! Documents that change while the proxy runs, in a directory.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::proxy::{Proxy, until};
use crate::harness::sample::{ALL, instances};
use crate::harness::upstream::Upstream;

/// A change is in force within this.
const SOON: Duration = Duration::from_secs(1);

async fn proxy() -> (Proxy, Upstream, Upstream) {
    let (release, gray) = (Upstream::named("release").await, Upstream::named("gray").await);
    let service = instances(&[("release", release.address), ("gray", gray.address)]);
    let proxy = Proxy::start("", &[ALL, ("services/s.yaml", &service)]).await;
    (proxy, release, gray)
}

/// The one problem, once there is one.
async fn problem(proxy: &Proxy) -> Value {
    until(async || proxy.status().await["problems"].as_array().is_some_and(|all| !all.is_empty())).await;
    let status = proxy.status().await;
    assert_eq!(status["problems"].as_array().unwrap().len(), 1, "{status}");
    status["problems"][0].clone()
}

async fn no_problem(proxy: &Proxy) {
    until(async || proxy.status().await["problems"].as_array().is_some_and(Vec::is_empty)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_rule_decides_and_a_deleted_one_does_not() {
    let (proxy, _release, _gray) = proxy().await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    proxy.write("rules/all.yaml", "version: gray");
    let begun = Instant::now();
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    proxy.remove("rules/all.yaml");
    let begun = Instant::now();
    until(async || proxy.served_by("/", &[]).await == "release").await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let status = proxy.status().await;
    assert_eq!(status["revision"]["offered"], status["revision"]["running"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_rule_is_held_back_alone_until_it_is_mended() {
    let (proxy, _release, _gray) = proxy().await;
    proxy.write("rules/one.yaml", "when: {attribute: header:x, equals: a}\nversion: gray");
    until(async || proxy.served_by("/", &[("x", "a")]).await == "gray").await;
    proxy.write("rules/one.yaml", "when: {all: [{atribute: header:x, equals: b}]}\nversion: gray");
    let problem = problem(&proxy).await;
    assert_eq!(problem["document"], "rules/one");
    assert_eq!(problem["field"], "when.all[0].atribute");
    assert!(problem["message"].as_str().unwrap().contains("did you mean `attribute`"), "{problem}");
    let since = problem["held_back_since"].as_str().unwrap().to_string();
    assert!(time::OffsetDateTime::parse(&since, &time::format_description::well_known::Rfc3339).is_ok());
    assert_eq!(problem["line"], 1);
    assert_eq!(problem.as_object().unwrap().len(), 5, "{problem}");
    proxy.metric_becomes("graygate_problems", &[("kind", "rule")], 1.0).await;
    assert!(proxy.stderr().contains("rules/one"), "one log line");
    // Everything else moves on, and the last good version stays in force.
    proxy.write("rules/two.yaml", "when: {attribute: header:y, equals: a}\nversion: gray");
    until(async || proxy.served_by("/", &[("y", "a")]).await == "gray").await;
    assert_eq!(proxy.served_by("/", &[("x", "a")]).await, "gray");
    assert_eq!(proxy.served_by("/", &[("x", "b")]).await, "release");
    assert_eq!(proxy.status().await["problems"][0]["held_back_since"], since.as_str());
    proxy.write("rules/one.yaml", "when: {all: [{attribute: header:x, equals: b}]}\nversion: gray");
    until(async || proxy.served_by("/", &[("x", "b")]).await == "gray").await;
    no_problem(&proxy).await;
    proxy.metric_becomes("graygate_problems", &[("kind", "rule")], 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_broken_document_ends_the_problem_and_the_rule() {
    let (proxy, _release, _gray) = proxy().await;
    proxy.write("rules/one.yaml", "version: gray");
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    proxy.write("rules/one.yaml", "version: [");
    problem(&proxy).await;
    assert_eq!(proxy.served_by("/", &[]).await, "gray");
    proxy.remove("rules/one.yaml");
    until(async || proxy.served_by("/", &[]).await == "release").await;
    no_problem(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_document_under_two_names_is_neither() {
    let (proxy, _release, _gray) = proxy().await;
    proxy.write("rules/one.yaml", "version: gray");
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    proxy.write("rules/one.json", r#"{"version": "release"}"#);
    assert_eq!(problem(&proxy).await["document"], "rules/one");
    assert_eq!(proxy.served_by("/", &[]).await, "gray", "the last good one stays");
    proxy.remove("rules/one.yaml");
    until(async || proxy.served_by("/", &[]).await == "release").await;
    no_problem(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_good_is_left_out_and_strays_are_problems() {
    let (proxy, _release, _gray) = proxy().await;
    proxy.write("rules/new.yaml", "version: gray\nwhen:");
    assert_eq!(problem(&proxy).await["field"], "when");
    assert_eq!(
        proxy.served_by("/", &[]).await,
        "release",
        "a key with nothing behind it is never every request"
    );
    proxy.remove("rules/new.yaml");
    no_problem(&proxy).await;
    proxy.write("rules/readme.md", "hello");
    let stray = problem(&proxy).await;
    assert!(stray["document"].as_str().unwrap().contains("rules/readme.md"), "{stray}");
    proxy.write("rules/.hidden.md", "passed over");
    proxy.remove("rules/readme.md");
    no_problem(&proxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_with_a_dangling_reference_is_inert() {
    let (proxy, _release, _gray) = proxy().await;
    proxy.write("rules/one.yaml", "when: {not: {attribute: header:x, in_list: pilots}}\nversion: gray");
    assert_eq!(problem(&proxy).await["document"], "rules/one");
    assert_eq!(proxy.served_by("/", &[]).await, "release", "inert as a whole, also under `not`");
    proxy.write("lists/pilots.txt", "\u{feff}# who\r\n 7 \r\n\r\n");
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    assert_eq!(proxy.served_by("/", &[("x", "7")]).await, "release");
    no_problem(&proxy).await;
    proxy.write("lists/pilots/more.txt", "8\n9\n");
    until(async || proxy.served_by("/", &[("x", "9")]).await == "release").await;
    proxy.metric_becomes("graygate_list_members", &[("list", "pilots")], 3.0).await;
    assert_eq!(proxy.status().await["documents"]["lists"], 1);
    assert_eq!(proxy.status().await["documents"]["list_members"], 3);
    proxy.write("rules/two.yaml", "services: [nowhere]\nversion: gray");
    assert_eq!(problem(&proxy).await["document"], "rules/two");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_written_in_pieces_or_replaced_in_place_arrive() {
    let (proxy, _release, _gray) = proxy().await;
    let file = proxy.file("documents").join("rules/one.yaml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "version: gray").unwrap();
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    fs::write(&file, "version: gray\nenabled: false").unwrap();
    until(async || proxy.served_by("/", &[]).await == "release").await;
    fs::rename(proxy.file("documents").join("rules"), proxy.file("documents").join(".rules")).unwrap();
    fs::create_dir(proxy.file("documents").join("rules")).unwrap();
    proxy.write("rules/two.yml", "version: gray");
    until(async || proxy.served_by("/", &[]).await == "gray").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_open_and_close_without_a_change() {
    let (proxy, _release, _gray) = proxy().await;
    let at = |offset: Duration| {
        let moment = time::OffsetDateTime::now_utc() + offset;
        moment.format(&time::format_description::well_known::Rfc3339).unwrap()
    };
    let (starts, ends) = (at(Duration::from_millis(800)), at(Duration::from_millis(1600)));
    proxy.write("rules/one.yaml", &format!("starts: {starts}\nends: {ends}\nversion: gray"));
    until(async || proxy.status().await["documents"]["rules"] == 1).await;
    until(async || proxy.served_by("/", &[]).await == "gray").await;
    until(async || proxy.served_by("/", &[]).await == "release").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_where_it_began() {
    use crate::harness::upstream::{Act, ok};
    use crate::harness::wire::request;
    let held = Upstream::scripted(|_| Act::Hold(ok("held"))).await;
    let release = Upstream::named("release").await;
    let service = instances(&[("release", release.address), ("gray", held.address)]);
    let proxy =
        Proxy::start("", &[ALL, ("rules/one.yaml", "version: gray"), ("services/s.yaml", &service)]).await;
    let mut begun = proxy.connect().await;
    begun.send(request("GET", "/", &[])).await;
    until(async || held.asked().len() == 1).await;
    proxy.remove("rules/one.yaml");
    proxy.write("services/s.yaml", &instances(&[("release", release.address)]));
    until(async || proxy.status().await["services"]["s"]["versions"]["gray"].is_null()).await;
    assert_eq!(proxy.served_by("/", &[]).await, "release");
    held.release();
    assert_eq!(begun.answer().await.text(), "held");
    until(async || proxy.log().iter().any(|line| line["version"] == "gray" && line["rule"] == "one")).await;
}
